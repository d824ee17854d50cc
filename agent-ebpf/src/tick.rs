//! Ticks of schedulers: which processes belong to a command that cron began.
//!
//! In: exec, fork, exit; a process listens, or reads a request. Out: trace and span of the tick for a call that has no other parent,
//! records. Always holds: a tick's trace and span are made at the exec of its first process; descendants have them by fork; nothing is looked
//! up before a scheduler was seen to begin something within the longest time a tick lasts. Refuses: what a scheduler begins at its own start
//! (`@reboot`: daemons), schedulers themselves, its mailer, processes that serve. What systemd begins is most often no tick: its processes are
//! followed as a tick's are, and their calls are roots until user space has read what triggered the unit (`TIMED`).
//!
//! ```text
//!   (none) --exec, the parent is a scheduler--> member --fork--> member too
//!   member --listens / reads a request / user space says so / exit--> (none)        (older than TICK_CLAIM_MAX_NS: does not count)
//! ```

use agent_common::{
    abi::{ProcessKey, RecordHead, Tick, TickRecord, Words, demand, evidence, kind, tick},
    carried::context,
    counters::Counter,
    limits::{TICK_AFTER_START_NS, TICK_CLAIM_MAX_NS},
};
use aya_ebpf::helpers::bpf_get_current_comm;

use crate::{
    carry, emit,
    ids::{copy, new_span_id, new_trace_id, now},
    maps::{DEMANDS, TICKS, TIMED, count},
    scope::task_in_scope,
    settings::setting,
    walk::{Task, field},
};

/// A thread's name as two words.
type Comm = [u64; 2];

const fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*bytes)
}

/// The first bytes of a word in memory (x86-64 keeps the lowest first).
const fn first(bytes: u32) -> u64 {
    (1 << (8 * bytes)) - 1
}

/// Whether a name is a scheduler's: `cron` (Debian's), `crond` (cronie, busybox), `supercronic`. Names end with a zero byte; older kernels may
/// leave others behind it.
#[inline(always)]
fn is_scheduler(comm: &Comm) -> bool {
    comm[0] & first(5) == word(b"cron\0\0\0\0")
        || comm[0] & first(6) == word(b"crond\0\0\0")
        || (comm[0] == word(b"supercro") && comm[1] & first(4) == word(b"nic\0\0\0\0\0"))
}

/// Whether a name is systemd's, which runs timers among much else.
#[inline(always)]
fn is_systemd(comm: &Comm) -> bool {
    comm[0] == word(b"systemd\0")
}

/// Whether a name is that of the program which, from systemd 254 on, becomes the command.
#[inline(always)]
fn is_executor(comm: &Comm) -> bool {
    comm[0] == word(b"systemd-") && comm[1] & first(7) == word(b"executo\0")
}

/// Whether a name is that of the program by which schedulers mail what a command wrote.
#[inline(always)]
fn is_mailer(comm: &Comm) -> bool {
    comm[0] == word(b"sendmail") && comm[1] & first(1) == 0
}

/// The name of a task.
#[inline(always)]
fn comm_of(task: u64) -> Comm {
    field(task, setting!(offsets.task_comm))
}

/// Whether a process may belong to a tick at all.
#[inline(always)]
pub(crate) fn has_ticks(now: u64) -> bool {
    DEMANDS
        .get(demand::TICKED)
        .is_some_and(|at| *at != 0 && now.wrapping_sub(*at) <= TICK_CLAIM_MAX_NS)
}

/// Tells of a process of a tick.
#[inline(always)]
fn tell(process: ProcessKey, of: &Tick, what: u32, by: u32, scheduler: &Comm) {
    let record = TickRecord {
        head: RecordHead {
            kind: kind::TICK,
            payload: 0,
            size: size_of::<TickRecord>() as u32,
            ktime_ns: now(),
        },
        process,
        trace_id: [of.trace_id[0], of.trace_id[1]],
        span_id: of.span_id,
        what,
        by,
        comm: bpf_get_current_comm().unwrap_or_default(),
        // SAFETY: two words are sixteen bytes, and any bytes are a name.
        scheduler: unsafe { core::mem::transmute::<Comm, [u8; 16]>(*scheduler) },
    };
    if what == tick::JOINED {
        emit::small(&record);
    } else {
        // The process may be gone, or call others, before the next look.
        emit::small_waking(&record);
    }
}

