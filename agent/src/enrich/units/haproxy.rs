//! haproxy: where it keeps the task that runs, and what a stream knows of its client.
//!
//! In: the executable and the process' maps. Out: [`Units`]. Always holds: functions and the thread's context are exported symbols of the executable; offsets of
//! fields come from a table by version, read in a debugger; a wrong one would find no connection that a request was read from. Refuses:
//! versions that are not in the table, and executables without their symbols.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use agent_common::abi::{Runtime, runtime};
use object::{
    Object, ObjectSegment, ObjectSymbol, elf,
    read::elf::{FileHeader, ProgramHeader},
};

use super::Units;
use crate::enrich::{
    bounded::{Bounded, Program},
    foreign,
};

/// A version, as its text begins, and byte offsets: `thread_ctx.current`, `task.process`, `task.context`, `stream.sess`,
/// `session.origin`.
const VERSIONS: &[(&str, [u32; 5])] = &[
    // Debian 12's 2.6.12: gdb at process_stream and stream_new, disassembly of run_tasks_from_lists.
    ("2.6.", [0x20, 8, 16, 0x18, 0x10]),
];

/// How units of the haproxy in the file `exe`, mapped as `maps` says, are found. None where that is not known.
pub fn find(exe: &Path, maps: &[u8]) -> Option<Units> {
    let file = foreign::regular(exe).ok()?;
    let inode = file.metadata().ok()?.ino();
    let data = Bounded::new(&file);
    let program = Program::parse(&data).ok()?;
    let endian = program.endian();
    let symbol = |wanted: &str| {
        program
            .dynamic_symbols()
            .find(|symbol| symbol.name() == Ok(wanted))
            .map(|symbol| symbol.address())
    };
    let version = text_at(&file, &program, symbol("haproxy_version")?)?;
    let (_, offsets) = VERSIONS
        .iter()
        .find(|(known, _)| version.starts_with(known))?;
    let segment = program
        .elf_program_headers()
        .iter()
        .find(|header| header.p_type(endian) == elf::PT_TLS)?;
    // The executable's block ends at the thread pointer (x86-64 psABI, TLS variant II).
    let size = segment
        .p_memsz(endian)
        .checked_next_multiple_of(segment.p_align(endian).max(1))?;
    let mut known = Runtime::of(runtime::HAPROXY);
    known.offsets[0] = u32::try_from(size.checked_sub(symbol("th_ctx")?)?).ok()?;
    known.offsets[1..6].copy_from_slice(offsets);
    let bias = match program.elf_header().e_type(endian) {
        elf::ET_EXEC => 0,
        _ => base_of(maps, inode)?,
    };
    known.addresses = [
        bias.checked_add(symbol("process_stream")?)?,
        bias.checked_add(symbol("h1_io_cb")?)?,
    ];
    Some(Units {
        runtime: known,
        probes: Vec::new(),
        fact: "the executable is haproxy of a version whose streams are known",
    })
}

/// The text that stands at an address of the program.
fn text_at(file: &File, program: &Program<'_>, address: u64) -> Option<String> {
    /// Longer than any version.
    const MOST: usize = 64;
    let at = program.segments().find_map(|segment| {
        let (at, size) = segment.file_range();
        let inside = address.checked_sub(segment.address())?;
        (inside < size).then(|| at.checked_add(inside)).flatten()
    })?;
    let mut text = [0; MOST];
    let got = file.read_at(&mut text, at).ok()?;
    let text = text.get(..got)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    String::from_utf8(text.get(..end)?.to_vec()).ok()
}

/// Where the file `inode` is mapped from its beginning. A line is `ADDRESSES PERMS OFFSET DEV INODE PATH` (`man 5 proc_pid_maps`).
fn base_of(maps: &[u8], inode: u64) -> Option<u64> {
    std::str::from_utf8(maps).ok()?.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (addresses, _, offset, _, mapped) = (
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
        );
        let is_start = u64::from_str_radix(offset, 16) == Ok(0) && mapped.parse() == Ok(inode);
        let (from, _) = addresses.split_once('-')?;
        is_start.then(|| u64::from_str_radix(from, 16).ok())?
    })
}
