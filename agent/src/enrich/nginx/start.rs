//! With which options an nginx was started, and so where its configuration is.
//!
//! In: the process' arguments or title. Out: [`Start`]. Always holds: a title has lost what kept arguments apart, so one that can be read in
//! two ways is not read. Refuses: arguments that nginx refuses (`ngx_get_options`, `src/core/nginx.c`).

use std::path::{Path, PathBuf};

use super::files::RootFiles;
use crate::enrich::proc_root::ProcRoot;

/// What a master writes over its arguments; the arguments follow.
const MASTER: &str = "nginx: master process ";
/// Titles of all its processes begin so.
const TITLE: &str = "nginx: ";
/// Longest title the kernel shows whole: it reads one page (`get_mm_proctitle`, `fs/proc/base.c`).
const TITLE_MAX: usize = 4094;
/// Environment that leaves room for the title's own words behind the arguments; with less nginx cuts its title
/// (`ngx_setproctitle`), at any place.
const ENVIRON_MIN: usize = MASTER.len() + 2;

/// The ways nginx is built: its executable, folders that a relative `-c` may begin at (`--prefix`), files it may read without `-c`
/// (`--conf-path`). Of Debian, nginx.org, Alpine, Arch and the Red Hat family in the first row; then nginx' own default, and Passenger's.
const BUILDS: &[(&[&str], &[&str], &[&str])] = &[
    (
        &["/usr/sbin/nginx", "/usr/bin/nginx"],
        &[
            "/usr/share/nginx",
            "/etc/nginx",
            "/var/lib/nginx",
            "/usr/local/nginx",
        ],
        &["/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf"],
    ),
    (
        &["/usr/local/nginx/sbin/nginx"],
        &["/usr/local/nginx"],
        &["/usr/local/nginx/conf/nginx.conf"],
    ),
    (
        &["/opt/nginx/sbin/nginx"],
        &["/opt/nginx"],
        &["/opt/nginx/conf/nginx.conf"],
    ),
];
/// The file below `-p PREFIX`, unless the build names one by its whole path.
const BELOW_PREFIX: &str = "conf/nginx.conf";

/// True for a process that a master started: it has a title, and no arguments in it.
pub fn is_child(args: &[String]) -> bool {
    matches!(args, [title] if title.starts_with(TITLE) && !title.starts_with(MASTER))
}

/// Options of an nginx.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// `-c FILE`
    conf: Option<String>,
    /// `-p PREFIX`
    prefix: Option<String>,
    /// `-g DIRECTIVES`
    directives: Option<String>,
}

