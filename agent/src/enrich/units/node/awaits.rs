//! Async functions of Node.js programs: where they wait, go on and return, and where V8 has moved them.
//!
//! In: symbols and code of V8's builtins in the executable. Out: [`Awaits`]. Always holds: the code itself is looked at, and each fact that the programs
//! stand on is read from it: the async function's object in rax at `await`, where the closure that goes on has it in its context, the number of
//! microtasks that have run, and the flag of a page from which the collector moves objects. Refuses: builds whose code is another; the calls of their
//! requests count only while those are alone on their thread.
//!
//! Seen in the code of 20.20.2, 22.23.3, 24.21.0 (V8 11.3, 12.4, 13.6), and with gdb at `GarbageCollectionEpilogueInSafepoint`: an object that was moved has
//! in place of its map the new address without the tag; from-space pages have flag 8; of 101 async functions that waited none was lost over 60
//! collections, scavenges and full ones. Builtins are run from a second mapping of the same file (V8's "short builtin calls"), at which probes are too.

use agent_common::abi::Runtime;
use memchr::memmem;

use super::super::Units;
use crate::{attach::user::Probe, enrich::foreign::Looked};

/// `await`, from 24 on one builtin.
const AWAITS: [&str; 3] = [
    "Builtins_AsyncFunctionAwait",
    "Builtins_AsyncFunctionAwaitCaught",
    "Builtins_AsyncFunctionAwaitUncaught",
];
/// An async function returns, or throws.
const RETURNS: [&str; 2] = [
    "Builtins_AsyncFunctionResolve",
    "Builtins_AsyncFunctionReject",
];
/// It goes on.
const RESUMES: [&str; 2] = [
    "Builtins_AsyncFunctionAwaitResolveClosure",
    "Builtins_AsyncFunctionAwaitRejectClosure",
];
/// `v8::internal::Heap::GarbageCollectionEpilogueInSafepoint(GarbageCollector)`
const COLLECTED: &str =
    "_ZN2v88internal4Heap36GarbageCollectionEpilogueInSafepointENS0_16GarbageCollectorE";
const RUN_MICROTASKS: &str = "Builtins_RunMicrotasks";
const RECORD_WRITE: &str = "Builtins_RecordWriteIgnoreFP";

/// `push %rbp`, which the kernel emulates for a probe; what it has to step over costs twenty times as much.
const PUSH_RBP: u8 = 0x55;
/// `test $0x1,%bl` and the `je` behind it, which is emulated too: whether the awaited value is a small number.
const TEST_VALUE: &[u8] = b"\xf6\xc3\x01\x0f\x84";
/// Length of the `test` in it.
const TEST: u64 = 3;
/// Where `await` begins, bytes.
const AWAIT_WITHIN: usize = 64;
/// Where an async function's object has its promise: byte 80, less the tag. Its load from rax shows that the object is there.
const PROMISE: u8 = 0x4f;
/// `mov disp8(%rsi),%rdx`: the closure takes the object from its context.
const FROM_CONTEXT: &[u8] = b"\x48\x8b\x56";
/// Largest part of a builtin looked at, bytes.
const CODE_WITHIN: usize = 512;
/// `and $~0x3ffff,%rdx`: from an object to its page. Then `testb $0x18,(%rdx)` or `testb $0x18,disp8(%rdx)`: whether that is in the young generation.
const TO_PAGE: &[u8] = b"\x48\x81\xe2\x00\x00\xfc\xff";

/// Symbols of interest: address and size.
#[derive(Debug, Default)]
pub(super) struct Found {
    awaits: [Option<(u64, u64)>; AWAITS.len()],
    returns: [Option<(u64, u64)>; RETURNS.len()],
    resumes: [Option<(u64, u64)>; RESUMES.len()],
    collected: Option<(u64, u64)>,
    run_microtasks: Option<(u64, u64)>,
    record_write: Option<(u64, u64)>,
}

/// Places in the file, and offsets in V8's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaits {
    /// 0: this build has no such function.
    awaits: [u64; AWAITS.len()],
    returns: [u64; RETURNS.len()],
    resumes: [u64; RESUMES.len()],
    collected: u64,
    /// Where a closure's context has the async function's object, from the tagged address.
    object: u32,
    /// Where `MicrotaskQueue` counts the microtasks that have run.
    finished: u32,
    /// Where a page has its flags.
    flags: u32,
}

impl Found {
    /// Takes a symbol that is one of these.
    pub(super) fn take(&mut self, name: &str, place: (u64, u64)) {
        let known = [
            (&AWAITS[..], &mut self.awaits[..]),
            (&RETURNS[..], &mut self.returns[..]),
            (&RESUMES[..], &mut self.resumes[..]),
        ];
        for (names, places) in known {
            let at = names.iter().position(|known| *known == name);
            if let Some(found) = at.and_then(|at| places.get_mut(at)) {
                *found = Some(place);
                return;
            }
        }
        match name {
            COLLECTED => self.collected = Some(place),
            RUN_MICROTASKS => self.run_microtasks = Some(place),
            RECORD_WRITE => self.record_write = Some(place),
            _ => {}
        }
    }

