//! Node.js: where its async ids are, and where a turn of its event loop begins.
//!
//! In: the executable, or the library that it is linked with (`libnode.so`). Out: [`Units`]. Always holds: the code itself is looked at: each constructor of
//! `node::InternalCallbackScope` that calls `push_async_context` must load the ids from the scope in rbx, and that function must go through the pointer
//! that is read later. Refuses: builds whose code is another; their calls are roots. Where timers cannot be told apart (files without symbols, 18.20), calls after
//! a timer are roots.
//!
//! Seen in the code of 18.20.8, 20.20.2, 22.23.3, 24.21.0 (nodejs.org, npm's `node`): the constructors' `movsd 0x8(%rbx),%xmm0` and
//! `movsd 0x10(%rbx),%xmm1` before the call, and `mov 0x98(%rbx),%rcx` (the pointer to the ids) in the function.

mod awaits;

use std::{fs::File, os::unix::fs::FileExt};

use agent_common::abi::{Runtime, node_variant, runtime};
use memchr::memmem;
use object::{Object, ObjectSection, ObjectSegment};

use super::Units;
use crate::{
    attach::user::Probe,
    enrich::{
        bounded::{self, Bounded, Program},
        foreign::Looked,
    },
};

/// `node::AsyncHooks::push_async_context(double, double, …)`; what the third argument is changed in 22.
const PUSH: &str = "_ZN4node10AsyncHooks18push_async_contextEdd";
/// `node::InternalCallbackScope::InternalCallbackScope(…)`, as the code of a base class or not: the same.
const SCOPE: &str = "_ZN4node21InternalCallbackScopeC";
/// `v8::internal::MicrotaskQueue::RunMicrotasks(v8::internal::Isolate*)`
const MICROTASKS: &str = "_ZN2v88internal14MicrotaskQueue13RunMicrotasksEPNS0_7IsolateE";
/// `v8::internal::Execution::TryRunMicrotasks(…)`
const TRY_MICROTASKS: &str = "_ZN2v88internal9Execution16TryRunMicrotasksEPNS0_7Isolate";
/// Functions by which a timer's callback makes microtasks ready: the one that `new Promise` hands out, and `await` ([`awaits`]). V8 makes them when it is
/// built; they are symbols only where the file is not stripped.
/// The last are `node::AsyncWrap::AsyncReset(v8::Local<v8::Object>, double[, bool])`, by which it makes a resource.
const RESOLVES: [&str; 3] = [
    "Builtins_PromiseCapabilityDefaultResolve",
    "_ZN4node9AsyncWrap10AsyncResetEN2v85LocalINS1_6ObjectEEEdb",
    "_ZN4node9AsyncWrap10AsyncResetEN2v85LocalINS1_6ObjectEEEd",
];

/// `movsd 0x8(%rbx),%xmm0` and `movsd 0x10(%rbx),%xmm1`.
const LOADS: [&[u8]; 2] = [b"\xf2\x0f\x10\x43\x08", b"\xf2\x0f\x10\x4b\x10"];
/// `call`, with the distance to the function behind it.
const CALL: u8 = 0xe8;
/// Bytes before the call in which the loads are.
const LOADS_WITHIN: usize = 48;
/// Where the pointer to the ids is in `AsyncHooks`.
const IDS: u32 = 0x98;
/// `mov disp32(%reg),%reg` with REX.W: the middle two bytes vary with the registers.
const MOV: u8 = 0x8b;
/// Largest function looked at, bytes.
const CODE_MAX: u64 = 4096;

/// Constructors of `InternalCallbackScope`; 24 has three.
const SCOPES_MAX: usize = 8;

/// Places in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    scope: u64,
    /// Where the number of open scopes is in `Environment`.
    depth: u32,
    timers: Option<Timers>,
}

/// Places of what tells timers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timers {
    microtasks: u64,
    drained: u64,
    /// 0: this build has no such function.
    resolves: [u64; RESOLVES.len()],
    awaits: Option<awaits::Awaits>,
}

