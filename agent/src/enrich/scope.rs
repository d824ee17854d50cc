//! The processes `--exe` and `--pid` name.
//!
//! In: globs, tgids, `/proc`. Out: tgids. Always holds: a glob without `/` is compared with the executable's file name, one with `/`
//! with its whole path; children of a listed process are in scope too (a server's workers). Refuses: globs that are none, by name.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::proc_root::ProcRoot;

/// A glob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "--exe {glob:?} is not a glob: {source}; write for example nginx, python3* or /srv/*/bin/*"
)]
pub struct GlobError {
    /// As the user wrote it.
    pub glob: String,
    /// What is wrong with it.
    pub source: globset::Error,
}

/// Globs for executables.
#[derive(Clone, Debug, Default)]
pub struct ExeGlobs {
    names: GlobSet,
    paths: GlobSet,
}

impl ExeGlobs {
    /// Compiles the globs: `*` and `?` do not match `/`, `**` does.
    ///
    /// # Errors
    /// [`GlobError`] for the first one that is not a glob.
    pub fn new(globs: &[String]) -> Result<Self, GlobError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let wrong = |glob: &String| {
            let glob = glob.clone();
            move |source| GlobError { glob, source }
        };
        for glob in globs {
            let compiled = GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .map_err(wrong(glob))?;
            if glob.contains('/') {
                paths.add(compiled)
            } else {
                names.add(compiled)
            };
        }
        let whole = |set: GlobSetBuilder| set.build().map_err(wrong(&globs.join(" ")));
        Ok(ExeGlobs {
            names: whole(names)?,
            paths: whole(paths)?,
        })
    }

    /// True if one of the globs matches the executable at `exe`.
    pub fn matches(&self, exe: &Path) -> bool {
        self.paths.is_match(exe)
            || exe
                .file_name()
                .is_some_and(|name| self.names.is_match(name))
    }

    /// True when there is no glob.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }
}

/// Running processes whose executable matches, and the listed ones with all their descendants; sorted, each once. The agent itself is
/// never among them.
///
/// # Errors
/// `/proc` is not there.
pub fn processes_in_scope(
    root: &ProcRoot,
    exes: &ExeGlobs,
    pids: &[u32],
) -> std::io::Result<Vec<u32>> {
    let tgids = root.tgids()?;
    let mut found: HashSet<u32> = HashSet::new();
    if !exes.is_empty() {
        found.extend(
            tgids
                .iter()
                .filter(|tgid| root.exe(**tgid).is_ok_and(|exe| exes.matches(&exe))),
        );
    }
    if !pids.is_empty() {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for tgid in &tgids {
            if let Ok(stat) = root.stat(*tgid) {
                children.entry(stat.ppid).or_default().push(*tgid);
            }
        }
        let mut open: Vec<u32> = pids
            .iter()
            .copied()
            .filter(|pid| tgids.contains(pid))
            .collect();
        let mut seen: HashSet<u32> = HashSet::new();
        while let Some(tgid) = open.pop() {
            // Each once: pids may have been reused between two reads, so the tree may have a loop.
            if seen.insert(tgid) {
                open.extend(children.get(&tgid).into_iter().flatten());
            }
        }
        found.extend(seen);
    }
    found.remove(&std::process::id());
    let mut found: Vec<u32> = found.into_iter().collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::{os::unix::fs::symlink, path::Path};

    use super::{ExeGlobs, ProcRoot, processes_in_scope};

    fn globs(list: &[&str]) -> ExeGlobs {
        ExeGlobs::new(
            &list
                .iter()
                .map(|glob| (*glob).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap()
    }

    #[test]
    fn globs_match_names_or_whole_paths() {
        let check = |glob: &str, exe: &str, expect: bool| {
            assert_eq!(
                globs(&[glob]).matches(Path::new(exe)),
                expect,
                "{glob} {exe}"
            );
        };
        check("nginx", "/usr/sbin/nginx", true);
        check("nginx", "/usr/sbin/nginx-debug", false);
        check("python3*", "/usr/bin/python3.11", true);
        check("/usr/bin/*", "/usr/bin/curl", true);
        check("/usr/*", "/usr/bin/curl", false);
        check("/usr/**", "/usr/bin/curl", true);
        check("{ruby,php}*", "/usr/bin/php8.2", true);
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = ExeGlobs::new(&["ok".to_owned(), "[".to_owned()]).unwrap_err();
        assert!(
            error.to_string().starts_with("--exe \"[\" is not a glob"),
            "{error}"
        );
    }

    #[test]
    fn listed_processes_bring_their_descendants() {
        let tree = tempfile::tempdir().unwrap();
        for (tgid, ppid, exe) in [
            (10, 1, "/usr/sbin/nginx"),
            (11, 10, "/usr/sbin/nginx"),
            (12, 11, "/bin/sh"),
            (20, 1, "/usr/bin/node"),
            (30, 31, "/a"),
            (31, 30, "/a"),
        ] {
            let folder = tree.path().join(tgid.to_string());
            std::fs::create_dir(&folder).unwrap();
            let stat = format!("{tgid} (x) S {ppid} 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 1 1");
            std::fs::write(folder.join("stat"), stat).unwrap();
            symlink(exe, folder.join("exe")).unwrap();
        }
        std::fs::create_dir(tree.path().join("sys")).unwrap();
        let root = ProcRoot::at(tree.path());
        let check = |exes: &[&str], pids: &[u32], expect: &[u32]| {
            assert_eq!(
                processes_in_scope(&root, &globs(exes), pids).unwrap(),
                expect,
                "{exes:?} {pids:?}"
            );
        };
        check(&[], &[10], &[10, 11, 12]);
        check(&[], &[12, 20], &[12, 20]);
        check(&["nginx"], &[], &[10, 11]);
        check(&["node"], &[11], &[11, 12, 20]);
        check(&[], &[30], &[30, 31]); // a loop, made by reuse
        check(&[], &[99], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn the_agent_itself_is_never_in_scope() {
        let me = std::process::id();
        assert!(
            !processes_in_scope(&ProcRoot::live(), &globs(&["**", "*"]), &[me])
                .unwrap()
                .contains(&me)
        );
    }
}