/// The scheduler that began this process: its name, if it has run for long enough. systemd's own, too.
#[inline(always)]
fn scheduler_of(task: Task, now: u64) -> Option<Comm> {
    let parent: u64 = field(task.address(), setting!(offsets.task_real_parent));
    let comm = comm_of(parent);
    if is_systemd(&comm) {
        return Some(comm);
    }
    if !is_scheduler(&comm) {
        return None;
    }
    // Debian's cron and cronie fork a child for each command, which forks the one that becomes it.
    let above: u64 = field(parent, setting!(offsets.task_real_parent));
    let daemon = if is_scheduler(&comm_of(above)) {
        above
    } else {
        parent
    };
    let leader: u64 = field(daemon, setting!(offsets.task_group_leader));
    let started: u64 = field(leader, setting!(offsets.task_start_time));
    (now.wrapping_sub(started) > TICK_AFTER_START_NS).then_some(comm)
}

/// The current process became another program.
#[inline(never)]
pub(crate) fn becomes(task: Task) -> u64 {
    let now = now();
    let own = comm_of(task.address());
    if is_scheduler(&own) {
        // Begun anew by a command of its own: what it begins from now on has nothing to do with that.
        leave(task, now);
        return 0;
    }
    if is_mailer(&own) || is_executor(&own) {
        return 0;
    }
    // SAFETY: only tested for presence.
    if has_ticks(now) && unsafe { TICKS.get(task.tgid()) }.is_some() {
        return 0;
    }
    let Some(scheduler) = scheduler_of(task, now) else {
        return 0;
    };
    if task_in_scope().is_none() {
        return 0;
    }
    let salt = task.pid_tgid();
    let mut begun = Tick {
        trace_id: new_trace_id(salt),
        span_id: new_span_id(salt),
        ktime_ns: now,
        is_asked: u64::from(is_systemd(&scheduler)),
    };
    if carry::is_on() {
        let said = context::CERTAIN | carry::sampled(&begun.trace_id, None);
        begun.span_id = begun.span_id & !u64::from(context::BITS) | u64::from(said);
    }
    if TICKS.insert(task.tgid(), begun, 0).is_err() {
        count(Counter::TicksFull, 1);
        return 0;
    }
    if let Some(at) = DEMANDS.get_ptr_mut(demand::TICKED) {
        // SAFETY: a word of a map value; volatile, because others read it.
        unsafe { core::ptr::write_volatile(at, now) };
    }
    tell(task.process_key(), &begun, tick::BEGUN, 0, &scheduler);
    1
}

/// The current process forked `child`.
#[inline(never)]
pub(crate) fn forks(by: u32, child: u64, child_tgid: u32) -> u64 {
    if !has_ticks(now()) {
        return 0;
    }
    // SAFETY: only the process' own programs and user space remove the value; a copy that mixes two ticks cannot be: a value is written once.
    let Some(of) = (unsafe { TICKS.get(by) }) else {
        return 0;
    };
    if TICKS.insert(child_tgid, of, 0).is_err() {
        count(Counter::TicksFull, 1);
        return 0;
    }
    let leader: u64 = field(child, setting!(offsets.task_group_leader));
    let process = ProcessKey {
        start_ns: field(leader, setting!(offsets.task_start_time)),
        tgid: child_tgid,
        zero: 0,
    };
    tell(process, of, tick::JOINED, by, &[0; 2]);
    1
}

/// The current process serves others from now on. User space knows that by what else it is told.
#[inline(always)]
pub(crate) fn leave(task: Task, now: u64) {
    if has_ticks(now) {
        let _ = TICKS.remove(task.tgid());
    }
}

/// The process ended.
#[inline(always)]
pub(crate) fn ends(tgid: u32) {
    let _ = TICKS.remove(tgid);
}

/// The tick that the current process belongs to: the parent of a call that has no other one. Returns 0 where there is none.
#[inline(always)]
pub(crate) fn parent(task: Task, now: u64, trace_id: &mut Words, span_id: &mut u64) -> u64 {
    if has_ticks(now) {
        return look_up(task, now, trace_id, span_id);
    }
    0
}

#[inline(never)]
fn look_up(task: Task, now: u64, trace_id: &mut Words, span_id: &mut u64) -> u64 {
    // SAFETY: as above.
    let Some(of) = (unsafe { TICKS.get(task.tgid()) }) else {
        return 0;
    };
    if now.wrapping_sub(of.ktime_ns) > TICK_CLAIM_MAX_NS {
        count(Counter::TickAged, 1);
        return 0;
    }
    // SAFETY: one byte, only tested for presence.
    if of.is_asked != 0 && unsafe { TIMED.get(of.span_id) }.is_none() {
        return 0;
    }
    copy(trace_id, &of.trace_id);
    *span_id = of.span_id;
    u64::from(evidence::TICK)
}
