//! Which processes and ports are traced.
//!
//! In: `[scope]` or `--pid`, `--exe`, `--port`. Out: [`Scope`]. Always holds: an empty scope means the whole host; every
//! glob compiles. Refuses: patterns that are not globs. What matches is decided in `enrich::scope`.

use crate::enrich::scope::ExeGlobs;

/// `[scope]`. Each list that is not empty narrows: a process must match `pids` or `exes` if one of them is given, and
/// a connection must have one of `ports` on either side if any are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Process ids in the initial pid namespace; their children count too.
    pub pids: Vec<u32>,
    /// Globs over executables: with a `/` over the whole path, else over the file name.
    pub exes: Vec<String>,
    /// TCP ports, of either side.
    pub ports: Vec<u16>,
}

impl Scope {
    /// Nothing narrows: every process of the host.
    #[must_use]
    pub fn is_whole_host(&self) -> bool {
        self.pids.is_empty() && self.exes.is_empty() && self.ports.is_empty()
    }
}

/// Checks a glob.
///
/// # Errors
/// A sentence with what is wrong and examples.
pub fn exe_glob(text: &str) -> Result<String, String> {
    let text = text.to_owned();
    if text.is_empty() {
        return Err(
            "an empty glob matches nothing; allowed: for example nginx, python3* or /srv/*/bin/*"
                .to_owned(),
        );
    }
    match ExeGlobs::new(std::slice::from_ref(&text)) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!(
            "`{text}` is not a glob ({}); allowed: for example nginx, python3* or /srv/*/bin/*",
            error.source
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::exe_glob;

    #[test]
    fn a_glob_must_compile() {
        let check = |glob: &str, expect: bool| assert_eq!(exe_glob(glob).is_ok(), expect, "{glob}");
        check("python3*", true);
        check("/opt/**/bin/java", true);
        check("[", false);
        check("", false);
    }
}
