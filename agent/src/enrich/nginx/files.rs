//! Files as a process names them, through `/proc/PID/root`.
//!
//! In: a path in the process' own file system, or a pattern of glob(3). Out: bytes, paths. Always holds: no link leads out of the
//! process' root (an absolute link in a container means the container's file), only regular files and folders are opened
//! (a pipe would hold the agent up), all readings together stay within the bounds below. Refuses: what goes beyond them.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use crate::enrich::{
    foreign::{Root, by_descriptor, open_found},
    proc_root::ProcRoot,
};

/// Files read of one process; a host with more sites has one that passes requests on.
pub const FILES_MAX: usize = 512;
/// Bytes read of one process.
pub const BYTES_MAX: u64 = 4 << 20;
/// Names looked at in folders of one process.
pub const NAMES_MAX: usize = 4096;

/// The file system of one process, and what may still be read of it.
#[derive(Debug)]
pub struct RootFiles {
    root: Root,
    files_left: usize,
    bytes_left: u64,
    names_left: usize,
    changed_unix_ns: u64,
}

impl RootFiles {
    /// The files of the process `tgid`.
    ///
    /// # Errors
    /// The process is gone, or belongs to somebody else and CAP_SYS_PTRACE is missing.
    pub fn new(root: &ProcRoot, tgid: u32) -> io::Result<Self> {
        Ok(RootFiles {
            root: Root::of(root, tgid)?,
            files_left: FILES_MAX,
            bytes_left: BYTES_MAX,
            names_left: NAMES_MAX,
            changed_unix_ns: 0,
        })
    }

    /// When the youngest of what was read was changed (its ctime, which nobody can set), ns since 1970.
    pub fn changed_unix_ns(&self) -> u64 {
        self.changed_unix_ns
    }

    /// True if something is at `path`.
    ///
    /// # Errors
    /// As openat2(2), but for ENOENT and ENOTDIR.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.root.find(path, libc::O_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The whole file. None if it is no regular file, cannot be read, or goes beyond the bounds.
    pub fn read(&mut self, path: &Path) -> Option<Vec<u8>> {
        self.files_left = self.files_left.checked_sub(1)?;
        // A link that was turned to another file is a change too.
        let link = self.root.find(path, libc::O_NOFOLLOW).ok()?;
        self.note(&link.metadata().ok()?);
        let found = self.root.find(path, 0).ok()?;
        self.note(&found.metadata().ok()?);
        let mut bytes = Vec::new();
        open_found(&found)
            .ok()?
            .take(self.bytes_left + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        self.bytes_left = self.bytes_left.checked_sub(bytes.len() as u64)?;
        Some(bytes)
    }

    /// What glob(3) gives for an absolute pattern, in no order. None if a folder cannot be read, the bounds are reached, or the
    /// pattern has signs that mean something else to the two libraries.
    pub fn matching(&mut self, pattern: &[u8]) -> Option<Vec<PathBuf>> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split(|byte| *byte == b'/') {
            if !is_pattern(part) {
                for path in &mut found {
                    path.push(OsStr::from_bytes(part));
                }
                continue;
            }
            let glob = compile(part)?;
            // glob(3): a dot at the beginning is matched by a dot only.
            let is_hidden_meant = part.first() == Some(&b'.');
            let mut below = Vec::new();
            for folder in found {
                for name in self.names(&folder)? {
                    let is_hidden = name.as_bytes().first() == Some(&b'.');
                    if is_hidden <= is_hidden_meant && glob.is_match(&name) {
                        below.push(folder.join(name));
                    }
                }
            }
            found = below;
        }
        let mut there = Vec::new();
        for path in found {
            if self.exists(&path).ok()? {
                there.push(path);
            }
        }
        Some(there)
    }

    /// Names in a folder; none in one that is not there.
    fn names(&mut self, folder: &Path) -> Option<Vec<OsString>> {
        let found = match self.root.find(folder, libc::O_DIRECTORY) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Some(Vec::new()),
            Err(_) => return None,
        };
        self.note(&found.metadata().ok()?);
        let mut names = Vec::new();
        for entry in fs::read_dir(by_descriptor(&found)).ok()? {
            self.names_left = self.names_left.checked_sub(1)?;
            names.push(entry.ok()?.file_name());
        }
        Some(names)
    }

    fn note(&mut self, meta: &fs::Metadata) {
        let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
        let ns = seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(meta.ctime_nsec()).unwrap_or(0));
        self.changed_unix_ns = self.changed_unix_ns.max(ns);
    }
}

/// Nothing is there.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// True if nginx gives the text to glob(3) (`ngx_conf_include`).
pub fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// A pattern without `/`. None where globset would understand it in another way than glob(3): braces, classes in brackets.
fn compile(part: &[u8]) -> Option<GlobMatcher> {
    let text = std::str::from_utf8(part).ok()?;
    if text.contains(['{', '}', '\\'])
        || ["[:", "[.", "[="].iter().any(|class| text.contains(class))
    {
        return None;
    }
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    glob.ok().map(|glob| glob.compile_matcher())
}
