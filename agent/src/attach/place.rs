//! One program at a time: through the verifier, and to its place.
//!
//! In: the object, a row of the table. Out: a program that is loaded or attached, or what the kernel said. Always holds: nothing is
//! attached that was not loaded. Refuses: nothing of its own.

use aya::{
    Btf, Ebpf,
    maps::{MapData, MapError, SockHash, sock::SockMapFd},
    programs::{
        BtfTracePoint, CgroupAttachMode, FEntry, FExit, ProgramError, RawTracePoint, SkMsg,
        SockOps, TracePoint, UProbe,
    },
};

use super::{
    carriers,
    error::AttachError,
    table::{Hook, Place},
};

/// Passes one program through the verifier.
pub(super) fn load(ebpf: &mut Ebpf, hook: &Hook, types: &Btf) -> Result<(), AttachError> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or(AttachError::Absent(hook.program))?;
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
