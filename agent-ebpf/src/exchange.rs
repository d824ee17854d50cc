//! Exchanges as the kernel side makes them: ids, the parent, and where the other end finds them.
//!
//! In: the first write or read of a request. Out: ids in the connection's entry. Always holds: an exchange that began with a
//! write that moved nothing is taken back as if it had never been.

use agent_common::{
    abi::{
        Conn, ExchangeIds, SocketKey, Thread, conn_flag, direction, evidence, protocol, role,
        runtime, unit_kind, verdict,
    },
    carried::context,
};

use crate::{
    adopt, carry,
    ids::{copy, new_span_id, new_trace_id, now},
    inject,
    maps::Scratch,
    pending, segment, tick, unit,
    walk::Task,
};

/// No ids. Word by word, see [`copy`].
#[inline(always)]
fn no_ids() -> ExchangeIds {
    let mut ids = core::mem::MaybeUninit::<ExchangeIds>::uninit();
    segment::clear(ids.as_mut_ptr());
    // SAFETY: `clear` wrote all of it.
    unsafe { ids.assume_init() }
}

/// A client begins a request: ids, parent, and a note for the server on this host. `WHOLE`: whether all is asked that a unit's context may stand on; the program
/// that writes headers has no room for it before the verifier, which looks at a million instructions at most.
#[inline(never)]
pub(crate) fn begin_client<const WHOLE: bool>(
    key: &SocketKey,
    conn: &mut Conn,
    seq: u32,
    protocol: u8,
    task: Task,
) -> u64 {
    let now = now();
    conn.span_id = new_span_id(task.pid_tgid());
    // If so, `trace_id`, `parent_span_id` and `evidence` hold the context already.
    let is_bound = conn.flags & conn_flag::BOUND != 0;
    conn.flags &= !conn_flag::BOUND;
    // A turn's context is taken, and libuv tries again outside of turns. A session's may not be meant any more: then haproxy says now for
    // which one it sends. What was handed to a task of tokio's is taken, too.
    let is_kept = is_bound
        && (conn.evidence == evidence::TURN
            || conn.unit.kind == unit_kind::ASYNC
            || conn.unit.kind == unit_kind::TASK);
    if !is_kept {
        let mut ids = no_ids();
        let (known, thread) = context_of_unit::<WHOLE>(task, now, &mut ids);
        let mut is_known = known != 0;
        if is_known || !is_bound {
            if let Some(thread) = thread {
                let class = thread.class;
                if class == u64::from(runtime::TOKIO) {
                    is_known = unit::task::calls(task, key, conn, &mut ids, protocol) != 0;
                } else if class == u64::from(runtime::NODE)
                    && unit::node::calls(task, thread, key, conn, ids.evidence) == 0
                {
                    is_known = false;
                    ids.parent_span_id = 0;
                    ids.evidence = evidence::NONE;
                }
            }
            if !is_known {
                root(task, now, &mut ids);
            }
            copy(&mut conn.trace_id, &ids.trace_id);
            conn.parent_span_id = ids.parent_span_id;
            conn.evidence = ids.evidence;
        }
    }
    carry::shape_client(conn);
    conn.begun_ns = now;
    conn.verdict = verdict::HEADS;
    conn.protocol = protocol;
    conn.role = role::CLIENT;
    conn.direction_before = conn.last_direction;
    conn.last_direction = direction::TX;
    conn.flags |= conn_flag::BEGUN;
    pending::register(key, conn, seq)
}

/// The write that began an exchange moved nothing.
#[inline(always)]
pub(crate) fn take_back(conn: &mut Conn) {
    if conn.flags & conn_flag::BEGUN != 0 {
        conn.flags &= !conn_flag::BEGUN;
        conn.last_direction = conn.direction_before;
        pending::forget(conn);
        inject::take_back(conn);
        // A turn's context counts once, and libuv writes again without a turn: it is kept for the next try.
        if conn.evidence == evidence::TURN
            || conn.evidence == evidence::SESSION
            || conn.unit.kind == unit_kind::ASYNC
            || conn.unit.kind == unit_kind::TASK
        {
            conn.flags |= conn_flag::BOUND;
        }
    }
}

