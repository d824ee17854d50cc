//! Turns of Node.js' event loop, and async ids.
//!
//! In: a request or a reply was read; a callback scope opens; in a list of timers or immediates: a promise is resolved, microtasks
//! run. Out: the request a call made now is for. Always holds: libuv calls one callback after the other on a thread; each enters
//! JavaScript through a `node::InternalCallbackScope` that pushes the async ids of the resource it is for, and when that scope closes, the
//! callback's ticks and microtasks have run. So what happens between two scopes that open on an empty stack is one turn, and its cause is that
//! of the resource. Refuses: what does not match exactly one cause.
//!
//! ```text
//!   read (request of R, or reply to a call for R) ─► scope ─► turn of R   REQUEST, REPLY
//!   scope, nothing read: its id was given out in a turn of R, first use ─► turn of R   RESOURCE
//!   scope with id 0: timers or immediates                          ─► LIST: each has its own cause, its own id's
//! ```
//!
//! A call's execution id (DESIGN §5) says more than the turn where it is not 0: an id given out in an earlier turn is a timer, an immediate, or
//! a resource that another one's turn runs (http.Agent's queue).
//!
//! Facts (Node 18.20, 20.20, 22.23, 24.21; uprobes and disassembly): `push_async_context(double, double, …)` gets `AsyncHooks` in rdi; both
//! constructors of the scope that call it keep the scope's address in rbx, and the ids at its byte 8. At `offsets[0]` of `AsyncHooks` is a pointer to
//! {execution, trigger, last given out, default trigger}. In microtasks the execution id is 0. `listOnTimeout` and `processImmediate` call
//! `MicrotaskQueue::RunMicrotasks` between two timers or immediates, always.

mod activation;
mod alone;
mod cause;
mod intervals;
mod list;

use agent_common::{
    abi::{
        Conn, Runtime, SocketKey, UnitKey, conn_flag, evidence,
        node::{Cause, Environment, lost, turn},
        node_variant, runtime, unit_kind,
    },
    counters::Counter,
};
use aya_ebpf::helpers::bpf_probe_read_user;

pub(crate) use activation::{awaits, collected, ends, resumes, returns, settles};
pub(crate) use cause::{answers, calls, connects, context, is_gathered};
use intervals::{clear, copy_cause, find, remember, use_up};
pub(crate) use list::{drained, drains, resolves};

use super::{
    Reading,
    many::{runtime_of, user_word},
};
use crate::{
    ids::copy,
    maps::{CONNS, ENVIRONMENTS, count},
    walk::Task,
};

/// Where a scope has its resource's ids.
const SCOPE_IDS: u64 = 8;

/// In the lowest bit of a socket's address, which is 0: the exchange on it does not stand on the turn of a reply.
const CERTAIN: u64 = 1;

static EMPTY: Environment = Environment::EMPTY;

/// The current thread's environment, made if need be.
#[inline(always)]
fn environment(key: u64) -> Option<&'static mut Environment> {
    let mut place = ENVIRONMENTS.get_ptr_mut(key);
    if place.is_none() {
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it would be copied to the stack, where there is no room"
        )]
        let inserted = ENVIRONMENTS.insert(key, &EMPTY, 0);
        if inserted.is_err() {
            count(Counter::EnvironmentsFull, 1);
            return None;
        }
        place = ENVIRONMENTS.get_ptr_mut(key);
    }
    // SAFETY: only this thread's programs write its entry, one at a time: they run in its own calls.
    place.map(|place| unsafe { &mut *place })
}

/// The current thread's environment, if it has one whose ids can be read.
#[inline(always)]
fn existing(key: u64) -> Option<&'static mut Environment> {
    // SAFETY: see `environment`.
    let environment = unsafe { &mut *ENVIRONMENTS.get_ptr_mut(key)? };
    (environment.ids != 0).then_some(environment)
}

