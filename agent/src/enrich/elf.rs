//! What an executable is made of, by its sections and a few strings in them.
//!
//! In: an ELF file. Out: [`Marks`]. Always holds: at most [`SEARCH_MAX`] bytes of a section are searched, in pieces, so a large binary costs neither
//! memory nor seconds; each file is searched once while it stays the same ([`FileId`]). Refuses: to run or map the file.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt, path::Path};

use memchr::memmem::Finder;

use super::{
    bounded::sections,
    foreign::{self, FileId, Looked},
    units::{self, go::GoFacts, tokio::TokioFacts},
};

/// Bytes searched in one section: some milliseconds. Read-only data of ordinary programs is smaller.
pub const SEARCH_MAX: u64 = 16 << 20;
/// Files remembered.
const FILES_MAX: usize = 1024;
/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Facts found by searching an executable's read-only data and exported names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its data hold the text `nginx version: ` that `nginx -v` prints (src/core/nginx.c).
    pub nginx: bool,
    /// Its data hold a directive of nginx' Lua module, linked in (OpenResty).
    pub nginx_lua: bool,
    /// Its data hold tokio's source paths (panic locations) or its threads' default name.
    pub tokio: bool,
    /// It exports `node_module_register`, which native modules of Node.js call, whatever the file is called.
    pub node: bool,
}

/// What was found in each file looked into.
#[derive(Debug, Default)]
pub struct ElfMarks {
    go: HashMap<FileId, bool>,
    go_facts: HashMap<FileId, GoFacts>,
    marks: HashMap<FileId, Marks>,
    node: HashMap<FileId, Option<units::node::Places>>,
    tokio: HashMap<FileId, TokioFacts>,
}

impl ElfMarks {
    /// True if the file at `path` (which may be a `/proc/PID/exe`) has a section `.go.buildinfo`, which the Go linker writes
    /// into every program, stripped or not (Go's debug/buildinfo). Reads headers only. A file that is no ELF has none.
    ///
    /// # Errors
    /// The file cannot be opened or read: the process is gone or foreign.
    pub fn is_go(&mut self, path: &Path) -> io::Result<bool> {
        once(&mut self.go, path, |file| {
            Ok(!sections(file, |name| name == b".go.buildinfo").is_empty())
        })
    }

    /// Looks into the Go program at `path`.
    ///
    /// # Errors
    /// As [`Self::is_go`].
    pub fn go(&mut self, path: &Path) -> io::Result<(GoFacts, Looked)> {
        looked(&mut self.go_facts, path, |file| {
            let facts = GoFacts::read(file)?;
            if let Some(limit) = facts.limit() {
                let exe = path.read_link().unwrap_or_else(|_| path.to_owned());
                tracing::warn!("{}: {limit}", exe.display());
            }
            Ok(facts)
        })
    }

    /// Where the file at `path` has what the units of Node.js stand on; none where it is no Node.js whose code is known.
    ///
    /// # Errors
    /// As [`Self::is_go`].
    pub fn node(&mut self, path: &Path) -> io::Result<(Option<units::node::Places>, Looked)> {
        looked(&mut self.node, path, |file| Ok(units::node::places(file)))
    }

    /// Looks into the program at `path`, which holds tokio.
    ///
    /// # Errors
    /// As [`Self::is_go`].
    pub fn tokio(&mut self, path: &Path) -> io::Result<(TokioFacts, Looked)> {
        looked(&mut self.tokio, path, TokioFacts::read)
    }

    /// Searches the file at `path`.
    ///
    /// # Errors
    /// As [`Self::is_go`].
    pub fn marks(&mut self, path: &Path) -> io::Result<Marks> {
        once(&mut self.marks, path, |file| {
            let mut marks = Marks::default();
            for (at, size) in sections(file, |name| name == b".rodata") {
                search(file, at, size.min(SEARCH_MAX), DATA, &mut marks)?;
            }
            for (at, size) in sections(file, |name| name == b".dynstr") {
                search(file, at, size.min(SEARCH_MAX), NAMES, &mut marks)?;
            }
            Ok(marks)
        })
    }
}

/// Looks into a file unless that was done.
fn once<T: Clone>(
    known: &mut HashMap<FileId, T>,
    path: &Path,
    look: impl FnOnce(&File) -> io::Result<T>,
) -> io::Result<T> {
    looked(known, path, look).map(|(found, _)| found)
}

