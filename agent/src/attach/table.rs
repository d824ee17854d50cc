//! The attach table: every hook, once.
//!
//! In: nothing. Out: [`HOOKS`]. Always holds: each row names one program of the BPF object and the object has no
//! program without a row (a test compares them in both directions). Refuses: hooks on syscalls that never carry
//! traced bytes: an enter+exit pair costs about 255 ns on its own syscall, and turns on 40 ns for every other one
//! (measured on 6.18, DESIGN §3).

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `syscalls:<name>`, through perf.
    Syscall(&'static str),
    /// A raw tracepoint by name.
    Raw(&'static str),
}

/// Whether the agent can work without a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it nothing that the agent says would be right: it refuses to start.
    Required,
    /// Without it something is lost, named in the row.
    Optional,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program in the BPF object.
    pub program: &'static str,
    /// Where it is attached.
    pub place: Place,
    /// Whether it must be there.
    pub need: Need,
    /// What is lost without it, in plain words.
    pub loss: &'static str,
}

const fn required(program: &'static str, place: Place, loss: &'static str) -> Hook {
    Hook {
        program,
        place,
        need: Need::Required,
        loss,
    }
}

const fn optional(program: &'static str, place: Place, loss: &'static str) -> Hook {
    Hook {
        program,
        place,
        need: Need::Optional,
        loss,
    }
}

const READS: &str = "what programs read with this call";
const WRITES: &str = "what programs write with this call";
const LOOPS: &str = "event loops cannot be told from threads";

/// All hooks, in the order they are attached: life and death of sockets and processes first, so that nothing is
/// followed whose end would be missed; then writes, then reads (a request seen being written whose reading is not
/// yet hooked is a client span; the other way round it would be a server span without its caller).
pub const HOOKS: &[Hook] = &[
    required(
        "sock_state",
        Place::Raw("inet_sock_set_state"),
        "when TCP connections end, and refused connects",
    ),
    required(
        "exit",
        Place::Raw("sched_process_exit"),
        "when threads end; their contexts could outlive them",
    ),
    optional(
        "fork",
        Place::Raw("sched_process_fork"),
        "forked workers are known only once /proc was read",
    ),
    optional(
        "exec",
        Place::Raw("sched_process_exec"),
        "a process that becomes another program keeps its old name",
    ),
    optional(
        "enter_close",
        Place::Syscall("sys_enter_close"),
        "when unix connections end",
    ),
    optional(
        "enter_connect",
        Place::Syscall("sys_enter_connect"),
        "refused connects, and proxies' parents",
    ),
    optional(
        "exit_connect",
        Place::Syscall("sys_exit_connect"),
        "connects that fail at once",
    ),
    optional(
        "enter_epoll_wait",
        Place::Syscall("sys_enter_epoll_wait"),
        LOOPS,
    ),
    optional(
        "enter_epoll_pwait",
        Place::Syscall("sys_enter_epoll_pwait"),
        LOOPS,
    ),
    optional(
        "enter_epoll_pwait2",
        Place::Syscall("sys_enter_epoll_pwait2"),
        LOOPS,
    ),
    optional(
        "exit_io_uring_setup",
        Place::Syscall("sys_exit_io_uring_setup"),
        "which processes use io_uring",
    ),
    required("exit_write", Place::Syscall("sys_exit_write"), WRITES),
    required("enter_write", Place::Syscall("sys_enter_write"), WRITES),
    required("exit_writev", Place::Syscall("sys_exit_writev"), WRITES),
    required("enter_writev", Place::Syscall("sys_enter_writev"), WRITES),
    required("exit_sendto", Place::Syscall("sys_exit_sendto"), WRITES),
    required("enter_sendto", Place::Syscall("sys_enter_sendto"), WRITES),
    required("exit_sendmsg", Place::Syscall("sys_exit_sendmsg"), WRITES),
    required("enter_sendmsg", Place::Syscall("sys_enter_sendmsg"), WRITES),
    optional("exit_sendmmsg", Place::Syscall("sys_exit_sendmmsg"), WRITES),
    optional(
        "enter_sendmmsg",
        Place::Syscall("sys_enter_sendmmsg"),
        WRITES,
    ),
    optional(
        "exit_sendfile64",
        Place::Syscall("sys_exit_sendfile64"),
        WRITES,
    ),
    optional(
        "enter_sendfile64",
        Place::Syscall("sys_enter_sendfile64"),
        WRITES,
    ),
    optional("exit_splice", Place::Syscall("sys_exit_splice"), WRITES),
    optional("exit_splice_in", Place::Syscall("sys_exit_splice"), READS),
    optional("enter_splice", Place::Syscall("sys_enter_splice"), WRITES),
    required("exit_read", Place::Syscall("sys_exit_read"), READS),
    required("exit_readv", Place::Syscall("sys_exit_readv"), READS),
    required("exit_recvfrom", Place::Syscall("sys_exit_recvfrom"), READS),
    required("exit_recvmsg", Place::Syscall("sys_exit_recvmsg"), READS),
    optional("exit_recvmmsg", Place::Syscall("sys_exit_recvmmsg"), READS),
];
