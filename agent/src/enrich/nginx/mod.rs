//! Does this nginx call others, or does it answer all requests itself?
//!
//! In: a process of nginx, the files of its configuration. Out: yes only if the whole configuration was read and each directive in it is known to
//! call nobody. Always holds: when in doubt the answer is no; what is read is bounded; the files are those the process sees.
//! Refuses: a configuration changed after a worker began, since the worker may still follow the old one.

mod directives;
mod files;
mod start;
mod tokens;

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use directives::{Meaning, is_quiet_module, meaning};
use files::{RootFiles, is_pattern};
use start::{Start, is_child};
use tokens::{Directive, Token, Tokens};

use super::proc_root::ProcRoot;

/// How deep includes may nest.
const DEPTH_MAX: u8 = 8;
/// `/proc` shows a start time up to a tick of 10 ms too early.
const START_CUT_NS: u64 = 20_000_000;

/// True if the nginx process `tgid`, a master or one of its children, is known to pass nothing on.
pub fn passes_nothing_on(root: &ProcRoot, tgid: u32) -> bool {
    read_whole(root, tgid).is_some()
}

/// Some when the configuration was read whole and nothing in it calls others.
fn read_whole(root: &ProcRoot, tgid: u32) -> Option<()> {
    let stat = root.stat(tgid).ok()?;
    let is_child = is_child(&root.args(tgid).ok()?);
    let master = if is_child { stat.ppid } else { tgid };
    let start = Start::of(root, master, is_child)?;
    let files = RootFiles::new(root, master).ok()?;
    let conf = start.configuration(&root.exe(master).ok()?, &files)?;
    let mut reading = Reading {
        folder: conf.parent()?.to_path_buf(),
        files,
    };
    reading.text(start.directives(), 0)?;
    reading.file(&conf, 0)?;
    // A master reads anew when it is told to, and its workers are new then. It serves nobody itself.
    let began_ns = root.started_unix_ns(&stat).saturating_add(START_CUT_NS);
    (!is_child || reading.files.changed_unix_ns() <= began_ns).then_some(())
}

/// A configuration being read. Its methods give none as soon as something in it calls others, or may.
struct Reading {
    files: RootFiles,
    /// Where relative includes begin: the folder of the first file (`conf_prefix`).
    folder: PathBuf,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: u8) -> Option<()> {
        let text = self.files.read(path)?;
        self.text(&text, depth)
    }

    fn text(&mut self, text: &[u8], depth: u8) -> Option<()> {
        let mut tokens = Tokens::new(text);
        let mut open_blocks = 0_usize;
        let mut in_table = false;
        loop {
            let directive = match tokens.read()? {
                // Each file closes what it opens.
                Token::End => return (open_blocks == 0 && !in_table).then_some(()),
                Token::Close if in_table => {
                    in_table = false;
                    continue;
                }
                Token::Close => {
                    open_blocks = open_blocks.checked_sub(1)?;
                    continue;
                }
                Token::Directive(directive) if in_table => {
                    if directive.opens {
                        return None;
                    }
                    continue;
                }
                Token::Directive(directive) => directive,
            };
            match meaning(directive.name, directive.opens) {
                Meaning::Quiet => {}
                Meaning::Block => open_blocks += 1,
                Meaning::Table => in_table = true,
                Meaning::Include => self.include(only_value(&directive)?, depth)?,
                Meaning::Module => {
                    if !is_quiet_module(only_value(&directive)?) {
                        return None;
                    }
                }
                // Without a master the process that serves reads a changed configuration itself.
                Meaning::Master => {
                    if only_value(&directive)? != b"on" {
                        return None;
                    }
                }
                Meaning::Unknown => return None,
            }
        }
    }

    fn include(&mut self, value: &[u8], depth: u8) -> Option<()> {
        let depth = depth + 1;
        if depth > DEPTH_MAX {
            return None;
        }
        let path = self.folder.join(OsStr::from_bytes(value));
        if !is_pattern(path.as_os_str().as_bytes()) {
            return self.file(&path, depth);
        }
        let paths = self.files.matching(path.as_os_str().as_bytes())?;
        paths.iter().try_for_each(|path| self.file(path, depth))
    }
}

/// The value of a directive that has one, and no escapes in it, which would be undone here only.
fn only_value<'a>(directive: &Directive<'a>) -> Option<&'a [u8]> {
    directive
        .value
        .filter(|value| directive.words == 2 && !value.contains(&b'\\'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
pub(super) mod tests;
