//! The request that a call is for, by the turn in which it is made and the async ids of that moment.
//!
//! In: a call, a connection being made, the beginning of an answer. Out: the request, or none. Always holds: what goes on in the turn of a
//! reply counts only while its request is unanswered, and no more once a request was seen to be answered in the turn of another. Refuses: what
//! runs outside of all turns.

use agent_common::{
    abi::{
        Conn, DoubtRecord, ExchangeIds, RecordHead, SocketKey, Thread, evidence, kind,
        node::{Environment, lost, turn},
        node_variant,
    },
    counters::Counter,
    limits::ASYNC_AGE_MAX_NS,
};

use super::{
    CERTAIN, activation, alone, existing,
    intervals::{clear, copy_cause, find, is_forgotten, is_used, remember, use_up},
    is_open, read_ids, unit,
};
use crate::{
    emit,
    ids::{copy, now},
    maps::count,
    unit::many::user_word,
    walk::Task,
};

/// How far turns are doubted ([`Environment::handed`]).
mod handed {
    /// Turns of replies, of timers' promises, and what was made in them.
    pub(super) const REPLIES: u64 = 1;
    /// All but the request's own turn and its connections' first words.
    pub(super) const ALL: u64 = 3;
}

/// Puts the request of what runs now into `found`. Returns the evidence. 0 where it is not known: then `found.server` is its number, or 0.
#[inline(never)]
pub(super) fn resolve<const WHOLE: bool>(environment: &mut Environment) -> u64 {
    let what = resolve_cause::<WHOLE>(environment);
    if what != 0 && environment.found.span_id != 0 {
        return what;
    }
    if what == 0 || environment.found.sure == 0 {
        environment.found.server = 0;
    }
    environment.found.span_id = 0;
    0
}

/// Puts the cause of what runs now into `found`. Returns the evidence, 0 where it is not known.
#[inline(always)]
fn resolve_cause<const WHOLE: bool>(environment: &mut Environment) -> u64 {
    let is_running = activation::is_running(environment);
    let [execution, trigger, ..] = environment.fields;
    if is_running && (execution == 0 || execution > environment.mark) {
        let found = &raw mut environment.found;
        let from = &raw const environment.active;
        // SAFETY: two fields of the same map value.
        unsafe { copy_cause(&mut *found, &*from) };
        environment.found.sure = 1;
        return u64::from(evidence::ASYNC);
    }
    let is_list = environment.kind == turn::LIST;
    let is_of_turn = execution > environment.low;
    // A resource that an async function runs, or a tick that one made in this turn.
    if WHOLE && (is_running || (is_of_turn && !is_list && execution <= environment.mark)) {
        let what = resolve_interval(environment, execution);
        if is_running || what != 0 {
            return what;
        }
    }
    if WHOLE && environment.fetches != 0 && activation::is_same_microtask(environment) {
        // It has no number; what it calls now in one go has one.
        let number = activation::number(environment);
        let found = &mut environment.found;
        found.span_id = 0;
        found.server = number;
        found.sure = 1;
        return u64::from(evidence::ASYNC);
    }
    if !is_in_scope(environment) {
        return 0;
    }
    let is_older = trigger != 0 && trigger <= environment.low && trigger != environment.resource;
    let id = if execution == 0 || (execution == environment.resource && !is_list) {
        0
    } else if is_of_turn {
        // A tick or the like: its trigger is the id that ran when it was made. In a list all that was made since microtasks ran last
        // is of the one timer or immediate that ran since.
        if is_older {
            trigger
        } else if is_list {
            environment.resolved
        } else {
            0
        }
    } else {
        execution
    };
    let found = &raw mut environment.found;
    if id == 0 {
        if !environment.cause.is_named() || (is_list && execution != 0 && trigger != 0) {
            return 0;
        }
        let from = &raw const environment.cause;
        // SAFETY: two fields of the same map value.
        unsafe { copy_cause(&mut *found, &*from) };
        // In microtasks goes on whoever waited, and so in the ticks that they make.
        let is_own = execution != 0
            && (execution == environment.resource
                || environment.drained == 0
                || execution <= environment.drained);
        if !is_own {
            environment.found.sure = 0;
        }
        return u64::from(match environment.kind {
            turn::REQUEST | turn::RESOURCE => evidence::ASYNC,
            _ => evidence::REPLY,
        });
    }
    let is_same = environment.item == id;
    environment.item = id;
    let Some(interval) = find(environment, id) else {
        if is_forgotten(environment) {
            count(Counter::AsyncForgotten, 1);
        }
        return if is_list {
            resolve_made(environment, trigger)
        } else {
            0
        };
    };
    // A connection's id that was read with stands for whoever uses it.
    let is_shared = is_of_turn && !is_list && is_used(interval, id);
    let is_again = is_list && use_up(interval, id) != 0 && !is_same;
    let from = &raw const interval.cause;
    // SAFETY: as above.
    let from = unsafe { &*from };
    if (is_again || !is_list) && from.span_id != 0 && !is_open(from) {
        count(Counter::TurnAnswered, 1);
        return 0;
    }
    // SAFETY: as above.
    unsafe { copy_cause(&mut *found, from) };
    if is_shared {
        environment.found.sure = 0;
    }
    u64::from(evidence::ASYNC)
}

