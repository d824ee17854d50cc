//! Contexts of units that work off a queue: what they read last from a broker.
//!
//! In: a broker's client read something. Out: the unit's context, made by this read, and the one before. Always holds: a unit that
//! serves a request keeps that; whether the read brought a message, and whether the context counts at all, user space says, which reads the
//! protocol: a context of which it knows nothing is nobody's parent. Refuses: event loops, where who reads is not who works (contextvars'
//! Contexts, turns, sessions; Twisted, whose callbacks share a turn); virtual threads.
//!
//! A client that waits for its one connection with epoll (pika 1.4's BlockingConnection, seen with strace) calls back in the turn that read: what
//! it does until it waits again is that message's. Loops that run others' callbacks as well do so in Contexts (asyncio, trio).
//!
//! ```text
//!   (none) / JOB --read from a broker--> JOB (new ids, linked to those before) --request read--> LIVE as for any request
//! ```

use agent_common::{
    abi::{Conn, cpython_variant, demand, evidence, goroutine_note, protocol, runtime, unit_flag},
    counters::Counter,
    limits::CONTEXT_AGE_MAX_NS,
};

use super::{class_of, cpython, current, go, is_variant, many, node};
use crate::{
    ids::copy,
    maps::{count, is_armed},
    walk::Task,
};

/// The current unit read from a broker: `conn` has the ids of that. Leaves there what the unit's context was before
/// (`parent_span_id`) and whether it has one now (`evidence`).
#[inline(never)]
pub(crate) fn enter(task: Task, conn: &mut Conn, is_blocking: u64, now: u64) -> u64 {
    conn.parent_span_id = 0;
    conn.evidence = evidence::NONE;
    let key = task.pid_tgid();
    let Some(thread) = current(key) else { return 0 };
    let class = class_of(thread, key, now);
    if class == runtime::GO {
        return goroutine(task, conn, now);
    }
    if class == runtime::JAVA && many::is_located(task) {
        return 0;
    }
    let is_threaded = class == runtime::NATIVE
        || class == runtime::JAVA
        || class == runtime::THREADED
        || (class == runtime::CPYTHON && cpython::is_in_a_context(task) == 0);
    if class == runtime::NODE {
        node::fetches(task);
        return 0;
    }
    if !is_threaded {
        if class == runtime::CPYTHON {
            conn.parent_span_id = cpython::kin_running(task, now);
            if conn.parent_span_id != 0 {
                conn.evidence = evidence::KIN;
            }
        }
        return 0;
    }
    if class != runtime::NATIVE && class != runtime::JAVA && is_blocking == 0 {
        // Asked for with the connection's first answers: the first job's calls come later.
        is_armed(demand::LOOPS);
    }
    let unit = &mut thread.unit;
    if unit.flags & (unit_flag::LIVE | unit_flag::JOB) == unit_flag::LIVE {
        // The same age as for the request's calls: the answer of an older one was never seen.
        if now.wrapping_sub(unit.ktime_ns) <= CONTEXT_AGE_MAX_NS {
            return 0;
        }
        count(Counter::ContextAged, 1);
    } else if unit.flags & unit_flag::LIVE != 0 {
        conn.parent_span_id = unit.span_id;
    }
    copy(&mut unit.trace_id, &conn.trace_id);
    unit.span_id = conn.span_id;
    unit.ktime_ns = now;
    unit.flags |= unit_flag::LIVE | unit_flag::JOB;
    if is_blocking != 0 {
        unit.flags |= unit_flag::BLOCKING;
        unit.flags &= !unit_flag::TURN;
    } else {
        unit.flags &= !(unit_flag::BLOCKING | unit_flag::TURN);
        if class == runtime::CPYTHON && !is_variant(task.tgid(), cpython_variant::CALLBACKS) {
            unit.flags |= unit_flag::TURN;
        }
    }
    conn.evidence = evidence::THREAD;
    1
}

/// The same for a goroutine. Its evidence is `SPAWN` where it has made another one since its read before.
#[inline(always)]
fn goroutine(task: Task, conn: &mut Conn, now: u64) -> u64 {
    let mut unit = many::nobody();
    if conn.protocol == protocol::HTTP1 {
        // net/http's own goroutine reads answers for the one that asked (`persistConn.readLoop`).
        if !go::is_goroutine(&conn.unit) {
            return 0;
        }
        unit = conn.unit;
    } else if many::locate(task, &mut unit) == 0 {
        return 0;
    }
    let before = match go::job_before(&unit) {
        go::Before::Request => return 0,
        go::Before::Job(span_id, is_handed) => {
            if is_handed {
                conn.evidence = evidence::SPAWN;
            }
            span_id
        }
        go::Before::Nothing => 0,
    };
    conn.parent_span_id = before;
    if conn.evidence == evidence::NONE {
        conn.evidence = evidence::GOROUTINE;
    }
    let found = u64::from(evidence::GOROUTINE)
        | goroutine_note::JOB
        | (unit.id << goroutine_note::READER_SHIFT);
    many::put_new(&unit, (&conn.trace_id, conn.span_id), now, found)
}
