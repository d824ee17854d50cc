//! Uprobes in tokio.
//!
//! In: functions that `agent/src/enrich/units/tokio.rs` finds in an executable. Out: contexts of tasks ([`crate::unit::task`]). Always holds: an argument
//! is still in its register where the probe is. Refuses: nothing; a process that is not known as tokio's is left alone.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::unit::task;

/// `OwnedTasks<S>::bind_inner(&self, Task<S>, Notified<S>)`, or in `multi_thread::Handle::schedule_option_task_without_yield(&self, Option<Notified>)`, or in both, one after the other:
/// the new task is made and has not run. A `Task` and a `Notified` are the address of its header.
#[uprobe]
pub(crate) fn tokio_spawn(ctx: ProbeContext) -> u32 {
    if let Some((task, tgid, known)) = task::process()
        && let Some(header) = ctx.arg::<u64>(1).filter(|header| *header != 0)
    {
        task::spawn(task, tgid, known, header);
    }
    0
}

/// `State::transition_to_complete(&self)`: the task has ended. Its header begins with its state.
#[uprobe]
pub(crate) fn tokio_end(ctx: ProbeContext) -> u32 {
    if let Some((_, tgid, _)) = task::process()
        && let Some(header) = ctx.arg::<u64>(0)
    {
        task::end(tgid, header);
    }
    0
}

/// `AtomicWaker::register_by_ref(&self, &Waker)`: the running task waits for a value of a channel, or for a time.
#[uprobe]
pub(crate) fn tokio_wait(ctx: ProbeContext) -> u32 {
    if let Some((task, tgid, known)) = task::process()
        && let Some(waker) = ctx.arg::<u64>(0)
    {
        task::wait(task, tgid, known, waker);
    }
    0
}

/// In `AtomicWaker::wake(&self)`: something was put into a channel.
#[uprobe]
pub(crate) fn tokio_send(ctx: ProbeContext) -> u32 {
    if let Some((task, tgid, known)) = task::process()
        && let Some(waker) = ctx.arg::<u64>(0)
    {
        task::send(task, tgid, known, waker);
    }
    0
}