impl Places {
    /// What the programs are told, and what must be attached first. `file` is the file the places are in.
    #[must_use]
    pub fn units(self, file: &Looked) -> Units {
        let probe = |program, offset| Probe {
            program,
            file: file.clone(),
            offset,
        };
        let mut probes = vec![probe("node_scope", self.scope)];
        if let Some(timers) = self.timers {
            probes.push(probe("node_microtasks", timers.microtasks));
            probes.push(probe("node_drained", timers.drained));
            let [resolve, resets @ ..] = timers.resolves;
            probes.push(probe("node_resolve", resolve));
            let resets = resets.into_iter().filter(|place| *place != 0);
            probes.extend(resets.map(|place| probe("node_reset", place)));
        }
        let mut known = Runtime::of(runtime::NODE);
        known.offsets[0] = IDS;
        known.offsets[1] = self.depth;
        if self.timers.is_some() {
            known.variant = node_variant::TIMERS;
        }
        let mut units = Units {
            runtime: known,
            probes,
            fact: "Node.js whose async functions are not known (18, or a file without symbols): calls of a request count while it is alone on its thread",
        };
        awaits::add(
            self.timers.and_then(|timers| timers.awaits),
            &mut units,
            file,
        );
        units
    }
}

/// Looks into an executable or library. None where it is no Node.js whose code is known.
#[must_use]
pub fn places(file: &File) -> Option<Places> {
    let data = Bounded::new(file);
    let program = Program::parse(&data).ok()?;
    let mut found = Found::default();
    for (symbols, names) in [(".dynsym", ".dynstr"), (".symtab", ".strtab")] {
        if found.is_whole() {
            break;
        }
        let range = |name| program.section_by_name(name)?.file_range();
        if let (Some(symbols), Some(names)) = (range(symbols), range(names)) {
            found.search(file, symbols, names)?;
        }
    }
    let in_file = |address: u64| {
        program.segments().find_map(|segment| {
            let (at, size) = segment.file_range();
            let inside = address.checked_sub(segment.address())?;
            (inside < size).then_some(at + inside)
        })
    };
    let code = |(address, size): (u64, u64)| {
        let mut code = vec![0; usize::try_from(size.min(CODE_MAX)).ok()?];
        file.read_exact_at(&mut code, in_file(address)?).ok()?;
        Some(code)
    };
    let push = found.push?;
    if !goes_through_ids(&code(push)?) || found.scopes.is_empty() {
        return None;
    }
    let (mut calls, mut depth) = (0, None);
    for scope in &found.scopes {
        let code = code(*scope)?;
        let here = calls_with_ids(&code, scope.0, push.0)?;
        if here > 0 {
            let counted = counted_at(&code)?;
            if depth.is_some_and(|known| known != counted) {
                return None;
            }
            depth = Some(counted);
        }
        calls += here;
    }
    (calls > 0).then_some(Places {
        scope: in_file(push.0)?,
        depth: depth?,
        timers: found.timers(code, in_file),
    })
}

/// Functions: address and size.
#[derive(Default)]
struct Found {
    push: Option<(u64, u64)>,
    scopes: Vec<(u64, u64)>,
    microtasks: Option<u64>,
    drained: Option<u64>,
    /// Of `microtasks` only a part is a function.
    is_split: bool,
    resolves: [Option<u64>; RESOLVES.len()],
    awaits: awaits::Found,
}

impl Found {
    fn search(&mut self, file: &File, symbols: (u64, u64), names: (u64, u64)) -> Option<()> {
        bounded::symbols(file, symbols, names, |symbol| {
            if symbol.address != 0
                && symbol.size != 0
                && let Ok(name) = std::str::from_utf8(symbol.name)
            {
                self.take(name, symbol.address, symbol.size);
            }
        })?;
        (self.scopes.len() <= SCOPES_MAX).then_some(())
    }

    fn take(&mut self, name: &str, address: u64, size: u64) {
        // Most names are V8's, and none of these.
        if !name.starts_with("_ZN") && !name.starts_with("Builtins_") || name.contains(".cold") {
            return;
        }
        // Callers of 18.20 have its beginning in themselves: that it was called between two timers is not seen.
        if name
            .strip_prefix(MICROTASKS)
            .is_some_and(|rest| rest.starts_with(".part"))
        {
            self.is_split = true;
        }
        let place = (address, size);
        if name.starts_with(PUSH) {
            self.push = Some(place);
        } else if name.starts_with(SCOPE) {
            if self.scopes.len() <= SCOPES_MAX && !self.scopes.contains(&place) {
                self.scopes.push(place);
            }
        } else if name == MICROTASKS {
            self.microtasks = Some(address);
        } else if name.starts_with(TRY_MICROTASKS) {
            self.drained = Some(address);
        } else if let Some(known) = RESOLVES.iter().position(|known| *known == name)
            && let Some(found) = self.resolves.get_mut(known)
        {
            *found = Some(address);
        } else {
            self.awaits.take(name, place);
        }
    }