/// The cause that is sure of an id. Returns 0 where there is none.
#[inline(always)]
fn resolve_interval(environment: &mut Environment, id: u64) -> u64 {
    let found = &raw mut environment.found;
    let Some(interval) = find(environment, id) else {
        return 0;
    };
    if interval.cause.sure == 0 || is_used(interval, id) {
        return 0;
    }
    let from = &raw const interval.cause;
    // SAFETY: two parts of the same map value.
    unsafe { copy_cause(&mut *found, &*from) };
    u64::from(evidence::ASYNC)
}

/// Of what was made in a list by something of which nothing was seen, `trigger` says who made it (undici's queue goes on in a microtask that an immediate makes). It
/// is believed where that is a lone request.
#[inline(always)]
fn resolve_made(environment: &mut Environment, trigger: u64) -> u64 {
    let alone = environment.alone;
    if trigger == 0 || alone == 0 {
        return 0;
    }
    let found = &raw mut environment.found;
    match find(environment, trigger) {
        Some(interval) if interval.cause.span_id == alone => {
            let from = &raw const interval.cause;
            // SAFETY: two parts of the same map value.
            unsafe { copy_cause(&mut *found, &*from) };
            u64::from(evidence::ASYNC)
        }
        _ => 0,
    }
}

/// Whether JavaScript runs within a callback scope: else something that V8 had to do runs microtasks, outside of all turns.
#[inline(always)]
fn is_in_scope(environment: &Environment) -> bool {
    user_word(environment.depth).is_some_and(|depth| depth != 0)
}

/// Whether only calls of lone requests count.
#[inline(always)]
fn is_by_the_lone(environment: &Environment) -> bool {
    environment.variant & u64::from(node_variant::ALONE) != 0
}

/// Whether the request that was found counts for a call with the evidence `what`.
#[inline(always)]
fn counts(environment: &Environment, what: u64) -> bool {
    if environment.found.sure != 0 && is_open(&environment.found) {
        return true;
    }
    let [execution, ..] = environment.fields;
    // In the turn of a reply, and in what was made in one, goes on who waited for a promise that is settled now: as a rule who made the
    // call, which is not answered then.
    let is_weak = what == u64::from(evidence::REPLY) || environment.found.via != 0;
    let is_refused = match environment.handed {
        // In the turns of a lone request nobody else goes on, whatever else happened on this thread.
        _ if is_by_the_lone(environment) => !alone::is(environment),
        0 => false,
        handed::REPLIES => is_weak,
        _ => {
            is_weak
                || (environment.kind != turn::REQUEST
                    && (environment.kind != turn::RESOURCE || execution != environment.resource))
        }
    };
    if is_refused {
        count(
            if is_by_the_lone(environment) {
                alone::refusal(environment)
            } else {
                Counter::TurnDoubted
            },
            1,
        );
        return false;
    }
    if !is_open(&environment.found) {
        // What goes on after the answer is the request's where ids say so, for a while.
        let age = now().wrapping_sub(environment.found.ktime_ns);
        if is_weak || age > ASYNC_AGE_MAX_NS {
            count(Counter::TurnAnswered, 1);
            return false;
        }
    }
    true
}

/// Names what runs by its number, for no known request.
#[inline(always)]
fn name(environment: &Environment, ids: &mut ExchangeIds) {
    if environment.found.span_id == 0 && environment.found.server != 0 {
        ids.parent_span_id = environment.found.server << 32;
        ids.evidence = evidence::KIN;
    }
}

/// The request a call made now is for: fills `ids`, puts the server's connection, the one whose reply it follows, and whether it has a trigger into
/// the thread's entry, and returns 1 if there is one.
/// No function of its own: programs at the syscalls have no room for its frame (6.1 counts them together).
#[inline(always)]
pub(crate) fn context<const WHOLE: bool>(
    task: Task,
    thread: &mut Thread,
    ids: &mut ExchangeIds,
) -> u64 {
    thread.unit.socket.sk = 0;
    thread.unit.socket.ino = 0;
    let Some(environment) = existing(task.pid_tgid()) else {
        count(Counter::TurnUnknown, 1);
        return 0;
    };
    if read_ids(environment) == 0 {
        return 0;
    }
    let what = resolve::<WHOLE>(environment);
    if what == 0 {
        count(Counter::TurnUnknown, 1);
    }
    if what == 0 || !counts(environment, what) {
        name(environment, ids);
        return 0;
    }
    let found = &environment.found;
    copy(&mut ids.trace_id, &found.trace_id);
    ids.parent_span_id = found.span_id;
    ids.evidence = what as u8;
    thread.unit.socket.sk = found.server;
    thread.unit.socket.ino = found.via;
    thread.unit.turn_heads = u32::from(environment.fields[1] != 0);
    1
}

