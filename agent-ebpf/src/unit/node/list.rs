//! Lists of timers and immediates: libuv calls Node once for all that are due, and each is for a request of its own.
//!
//! In: a promise is resolved, microtasks run, have run. Out: the cause of those microtasks. Always holds: between two timers or immediates of a
//! list microtasks run (`RunMicrotasks` is called, also when there are none), so exactly one of them ran since they did last; which one, is told by the execution id at the
//! moment in which it resolves a promise or awaits. Refuses: one that was not seen doing so.

use agent_common::abi::node::{Environment, lost, turn};

use super::{
    activation,
    alone::lose,
    end_turn, existing,
    intervals::{clear, copy_cause, find, remember, use_up},
    is_open, read_ids,
};
use crate::walk::Task;

/// In place of a socket's address: no reply, but a timer's or an immediate's promise.
const LIST_VIA: u64 = 2;

/// A promise is resolved, or awaited.
#[inline(always)]
pub(crate) fn resolves() -> Option<()> {
    let environment = existing(Task::current().pid_tgid())?;
    if environment.kind != turn::LIST || read_ids(environment) == 0 {
        return None;
    }
    let [execution, trigger, ..] = environment.fields;
    if execution == 0 {
        return None;
    }
    if execution <= environment.low {
        environment.resolved = execution;
    } else if trigger != 0 && trigger <= environment.low {
        // A tick that the timer or immediate made.
        environment.resolved = trigger;
    }
    Some(())
}

/// Microtasks of `queue` are about to run.
#[inline(always)]
pub(crate) fn drains(queue: u64) -> Option<()> {
    let task = Task::current();
    let environment = existing(task.pid_tgid())?;
    activation::drains(task, environment, queue);
    if environment.kind != turn::LIST || read_ids(environment) == 0 {
        return None;
    }
    environment.low = environment.fields[2];
    clear(&mut environment.cause);
    let item = environment.resolved;
    environment.resolved = 0;
    if environment.fields[0] == 0 && item != 0 && begin_item(environment, item) != 0 {
        // Exactly one of them ran since microtasks ran last, and nobody but it gave out these ids.
        let (cause, sure) = (&raw const environment.cause, environment.cause.sure);
        remember(environment, cause, sure);
        if environment.cause.via == 0 {
            environment.cause.via = LIST_VIA;
        }
        // Who waited for its promise goes on now.
        environment.cause.sure = 0;
    }
    environment.mark = environment.low;
    // One of which nothing was seen is most often the runtime's own: a clock's tick, a connection's time-out, undici's next look at its queue.
    if item != 0 && environment.cause.span_id != environment.alone {
        lose(environment, lost::FOREIGN);
    }
    Some(())
}

/// Microtasks have run.
#[inline(always)]
pub(crate) fn drained() -> Option<()> {
    let environment = existing(Task::current().pid_tgid())?;
    if environment.kind != turn::LIST || read_ids(environment) == 0 {
        return None;
    }
    // Ticks that were made meanwhile run next; their ids say whose they are.
    end_turn(environment);
    clear(&mut environment.cause);
    Some(())
}

/// Microtasks run that a timer or immediate made ready: they are its cause's. Returns 0 where that is not known.
#[inline(never)]
fn begin_item(environment: &mut Environment, id: u64) -> u64 {
    let is_same = environment.item == id;
    environment.item = id;
    let Some(interval) = find(environment, id) else {
        return 0;
    };
    let is_again = use_up(interval, id) != 0 && !is_same;
    let from = &raw const interval.cause;
    // SAFETY: another part of the same map value.
    let from = unsafe { &*from };
    // A timer that comes again and again is a request's only while that is not answered.
    if is_again && !is_open(from) {
        return 0;
    }
    copy_cause(&mut environment.cause, from);
    1
}