/// The same; tells which file it was.
fn looked<T: Clone>(
    known: &mut HashMap<FileId, T>,
    path: &Path,
    look: impl FnOnce(&File) -> io::Result<T>,
) -> io::Result<(T, Looked)> {
    let file = foreign::regular(path)?;
    let looked = Looked::at(path, &file)?;
    if let Some(found) = known.get(&looked.id) {
        return Ok((found.clone(), looked));
    }
    let found = look(&file)?;
    if known.len() >= FILES_MAX {
        known.clear(); // looked into again when met again; a thousand different executables are rare
    }
    known.insert(looked.id, found.clone());
    Ok((found, looked))
}

type Mark = fn(&mut Marks);

/// What is looked for in read-only data.
const DATA: &[(&[u8], Mark)] = &[
    (b"nginx version: ", |marks| marks.nginx = true),
    (b"lua_code_cache", |marks| marks.nginx_lua = true),
    (b"/tokio-1.", |marks| marks.tokio = true),
    (b"tokio-runtime-worker", |marks| marks.tokio = true),
    (b"tokio-rt-worker", |marks| marks.tokio = true),
];

/// What is looked for in the names of dynamic symbols.
const NAMES: &[(&[u8], Mark)] = &[(b"node_module_register", |marks| marks.node = true)];

/// Longest of them.
const LONGEST: usize = 20;

/// Looks for the strings in `size` bytes from `at`.
fn search(
    file: &File,
    at: u64,
    size: u64,
    wanted: &[(&[u8], Mark)],
    marks: &mut Marks,
) -> io::Result<()> {
    let finders: Vec<(Finder<'_>, &Mark)> = wanted
        .iter()
        .map(|(text, mark)| (Finder::new(text), mark))
        .collect();
    let mut piece = vec![0; PIECE];
    let (mut at, end) = (at, at.saturating_add(size));
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let Some(room) = piece.get_mut(..want) else {
            break;
        };
        let got = file.read_at(room, at)?;
        let Some(bytes) = room.get(..got).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        for (finder, mark) in &finders {
            if finder.find(bytes).is_some() {
                mark(marks);
            }
        }
        // The next piece begins a little before this one's end: a string may lie across.
        let step = if at + (got as u64) < end {
            got.saturating_sub(LONGEST).max(1)
        } else {
            got
        };
        at += step as u64;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::{io::Write, path::Path};

    use super::{DATA, ElfMarks, Marks, PIECE, search};

    #[test]
    fn real_programs_have_their_marks() {
        let mut elf = ElfMarks::default();
        let mut check = |path: &str, go: bool, expect: Marks| {
            assert_eq!(elf.is_go(Path::new(path)).unwrap(), go, "{path}");
            assert_eq!(elf.marks(Path::new(path)).unwrap(), expect, "{path}");
        };
        let none = Marks::default();
        check("/usr/local/go/bin/go", true, none);
        check(
            "/usr/sbin/nginx",
            false,
            Marks {
                nginx: true,
                ..none
            },
        );
        check("/usr/bin/node", false, Marks { node: true, ..none });
        check("/bin/sh", false, none);
        check("/etc/passwd", false, none); // no ELF
        // This test program links tokio, and holds what it looks for, but exports nothing.
        let own = Marks {
            nginx: true,
            nginx_lua: true,
            tokio: true,
            node: false,
        };
        check(
            std::env::current_exe().unwrap().to_str().unwrap(),
            false,
            own,
        );
    }

    #[test]
    fn a_string_across_two_pieces_is_found_and_none_beyond_the_range() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![b'x'; PIECE - 5];
        bytes.extend_from_slice(b"nginx version: 1");
        bytes.extend_from_slice(&[b'x'; 100]);
        file.write_all(&bytes).unwrap();
        let mut marks = Marks::default();
        search(&file, 0, PIECE as u64, DATA, &mut marks).unwrap();
        assert_eq!(marks, Marks::default());
        search(&file, 0, bytes.len() as u64 + 1000, DATA, &mut marks).unwrap();
        assert!(marks.nginx);
    }

    #[test]
    fn damaged_files_have_no_marks() {
        let whole = std::fs::read("/bin/sh").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut elf = ElfMarks::default();
        for cut in (0..whole.len()).step_by(997) {
            let path = folder.path().join(cut.to_string());
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(!elf.is_go(&path).unwrap());
            elf.marks(&path).unwrap();
        }
    }
}