/// The context of the current unit, and the thread. Returns 0 where there is none.
#[inline(always)]
fn context_of_unit<const WHOLE: bool>(
    task: Task,
    now: u64,
    ids: &mut ExchangeIds,
) -> (u64, Option<&'static mut Thread>) {
    let mut thread = unit::current(task.pid_tgid());
    let known = match &mut thread {
        Some(thread) => unit::context::<WHOLE>(task, thread, now, ids),
        None => 0,
    };
    (known, thread)
}

/// Parent of a call the current unit makes; a new trace when there is none.
#[inline(always)]
pub(crate) fn parent_by_unit(task: Task, now: u64, ids: &mut ExchangeIds) {
    if context_of_unit::<true>(task, now, ids).0 == 0 {
        root(task, now, ids);
    }
}

/// Nothing is known of whom the call is for: it is its scheduler's, where one began the process, else nobody's.
#[inline(always)]
fn root(task: Task, now: u64, ids: &mut ExchangeIds) {
    let found = tick::parent(task, now, &mut ids.trace_id, &mut ids.parent_span_id);
    if found != 0 {
        ids.evidence = found as u8;
    } else {
        // (Else a Context is named that works for nobody.)
        if ids.evidence != evidence::KIN {
            ids.evidence = evidence::NONE;
        }
        copy(&mut ids.trace_id, &new_trace_id(task.pid_tgid()));
    }
}

/// Trace and parent of what a write to a broker puts: left in `conn`.
#[inline(never)]
pub(crate) fn parent_of_write(conn: &mut Conn, task: Task, now: u64) -> u64 {
    let mut ids = no_ids();
    parent_by_unit(task, now, &mut ids);
    let is_others = match ids.evidence {
        evidence::SPAWN => unit::task::is_anothers(task, conn),
        evidence::ASYNC => unit::node::is_gathered(task),
        _ => 0,
    };
    if is_others != 0 {
        copy(&mut ids.trace_id, &new_trace_id(task.pid_tgid()));
        ids.parent_span_id = 0;
        ids.evidence = evidence::NONE;
    }
    copy(&mut conn.trace_id, &ids.trace_id);
    conn.parent_span_id = ids.parent_span_id;
    conn.evidence = ids.evidence;
    1
}

/// Whether the client's agent named the exchange in an option.
#[inline(always)]
fn by_option(conn: &mut Conn, sk: u64, seq: u32) -> bool {
    carry::has_options() && carry::has_agents() && carry::take(conn, sk, seq) != 0
}

/// The first bytes of the request that began are in the payload: they may name its trace.
#[inline(always)]
pub(crate) fn adopt(scratch: &mut Scratch, conn: &mut Conn, captured: u64) {
    if !carry::is_on() {
        return;
    }
    if !carry::has_agents() {
        // Nobody is there to be told: the head is not looked at. The first call to another agent is uncertain for that.
        conn.context = 0;
    } else if conn.protocol == protocol::HTTP1 {
        adopt::head(scratch, conn, captured);
    } else if conn.evidence == evidence::NONE {
        // FastCGI, whose parameters are not looked at. With a known client the trace is that of the server in front, which
        // was given itself what it passes on.
        conn.context = 0;
    }
    carry::shape_server(conn);
}

/// A server begins to read a request: ids, and the client exchange it belongs to if that is on this host.
#[inline(always)]
pub(crate) fn begin_server(task: Task, conn: &mut Conn, sk: u64, seq: u32) {
    conn.span_id = new_span_id(task.pid_tgid());
    conn.context = 0;
    if pending::take(conn, sk, seq) == 0 && !by_option(conn, sk, seq) {
        copy(&mut conn.trace_id, &new_trace_id(task.pid_tgid()));
        conn.parent_span_id = 0;
        conn.evidence = evidence::NONE;
        if carry::is_on() {
            conn.context = context::CERTAIN | carry::sampled(&conn.trace_id, None);
        }
    }
    conn.flags &= !(conn_flag::CONSUMED | conn_flag::RESPONDED);
}
