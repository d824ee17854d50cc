//! CPython: where the Context that runs is, and where Contexts are made.
//!
//! In: a process that runs CPython, with asyncio loaded. Out: [`Units`], or why its Contexts are not read. Always holds: offsets of structs
//! come from a table of versions; the places in this process are found by search, and each is proved by what points to what. Refuses:
//! versions without a row, free-threaded builds, and builds with asyncio's C code linked in, where the compiler may have merged the
//! function at which new Contexts are seen into its callers.
//!
//! ```text
//! _PyRuntime ─(a word)─> interpreter ─(a word)─> PyThreadState ─thread_id─> struct pthread ─(a slot)─> the same PyThreadState
//!                            ^───────── interp ──────┘                           fsbase points here
//! ```

use std::{fs::File, os::unix::fs::FileExt};

use agent_common::abi::{Runtime, cpython_variant, runtime};
use object::{
    Object, ObjectSymbol, ObjectSymbolTable, RelocationTarget, elf,
    read::elf::{FileHeader, ProgramHeader},
};

use super::Units;
use crate::{
    attach::user::Probe,
    enrich::{
        bounded::{Bounded, Program},
        foreign::{self, Looked},
        proc_root::ProcRoot,
    },
};

/// Offsets into `PyThreadState` (Include/cpython/pystate.h), the same in all patch releases of a version; each read with gdb from a build
/// with debug information: 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0.
struct Version {
    /// 8 for 3.8.
    minor: u32,
    interp: u64,
    thread_id: u64,
    context: u32,
}

const VERSIONS: &[Version] = &[
    row(8, 16, 176, 240),
    row(9, 16, 176, 240),
    row(10, 16, 176, 240),
    row(11, 16, 152, 224),
    row(12, 16, 136, 208),
    row(13, 16, 152, 208),
];

const fn row(minor: u32, interp: u64, thread_id: u64, context: u32) -> Version {
    Version {
        minor,
        interp,
        thread_id,
        context,
    }
}

/// `PyTypeObject.tp_methods` and `.tp_new` (Include/cpython/object.h; the same from 3.8 to 3.13).
const TP_METHODS: u64 = 232;
const TP_NEW: u64 = 312;
/// `PyMethodDef`: name, function, flags, documentation.
const METHOD: u64 = 32;
/// Methods of `Context` looked at; it has seven.
const METHODS_MAX: u64 = 32;
/// Bytes of `_PyRuntime` in which its interpreters stand (40 in 3.11, 632 in 3.13).
const RUNTIME_WORDS: usize = 128;
/// Bytes of an interpreter in which its threads stand (16 in 3.11, 7,344 in 3.13).
const INTERPRETER_WORDS: usize = 2_048;
/// Where in glibc's `struct pthread` the slots of thread-specific data are (0x310 in 2.36), with room for other versions.
const SLOTS: std::ops::Range<usize> = 0x280..0x900;

/// Modules of asyncio in C. They are files of their own in all usual builds, and call what libpython or the executable exports.
const C_MODULES: &[&str] = &["PyInit__asyncio", "PyInit__contextvars"];

/// uvloop's own way to `PyContext_Enter`: a jump, which the kernel emulates at a uprobe. The function itself begins with an instruction
/// that is single-stepped in Debian's 3.11: 20 µs instead of 1 (6.18 under Firecracker).
const UVLOOP_ENTER: &str = "Context_Enter";

/// Why a process' Contexts are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no need.
    WithoutAsyncio,
    /// asyncio's C code is linked in.
    LinkedIn,
    /// No row for it.
    Version,
    /// Its file or its memory cannot be read, or is not what it should be.
    Unreadable,
}

impl Refusal {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithoutAsyncio => "CPython is running, without asyncio",
            Self::LinkedIn => {
                "this build of CPython has asyncio's C code linked in: its Contexts are not read"
            }
            Self::Version => {
                "this version or build of CPython is not known: its Contexts are not read"
            }
            Self::Unreadable => "this CPython's Contexts were not found in its file and its memory",
        }
    }
}

