//! What an executable is made of, by its sections and a few strings in them.
//!
//! In: an ELF file. Out: [`Marks`]. Always holds: at most [`SEARCH_MAX`] bytes are searched, in pieces, so a large binary costs neither
//! memory nor seconds; each file is searched once while it stays the same (device, inode, mtime). Refuses: to run or map the file.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use memchr::memmem::Finder;
use object::{Object, ObjectSection, ReadCache};

/// Bytes searched in one file.
pub const SEARCH_MAX: u64 = 64 << 20;
/// Files remembered.
const FILES_MAX: usize = 1024;
/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Facts about an executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It has a section `.go.buildinfo`, which the Go linker writes into every program, stripped or not (debug/buildinfo).
    pub go: bool,
    /// It holds the text `nginx version: ` that `nginx -v` prints (src/core/nginx.c).
    pub nginx: bool,
    /// It holds a directive of nginx' Lua module, linked in (OpenResty).
    pub nginx_lua: bool,
    /// It holds tokio's source paths (panic locations) or its threads' default name.
    pub tokio: bool,
    /// It exports `node_module_register`, which native modules of Node.js call, whatever the file is called.
    pub node: bool,
}

/// The marks of each file seen.
#[derive(Debug, Default)]
pub struct ElfMarks {
    known: HashMap<(u64, u64, i64, i64), Marks>,
}

impl ElfMarks {
    /// Marks of the file at `path`, which may be a `/proc/PID/exe`. A file that is no ELF has none.
    ///
    /// # Errors
    /// The file cannot be opened or read: the process is gone or foreign.
    pub fn of(&mut self, path: &Path) -> io::Result<Marks> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let id = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if let Some(marks) = self.known.get(&id) {
            return Ok(*marks);
        }
        let marks = inspect(&file)?;
        if self.known.len() >= FILES_MAX {
            self.known.clear(); // searched again when met again; a thousand different executables are rare
        }
        self.known.insert(id, marks);
        Ok(marks)
    }
}

fn inspect(file: &File) -> io::Result<Marks> {
    let cache = ReadCache::new(file);
    let mut marks = Marks::default();
    // No ELF, or a damaged one: no facts.
    let Ok(elf) = object::File::parse(&cache) else {
        return Ok(marks);
    };
    let mut ranges = Vec::new();
    for section in elf.sections() {
        match section.name() {
            Ok(".go.buildinfo") => {
                // Go's own scheduler decides everything; no string could change that.
                marks.go = true;
                return Ok(marks);
            }
            Ok(".rodata" | ".dynstr") => ranges.extend(section.file_range()),
            _ => {}
        }
    }
    let mut left = SEARCH_MAX;
    for (at, size) in ranges {
        let size = size.min(left);
        left -= size;
        search(file, at, size, &mut marks)?;
    }
    Ok(marks)
}

/// Looks for the strings in `size` bytes from `at`.
fn search(file: &File, at: u64, size: u64, marks: &mut Marks) -> io::Result<()> {
    const NGINX: &[u8] = b"nginx version: ";
    const NGINX_LUA: &[u8] = b"lua_code_cache";
    const TOKIO: [&[u8]; 3] = [b"/tokio-1.", b"tokio-runtime-worker", b"tokio-rt-worker"];
    const NODE: &[u8] = b"node_module_register";
    const LONGEST: usize = 20;
    type Mark = fn(&mut Marks);
    let finders: [(Finder<'_>, Mark); 6] = [
        (Finder::new(NGINX), |marks| marks.nginx = true),
        (Finder::new(NGINX_LUA), |marks| marks.nginx_lua = true),
        (Finder::new(TOKIO[0]), |marks| marks.tokio = true),
        (Finder::new(TOKIO[1]), |marks| marks.tokio = true),
        (Finder::new(TOKIO[2]), |marks| marks.tokio = true),
        (Finder::new(NODE), |marks| marks.node = true),
    ];
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

    use super::{ElfMarks, Marks, PIECE, search};

    #[test]
    fn real_programs_have_their_marks() {
        let mut elf = ElfMarks::default();
        let mut check = |path: &str, expect: Marks| {
            assert_eq!(elf.of(Path::new(path)).unwrap(), expect, "{path}")
        };
        check(
            "/usr/local/go/bin/go",
            Marks {
                go: true,
                ..Marks::default()
            },
        );
        check(
            "/usr/sbin/nginx",
            Marks {
                nginx: true,
                ..Marks::default()
            },
        );
        check(
            "/usr/bin/node",
            Marks {
                node: true,
                ..Marks::default()
            },
        );
        check("/bin/sh", Marks::default());
        check("/etc/passwd", Marks::default()); // no ELF
        // This test program links tokio.
        check(
            std::env::current_exe().unwrap().to_str().unwrap(),
            Marks {
                tokio: true,
                ..own()
            },
        );
    }

    /// This very file's needles are in the test program's .rodata.
    fn own() -> Marks {
        Marks {
            nginx: true,
            nginx_lua: true,
            node: true,
            ..Marks::default()
        }
    }

    #[test]
    fn a_string_across_two_pieces_is_found_and_none_beyond_the_range() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![b'x'; PIECE - 5];
        bytes.extend_from_slice(b"nginx version: 1");
        bytes.extend_from_slice(&[b'x'; 100]);
        file.write_all(&bytes).unwrap();
        let mut marks = Marks::default();
        search(&file, 0, PIECE as u64, &mut marks).unwrap();
        assert_eq!(marks, Marks::default());
        search(&file, 0, bytes.len() as u64 + 1000, &mut marks).unwrap();
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
            assert_eq!(elf.of(&path).unwrap(), Marks::default());
        }
    }
}
