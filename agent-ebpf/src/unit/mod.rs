//! Contexts of execution units: which request a thread is serving.
//!
//! In: a thread read a request's bytes; it waits with epoll; its response began. Out: the context a call made now
//! belongs to, or none. Always holds: a context counts only while exactly one request that this unit read is
//! unanswered, and only for runtimes in which a thread serves one request at a time (DESIGN §5, §10).
//!
//! ```text
//!            request read                     response begins (by anyone) / age / exit
//!   (none) ----------------> LIVE ------------------------------------------------> (none)      (jobs: see `job`)
//!                             | second request read while the first is unanswered
//!                             v
//!                      MULTIPLEX (sticky: never counts again)        [NATIVE, THREADED, JAVA's platform threads]
//!   epoll_wait: sets EPOLL (sticky) for THREADED; ends the turn's context for TURN_PROXY, and what was read from a broker in this turn
//! ```
//!
//! A thread that runs many units (`many`) has no context of its own: theirs count.
//! What depends on epoll_wait counts only while its hooks are attached (`demand::LOOPS`).

pub(crate) mod cpython;
pub(crate) mod go;
mod haproxy;
mod java;
pub(crate) mod job;
pub(crate) mod many;
pub(crate) mod node;
pub(crate) mod task;
mod word;

use agent_common::{
    abi::{
        Conn, ExchangeIds, Inflight, SocketKey, Thread, Unit, UnitKey, conn_flag, cpython_variant,
        demand, evidence, runtime, unit_flag, unit_kind,
    },
    counters::Counter,
    limits::CONTEXT_AGE_MAX_NS,
};

use crate::{
    conn,
    ids::copy,
    maps::{THREADS, count, is_armed},
    walk::Task,
};

/// Runtime class of a process.
#[inline(always)]
pub(crate) fn class_of_process(tgid: u32) -> u8 {
    many::runtime_of(tgid).map_or(runtime::NATIVE, |known| known.class)
}

/// Whether a process' variant of its runtime has this bit.
#[inline(always)]
fn is_variant(tgid: u32, bit: u8) -> bool {
    many::runtime_of(tgid).is_some_and(|known| known.variant & bit != 0)
}

/// A thread's entry, made if need be. `key` is that of the current thread.
#[inline(always)]
pub(crate) fn current(key: u64) -> Option<&'static mut Thread> {
    let mut place = THREADS.get_ptr_mut(key);
    if place.is_none() {
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it would be copied to the stack, where there is no room"
        )]
        let inserted = THREADS.insert(key, &EMPTY, 0);
        if inserted.is_err() {
            count(Counter::ThreadsFull, 1);
            return None;
        }
        place = THREADS.get_ptr_mut(key);
    }
    // SAFETY: only this thread's programs write its entry, but for `leave`, which another thread may do once the
    // response begins; fields are single words or ids that are read only while LIVE. The entry is deleted by this
    // thread's own exit.
    place.map(|place| unsafe { &mut *place })
}

/// The current thread's entry, if it has one.
#[inline(always)]
pub(crate) fn existing(key: u64) -> Option<&'static mut Thread> {
    // SAFETY: see `current`.
    THREADS.get_ptr_mut(key).map(|place| unsafe { &mut *place })
}

/// What a thread begins with; a static, because it is too large for the stack.
static EMPTY: Thread = Thread {
    unit: Unit {
        trace_id: [0; 2],
        span_id: 0,
        ktime_ns: 0,
        flags: 0,
        turn_heads: 0,
        socket: SocketKey { sk: 0, ino: 0 },
    },
    inflight: Inflight {
        socket: SocketKey { sk: 0, ino: 0 },
        enter_ktime_ns: 0,
        pos: 0,
        zero: 0,
    },
    class: 0,
    class_ktime_ns: 0,
};

/// How long a thread keeps the runtime class it looked up. User space finds a class milliseconds after a process' first
/// record; a look-up for each request costs more than the rest of [`enter`].
const CLASS_KEPT_NS: u64 = 10_000_000;

/// Runtime class of the process of the thread `key`, whose entry is `thread`.
#[inline(always)]
fn class_of(thread: &mut Thread, key: u64, now: u64) -> u8 {
    if now.wrapping_sub(thread.class_ktime_ns) > CLASS_KEPT_NS {
        thread.class = u64::from(class_of_process((key >> 32) as u32));
        thread.class_ktime_ns = now;
    }
    thread.class as u8
}

/// How a request's bytes were read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// They are its first.
    pub begins: bool,
    /// The call would have waited for them.
    pub is_blocking: bool,
    /// When.
    pub now: u64,
}