/// How Contexts of the process `tgid` are found. `maps` is its `/proc/PID/maps`.
///
/// # Errors
/// [`Refusal`], in words for people.
pub fn find(root: &ProcRoot, tgid: u32, maps: &[u8]) -> Result<Units, Refusal> {
    let maps = Maps::of(maps);
    let has_uvloop = maps.has(|path| path.contains("/uvloop/loop."));
    if !has_uvloop && !maps.has(|path| path.contains("/_asyncio.")) {
        return Err(Refusal::WithoutAsyncio);
    }
    let image = Image::find(root, tgid, &maps).ok_or(Refusal::Unreadable)?;
    if C_MODULES.iter().any(|name| image.symbol(name).is_some()) {
        return Err(Refusal::LinkedIn);
    }
    let version = version(&maps).ok_or(Refusal::Version)?;
    let memory = File::open(root.file(tgid, "mem"))
        .map(Memory)
        .map_err(|_| Refusal::Unreadable)?;
    let at = |name| image.symbol(name).ok_or(Refusal::Unreadable);
    let (globals, context_type) = (at("_PyRuntime")?, at("PyContext_Type")?);
    let slot = memory
        .slot(version, image.address(globals))
        .ok_or(Refusal::Unreadable)?;
    let context_type = image.address(context_type);

    let mut made = vec![image.offset(at("PyContext_CopyCurrent")?)];
    made.extend(image.symbol("PyContext_New").map(|new| image.offset(new)));
    let mut copied: Vec<Option<u64>> = image
        .symbol("PyContext_Copy")
        .map(|copy| image.offset(copy))
        .into_iter()
        .collect();
    let code = |address: Option<u64>| address.and_then(|address| maps.offset(&image, address));
    made.push(code(memory.word(context_type + TP_NEW)));
    copied.push(code(memory.method(context_type, b"copy")));
    let mut places = vec![
        ("context_made", &image, made),
        ("context_copied", &image, copied),
    ];
    let uvloop = maps.uvloop(root, tgid);
    if let Some(library) = &uvloop
        && let Some(enter) = library.symbol(UVLOOP_ENTER).filter(|_| library.calls_enter)
    {
        places.push(("context_entered", library, vec![library.offset(enter)]));
    } else if has_uvloop {
        let enter = vec![image.offset(at("PyContext_Enter")?)];
        places.push(("context_entered", &image, enter));
    }
    let mut probes = Vec::new();
    for (program, image, offsets) in places {
        for offset in offsets {
            probes.push(Probe {
                program,
                file: image.file.clone(),
                offset: offset.ok_or(Refusal::Unreadable)?,
            });
        }
    }
    let mut known = Runtime::of(runtime::CPYTHON);
    if has_uvloop {
        known.variant |= cpython_variant::UVLOOP;
    }
    if maps.has(|path| path.contains("/_greenlet.")) {
        known.variant |= cpython_variant::GREENLETS;
    }
    // Twisted is pure Python, but stands on this module of zope.interface.
    if maps.has(|path| path.contains("/_zope_interface_coptimizations.")) {
        known.variant |= cpython_variant::CALLBACKS;
    }
    known.offsets[0] = slot;
    known.offsets[1] = version.context;
    known.addresses[0] = context_type;
    Ok(Units {
        runtime: known,
        probes,
        fact: "CPython with asyncio: its Contexts are told apart",
    })
}

/// The version, by the modules in C that are mapped: `_asyncio.cpython-311-x86_64-linux-gnu.so` (PEP 3149). A letter behind the number
/// is a build with other structs (`t`: free-threaded, `d`: debug).
fn version(maps: &Maps<'_>) -> Option<&'static Version> {
    let mut tags = maps.rows.iter().filter_map(|row| {
        let (_, tag) = row.path.split_once(".cpython-3")?;
        tag.split('-').next()
    });
    let minor: u32 = tags.next()?.parse().ok()?;
    VERSIONS.iter().find(|version| version.minor == minor)
}

/// A row of `/proc/PID/maps` with a file.
struct Row<'a> {
    start: u64,
    end: u64,
    offset: u64,
    path: &'a str,
}

