//! HotSpot: where a JVM keeps the virtual thread that is mounted on a thread.
//!
//! In: a process that has loaded libjvm.so. Out: [`Units`], or why its virtual threads are not read. Always holds: offsets of fields are those that the
//! library itself tells debuggers (`gHotSpotVMStructs`, exported in stripped builds too); what it does not tell comes from a table of releases;
//! each place is proved by the threads that the process has now. Refuses: releases without a row, collectors that move objects while threads run
//! where an object must be read, C libraries that keep a thread's data elsewhere (musl).
//!
//! ```text
//! _java_thread_list ─> JavaThread ─_osthread─> OSThread ─_pthread_id─> struct pthread ─(a slot)─> the same JavaThread
//!                          └─_threadObj─> slot ─> Thread object: eetop ─> the same JavaThread; tid is behind it
//! ```

use std::{collections::HashSet, fs::File};

use agent_common::abi::{Runtime, java_variant, runtime};

use super::{
    Units,
    jvm::{Structs, is_pointer},
};
use crate::enrich::proc_root::ProcRoot;

/// How the mounted thread's id is found.
#[derive(Clone, Copy)]
enum By {
    /// It is in the Thread object.
    Object,
    /// The JVM keeps it (`_monitor_owner_id`).
    OwnerId {
        /// `ContinuationEntry._flags`, of which the library says nothing.
        flags: u32,
        /// How far `_cont_entry` is behind `_is_method_handle_return`, where the library says nothing of it (before 25.0.3).
        entry: u32,
    },
}

/// Releases, each seen at work with bpftrace, at calls that virtual threads made: Temurin 21.0.8, 25.0.2 and 25.0.3. A wrong number would find no
/// virtual thread, or one whose flags are not 1.
const RELEASES: &[(u32, By)] = &[
    (21, By::Object),
    (
        25,
        By::OwnerId {
            flags: 32,
            entry: 0x20,
        },
    ),
];
/// The first release with virtual threads that need no switch.
const FIRST: u32 = 21;
/// Collectors that move objects only while all Java threads stand still, and say when they do.
const STANDING: &[&str] = &["UseSerialGC", "UseParallelGC", "UseG1GC"];
/// Threads looked at; a JVM that has just begun has some ten.
const THREADS_MAX: usize = 128;
/// As many must agree.
const THREADS_MIN: usize = 3;
/// Tries: threads begin and end, and objects move, while they are looked at.
const TRIES: usize = 10;
/// Where in glibc's `struct pthread` the slots of thread-specific data are (0x310 in 2.36), with room for other versions.
const SLOTS: std::ops::Range<u64> = 0x280..0x900;
/// Ids are given out one after the other.
const IDS: std::ops::Range<u64> = 1..1 << 40;
/// Bytes of a Thread object in which `eetop` is (16 in 21).
const OBJECT: u64 = 128;

/// Why a process' virtual threads are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has none.
    WithoutVirtualThreads,
    /// No row for it, or another virtual machine than HotSpot.
    Release,
    /// Objects may move at any time.
    Collector,
    /// Its memory is not what it should be.
    Unreadable,
}

impl Refusal {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithoutVirtualThreads => "a JVM is running, without virtual threads",
            Self::Release => {
                "this release or kind of JVM is not known (known: HotSpot 21, 25): its virtual threads are not read"
            }
            Self::Collector => {
                "this JVM's collector moves objects while threads run (ZGC, Shenandoah), and before release 25 virtual threads are read out of objects"
            }
            Self::Unreadable => "this JVM's virtual threads were not found in its memory",
        }
    }
}

/// A platform thread of the JVM.
struct JavaThread {
    address: u64,
    /// Its `struct pthread`.
    pthread: u64,
}

/// How the virtual threads of the process `tgid` are found. `maps` is its `/proc/PID/maps`.
///
/// # Errors
/// [`Refusal`], in words for people.
pub fn find(root: &ProcRoot, tgid: u32, maps: &[u8]) -> Result<Units, Refusal> {
    let memory = File::open(root.file(tgid, "mem")).map_err(|_| Refusal::Unreadable)?;
    let jvm = Structs::read(root, tgid, maps, memory).map_err(|is_known| match is_known {
        true => Refusal::Unreadable,
        false => Refusal::Release,
    })?;
    let release = jvm
        .constant("Abstract_VM_Version", "_vm_major_version")
        .ok_or(Refusal::Release)?;
    // HotSpot of Java 8 calls itself 25, and has no such field.
    if release < FIRST || jvm.offset("JavaThread", "_vthread").is_none() {
        return Err(Refusal::WithoutVirtualThreads);
    }
    let (_, by) = RELEASES
        .iter()
        .find(|(known, _)| *known == release)
        .ok_or(Refusal::Release)?;
    if matches!(by, By::Object) && !STANDING.iter().any(|flag| jvm.is_on(flag)) {
        return Err(Refusal::Collector);
    }
    (0..TRIES)
        .find_map(|_| match by {
            By::Object => by_object(&jvm),
            By::OwnerId { flags, entry } => by_owner_id(&jvm, *flags, *entry),
        })
        .map(|known| Units {
            runtime: known,
            probes: Vec::new(),
            fact: "a JVM whose virtual threads are told apart; platform threads count with blocking sockets",
        })
        .ok_or(Refusal::Unreadable)
}