/// The current unit read bytes of the request whose exchange is `conn`'s: it serves it.
#[inline(never)]
pub(crate) fn enter(task: Task, socket: &SocketKey, conn: &mut Conn, reading: Reading) -> u64 {
    let key = task.pid_tgid();
    let now = reading.now;
    let Some(thread) = current(key) else { return 0 };
    let class = class_of(thread, key, now);
    if class == runtime::NODE {
        return node::read_request(task, socket, conn, reading);
    }
    let mut reads_outside = false;
    if class == runtime::CPYTHON {
        match cpython::read_request(task, socket, conn, reading) {
            0 => {}
            cpython::OUTSIDE => reads_outside = true,
            _ => return 1,
        }
    }
    let mut unit = UnitKey {
        id: u64::from(key as u32),
        tgid: (key >> 32) as u32,
        kind: unit_kind::THREAD,
    };
    let is_located = many::has_many(class) && many::locate(task, &mut unit) != 0;
    // When another unit reads on, that one serves the request.
    if !reading.begins && conn.unit != unit {
        leave(conn);
    }
    conn.unit = unit;
    if is_located {
        return many::enter(conn, now);
    }
    if class == runtime::MULTIPLEXING
        || class == runtime::GO
        || class == runtime::HAPROXY
        || class == runtime::TOKIO
    {
        return 0;
    }
    let unit = &mut thread.unit;
    let is_other = unit.span_id != conn.span_id;
    if class == runtime::TURN_PROXY {
        if is_other || unit.flags & unit_flag::LIVE == 0 {
            unit.turn_heads += 1;
        }
    } else if unit.flags & (unit_flag::LIVE | unit_flag::JOB) == unit_flag::LIVE && is_other {
        unit.flags |= unit_flag::MULTIPLEX;
    }
    copy(&mut unit.trace_id, &conn.trace_id);
    unit.span_id = conn.span_id;
    unit.ktime_ns = now;
    unit.socket = *socket;
    unit.flags |= unit_flag::LIVE;
    unit.flags &= !(unit_flag::JOB | unit_flag::TURN);
    if reads_outside {
        unit.flags |= unit_flag::UNCLAIMED;
    }
    if reading.is_blocking {
        unit.flags |= unit_flag::BLOCKING;
    } else {
        unit.flags &= !unit_flag::BLOCKING;
    }
    1
}

/// The response to `conn`'s request began: whatever its unit does next is not known to belong to it.
#[inline(never)]
pub(crate) fn leave(conn: &Conn) -> u64 {
    if conn.unit.kind == unit_kind::ASYNC {
        return 0;
    }
    if conn.unit.kind != unit_kind::THREAD {
        return many::leave(conn);
    }
    let key = (u64::from(conn.unit.tgid) << 32) | conn.unit.id;
    let Some(place) = THREADS.get_ptr_mut(key) else {
        return 0;
    };
    // SAFETY: see `current`; a thread that reused the id does not serve this exchange, which the span id tells.
    let unit = unsafe { &mut (*place).unit };
    if unit.span_id == conn.span_id {
        unit.flags &= !unit_flag::LIVE;
        unit.turn_heads = 0;
    }
    1
}

/// The current unit is about to wait with epoll.
#[inline(always)]
pub(crate) fn wait(task: Task) {
    let key = task.pid_tgid();
    match class_of_process((key >> 32) as u32) {
        runtime::JAVA => java::waits(task),
        runtime::THREADED | runtime::CPYTHON => {
            if let Some(thread) = current(key) {
                thread.unit.flags |= unit_flag::EPOLL;
                thread.unit.flags &= !(unit_flag::UNCLAIMED | unit_flag::TURN);
            }
        }
        runtime::TURN_PROXY => {
            if let Some(thread) = existing(key) {
                thread.unit.flags &= !unit_flag::LIVE;
                thread.unit.turn_heads = 0;
            }
        }
        _ => {}
    }
}

/// The context a call made now belongs to: fills `ids` and returns 1 if there is one. For a proxy's turn the context
/// is taken: it counts once.
#[inline(never)]
pub(crate) fn context<const WHOLE: bool>(
    task: Task,
    thread: &mut Thread,
    now: u64,
    ids: &mut ExchangeIds,
) -> u64 {
    let class = class_of(thread, task.pid_tgid(), now);
    if class == runtime::NODE {
        return node::context::<WHOLE>(task, thread, ids);
    }
    if class == runtime::CPYTHON {
        if cpython::context(task, now, ids) != 0 {
            return 1;
        }
    } else if many::has_many(class) {
        let found = many::running(task, now, ids);
        if found != many::NO_UNIT {
            return found;
        }
        if class != runtime::JAVA {
            return 0;
        }
    }
    if thread.unit.flags & unit_flag::LIVE == 0 {
        return 0;
    }
    let unit = &mut thread.unit;
    if now.wrapping_sub(unit.ktime_ns) > CONTEXT_AGE_MAX_NS {
        unit.flags &= !unit_flag::LIVE;
        count(Counter::ContextAged, 1);
        return 0;
    }
    let mut found = evidence::THREAD;
    let counts = match class {
        runtime::TURN_PROXY => {
            found = evidence::TURN;
            let is_only = is_armed(demand::LOOPS) && unit.turn_heads == 1;
            unit.flags &= !unit_flag::LIVE;
            unit.turn_heads = 0;
            if let Some(conn) = conn::find(unit.socket) {
                conn.flags |= conn_flag::CONSUMED;
            }
            is_only
        }
        runtime::THREADED | runtime::CPYTHON => {
            unit.flags & unit_flag::MULTIPLEX == 0
                && !(class == runtime::CPYTHON
                    && is_variant(task.tgid(), cpython_variant::GREENLETS))
                && (unit.flags & unit_flag::BLOCKING != 0
                    || (is_armed(demand::LOOPS)
                        && (unit.flags & unit_flag::EPOLL == 0
                            || unit.flags & unit_flag::TURN != 0)))
        }
        runtime::NATIVE | runtime::JAVA => {
            unit.flags & unit_flag::MULTIPLEX == 0 && unit.flags & unit_flag::BLOCKING != 0
        }
        _ => false,
    };
    if !counts {
        count(Counter::Multiplexed, 1);
        return 0;
    }
    copy(&mut ids.trace_id, &unit.trace_id);
    ids.parent_span_id = unit.span_id;
    ids.evidence = found;
    1
}