    /// Looks at the code. `code` reads a function, `in_file` turns an address into a place in the file. None: it is another than what is known.
    pub(super) fn places(
        &self,
        code: impl Fn((u64, u64)) -> Option<Vec<u8>>,
        in_file: impl Fn(u64) -> Option<u64>,
    ) -> Option<Awaits> {
        let mut awaits = [0; AWAITS.len()];
        for (place, found) in awaits.iter_mut().zip(self.awaits) {
            let Some(found) = found else { continue };
            *place = in_file(found.0 + awaits_at(&code(found)?)?)?;
        }
        // All that a program's `await` may go through.
        let [all, caught, uncaught] = awaits.map(|place| place != 0);
        if !(all || caught && uncaught) {
            return None;
        }
        let mut returns = [0; RETURNS.len()];
        for (place, found) in returns.iter_mut().zip(self.returns) {
            *place = in_file(pushes(&code(found?)?, found?.0)?)?;
        }
        let (mut resumes, mut object) = ([0; RESUMES.len()], None);
        for (place, found) in resumes.iter_mut().zip(self.resumes) {
            let code = code(found?)?;
            *place = in_file(pushes(&code, found?.0)?)?;
            let here = displacement(&code, FROM_CONTEXT)?;
            if object.is_some_and(|known| known != here) {
                return None;
            }
            object = Some(here);
        }
        Some(Awaits {
            awaits,
            returns,
            resumes,
            collected: in_file(self.collected?.0)?,
            object: object?,
            finished: counted_at(&code(self.run_microtasks?)?)?,
            flags: flags_at(&code(self.record_write?)?)?,
        })
    }
}

impl Awaits {
    /// What must be attached.
    pub(super) fn probes(self, file: &Looked) -> Vec<Probe> {
        let probe = |program, offset| Probe {
            program,
            file: file.clone(),
            offset,
        };
        let places = |places: &[u64], program| -> Vec<Probe> {
            let known = places.iter().filter(|place| **place != 0);
            known.map(|place| probe(program, *place)).collect()
        };
        let mut probes = vec![probe("node_collected", self.collected)];
        probes.extend(places(&self.resumes, "node_resume"));
        probes.extend(places(&self.returns, "node_return"));
        // The last: what was told to wait is there when it goes on.
        probes.extend(places(&self.awaits, "node_await"));
        probes
    }

    /// Tells the programs where they read.
    pub(super) fn tell(self, known: &mut Runtime) {
        let [.., object, finished, flags] = &mut known.offsets;
        *object = self.object;
        *finished = self.finished;
        *flags = self.flags;
    }
}

/// Adds what must be attached to [`Units`].
pub(super) fn add(awaits: Option<Awaits>, units: &mut Units, file: &Looked) {
    if let Some(awaits) = awaits {
        units.probes.extend(awaits.probes(file));
        awaits.tell(&mut units.runtime);
        units.runtime.variant |= agent_common::abi::node_variant::AWAITS;
        units.fact = "Node.js: its async functions are followed";
    }
}

/// Where in `await` a probe is cheap, and the object in rax.
fn awaits_at(code: &[u8]) -> Option<u64> {
    let code = code.get(..AWAIT_WITHIN)?;
    // `mov 0x4f(%rax),%reg`
    code.windows(4).find(
        |window| matches!(window, [0x48 | 0x4c, 0x8b, modrm, PROMISE] if modrm & 0xc7 == 0x40),
    )?;
    if code.first() == Some(&PUSH_RBP) {
        return Some(0);
    }
    Some(memmem::find(code, TEST_VALUE)? as u64 + TEST)
}

/// The address of a function that begins with a push.
fn pushes(code: &[u8], address: u64) -> Option<u64> {
    (code.first() == Some(&PUSH_RBP)).then_some(address)
}

/// The displacement of the only instruction that begins with these bytes.
fn displacement(code: &[u8], instruction: &[u8]) -> Option<u32> {
    let code = code.get(..CODE_WITHIN.min(code.len()))?;
    let mut found = memmem::find_iter(code, instruction);
    let at = found.next()?;
    if found.next().is_some() {
        return None;
    }
    Some(u32::from(*code.get(at + instruction.len())?))
}

/// Where the queue counts: `mov d(%rdx),%r8`, `add $1,%r8`, `mov %r8,d(%rdx)`.
fn counted_at(code: &[u8]) -> Option<u32> {
    let code = code.get(..CODE_WITHIN.min(code.len()))?;
    code.windows(12).find_map(|window| match window {
        [
            0x4c,
            0x8b,
            0x42,
            from,
            0x49,
            0x83,
            0xc0,
            1,
            0x4c,
            0x89,
            0x42,
            to,
        ] if from == to => Some(u32::from(*from)),
        _ => None,
    })
}

/// Where a page has its flags.
fn flags_at(code: &[u8]) -> Option<u32> {
    let at = memmem::find(code, TO_PAGE)? + TO_PAGE.len();
    match code.get(at..at + 4)? {
        [0xf6, 0x02, 0x18, _] => Some(0),
        [0xf6, 0x42, displacement, 0x18] => Some(u32::from(*displacement)),
        _ => None,
    }
}