struct Maps<'a> {
    rows: Vec<Row<'a>>,
}

impl<'a> Maps<'a> {
    /// Rows are `START-END PERMS OFFSET DEV INODE PATH` (`man 5 proc_pid_maps`).
    fn of(text: &'a [u8]) -> Self {
        let row = |line: &'a [u8]| {
            let line = std::str::from_utf8(line).ok()?;
            let path = line.get(line.find('/')?..)?;
            let mut words = line.split_ascii_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let hex = |text| u64::from_str_radix(text, 16).ok();
            Some(Row {
                start: hex(start)?,
                end: hex(end)?,
                offset: hex(words.nth(1)?)?,
                path,
            })
        };
        Maps {
            rows: text.split(|byte| *byte == b'\n').filter_map(row).collect(),
        }
    }

    fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.rows.iter().any(|row| wanted(row.path))
    }

    /// uvloop's library.
    fn uvloop(&self, root: &ProcRoot, tgid: u32) -> Option<Image> {
        let row = self
            .rows
            .iter()
            .find(|row| row.path.contains("/uvloop/loop."))?;
        let found = foreign::mapped(root, tgid, (row.start, row.end), row.path);
        Image::read(row.path.to_owned(), found.ok()?, self)
    }

    /// Where in the image's file the code at an address is.
    fn offset(&self, image: &Image, address: u64) -> Option<u64> {
        self.rows
            .iter()
            .find(|row| (row.start..row.end).contains(&address) && row.path == image.path)
            .map(|row| address - row.start + row.offset)
    }
}

/// The file that holds the interpreter: libpython, or the executable.
struct Image {
    /// As the process' mount namespace names it.
    path: String,
    /// The file itself.
    file: Looked,
    /// What is added to an address in the file.
    bias: u64,
    /// File offset, size and address of its segments.
    segments: Vec<(u64, u64, u64)>,
    /// Exported symbols that matter here.
    symbols: Vec<(String, u64)>,
    /// It calls [`UVLOOP_ENTER`] through its table of jumps, so that no call was inlined.
    calls_enter: bool,
}

impl Image {
    fn find(root: &ProcRoot, tgid: u32, maps: &Maps<'_>) -> Option<Self> {
        let library = maps.rows.iter().find(|row| {
            let name = row.path.rsplit('/').next().unwrap_or_default();
            name.starts_with("libpython3.") && name.contains(".so")
        });
        if let Some(row) = library {
            let found = foreign::mapped(root, tgid, (row.start, row.end), row.path);
            return Self::read(row.path.to_owned(), found.ok()?, maps);
        }
        let path = root.exe(tgid).ok()?.to_str()?.to_owned();
        let exe = root.file(tgid, "exe");
        let file = foreign::regular(&exe).ok()?;
        let looked = Looked::at(&exe, &file).ok()?;
        Self::read(path, (file, looked), maps)
    }

