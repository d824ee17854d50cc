//! Processes and threads: fork, exec, exit, and the set-up of io_uring.
//!
//! Always holds: a forked server worker has its parent's runtime class and scope at once, before user space knows of
//! it; a thread's entries are gone when the thread is.

use agent_common::{
    abi::{ProcessKey, RecordHead, TaskRecord, kind},
    counters::Counter,
};
use aya_ebpf::{
    helpers::bpf_get_current_comm, macros::raw_tracepoint, programs::RawTracePointContext,
};

use crate::{
    emit,
    ids::now,
    maps::{RUNTIMES, SCOPE, THREADS, count},
    scope::in_scope,
    settings::setting,
    walk::{field, pid_tgid, process_key, tgid, tid},
};

/// Tells something about the current process.
#[inline(always)]
pub(super) fn tell(what: u16, process: ProcessKey, other: u32) {
    let record = TaskRecord {
        head: RecordHead {
            kind: what,
            payload: 0,
            size: size_of::<TaskRecord>() as u32,
            ktime_ns: now(),
        },
        process,
        tid: tid(),
        other,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    emit::small(&record);
}

/// `sched_process_fork(parent, child)` (include/trace/events/sched.h); threads come here too.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn fork(ctx: RawTracePointContext) -> i32 {
    let child: u64 = ctx.arg(1);
    let child_tgid: u32 = field(child, setting!(offsets.task_tgid));
    let parent_tgid = tgid();
    if child_tgid == parent_tgid {
        return 0;
    }
    // SAFETY: one byte each, copied at once.
    if let Some(class) = unsafe { RUNTIMES.get(parent_tgid) }.copied() {
        // A full map leaves the child NATIVE, the class that trusts least.
        let _ = RUNTIMES.insert(child_tgid, class, 0);
    }
    // SAFETY: as above.
    if unsafe { SCOPE.get(parent_tgid) }.is_some() {
        let _ = SCOPE.insert(child_tgid, 1, 0);
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the process is another program now.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn exec(_ctx: RawTracePointContext) -> i32 {
    let process = process_key();
    let _ = RUNTIMES.remove(process.tgid);
    tell(kind::EXEC, process, 0);
    0
}

/// `sched_process_exit(task)`: for each thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn exit(_ctx: RawTracePointContext) -> i32 {
    let pid_tgid = pid_tgid();
    let _ = THREADS.remove(pid_tgid);
    let tgid = (pid_tgid >> 32) as u32;
    if tgid == pid_tgid as u32 {
        let _ = RUNTIMES.remove(tgid);
        let _ = SCOPE.remove(tgid);
        tell(kind::EXIT, process_key(), 0);
    }
    0
}

/// `io_uring_create(…)` (include/trace/events/io_uring.h, 5.1+): what the process moves through the ring is not seen.
#[raw_tracepoint(tracepoint = "io_uring_create")]
pub(crate) fn io_uring_create(_ctx: RawTracePointContext) -> i32 {
    if in_scope() {
        count(Counter::IoUring, 1);
        tell(kind::IO_URING, process_key(), 0);
    }
    0
}
