//! Go: where the running goroutine's `g` is, and where it hands work to another one.
//!
//! In: the executable. Out: [`Units`]. Always holds: the place of `g` is the one the linker wrote: Go's own linker makes a TLS segment of just
//! the word that holds `g`, which is therefore the last one below the thread pointer (cmd/link/internal/ld: `runtime.tlsg`; x86-64 psABI,
//! TLS variant II); with C's variables in the segment, too, the symbol tells. Places in code are found by [`functions`] and proved by the
//! instructions there, symbols or not, position-independent or not. Refuses: an executable with C's variables and no symbols. Of a release
//! that is not known, or a program in which a place is not found (one that does not import net/http has none there), only what a
//! goroutine calls itself has a parent.

mod code;
mod functions;
mod version;

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use agent_common::abi::{Runtime, runtime};
use object::{
    Endianness, Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, elf,
    read::elf::{ElfFile64, ProgramHeader},
};

use super::Units;
use crate::attach::user::Probe;

/// Bytes of a word that holds a pointer.
const WORD: u64 = 8;
/// The symbol of the TLS word.
const TLS_SYMBOL: &str = "runtime.tlsg";
/// Bytes of a function that are looked at; the largest of them has some 3,000.
const CODE_MAX: u32 = 64 << 10;
/// Bytes of `.go.buildinfo` that are read: its head and the version.
const BUILDINFO_MAX: usize = 256;
/// With cgo, Go's code begins behind C's start-up code in `.text` (0x100 bytes, seen with GNU ld 2.40), on a boundary of 16.
const TEXT_STEP: u64 = 16;
/// How far behind it is looked for.
const TEXT_MAX: u64 = 64 << 10;

/// A program's place in the code.
enum At {
    /// Where the function calls another one.
    Call(&'static str),
    /// Where it has found room on the stack.
    Begin,
}

/// A program, the function it belongs into, and where.
struct Site {
    program: &'static str,
    function: &'static str,
    at: At,
    /// Sites of one part are of use only together.
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Spawn,
    Http,
}

const SITES: [Site; 5] = [
    Site {
        program: "go_spawn",
        function: "runtime.newproc1",
        at: At::Call("runtime.isSystemGoroutine"),
        part: Part::Spawn,
    },
    Site {
        program: "go_write_request",
        function: "net/http.(*persistConn).writeLoop",
        at: At::Call("net/http.(*Request).write"),
        part: Part::Http,
    },
    Site {
        program: "go_round_trip",
        function: "net/http.(*persistConn).roundTrip",
        at: At::Begin,
        part: Part::Http,
    },
    Site {
        program: "go_dial",
        function: "net/http.(*Transport).dialConnFor",
        at: At::Begin,
        part: Part::Http,
    },
    Site {
        program: "go_queue_dial",
        function: "net/http.(*Transport).queueForDial",
        at: At::Begin,
        part: Part::Http,
    },
];

/// What is known of a Go program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoFacts {
    /// How far below the thread pointer `g` is, bytes; none where that is not known.
    below: Option<u32>,
    /// Offsets in the runtime's structs; none for a release that is not known.
    layout: Option<version::Layout>,
    /// Offsets in the file, in the order of [`SITES`].
    sites: [Option<u64>; SITES.len()],
    /// Minor release of Go 1.
    minor: Option<u32>,
}

impl GoFacts {
    /// Looks into a Go program.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let cache = ReadCache::new(file);
        let Ok(program) = ElfFile64::<Endianness, _>::parse(&cache) else {
            return Ok(Self {
                below: None,
                layout: None,
                sites: [None; SITES.len()],
                minor: None,
            });
        };
        let minor = buildinfo(file, &program).and_then(|section| version::minor(&section));
        let layout = minor.and_then(version::layout);
        let sites = layout.and_then(|_| sites(file, &program));
        Ok(Self {
            below: tls_distance(&program).and_then(|below| u32::try_from(below).ok()),
            layout,
            sites: sites.unwrap_or([None; SITES.len()]),
            minor,
        })
    }

    fn has(&self, part: Part) -> bool {
        SITES
            .iter()
            .zip(&self.sites)
            .all(|(site, at)| site.part != part || at.is_some())
    }
}

/// How goroutines of the program in the file `exe` are found. None where that is not known.
pub fn units(exe: &Path, facts: &GoFacts) -> Option<Units> {
    let mut known = Runtime::of(runtime::GO);
    known.offsets[0] = facts.below?;
    let mut probes = Vec::new();
    let mut parts = [false; 2];
    if let Some(layout) = facts.layout {
        known.offsets[1] = layout.g_m;
        known.offsets[2] = layout.m_curg;
        for (part, is_there) in [Part::Spawn, Part::Http].into_iter().zip(&mut parts) {
            *is_there = facts.has(part);
            if !*is_there {
                continue;
            }
            let sites = SITES.iter().zip(&facts.sites);
            probes.extend(sites.filter(|(site, _)| site.part == part).filter_map(
                |(site, offset)| {
                    Some(Probe {
                        program: site.program,
                        file: exe.to_owned(),
                        offset: (*offset)?,
                    })
                },
            ));
        }
    }
    let fact = match (facts.layout, parts) {
        (None, _) => {
            "linked by a release of Go that is not known: goroutines are told apart, but not who made them"
        }
        (_, [true, true]) => {
            "linked by Go: goroutines, who made them, and requests that net/http's own goroutines write"
        }
        (_, [true, false]) => {
            "linked by Go: goroutines and who made them; the program has no net/http client, or one that is not known"
        }
        (_, [false, _]) => {
            "linked by Go: goroutines are told apart, but where they are made was not found"
        }
    };
    Some(Units {
        runtime: known,
        probes,
        fact,
    })
}

