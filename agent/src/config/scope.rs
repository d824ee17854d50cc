//! Which processes and ports are traced.
//!
//! In: `[scope]` or `--pid`, `--exe`, `--port`. Out: [`Scope`]. Always holds: an empty scope means the whole host.
//! Refuses: patterns that are not globs.

use std::path::Path;
use std::str::FromStr;

/// `[scope]`. Each list that is not empty narrows: a process must match `pids` or `exes` if one of them is given, and
/// a connection must have one of `ports` on either side if any are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Process ids in the initial pid namespace; their later children count too.
    pub pids: Vec<u32>,
    /// Executables.
    pub exes: Vec<ExeGlob>,
    /// TCP ports, of either side.
    pub ports: Vec<u16>,
}

impl Scope {
    /// Nothing narrows: every process of the host.
    #[must_use]
    pub fn is_whole_host(&self) -> bool {
        self.pids.is_empty() && self.exes.is_empty() && self.ports.is_empty()
    }

    /// Whether processes are narrowed at all.
    #[must_use]
    pub fn narrows_processes(&self) -> bool {
        !self.pids.is_empty() || !self.exes.is_empty()
    }

    /// Whether a process is in the scope. `exe` is the target of /proc/PID/exe.
    #[must_use]
    pub fn holds_process(&self, tgid: u32, exe: &Path) -> bool {
        !self.narrows_processes()
            || self.pids.contains(&tgid)
            || self.exes.iter().any(|glob| glob.matches(exe))
    }
}

/// A glob over an executable: with a `/` it is compared with the whole path, else with the file name. `*`, `?`,
/// `[…]` and `**` as in shells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExeGlob(glob::Pattern);

impl ExeGlob {
    /// Whether the executable at `path` matches.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        if self.0.as_str().contains('/') {
            return self.0.matches_path(path);
        }
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| self.0.matches(name))
    }
}

impl FromStr for ExeGlob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing; allowed: a glob like `python3*` or `/opt/*/bin/*`".to_owned());
        }
        glob::Pattern::new(text).map(Self).map_err(|error| {
            format!(
                "`{text}` is not a glob: {} at character {}",
                error.msg,
                error.pos + 1
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]
mod tests {
    use super::{ExeGlob, Scope};
    use std::path::Path;

    fn check(glob: &str, path: &str, expect: bool) {
        let glob: ExeGlob = glob.parse().unwrap();
        assert_eq!(glob.matches(Path::new(path)), expect, "{glob:?} {path}");
    }

    #[test]
    fn a_glob_without_a_slash_is_about_the_file_name() {
        check("python3*", "/usr/bin/python3.11", true);
        check("python3", "/usr/bin/python3.11", false);
        check("*", "/usr/sbin/nginx", true);
        check("/usr/*/nginx", "/usr/sbin/nginx", true);
        check("/opt/**/java", "/opt/jdk/25/bin/java", true);
        check("/opt/java", "/usr/bin/java", false);
        assert!("[".parse::<ExeGlob>().is_err());
        assert!("".parse::<ExeGlob>().is_err());
    }

    #[test]
    fn pids_and_exes_are_alternatives() {
        let scope = Scope {
            pids: vec![7],
            exes: vec!["nginx".parse().unwrap()],
            ports: vec![],
        };
        assert!(scope.holds_process(7, Path::new("/bin/sh")));
        assert!(scope.holds_process(8, Path::new("/usr/sbin/nginx")));
        assert!(!scope.holds_process(8, Path::new("/bin/sh")));
        assert!(Scope::default().holds_process(8, Path::new("/bin/sh")));
    }
}
