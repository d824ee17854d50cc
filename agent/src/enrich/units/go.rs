//! Go: where the running goroutine's `g` is.
//!
//! In: the executable. Out: [`Units`]. Always holds: the place is the one the linker wrote: Go's own linker makes a TLS segment of just the word that
//! holds `g`, which is therefore the last one below the thread pointer (cmd/link/internal/ld: `runtime.tlsg`; x86-64 psABI, TLS variant II); with
//! C's variables in the segment, too, the symbol tells. Refuses: an executable with C's variables and no symbols.

use std::{fs::File, path::Path};

use agent_common::abi::{Runtime, runtime};
use object::{
    Object, ObjectSymbol, ReadCache, elf,
    read::elf::{ElfFile64, ProgramHeader},
};

use super::Units;

/// Bytes of a word that holds a pointer.
const WORD: u64 = 8;
/// The symbol of the TLS word.
const TLS_SYMBOL: &str = "runtime.tlsg";

/// How goroutines of the program in the file `exe` are found. None where that is not known.
pub fn find(exe: &Path) -> Option<Units> {
    let below = tls_distance(exe)?;
    let mut known = Runtime::of(runtime::GO);
    known.offsets[0] = u32::try_from(below).ok()?;
    Some(Units {
        runtime: known,
        probes: Vec::new(),
        fact: "the executable was linked by Go: its goroutines are told apart",
    })
}

/// How far below the thread pointer `g` is, bytes.
fn tls_distance(exe: &Path) -> Option<u64> {
    let file = File::open(exe).ok()?;
    let cache = ReadCache::new(&file);
    let program = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
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
