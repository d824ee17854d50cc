//! Go: where the running goroutine's `g` is, and where it hands work to another one.
//!
//! In: the executable. Out: [`Units`]. Always holds: the place of `g` is the one the linker wrote: Go's own linker makes a TLS segment of just
//! the word that holds `g`, which is therefore the last one below the thread pointer (cmd/link/internal/ld: `runtime.tlsg`; x86-64 psABI,
//! TLS variant II); with C's variables in the segment, too, the symbol tells. Places in code are found by `places`, symbols or not,
//! position-independent or not. Refuses: an executable with C's variables and no symbols, and one with a module's event loop. Of a release
//! that is not known, or a program in which a place is not found (one that does not import net/http has none there), only what a
//! goroutine calls itself has a parent.

mod code;
mod functions;
mod packages;
mod places;
mod version;

use std::{fs::File, io, os::unix::fs::FileExt};

use agent_common::abi::{Runtime, go_variant, runtime};
use object::{Object, ObjectSymbol, elf, read::elf::ProgramHeader};

use super::Units;
use crate::{
    attach::user::Probe,
    enrich::{
        bounded::{Bounded, Program},
        foreign::Looked,
    },
};
use places::Places;

/// Bytes of a word that holds a pointer.
const WORD: u64 = 8;
/// The symbol of the TLS word.
const TLS_SYMBOL: &str = "runtime.tlsg";
/// Bytes of `.go.buildinfo` that are read: its head and the version.
const BUILDINFO_MAX: usize = 256;

/// What is known of a Go program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoFacts {
    /// How far below the thread pointer `g` is, bytes; none where that is not known.
    below: Option<u32>,
    /// Offsets in the runtime's structs; none for a release that is not known.
    layout: Option<version::Layout>,
    /// Minor release of Go 1.
    minor: Option<u32>,
    places: Places,
}

impl GoFacts {
    /// Looks into a Go program.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let data = Bounded::new(file);
        let Ok(program) = Program::parse(&data) else {
            return Ok(Self::default());
        };
        let minor = buildinfo(file, &program).and_then(|section| version::minor(&section));
        Ok(Self {
            below: tls_distance(&program).and_then(|below| u32::try_from(below).ok()),
            layout: minor.and_then(version::layout),
            minor,
            places: places::find(file, &program).unwrap_or_default(),
        })
    }
}

impl GoFacts {
    /// What is not known of the program, for people.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match (self.below, self.layout, &self.places) {
            (_, _, places) if places.has_loop => Some(EVENT_LOOP),
            (None, ..) => Some(UNKNOWN_STORAGE),
            (_, None, _) => Some(UNKNOWN_RELEASE),
            (_, _, places) if places.made.is_none() => Some(UNKNOWN_CODE),
            (_, _, places) if places.waits.is_none() => Some(UNSEEN_QUEUE),
            _ => None,
        }
    }
}

/// How goroutines of the program in the file `exe` are found. None where that is not known.
pub fn units(exe: &Looked, facts: &GoFacts) -> Option<Units> {
    let places = &facts.places;
    if places.has_loop {
        return None;
    }
    let mut known = Runtime::of(runtime::GO);
    known.offsets[0] = facts.below?;
    // Whatever else is known: a goroutine that is made anew has nothing of the one that had its memory.
    let mut spots: Vec<places::Spot> = places.made.into_iter().collect();
    if let (Some(layout), Some(_)) = (facts.layout, places.made) {
        known.variant = go_variant::FOLLOWED;
        spots.extend(&places.http);
        if let Some(waits) = &places.waits {
            known.offsets[1] = layout.g_m;
            known.offsets[2] = layout.m_curg;
            if let Some(http) = &places.http_waits {
                known.addresses = [http.start, http.end];
            }
            spots.extend(waits);
        }
    }
    let probes = spots.into_iter().map(|(program, offset)| Probe {
        program,
        file: exe.clone(),
        offset,
    });
    Some(Units {
        runtime: known,
        probes: probes.collect(),
        fact: facts.limit().unwrap_or(KNOWN),
    })
}

const KNOWN: &str = "linked by Go, whose goroutines are known";
const UNSEEN_QUEUE: &str = "linked by Go, with queues of work that are not seen: what goroutines call that a request's goroutine made are roots";
const UNKNOWN_RELEASE: &str = "linked by a release of Go that is not known: what net/http's and other goroutines call for a request are roots";
const EVENT_LOOP: &str = "linked by Go, with a module whose one goroutine reads the requests of many connections: its calls are roots";
const UNKNOWN_STORAGE: &str = "linked by Go, but where it keeps its goroutine is not known (C variables of threads, and no symbols): its calls are roots";
const UNKNOWN_CODE: &str = "linked by Go, but where it makes goroutines was not found: what net/http's and other goroutines call for a request are roots";

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

fn buildinfo(file: &File, program: &Program<'_>) -> Option<Vec<u8>> {
    let (place, _) = places::section(program, ".go.buildinfo")?;
    let mut bytes = vec![0; BUILDINFO_MAX.min(usize::try_from(place.len).ok()?)];
    file.read_exact_at(&mut bytes, place.at).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "tests.rs"]
mod tests;