fn by_owner_id(jvm: &Structs, flags: u32, entry: u32) -> Option<Runtime> {
    let threads = threads(jvm)?;
    let field = |name| jvm.offset("JavaThread", name);
    let entry =
        field("_cont_entry").or_else(|| Some(field("_is_method_handle_return")? + entry))?;
    let owner = field("_monitor_owner_id")?;
    let (base, size) = (field("_stack_base")?, field("_stack_size")?);
    let mut ids = HashSet::new();
    for JavaThread { address, .. } in &threads {
        let at = |offset: u32| jvm.word(address + u64::from(offset));
        // Of a thread that is just made there is none yet.
        let id = at(owner)?;
        if id != 0 && !(IDS.contains(&id) && ids.insert(id)) {
            return None;
        }
        let top = at(base)?;
        let entry = at(entry)?;
        // It is on the thread's stack.
        if entry != 0 && !(top.checked_sub(at(size)?)?..top).contains(&entry) {
            return None;
        }
    }
    let mut known = Runtime::of(runtime::JAVA);
    known.variant = java_variant::OWNER_ID;
    known.offsets[..4].copy_from_slice(&[slot(jvm, &threads)?, entry, flags, owner]);
    (ids.len() >= THREADS_MIN).then_some(known)
}

fn by_object(jvm: &Structs) -> Option<Runtime> {
    let threads = threads(jvm)?;
    let field = |name| jvm.offset("JavaThread", name);
    let (running, own) = (field("_vthread")?, field("_threadObj")?);
    let mut ids = HashSet::new();
    let mut places = HashSet::new();
    for JavaThread { address, .. } in &threads {
        let object = jvm.word(jvm.word(address + u64::from(own))?)?;
        let back = (8..OBJECT)
            .step_by(8)
            .find(|offset| jvm.word(object + offset) == Some(*address))?;
        // `eetop` and `tid` are the only two long fields, in this order (src/java.base/share/classes/java/lang/Thread.java).
        let id = jvm.word(object + back + 8)?;
        if !(IDS.contains(&id) && ids.insert(id)) {
            return None;
        }
        places.insert(u32::try_from(back + 8).ok()?);
        jvm.word(jvm.word(address + u64::from(running))?)?;
    }
    let id = places.iter().next().filter(|_| places.len() == 1)?;
    let heap = |name| jvm.offset("CollectedHeap", name);
    let mut known = Runtime::of(runtime::JAVA);
    known.offsets[..6].copy_from_slice(&[
        slot(jvm, &threads)?,
        running,
        own,
        *id,
        heap("_is_stw_gc_active")?,
        heap("_total_collections")?,
    ]);
    known.addresses[0] = jvm
        .word(jvm.address("Universe", "_collectedHeap")?)
        .filter(|heap| is_pointer(*heap))?;
    (ids.len() >= THREADS_MIN).then_some(known)
}

/// The threads of the JVM whose thread-specific data can be looked at.
fn threads(jvm: &Structs) -> Option<Vec<JavaThread>> {
    let list = jvm.word(jvm.address("ThreadsSMRSupport", "_java_thread_list")?)?;
    let field = |name| Some(list + u64::from(jvm.offset("ThreadsList", name)?));
    let count = jvm.word(field("_length")?)? as u32 as usize;
    let first = jvm.word(field("_threads")?)?;
    let os_thread = jvm
        .offset("Thread", "_osthread")
        .or_else(|| jvm.offset("JavaThread", "_osthread"))?;
    let pthread_id = jvm.offset("OSThread", "_pthread_id")?;
    let threads = (0..count.min(THREADS_MAX) as u64).filter_map(|index| {
        let address = jvm
            .word(first + 8 * index)
            .filter(|word| is_pointer(*word))?;
        let os_thread = jvm.word(address + u64::from(os_thread))?;
        let pthread = jvm.word(os_thread + u64::from(pthread_id))?;
        // glibc's pthread_t is the address of `struct pthread`, whose first word points to itself, as does fsbase.
        (jvm.word(pthread)? == pthread).then_some(JavaThread { address, pthread })
    });
    Some(threads.collect())
}

/// How far behind a thread's fsbase the slot with its `JavaThread` is: the only one that all have.
fn slot(jvm: &Structs, threads: &[JavaThread]) -> Option<u32> {
    let mut common: Option<HashSet<u64>> = None;
    for thread in threads {
        let count = (SLOTS.end - SLOTS.start) / 8;
        let slots = jvm.words(thread.pthread + SLOTS.start, count as usize)?;
        let here: HashSet<u64> = (0..count)
            .zip(slots)
            .filter(|(_, word)| *word == thread.address)
            .map(|(index, _)| SLOTS.start + 8 * index)
            .collect();
        common = Some(match common {
            Some(before) => before.intersection(&here).copied().collect(),
            None => here,
        });
    }
    let common = common.filter(|slots| slots.len() == 1 && threads.len() >= THREADS_MIN)?;
    u32::try_from(*common.iter().next()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "java_tests.rs"]
mod tests;
