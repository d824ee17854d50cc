//! tokio: where a thread keeps the id of the task that it polls, and the functions through which tasks are made, end, wait and send.
//!
//! In: the executable. Out: [`Units`], or why there are none. Always holds: functions are known by their symbols, mangled either way; the thread's place is the
//! symbol of its `CONTEXT`, and the id's place in there is where `TaskIdGuard::enter` exchanges it for its argument: the struct is laid out by the compiler, so no
//! table of releases could say it. Releases 1.44, 1.48 and 1.54 with rustc 1.95, optimised, were looked at; another compiler's code is used only when it has
//! the same instructions. Refuses: executables without symbols, code that was not optimised, ids that are no single word (before 1.41); with link-time optimisation,
//! which puts copies of functions into others, only what a request's own task calls itself is known.

use std::{fs::File, io, os::unix::fs::FileExt};

use agent_common::abi::{Runtime, runtime, tokio_variant};
use object::{Object, ObjectSection, ObjectSegment, elf, read::elf::ProgramHeader};

use super::Units;
use crate::{
    attach::user::Probe,
    enrich::{
        bounded::{self, Bounded, Program},
        foreign::Looked,
    },
};

/// Bytes of a function that are looked at.
const CODE_MAX: u64 = 256;
/// Most places where a task's making is seen.
const COPIES_MAX: usize = 8;

/// What is known of a program that holds tokio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokioFacts {
    /// Its tasks can be told apart.
    Known(Places),
    /// They cannot, and why.
    Unknown(&'static str),
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// How far below the thread pointer the id is.
    below: u32,
    /// Programs and offsets in the file; none where not all functions were found.
    spots: Vec<(&'static str, u64)>,
}

impl Default for TokioFacts {
    /// Of a file that cannot be read.
    fn default() -> Self {
        Self::Unknown(CODE)
    }
}

const STRIPPED: &str =
    "the executable holds tokio without its symbols: its tasks cannot be told apart";
const CODE: &str =
    "the executable holds tokio in a release or build whose tasks cannot be told apart";
const KNOWN: &str = "the executable holds tokio, whose tasks are known";
const ALONE: &str = "the executable holds tokio, some of whose functions are not there: what other tasks call for a request are roots";

/// Names of functions by parts of their mangled names: all of them must be there.
struct Names {
    program: &'static str,
    parts: [&'static str; 2],
    /// Which of several functions with these parts: the name's end, before what the compiler adds.
    last: &'static str,
    /// There may be several, and their names are local.
    is_generic: bool,
    /// Where in the code the probe is better put than at its beginning: at a jump, which the kernel carries out itself; what it has to step over costs
    /// 20 µs on some machines.
    jump: fn(&[u8]) -> Option<u64>,
}

const SPAWN: &str = "tokio_spawn";
const ATOMIC_WAKER: [&str; 2] = ["5tokio4sync4task12atomic_waker", "11AtomicWaker"];

const FUNCTIONS: &[Names] = &[
    Names {
        program: SPAWN,
        parts: ["5tokio7runtime4task4list", "OwnedTasks"],
        last: "10bind_inner",
        is_generic: true,
        jump: |_| None,
    },
    // `bind_inner` stands inside of other functions where a crate other than the program's own spawns.
    Names {
        program: SPAWN,
        parts: ["5tokio7runtime9scheduler12multi_thread6worker", "Handle"],
        last: "34schedule_option_task_without_yield",
        is_generic: false,
        jump: jump_if_none,
    },
    Names {
        program: "tokio_end",
        parts: ["5tokio7runtime4task5state", "5State"],
        last: "22transition_to_complete",
        is_generic: false,
        jump: |_| None,
    },
    Names {
        program: "tokio_wait",
        parts: ATOMIC_WAKER,
        last: "15register_by_ref",
        is_generic: false,
        jump: |_| None,
    },
    Names {
        program: "tokio_send",
        parts: ATOMIC_WAKER,
        last: "4wake",
        is_generic: false,
        jump: jump_behind_exchange,
    },
];

/// Whether a mangled name ends in `last`: `…4wake17h0123456789abcdefE` (legacy), `…4wake` or `…4wakeCs…_3foo` (v0).
fn ends_in(name: &str, last: &str) -> bool {
    name.rfind(last).is_some_and(|at| {
        let rest = name.get(at + last.len()..).unwrap_or_default();
        let legacy = name.starts_with("_ZN") && rest.starts_with("17h");
        legacy
            || (name.starts_with("_R")
                && (rest.is_empty() || rest.starts_with("Cs") || rest.starts_with('B')))
    })
}

impl TokioFacts {
    /// Looks into a program that holds tokio.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let data = Bounded::new(file);
        let Ok(program) = Program::parse(&data) else {
            return Ok(Self::Unknown(STRIPPED));
        };
        Ok(look(file, &program).unwrap_or(Self::Unknown(CODE)))
    }

    /// What is not known of the program, for people.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(why) => Some(why),
            Self::Known(places) => places.spots.is_empty().then_some(ALONE),
        }
    }

    /// How tasks of the program in the file `exe` are found. None where that is not known.
    #[must_use]
    pub fn units(&self, exe: &Looked) -> Option<Units> {
        let Self::Known(places) = self else {
            return None;
        };
        let mut known = Runtime::of(runtime::TOKIO);
        known.offsets[0] = places.below;
        if !places.spots.is_empty() {
            known.variant = tokio_variant::FOLLOWED;
        }
        let probes = places.spots.iter().map(|(program, offset)| Probe {
            program,
            file: exe.clone(),
            offset: *offset,
        });
        Some(Units {
            runtime: known,
            probes: probes.collect(),
            fact: self.limit().unwrap_or(KNOWN),
        })
    }
}