/// A connection is being made for the request that [`context`] found. In a list, whose turn as a whole has no cause, the ids given out since
/// microtasks ran last are that request's.
#[inline(never)]
pub(crate) fn connects(task: Task) -> u64 {
    let Some(environment) = existing(task.pid_tgid()) else {
        return 0;
    };
    if environment.kind != turn::LIST {
        return 0;
    }
    let [execution, _, last, _] = environment.fields;
    // All that microtasks make is remembered when they have run.
    if execution == 0 {
        return 0;
    }
    let (found, sure) = (&raw const environment.found, environment.found.sure);
    remember(environment, found, sure);
    environment.low = last;
    clear(&mut environment.cause);
    1
}

/// Whether what is written now may have been gathered for more requests than the one that [`context`] found: a client that writes in an immediate, or when
/// its connection is ready, writes what all have given it until then (ioredis' pipelines, amqplib). Only the very function that has something to
/// put writes it for itself, or a lone request.
#[inline(never)]
pub(crate) fn is_gathered(task: Task) -> u64 {
    let Some(environment) = existing(task.pid_tgid()) else {
        return 0;
    };
    let [execution, ..] = environment.fields;
    let is_itself = if execution == 0 {
        activation::is_running(environment)
    } else {
        environment.kind == turn::REQUEST && execution == environment.resource
    };
    if is_itself || (is_by_the_lone(environment) && alone::is(environment)) {
        return 0;
    }
    environment.found.sure
}

/// The exchange that begins on `key` is for the request that [`context`] found with the evidence `found`, or for none that is known. Returns 0 where
/// it must not count.
#[inline(always)]
pub(crate) fn calls(
    task: Task,
    thread: &Thread,
    key: &SocketKey,
    conn: &mut Conn,
    found: u8,
) -> u64 {
    let SocketKey { sk, ino: via } = thread.unit.socket;
    let certain = if via == 0 && sk != 0 { CERTAIN } else { 0 };
    conn.unit = unit(task, sk | certain);
    if let Some(environment) = existing(task.pid_tgid()) {
        alone::called(environment, key.sk);
        if found == evidence::NONE || found == evidence::KIN {
            alone::lose(environment, lost::FOREIGN);
        } else if is_by_the_lone(environment) {
            // What its clients have queued is its own too.
            return 1;
        }
    }
    if via & !CERTAIN == key.sk && found == evidence::ASYNC && thread.unit.turn_heads != 0 {
        // undici goes on with what it has queued in an immediate that it makes while it reads a reply, in the connection's own callback: a
        // promise's microtask would have no trigger.
        count(Counter::TurnQueued, 1);
        return 0;
    }
    1
}

/// The answer to `conn`'s request begins. In another one's turn it shows that requests go on in each other's turns here.
#[inline(never)]
pub(crate) fn answers(task: Task, conn: &Conn) -> u64 {
    let Some(environment) = existing(task.pid_tgid()) else {
        return 0;
    };
    alone::answered(environment, conn.span_id);
    if read_ids(environment) == 0 || resolve::<true>(environment) == 0 {
        return 0;
    }
    if environment.found.span_id != conn.span_id {
        if environment.found.sure != 0 {
            // Its function serves others.
            count(Counter::TurnHanded, 1);
            doubt(task, environment.found.span_id);
            return 1;
        }
        if is_by_the_lone(environment) {
            // Calls were given to the other one only while it was alone.
            if !alone::is(environment) {
                return 0;
            }
            alone::lose(environment, lost::CROWDED);
        }
        environment.handed |= if environment.found.via & CERTAIN == 0 {
            handed::REPLIES
        } else {
            handed::ALL
        };
        count(Counter::TurnHanded, 1);
        doubt(task, environment.found.span_id);
    }
    1
}

/// Tells user space that calls of a request may be another one's.
#[inline(never)]
fn doubt(task: Task, span_id: u64) -> u64 {
    emit::small(&DoubtRecord {
        head: RecordHead {
            kind: kind::DOUBT,
            payload: 0,
            size: size_of::<DoubtRecord>() as u32,
            ktime_ns: now(),
        },
        process: task.process_key(),
        span_id,
    });
    1
}