impl Start {
    /// Options of the process `tgid`: a master, or unless it `has_children` also one that has not written its title yet. None if they
    /// cannot be read for certain.
    pub fn of(root: &ProcRoot, tgid: u32, has_children: bool) -> Option<Self> {
        let args = root.args(tgid).ok()?;
        match args.as_slice() {
            [title] if title.starts_with(TITLE) => {
                let is_whole =
                    title.len() <= TITLE_MAX && root.environ(tgid).ok()?.len() >= ENVIRON_MIN;
                let words: Vec<&str> = title.strip_prefix(MASTER)?.split(' ').collect();
                // The first is the program.
                Start::parse(words.get(1..).filter(|_| is_whole)?, true)
            }
            // A child outlives its master as the child of another program.
            [_, words @ ..] if !has_children => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                Start::parse(&words, false)
            }
            _ => None,
        }
    }

    /// Reads the words after the program's name. `is_split`: words are parts of arguments that had blanks in them.
    fn parse(words: &[&str], is_split: bool) -> Option<Self> {
        let (mut start, mut has_error_log) = (Start::default(), false);
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let mut letters = word.strip_prefix('-')?.chars();
            while let Some(letter) = letters.next() {
                if matches!(letter, 'q' | 't' | 'T') {
                    continue;
                }
                let glued = Some(letters.as_str()).filter(|rest| !rest.is_empty());
                let mut value = glued.or_else(|| words.next())?.to_owned();
                // Each once: a second one may be a part of the first one's value.
                let is_first = match letter {
                    'c' => start.conf.replace(value).is_none(),
                    'p' => start.prefix.replace(value).is_none(),
                    'e' => !std::mem::replace(&mut has_error_log, true),
                    'g' => {
                        // Directives end with `;`, else nginx refuses them.
                        while is_split
                            && !(value.ends_with(';')
                                && words.peek().is_none_or(|next| next.starts_with('-')))
                        {
                            value.push(' ');
                            value.push_str(words.next()?);
                        }
                        start.directives.replace(value).is_none()
                    }
                    _ => false,
                };
                if !is_first {
                    return None;
                }
                break;
            }
        }
        Some(start)
    }

    /// What `-g` says; empty without it.
    pub fn directives(&self) -> &[u8] {
        self.directives.as_deref().unwrap_or_default().as_bytes()
    }

    /// The configuration's path, for an nginx of the executable `exe`. None unless exactly one of the places where it may be has a file.
    pub fn configuration(&self, exe: &Path, files: &RootFiles) -> Option<PathBuf> {
        let build = || {
            BUILDS
                .iter()
                .find(|(exes, ..)| exes.iter().any(|known| exe == Path::new(known)))
        };
        let prefix = self.prefix.as_deref().map(Path::new);
        if prefix.is_some_and(|prefix| !prefix.is_absolute()) {
            return None; // begins where nginx was started
        }
        let places: Vec<PathBuf> = match (&self.conf, prefix) {
            (Some(conf), _) if conf.starts_with('/') => vec![PathBuf::from(conf)],
            (Some(conf), Some(prefix)) => vec![prefix.join(conf)],
            (Some(conf), None) => {
                let (_, prefixes, _) = build()?;
                prefixes
                    .iter()
                    .map(|prefix| Path::new(prefix).join(conf))
                    .collect()
            }
            (None, prefix) => {
                let (_, _, confs) = build()?;
                let below = prefix.map(|prefix| prefix.join(BELOW_PREFIX));
                confs.iter().map(PathBuf::from).chain(below).collect()
            }
        };
        let mut found = None;
        for place in places {
            if files.exists(&place).ok()? && found.replace(place).is_some() {
                return None;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Start;

    #[test]
    fn options_are_read_as_nginx_reads_them() {
        let check = |words: &str, is_split: bool, expect: Option<[&str; 3]>| {
            let separator = if is_split { ' ' } else { '|' };
            let words: Vec<&str> = words
                .split(separator)
                .filter(|word| !word.is_empty())
                .collect();
            let found = Start::parse(&words, is_split);
            let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
            let found = found.map(|start| {
                [
                    or_empty(&start.conf),
                    or_empty(&start.prefix),
                    or_empty(&start.directives),
                ]
            });
            assert_eq!(
                found,
                expect.map(|texts| texts.map(str::to_owned)),
                "{words:?}"
            );
        };
        for is_split in [false, true] {
            check("", is_split, Some(["", "", ""]));
            check("x", is_split, None);
            check("-x", is_split, None);
            check("-c", is_split, None);
        }
        check("-c /a -p /b -e stderr", true, Some(["/a", "/b", ""]));
        check("-c/a -qp/b -qt", true, Some(["/a", "/b", ""]));
        check("-c /a b", true, None); // a blank in the name
        check("-c|/a b", false, Some(["/a b", "", ""]));
        check("-c /a -c /b", true, None);
        check("-g daemon off;", true, Some(["", "", "daemon off;"]));
        check(
            "-g daemon on; master_process on; -c /a",
            true,
            Some(["/a", "", "daemon on; master_process on;"]),
        );
        check("-g daemon off", true, None);
        check("-gpid /a; -q", true, Some(["", "", "pid /a;"]));
        check(
            "-g|daemon off; pid /a;|-q",
            false,
            Some(["", "", "daemon off; pid /a;"]),
        );
        check("-g|daemon off;|pid /a;", false, None);
        check("-s reload", true, None); // sends a signal, and serves nobody
    }
}