fn look(file: &File, program: &Program<'_>) -> Option<TokioFacts> {
    let (mut contexts, mut enters) = (Vec::new(), Vec::new());
    let mut found: Vec<(&Names, u64)> = Vec::new();
    let range = |name| program.section_by_name(name)?.file_range();
    let (Some(symbols), Some(names)) = (range(".symtab"), range(".strtab")) else {
        return Some(TokioFacts::Unknown(STRIPPED));
    };
    bounded::symbols(file, symbols, names, |symbol| {
        let Ok(name) = std::str::from_utf8(symbol.name) else {
            return;
        };
        if !name.contains("5tokio") {
            return;
        }
        let place = (symbol.address, symbol.size);
        match symbol.kind {
            elf::STT_TLS if name.contains("5tokio7runtime7context7CONTEXT") => {
                contexts.push(place);
                contexts.truncate(2);
            }
            elf::STT_FUNC if name.contains("11TaskIdGuard") && ends_in(name, "5enter") => {
                enters.push(place);
                enters.truncate(2);
            }
            elf::STT_FUNC => {
                let of = FUNCTIONS.iter().find(|of| {
                    of.parts.iter().all(|part| name.contains(part))
                        && ends_in(name, of.last)
                        // Link-time optimisation makes all names local, and may have put copies of a function into others.
                        && (of.is_generic || symbol.bind != elf::STB_LOCAL)
                });
                found.extend(of.map(|of| (of, symbol.address)));
                // One more than all programs together may have.
                found.truncate(COPIES_MAX + FUNCTIONS.len());
            }
            _ => {}
        }
    })?;
    // Two of them would be two tokios.
    let ([(context, context_size)], [(enter, enter_size)]) = (&contexts[..], &enters[..]) else {
        return None;
    };
    let (context, context_size, enter, enter_size) = (*context, *context_size, *enter, *enter_size);
    let size = tls_size(program)?;
    let code = code(file, program, enter, enter_size)?;
    let base = size.checked_sub(context)?;
    let field = exchanged(&code, base).filter(|field| field + 8 <= context_size)?;
    let below = u32::try_from(base.checked_sub(field)?).ok()?;
    let spots = spots(file, program, &found).unwrap_or_default();
    Some(TokioFacts::Known(Places { below, spots }))
}