    fn is_whole(&self) -> bool {
        let [first, ..] = self.resolves;
        self.push.is_some() && first.is_some() && self.drained.is_some()
    }

    fn timers(
        &self,
        code: impl Fn((u64, u64)) -> Option<Vec<u8>>,
        in_file: impl Fn(u64) -> Option<u64>,
    ) -> Option<Timers> {
        let [first, ..] = self.resolves;
        first?;
        if self.is_split {
            return None;
        }
        let resolves = self.resolves.map(|place| place.and_then(&in_file));
        Some(Timers {
            microtasks: in_file(self.microtasks?)?,
            drained: in_file(self.drained?)?,
            resolves: resolves.map(Option::unwrap_or_default),
            awaits: self.awaits.places(code, &in_file),
        })
    }
}

/// Where a constructor counts the open scopes in `Environment`: `addq $1,disp32(%reg)`, of which it has one.
fn counted_at(code: &[u8]) -> Option<u32> {
    let mut found = None;
    for (at, window) in code.windows(2).enumerate() {
        // REX.W, and the register's high bit or not; then the group of operations with a byte.
        let &[0x48 | 0x49, 0x83] = window else {
            continue;
        };
        let modrm = *code.get(at + 2)?;
        // mod 10 (disp32), operation 0 (add); register 4 has one more byte.
        if modrm & 0xf8 != 0x80 {
            continue;
        }
        let disp = at + 3 + usize::from(modrm & 7 == 4);
        let Some(&[a, b, c, d, 1]) = code.get(disp..disp + 5) else {
            continue;
        };
        if found.replace(u32::from_le_bytes([a, b, c, d])).is_some() {
            return None;
        }
    }
    found
}

/// Whether the code loads the pointer at [`IDS`].
fn goes_through_ids(code: &[u8]) -> bool {
    memmem::find_iter(code, &IDS.to_le_bytes()).any(|at| at >= 3 && code.get(at - 2) == Some(&MOV))
}

/// Calls of `push` in the code at `address`. None: one of them does not take its ids from the scope in rbx.
fn calls_with_ids(code: &[u8], address: u64, push: u64) -> Option<usize> {
    let mut calls = 0;
    for (at, window) in code.windows(5).enumerate() {
        let &[CALL, a, b, c, d] = window else {
            continue;
        };
        let behind = address.wrapping_add(at as u64 + 5);
        let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
        if behind.wrapping_add_signed(distance) != push {
            continue;
        }
        let before = code.get(at.saturating_sub(LOADS_WITHIN)..at)?;
        if !LOADS
            .iter()
            .all(|load| memmem::find(before, load).is_some())
        {
            return None;
        }
        calls += 1;
    }
    Some(calls)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::{fs::File, path::Path};

    use agent_common::abi::{node_variant, runtime};

    use super::{IDS, Looked, places};

    #[test]
    fn the_installed_node_is_known_and_other_programs_are_not() {
        let path = Path::new("/usr/bin/node");
        let file = File::open(path).unwrap();
        let looked = Looked::at(path, &file).unwrap();
        let units = places(&file).unwrap().units(&looked);
        assert_eq!(units.runtime.class, runtime::NODE);
        assert_eq!(units.runtime.offsets[0], IDS);
        assert_ne!(units.runtime.offsets[1], 0);
        assert_eq!(
            units.runtime.variant,
            node_variant::TIMERS | node_variant::AWAITS
        );
        // Seen in 20.20.2: the closure's context, the queue's count, the page's flags.
        assert_eq!(units.runtime.offsets[4..], [0x1f, 0x28, 8]);
        let programs: Vec<&str> = units.probes.iter().map(|probe| probe.program).collect();
        assert_eq!(
            programs,
            [
                "node_scope",
                "node_microtasks",
                "node_drained",
                "node_resolve",
                "node_reset",
                "node_collected",
                "node_resume",
                "node_resume",
                "node_return",
                "node_return",
                "node_await",
                "node_await"
            ]
        );
        for other in ["/bin/sh", "/usr/local/go/bin/go", "/etc/passwd"] {
            assert_eq!(places(&File::open(other).unwrap()), None, "{other}");
        }
    }
}