type Program<'a> = ElfFile64<'a, Endianness, &'a ReadCache<&'a File>>;

/// How far below the thread pointer `g` is, bytes.
fn tls_distance(program: &Program<'_>) -> Option<u64> {
    let endian = program.endian();
    let segment = program
        .elf_program_headers()
        .iter()
        .find(|header| header.p_type(endian) == elf::PT_TLS);
    let Some(segment) = segment else {
        return Some(WORD);
    };
    let align = segment.p_align(endian).max(1);
    let size = segment.p_memsz(endian).checked_next_multiple_of(align)?;
    if size == WORD {
        return Some(WORD);
    }
    let symbol = program
        .symbols()
        .find(|symbol| symbol.name() == Ok(TLS_SYMBOL))?;
    size.checked_sub(symbol.address())
}

/// Place in the file of the section `name`, and its address.
fn section(program: &Program<'_>, name: &str) -> Option<(functions::Place, u64)> {
    let section = program.section_by_name(name)?;
    let (at, len) = section.file_range()?;
    Some((functions::Place { at, len }, section.address()))
}

fn buildinfo(file: &File, program: &Program<'_>) -> Option<Vec<u8>> {
    let (place, _) = section(program, ".go.buildinfo")?;
    let mut bytes = vec![0; BUILDINFO_MAX.min(usize::try_from(place.len).ok()?)];
    file.read_exact_at(&mut bytes, place.at).ok()?;
    Some(bytes)
}

/// The table of functions: a section of its own, or up to 1.25 in position-independent programs part of another one.
fn table(file: &File, program: &Program<'_>) -> Option<functions::Place> {
    [".gopclntab", ".data.rel.ro.gopclntab"]
        .iter()
        .find_map(|name| section(program, name))
        .map(|(place, _)| place)
        .or_else(|| {
            let (place, _) = section(program, ".data.rel.ro")?;
            functions::search(file, place)
        })
}

/// Offset in the file of the byte at an address.
fn file_offset(program: &Program<'_>, address: u64) -> Option<u64> {
    program.segments().find_map(|segment| {
        let (at, len) = segment.file_range();
        let behind = address.checked_sub(segment.address())?;
        (behind < len).then(|| at.checked_add(behind)).flatten()
    })
}

/// The sites of the program.
fn sites(file: &File, program: &Program<'_>) -> Option<[Option<u64>; SITES.len()]> {
    let mut names = Vec::new();
    for site in &SITES {
        names.push(site.function);
        names.push(match site.at {
            At::Call(function) => function,
            At::Begin => site.function,
        });
    }
    let found = functions::find(file, table(file, program)?, &names)?;
    let (_, section_text) = section(program, ".text")?;
    let steps = (0..TEXT_MAX).step_by(TEXT_STEP as usize);
    let begins = std::iter::once(found.text)
        .filter(|text| *text != 0)
        .chain(steps.filter_map(|step| section_text.checked_add(step)));
    for text in begins {
        let sites = sites_at(file, program, text, &found.code);
        // All Go programs make goroutines: where that is found, the beginning of the code is right.
        if sites.first().is_some_and(Option::is_some) {
            return Some(sites);
        }
    }
    None
}

/// The sites if Go's code begins at the address `text`. `code` has two ranges for each.
fn sites_at(
    file: &File,
    program: &Program<'_>,
    text: u64,
    code: &[Option<Range<u32>>],
) -> [Option<u64>; SITES.len()] {
    let mut sites = [None; SITES.len()];
    for ((site, ranges), found) in SITES.iter().zip(code.chunks_exact(2)).zip(&mut sites) {
        let [Some(range), Some(other)] = ranges else {
            continue;
        };
        *found = place(file, program, text, site, range, other);
        if site.part == Part::Spawn && found.is_none() {
            break;
        }
    }
    sites
}

fn place(
    file: &File,
    program: &Program<'_>,
    text: u64,
    site: &Site,
    range: &Range<u32>,
    other: &Range<u32>,
) -> Option<u64> {
    let begin = text.checked_add(u64::from(range.start))?;
    let at = file_offset(program, begin)?;
    let length = range.end.checked_sub(range.start)?.min(CODE_MAX);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    let offset = match site.at {
        At::Call(_) => {
            let target = text.checked_add(u64::from(other.start))?;
            code::only_call(&bytes, begin, target)?
        }
        At::Begin => code::stack_check(&bytes)?,
    };
    at.checked_add(offset as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "tests.rs"]
mod tests;
