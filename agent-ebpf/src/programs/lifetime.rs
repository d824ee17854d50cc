//! Processes and threads: fork, exec, exit, and the set-up of io_uring.
//!
//! Always holds: a forked server worker has its parent's runtime class and scope at once, before user space knows of
//! it; a thread's entries are gone when the thread is.

use agent_common::{
    abi::{RecordHead, TaskRecord, kind},
    counters::Counter,
};
use aya_ebpf::{
    helpers::bpf_get_current_comm, macros::raw_tracepoint, programs::RawTracePointContext,
};

use crate::{
    emit,
    ids::now,
    maps::{ENVIRONMENTS, PIPED, RUNTIMES, SCOPE, THREADS, count},
    scope::{self, task_in_scope},
    settings::setting,
    tick,
    unit::node,
    walk::{Task, field},
};

/// Tells something about the current process.
#[inline(always)]
pub(super) fn tell(what: u16, task: Task, other: u32) {
    let record = TaskRecord {
        head: RecordHead {
            kind: what,
            payload: 0,
            size: size_of::<TaskRecord>() as u32,
            ktime_ns: now(),
        },
        process: task.process_key(),
        tid: task.tid(),
        other,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    if what == kind::LISTEN {
        emit::small_waking(&record);
    } else {
        emit::small(&record);
    }
}

/// `sched_process_fork(parent, child)` (include/trace/events/sched.h); threads come here too.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn fork(ctx: RawTracePointContext) -> i32 {
    let child: u64 = ctx.arg(1);
    let child_tgid: u32 = field(child, setting!(offsets.task_tgid));
    let parent_tgid = Task::current().tgid();
    if child_tgid == parent_tgid {
        return 0;
    }
    // SAFETY: the value is copied at once, from map to map.
    if let Some(runtime) = unsafe { RUNTIMES.get(parent_tgid) } {
        // A full map leaves the child NATIVE, the class that trusts least.
        let _ = RUNTIMES.insert(child_tgid, runtime, 0);
    }
    // SAFETY: one byte, only tested for presence.
    if unsafe { SCOPE.get(parent_tgid) }.is_some() {
        let _ = SCOPE.insert(child_tgid, 1, 0);
        scope::change();
    }
    // SAFETY: one byte, only tested for presence.
    if unsafe { PIPED.get(parent_tgid) }.is_some() {
        let _ = PIPED.insert(child_tgid, 1, 0);
    }
    tick::forks(parent_tgid, child, child_tgid);
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the process is another program now.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn exec(_ctx: RawTracePointContext) -> i32 {
    let task = Task::current();
    let _ = RUNTIMES.remove(task.tgid());
    let _ = PIPED.remove(task.tgid());
    // What the thread did as the old program is nothing to the new one.
    let _ = THREADS.remove(task.pid_tgid());
    let _ = ENVIRONMENTS.remove(task.pid_tgid());
    node::ends(task.pid_tgid());
    tick::becomes(task);
    tell(kind::EXEC, task, 0);
    0
}

/// `sched_process_exit(task)`: for each thread, after its process' count of them was made less (6.1, 6.12 and 6.18). Two that end at once may both
/// be the last.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn exit(_ctx: RawTracePointContext) -> i32 {
    let task = Task::current();
    let pid_tgid = task.pid_tgid();
    let _ = THREADS.remove(pid_tgid);
    let _ = ENVIRONMENTS.remove(pid_tgid);
    node::ends(pid_tgid);
    let tgid = (pid_tgid >> 32) as u32;
    // Not the end of its first thread: others may go on (pthread_exit in main), or have become another program (de_thread).
    if task.is_last() {
        let _ = RUNTIMES.remove(tgid);
        if SCOPE.remove(tgid).is_ok() {
            scope::change();
        }
        let _ = PIPED.remove(tgid);
        tick::ends(tgid);
        tell(kind::EXIT, task, task.exit_code());
    }
    0
}

/// `io_uring_create(…)` (include/trace/events/io_uring.h, 5.1+): what the process moves through the ring is not seen.
#[raw_tracepoint(tracepoint = "io_uring_create")]
pub(crate) fn io_uring_create(_ctx: RawTracePointContext) -> i32 {
    if let Some(task) = task_in_scope() {
        count(Counter::IoUring, 1);
        tell(kind::IO_URING, task, 0);
    }
    0
}