/// Reads the async ids. Returns 0 where they cannot be read.
#[inline(always)]
fn read_ids(environment: &mut Environment) -> u64 {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_user(environment.ids as *const [u64; 4]) } {
        Ok([execution, trigger, last, default]) => {
            // SAFETY: fields of a map value; volatile, so that no memcpy is made of them.
            unsafe {
                core::ptr::write_volatile(&raw mut environment.fields[0], execution);
                core::ptr::write_volatile(&raw mut environment.fields[1], trigger);
                core::ptr::write_volatile(&raw mut environment.fields[2], last);
                core::ptr::write_volatile(&raw mut environment.fields[3], default);
            }
            1
        }
        Err(_) => {
            count(Counter::UnitUnread, 1);
            0
        }
    }
}

/// Whether the request is still unanswered.
#[inline(always)]
fn is_open(cause: &Cause) -> bool {
    let Some(place) = CONNS.get_ptr(cause.server) else {
        return false;
    };
    // SAFETY: single words of a map value.
    let (span_id, flags) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*place).span_id),
            core::ptr::read_volatile(&raw const (*place).flags),
        )
    };
    span_id == cause.span_id && flags & conn_flag::RESPONDED == 0
}

/// The unit of an exchange: the request's server connection.
#[inline(always)]
fn unit(task: Task, server: u64) -> UnitKey {
    UnitKey {
        id: server,
        tgid: task.tgid(),
        kind: unit_kind::ASYNC,
    }
}

/// The thread read bytes of the request whose exchange is `conn`'s.
#[inline(always)]
pub(crate) fn read_request(
    task: Task,
    socket: &SocketKey,
    conn: &mut Conn,
    reading: Reading,
) -> u64 {
    conn.unit = unit(task, socket.sk);
    let Some(environment) = environment(task.pid_tgid()) else {
        return 0;
    };
    if reading.begins {
        alone::comes(environment, socket.sk, conn.span_id, reading.now);
    } else if environment.alone != conn.span_id {
        alone::lose(environment, lost::CROWDED);
    }
    environment.read_kind = turn::REQUEST;
    let cause = &mut environment.read_cause;
    copy(&mut cause.trace_id, &conn.trace_id);
    cause.span_id = conn.span_id;
    cause.server = socket.sk;
    cause.via = 0;
    cause.ktime_ns = reading.now;
    cause.sure = 1;
    1
}

/// The thread read bytes of the reply to `conn`'s exchange, or its end in place of them; its first if it `begins`.
#[inline(never)]
pub(crate) fn read_reply(task: Task, sk: u64, conn: &Conn, begins: bool) -> u64 {
    let Some(environment) = environment(task.pid_tgid()) else {
        return 0;
    };
    if begins {
        alone::replied(environment, sk);
    }
    environment.read_kind = turn::REPLY;
    let is_known = conn.evidence == evidence::ASYNC || conn.evidence == evidence::REPLY;
    let cause = &mut environment.read_cause;
    copy(&mut cause.trace_id, &conn.trace_id);
    cause.span_id = if is_known { conn.parent_span_id } else { 0 };
    cause.server = if is_known { conn.unit.id & !CERTAIN } else { 0 };
    // SAFETY: a field of a map value. Where a tracepoint gave the address it is a pointer to the verifier, which may be kept and compared but
    // not computed with; what is read back is a number.
    unsafe {
        core::ptr::write_volatile(&raw mut cause.via, sk);
        let number = core::ptr::read_volatile(&raw const cause.via);
        core::ptr::write_volatile(&raw mut cause.via, number | (conn.unit.id & CERTAIN));
    }
    cause.ktime_ns = conn.begun_ns;
    cause.sure = 0;
    1
}

/// The thread read from a broker.
#[inline(never)]
pub(crate) fn fetches(task: Task) -> u64 {
    match environment(task.pid_tgid()) {
        Some(environment) => {
            environment.fetches = 1;
            1
        }
        None => 0,
    }
}