/// Places for all programs, or none.
fn spots(
    file: &File,
    program: &Program<'_>,
    found: &[(&Names, u64)],
) -> Option<Vec<(&'static str, u64)>> {
    let mut spots = Vec::new();
    for (of, address) in found {
        let begin = offset(program, *address)?;
        let code = code(file, program, *address, CODE_MAX)?;
        spots.push((of.program, begin + (of.jump)(&code).unwrap_or(0)));
    }
    let all = FUNCTIONS.iter().all(|of| {
        let copies = found
            .iter()
            .filter(|(names, _)| names.program == of.program)
            .count();
        let most = if of.program == SPAWN { COPIES_MAX } else { 1 };
        (1..=most).contains(&copies)
    });
    all.then_some(spots)
}

/// Bytes of the thread-local block of the executable, which ends at the thread pointer (x86-64 psABI, TLS variant II).
fn tls_size(program: &Program<'_>) -> Option<u64> {
    let endian = program.endian();
    let segment = program
        .elf_program_headers()
        .iter()
        .find(|header| header.p_type(endian) == elf::PT_TLS)?;
    segment
        .p_memsz(endian)
        .checked_next_multiple_of(segment.p_align(endian).max(1))
}

/// Where in the file the byte at an address is.
fn offset(program: &Program<'_>, address: u64) -> Option<u64> {
    program.segments().find_map(|segment| {
        let (at, size) = segment.file_range();
        let into = address.checked_sub(segment.address())?;
        (into < size).then_some(at + into)
    })
}

fn code(file: &File, program: &Program<'_>, address: u64, size: u64) -> Option<Vec<u8>> {
    let at = offset(program, address)?;
    let mut code = vec![0; usize::try_from(size.min(CODE_MAX)).ok()?];
    let got = file.read_at(&mut code, at).ok()?;
    code.truncate(got);
    Some(code)
}

/// Where in the thread-local struct, which begins `base` bytes below the thread pointer, `TaskIdGuard::enter` exchanges a word for its argument:
/// `lea reg, [reg - base]` … `mov r, [reg + field]; mov [reg + field], r'`, once.
fn exchanged(code: &[u8], base: u64) -> Option<u64> {
    let distance = i32::try_from(base).ok()?.checked_neg()?.to_le_bytes();
    // lea r64, [r64 + disp32]: REX.W, 8d, a mod of 2.
    let leas = code.windows(7).filter(|window| {
        matches!(window, [rex, 0x8d, modrm, ..] if rex & 0xf8 == 0x48 && modrm >> 6 == 2)
            && window.ends_with(&distance)
    });
    if leas.count() != 1 {
        return None;
    }
    let mut pairs = code.windows(8).filter_map(|window| {
        let [rex, 0x8b, modrm, at, rex_too, 0x89, modrm_too, at_too] = *window else {
            return None;
        };
        // One base register (bits 0 to 2 of the byte, REX.B), which needs no further byte (4 would), a distance of one byte, two other registers.
        let is_pair = rex & 0xfa == 0x48
            && rex_too & 0xfa == 0x48
            && rex & 1 == rex_too & 1
            && modrm & 0xc7 == modrm_too & 0xc7
            && modrm >> 6 == 1
            && modrm & 7 != 4
            && (rex & 4, modrm & 0x38) != (rex_too & 4, modrm_too & 0x38)
            && at == at_too
            && at < 0x80
            && at % 8 == 0;
        is_pair.then_some(u64::from(at))
    });
    let field = pairs.next()?;
    pairs.next().is_none().then_some(field)
}

/// `test rsi, rsi; je`: the second argument is an option.
fn jump_if_none(code: &[u8]) -> Option<u64> {
    code.starts_with(&[0x48, 0x85, 0xf6, 0x74]).then_some(3)
}

/// Behind the exchange of `AtomicWaker::wake` (`lock cmpxchg [rdi+…], rcx; jne; test rax, rax; je`) is a jump that is passed once a call, with the argument
/// still in its register.
fn jump_behind_exchange(code: &[u8]) -> Option<u64> {
    let at = code.windows(13).position(|window| {
        matches!(
            window,
            [0xf0, 0x48, 0x0f, 0xb1, 0x4f, _, 0x75, back, 0x48, 0x85, 0xc0, 0x74, _] if *back >= 0x80
        )
    })?;
    u64::try_from(at + 11).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "tokio_tests.rs"]
mod tests;