    fn read(path: String, (file, looked): (File, Looked), maps: &Maps<'_>) -> Option<Self> {
        let start = maps
            .rows
            .iter()
            .find(|row| row.path == path && row.offset == 0)?
            .start;
        let data = Bounded::new(&file);
        let program = Program::parse(&data).ok()?;
        let endian = program.endian();
        let segments: Vec<(u64, u64, u64)> = program
            .elf_header()
            .program_headers(endian, &data)
            .ok()?
            .iter()
            .filter(|header| header.p_type(endian) == elf::PT_LOAD)
            .map(|header| {
                (
                    header.p_offset(endian),
                    header.p_filesz(endian),
                    header.p_vaddr(endian),
                )
            })
            .collect();
        let first = segments.iter().find(|(offset, ..)| *offset == 0)?.2;
        let symbols = program
            .dynamic_symbols()
            .filter(ObjectSymbol::is_definition)
            .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())))
            .filter(|(name, _)| {
                name.starts_with("PyContext_")
                    || ["_PyRuntime", UVLOOP_ENTER].contains(name)
                    || C_MODULES.contains(name)
            })
            .map(|(name, address)| (name.to_owned(), address))
            .collect();
        let table = program.dynamic_symbol_table()?;
        let calls_enter =
            program
                .dynamic_relocations()
                .into_iter()
                .flatten()
                .any(|(_, relocation)| match relocation.target() {
                    RelocationTarget::Symbol(index) => table
                        .symbol_by_index(index)
                        .is_ok_and(|symbol| symbol.name() == Ok(UVLOOP_ENTER)),
                    _ => false,
                });
        Some(Image {
            path,
            file: looked,
            bias: start.wrapping_sub(first),
            segments,
            symbols,
            calls_enter,
        })
    }

    /// An exported symbol's address in the file.
    fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols
            .iter()
            .find_map(|(known, at)| (known == name).then_some(*at))
    }

    /// Where it is in the process.
    fn address(&self, symbol: u64) -> u64 {
        symbol.wrapping_add(self.bias)
    }

    /// Where it is in the file.
    fn offset(&self, symbol: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|(_, size, at)| (*at..at.saturating_add(*size)).contains(&symbol))
            .map(|(offset, _, at)| symbol - at + offset)
    }
}

/// `/proc/PID/mem`.
struct Memory(File);

impl Memory {
    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, address).ok()?;
        Some(u64::from_le_bytes(word))
    }

    /// Up to `count` words; fewer where the mapping ends.
    fn words(&self, address: u64, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        let got = self.0.read_at(&mut bytes, address).unwrap_or(0);
        bytes.truncate(got);
        let words = bytes.chunks_exact(8);
        words
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .collect()
    }

    /// How far behind a thread's fsbase the slot with its `PyThreadState` is.
    fn slot(&self, version: &Version, globals: u64) -> Option<u32> {
        self.words(globals, RUNTIME_WORDS)
            .into_iter()
            .filter(|word| is_pointer(*word))
            .find_map(|interpreter| self.slot_by(version, interpreter))
    }

    fn slot_by(&self, version: &Version, interpreter: u64) -> Option<u32> {
        let states = self.words(interpreter, INTERPRETER_WORDS);
        states
            .into_iter()
            .filter(|word| is_pointer(*word))
            .find_map(|state| {
                if self.word(state + version.interp)? != interpreter {
                    return None;
                }
                // glibc's pthread_t is the address of `struct pthread`, whose first word points to itself, as does fsbase.
                let thread = self.word(state + version.thread_id)?;
                if self.word(thread)? != thread {
                    return None;
                }
                let body = self.words(thread, SLOTS.end / 8);
                let slots = body.get(SLOTS.start / 8..)?;
                let index = slots.iter().position(|word| *word == state)?;
                u32::try_from(SLOTS.start + index * 8).ok()
            })
    }

    /// The function behind a method of a type in C.
    fn method(&self, of_type: u64, name: &[u8]) -> Option<u64> {
        let methods = self.word(of_type + TP_METHODS)?;
        for index in 0..METHODS_MAX {
            let method = methods + index * METHOD;
            let text = self.word(method).filter(|text| *text != 0)?;
            let mut found = vec![0; name.len() + 1];
            self.0.read_exact_at(&mut found, text).ok()?;
            if found.strip_suffix(b"\0") == Some(name) {
                return self.word(method + 8);
            }
        }
        None
    }
}

/// Whether a word may point to an object.
fn is_pointer(word: u64) -> bool {
    word >= 0x1000 && word.is_multiple_of(8) && word >> 47 == 0
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing test may panic"
)]
#[path = "cpython_tests.rs"]
mod tests;