/// What the programs at Node's functions begin with.
#[inline(always)]
fn probed(task: Task) -> Option<&'static Runtime> {
    let known = runtime_of(task.tgid())?;
    (known.class == runtime::NODE).then_some(known)
}

/// A callback scope opens; `hooks` is the environment's `AsyncHooks`, `scope` the scope.
#[inline(always)]
pub(crate) fn opens(hooks: u64, scope: u64) -> Option<()> {
    let task = Task::current();
    let known = probed(task)?;
    let environment = environment(task.pid_tgid())?;
    if environment.hooks != hooks {
        environment.ids = user_word(hooks + u64::from(known.offsets[0]))?;
        environment.depth = user_word(scope)? + u64::from(known.offsets[1]);
        environment.variant = u64::from(known.variant);
        environment.hooks = hooks;
    }
    if environment.arrived.span_id != 0 {
        alone::arrives(environment);
    }
    if read_ids(environment) == 0 {
        return None;
    }
    // A scope within a callback.
    if environment.fields[0] != 0 {
        return None;
    }
    let resource = user_word(scope + SCOPE_IDS)?;
    // The parser of a server's connection calls back more than once for what was read.
    if resource == environment.resource
        && environment.kind == turn::REQUEST
        && environment.read_kind == turn::OTHER
    {
        if environment.drained != 0 {
            drop_rest(environment);
            environment.drained = 0;
        }
        return None;
    }
    end_turn(environment);
    environment.resource = resource;
    environment.resolved = 0;
    environment.item = 0;
    let read_kind = environment.read_kind;
    environment.read_kind = turn::OTHER;
    clear(&mut environment.cause);
    if resource == 0 {
        environment.kind = turn::LIST;
        if known.variant & node_variant::TIMERS == 0 {
            alone::lose(environment, lost::FOREIGN);
        }
        return Some(());
    }
    if read_kind != turn::OTHER {
        begin_read(environment, read_kind);
    } else {
        begin_resource(environment);
    }
    alone::runs(environment);
    Some(())
}

/// Remembers the ids of the turn that is over.
#[inline(always)]
fn end_turn(environment: &mut Environment) {
    let last = environment.fields[2];
    drop_rest(environment);
    environment.low = last;
    environment.drained = 0;
}

/// Ids that were given out since the last that are settled are the turn's, as far as is known.
#[inline(always)]
fn drop_rest(environment: &mut Environment) {
    let cause = &raw const environment.cause;
    remember(environment, cause, 0);
}

/// The turn of what was read.
#[inline(never)]
fn begin_read(environment: &mut Environment, kind: u64) -> u64 {
    environment.kind = kind;
    let (id, span_id) = (environment.resource, environment.read_cause.span_id);
    // The id of a connection stands for many reads. One that was given out under another request, and was not used yet, is not
    // this connection's: a callback of something else came between.
    if let Some(interval) = find(environment, id) {
        let is_other = interval.cause.span_id != span_id;
        if use_up(interval, id) == 0 && is_other {
            environment.kind = turn::OTHER;
            return 0;
        }
    }
    let from = &raw const environment.read_cause;
    // SAFETY: another field of the same map value.
    copy_cause(&mut environment.cause, unsafe { &*from });
    1
}

/// The turn of an async resource that is done.
#[inline(never)]
fn begin_resource(environment: &mut Environment) -> u64 {
    environment.kind = turn::OTHER;
    let id = environment.resource;
    let Some(interval) = find(environment, id) else {
        return 0;
    };
    // Only what is done once: a connection's id comes again with each of its reads, for whomever they are.
    if use_up(interval, id) != 0 {
        return 0;
    }
    let from = &raw const interval.cause;
    // SAFETY: another part of the same map value.
    copy_cause(&mut environment.cause, unsafe { &*from });
    environment.kind = turn::RESOURCE;
    1
}
