//! Programs on their way: through the verifier, all of them, and to its place, one.
//!
//! In: the object, rows of the table. Out: programs that are loaded or attached, or what the kernel said. Always holds: nothing is
//! attached that was not loaded. Refuses: nothing of its own.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use aya::{
    Btf, Ebpf,
    maps::{MapData, MapError, SockHash, sock::SockMapFd},
    programs::{
        BtfTracePoint, CgroupAttachMode, FEntry, FExit, Program, ProgramError, RawTracePoint,
        SkMsg, SockOps, TracePoint, UProbe,
    },
};

use super::{
    carriers,
    error::AttachError,
    table::{Hook, Place},
};

/// Most processors that verify at once.
const LOADERS_MAX: usize = 4;

/// What became of each row's program.
pub(super) type Loads = Vec<(&'static Hook, Result<(), AttachError>)>;

/// Passes programs through the verifier, on several processors at once: it takes no lock for who may load programs (`bpf_check`, 5.15 to 6.18), and its
/// work is nearly all of the time that a start takes. In the order of the rows.
pub(super) fn load_all(
    ebpf: &mut Ebpf,
    hooks: impl Iterator<Item = &'static Hook>,
    types: &Btf,
) -> Loads {
    let mut programs: HashMap<String, &mut Program> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), program))
        .collect();
    let mut work: Vec<(usize, &Hook, Option<&mut Program>)> = hooks
        .enumerate()
        .map(|(nth, hook)| (nth, hook, programs.remove(hook.program)))
        .collect();
    // Taken from the end.
    work.reverse();
    let loaders = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (work, loads) = (Mutex::new(work), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..loaders.min(LOADERS_MAX) {
            scope.spawn(|| {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((nth, hook, program)) = next else {
                        return;
                    };
                    let load = match program {
                        Some(program) => load(program, hook, types),
                        None => Err(AttachError::Absent(hook.program)),
                    };
                    let mut loads = loads.lock().unwrap_or_else(PoisonError::into_inner);
                    loads.push((nth, hook, load));
                }
            });
        }
    });
    let mut loads = loads.into_inner().unwrap_or_else(PoisonError::into_inner);
    loads.sort_by_key(|(nth, ..)| *nth);
    loads
        .into_iter()
        .map(|(_, hook, load)| (hook, load))
        .collect()
}

fn load(program: &mut Program, hook: &Hook, types: &Btf) -> Result<(), AttachError> {
    let loaded = match hook.place {
        Place::Syscall(_) => <&mut TracePoint>::try_from(program).and_then(TracePoint::load),
        Place::Raw(_) => <&mut RawTracePoint>::try_from(program).and_then(RawTracePoint::load),
        Place::Btf(name) => {
            <&mut BtfTracePoint>::try_from(program).and_then(|program| program.load(name, types))
        }
        Place::Entry(name) => {
            <&mut FEntry>::try_from(program).and_then(|program| program.load(name, types))
        }
        Place::Exit(name) => {
            <&mut FExit>::try_from(program).and_then(|program| program.load(name, types))
        }
        Place::User(_) => <&mut UProbe>::try_from(program).and_then(UProbe::load),
        Place::RootCgroup(_) => <&mut SockOps>::try_from(program).and_then(SockOps::load),
        Place::Members => <&mut SkMsg>::try_from(program).and_then(SkMsg::load),
    };
    loaded.map_err(|source| AttachError::Program {
        program: hook.program,
        reason: last_words(&source.to_string()),
    })
}

/// The first line of a message and its last ones.
fn last_words(text: &str) -> String {
    const LAST: usize = 4;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let first = lines.first().copied().unwrap_or_default();
    let last = lines.len().saturating_sub(LAST).max(1);
    std::iter::once(first)
        .chain(lines.get(last..).unwrap_or_default().iter().copied())
        .collect::<Vec<_>>()
        .join(" … ")
}

/// Attaches one program. The inner error is the kernel's refusal.
pub(super) fn attach_one(
    ebpf: &mut Ebpf,
    hook: &Hook,
) -> Result<Result<(), ProgramError>, AttachError> {
    let members = (hook.place == Place::Members)
        .then(|| members(ebpf))
        .transpose()?;
    let program = ebpf
        .program_mut(hook.program)
        .ok_or(AttachError::Absent(hook.program))?;
    Ok(match hook.place {
        Place::Syscall(name) => <&mut TracePoint>::try_from(program)
            .and_then(|program| program.attach("syscalls", name).map(|_| ())),
        Place::Raw(name) => <&mut RawTracePoint>::try_from(program)
            .and_then(|program| program.attach(name).map(|_| ())),
        Place::Btf(_) => {
            <&mut BtfTracePoint>::try_from(program).and_then(|program| program.attach().map(|_| ()))
        }
        Place::Entry(_) => {
            <&mut FEntry>::try_from(program).and_then(|program| program.attach().map(|_| ()))
        }
        Place::Exit(_) => {
            <&mut FExit>::try_from(program).and_then(|program| program.attach().map(|_| ()))
        }
        // Attached to the files of processes that need it, see `user`.
        Place::User(_) => Ok(()),
        // A link is shared with other programs' ones, whatever the mode (`bpf_link_create` takes no flags for cgroups).
        Place::RootCgroup(_) => carriers::root()
            .map_err(ProgramError::IOError)
            .and_then(|root| {
                <&mut SockOps>::try_from(program)?
                    .attach(root, CgroupAttachMode::Single)
                    .map(|_| ())
            }),
        Place::Members => match &members {
            Some(members) => <&mut SkMsg>::try_from(program)
                .and_then(|program| program.attach(members).map(|_| ())),
            None => Ok(()),
        },
    })
}

/// The map of sockets whose messages are seen.
fn members(ebpf: &Ebpf) -> Result<SockMapFd, AttachError> {
    const NAME: &str = "MEMBERS";
    let failed = |source| AttachError::Map {
        name: NAME,
        source: Box::new(source),
    };
    let map = ebpf.map(NAME).ok_or(AttachError::Absent(NAME))?;
    let map: SockHash<&MapData, u64> = SockHash::try_from(map).map_err(failed)?;
    map.fd()
        .try_clone()
        .map_err(|error| failed(MapError::IoError(error)))
}
