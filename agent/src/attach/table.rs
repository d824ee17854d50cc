//! The attach table: every hook, once.
//!
//! In: nothing. Out: [`HOOKS`]. Always holds: each row names one program of the BPF object and the object has no
//! program without a row (a test compares them in both directions). Refuses: hooks on syscalls that never carry
//! traced bytes: an enter+exit pair costs about 255 ns on its own syscall, and turns on 40 ns for every other one
//! (measured on 6.18, DESIGN §3).
//!
//! Bytes are seen in one of three ways ([`Way`]), and the rest of the rows serve all. `Sockets` and `Functions` rows replace all
//! `Syscalls` rows but those with a demand, which are attached when a program or a process that was found asks for them.
//!
//! | way | what it needs | costs a syscall that moves bytes | costs every other syscall |
//! |---|---|---|---|
//! | Sockets | 6.16 to 6.18 (`tcp_sendmsg_locked`) | a raw tracepoint, some 85 ns, before and after | nothing until a demand |
//! | Functions | trampolines (`CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS`: distribution kernels) | before and after, less than a tracepoint | nothing until a demand |
//! | Syscalls | 5.15+ | perf's pair, 255 ns | 40 ns |

use agent_common::abi::demand;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `syscalls:<name>`, through perf.
    Syscall(&'static str),
    /// A raw tracepoint by name.
    Raw(&'static str),
    /// A raw tracepoint by name, whose arguments the verifier knows by the kernel's BTF: fields are plain loads.
    Btf(&'static str),
    /// The begin of a kernel function (fentry).
    Entry(&'static str),
    /// The end of a kernel function (fexit).
    Exit(&'static str),
    /// A function of a runtime, by what its source calls it: a uprobe on the files of processes that need it ([`super::user`]).
    User(&'static str),
    /// The root of cgroup v2, for operations on all sockets of the host (`BPF_CGROUP_SOCK_OPS`), where this carrier is on.
    RootCgroup(Carrier),
    /// The map of sockets whose messages are seen before they are sent (`BPF_SK_MSG_VERDICT`).
    Members,
}

/// What contexts are carried to others by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A TCP option.
    Option,
    /// A header of the request.
    Header,
}

/// How bytes are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the entry and the exit of syscalls.
    Syscalls,
    /// At tracepoints inside of the socket calls.
    Sockets,
    /// At the begin and the end of functions of the socket layer.
    Functions,
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
    /// The way of seeing bytes it belongs to; none for both.
    pub way: Option<Way>,
    /// Groups of `abi::demand` that ask for it where bytes are not seen by [`Way::Syscalls`]; 0: attached from the start.
    pub on_demand: u64,
    /// The first release that has no such place, because another row's took its part; none: every release has it.
    pub gone_in: Option<(u32, u32)>,
    /// What is lost without it, in plain words.
    pub loss: &'static str,
}

impl Hook {
    /// Whether the row has a part in a way of seeing bytes.
    #[must_use]
    pub fn serves(&self, way: Way) -> bool {
        self.way.is_none_or(|own| own == way)
            || (way != Way::Syscalls && self.way == Some(Way::Syscalls) && self.on_demand != 0)
    }

    /// Whether a kernel of this release, as (major, minor), has the row's place.
    #[must_use]
    pub fn is_in(&self, release: (u32, u32)) -> bool {
        self.gone_in.is_none_or(|gone_in| release < gone_in)
    }

    /// Whether the row is attached from the start.
    #[must_use]
    pub fn at_once(&self, way: Way) -> bool {
        // Pipes are looked at on demand only, whichever way the sockets are seen.
        let waits =
            self.on_demand == demand::PIPES || (way != Way::Syscalls && self.on_demand != 0);
        self.serves(way) && !waits
    }

    const fn on(self, groups: u64) -> Self {
        Self {
            on_demand: groups,
            ..self
        }
    }

    const fn before(self, major: u32, minor: u32) -> Self {
        Self {
            gone_in: Some((major, minor)),
            ..self
        }
    }

    const fn by(self, way: Way) -> Self {
        Self {
            way: Some(way),
            ..self
        }
    }
}

const fn required(program: &'static str, place: Place, loss: &'static str) -> Hook {
    Hook {
        program,
        place,
        need: Need::Required,
        way: None,
        on_demand: 0,
        gone_in: None,
        loss,
    }
}

const fn optional(program: &'static str, place: Place, loss: &'static str) -> Hook {
    Hook {
        program,
        place,
        need: Need::Optional,
        way: None,
        on_demand: 0,
        gone_in: None,
        loss,
    }
}

const READS: &str = "what programs read with this call";
const WRITES: &str = "what programs write with this call";
const UNIX_BYTES: &str = "what programs say over unix sockets";
const RINGS: &str = "which processes use io_uring";
const FAILURES: &str = "connects that fail before TCP tries, and those of unix sockets";
const PIPES: &str =
    "which of a worker's forked children works on which job (Celery's prefork pool)";
const CONNECTIONS: &str =
    "whose calls the tasks make that asyncio servers start with a connection (aiohttp)";
const CONTEXTS: &str = "whose calls asyncio's tasks make";
const NODE: &str = "whose the calls of Node.js programs are";
const NODE_AWAITS: &str = "whose the calls are that async functions of Node.js programs make while other requests are open";
const NODE_TIMERS: &str = "whose the calls are that Node.js programs make after a timer's promise";
const HEADERS: &str = "contexts for who is called, where programs send none themselves";
const LOOPS: &str = "event loops cannot be told from threads";
const GOROUTINES: &str = "whose calls those of Go's goroutines are that others made";
const TOKIO: &str = "whose calls those of tokio's tasks are that others made, and whose requests hyper's client writes";
const GO_CALLS: &str = "whose requests Go's net/http writes and whose connections it makes";

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
        "forked workers are known only once /proc was read, and calls of what a scheduled command forks are roots",
    ),
    optional(
        "exec",
        Place::Raw("sched_process_exec"),
        "a process that becomes another program keeps its old name, and what schedulers begin is not seen",
    ),
    required(
        "connecting",
        Place::Btf("inet_sock_set_state"),
        "refused connects, and proxies' parents",
    ),
    optional("io_uring_create", Place::Raw("io_uring_create"), RINGS),
    optional(
        "enter_close",
        Place::Syscall("sys_enter_close"),
        "when unix connections end",
    )
    .on(demand::UNIX),
    optional(
        "enter_connect",
        Place::Syscall("sys_enter_connect"),
        FAILURES,
    )
    .on(demand::ALL),
    optional("exit_connect", Place::Syscall("sys_exit_connect"), FAILURES).on(demand::ALL),
    optional(
        "enter_epoll_wait",
        Place::Syscall("sys_enter_epoll_wait"),
        LOOPS,
    )
    .on(demand::LOOPS),
    optional(
        "enter_epoll_pwait",
        Place::Syscall("sys_enter_epoll_pwait"),
        LOOPS,
    )
    .on(demand::LOOPS),
    optional(
        "enter_epoll_pwait2",
        Place::Syscall("sys_enter_epoll_pwait2"),
        LOOPS,
    )
    .on(demand::LOOPS),
    optional("pipe_read", Place::Syscall("sys_exit_read"), PIPES).on(demand::PIPES),
    optional("pipe_written", Place::Syscall("sys_exit_write"), PIPES).on(demand::PIPES),
    optional(
        "option",
        Place::RootCgroup(Carrier::Option),
        "contexts of other hosts, but for those in headers",
    ),
    // Before the one that chooses sockets: a socket knows the programs its map had when it was put there.
    optional("header", Place::Members, HEADERS),
    optional("header_member", Place::RootCgroup(Carrier::Header), HEADERS),
    optional(
        "exit_accept4",
        Place::Syscall("sys_exit_accept4"),
        CONNECTIONS,
    )
    .on(demand::ACCEPTS),
    optional(
        "enter_getpeername",
        Place::Syscall("sys_enter_getpeername"),
        CONNECTIONS,
    )
    .on(demand::ACCEPTS),
    optional(
        "context_made",
        Place::User("PyContext_CopyCurrent"),
        CONTEXTS,
    ),
    optional("context_copied", Place::User("PyContext_Copy"), CONTEXTS),
    optional("context_entered", Place::User("PyContext_Enter"), CONTEXTS),
    optional(
        "unix_readable",
        Place::Btf("sk_data_ready"),
        "some parents of requests over unix sockets, when the server is fast",
    )
    .by(Way::Sockets)
    .on(demand::UNIX),
    required("sock_send_length", Place::Btf("sock_send_length"), WRITES).by(Way::Sockets),
    required(
        "tcp_sendmsg_locked",
        Place::Btf("tcp_sendmsg_locked"),
        WRITES,
    )
    .by(Way::Sockets),
    required("sock_recv_length", Place::Btf("sock_recv_length"), READS).by(Way::Sockets),
    required("after_inet_sendmsg", Place::Exit("inet_sendmsg"), WRITES).by(Way::Functions),
    optional(
        "after_inet6_sendmsg",
        Place::Exit("inet6_sendmsg"),
        "what programs write to IPv6 sockets",
    )
    .by(Way::Functions),
    optional(
        "after_unix_sendmsg",
        Place::Exit("unix_stream_sendmsg"),
        UNIX_BYTES,
    )
    .by(Way::Functions),
    optional(
        "after_inet_sendpage",
        Place::Exit("inet_sendpage"),
        "what programs send with sendfile",
    )
    .by(Way::Functions)
    .before(6, 5),
    required(
        "before_tcp_sendmsg",
        Place::Entry("tcp_sendmsg_locked"),
        WRITES,
    )
    .by(Way::Functions),
    optional(
        "before_unix_sendmsg",
        Place::Entry("unix_stream_sendmsg"),
        UNIX_BYTES,
    )
    .by(Way::Functions),
    required("after_inet_recvmsg", Place::Exit("inet_recvmsg"), READS).by(Way::Functions),
    optional(
        "after_inet6_recvmsg",
        Place::Exit("inet6_recvmsg"),
        "what programs read from IPv6 sockets",
    )
    .by(Way::Functions),
    optional(
        "after_unix_recvmsg",
        Place::Exit("unix_stream_recvmsg"),
        UNIX_BYTES,
    )
    .by(Way::Functions),
    optional(
        "node_scope",
        Place::User("node::AsyncHooks::push_async_context"),
        NODE,
    ),
    optional(
        "node_resolve",
        Place::User("Builtins_PromiseCapabilityDefaultResolve"),
        NODE_TIMERS,
    ),
    optional(
        "node_reset",
        Place::User("node::AsyncWrap::AsyncReset"),
        NODE_TIMERS,
    ),
    optional(
        "node_await",
        Place::User("Builtins_AsyncFunctionAwait"),
        NODE_AWAITS,
    ),
    optional(
        "node_resume",
        Place::User("Builtins_AsyncFunctionAwaitResolveClosure"),
        NODE_AWAITS,
    ),
    optional(
        "node_return",
        Place::User("Builtins_AsyncFunctionResolve"),
        NODE_AWAITS,
    ),
    optional(
        "node_collected",
        Place::User("v8::internal::Heap::GarbageCollectionEpilogueInSafepoint"),
        NODE_AWAITS,
    ),
    optional(
        "node_microtasks",
        Place::User("v8::internal::MicrotaskQueue::RunMicrotasks"),
        NODE_TIMERS,
    ),
    optional(
        "node_drained",
        Place::User("v8::internal::Execution::TryRunMicrotasks"),
        NODE_TIMERS,
    ),
    required("exit_write", Place::Syscall("sys_exit_write"), WRITES).by(Way::Syscalls),
    required("enter_write", Place::Syscall("sys_enter_write"), WRITES).by(Way::Syscalls),
    required("exit_writev", Place::Syscall("sys_exit_writev"), WRITES).by(Way::Syscalls),
    required("enter_writev", Place::Syscall("sys_enter_writev"), WRITES).by(Way::Syscalls),
    required("exit_sendto", Place::Syscall("sys_exit_sendto"), WRITES).by(Way::Syscalls),
    required("enter_sendto", Place::Syscall("sys_enter_sendto"), WRITES).by(Way::Syscalls),
    required("exit_sendmsg", Place::Syscall("sys_exit_sendmsg"), WRITES).by(Way::Syscalls),
    required("enter_sendmsg", Place::Syscall("sys_enter_sendmsg"), WRITES).by(Way::Syscalls),
    optional("exit_sendmmsg", Place::Syscall("sys_exit_sendmmsg"), WRITES)
        .by(Way::Syscalls)
        .on(demand::MMSG),
    optional(
        "enter_sendmmsg",
        Place::Syscall("sys_enter_sendmmsg"),
        WRITES,
    )
    .by(Way::Syscalls)
    .on(demand::MMSG),
    optional(
        "exit_sendfile64",
        Place::Syscall("sys_exit_sendfile64"),
        WRITES,
    )
    .by(Way::Syscalls),
    optional(
        "enter_sendfile64",
        Place::Syscall("sys_enter_sendfile64"),
        WRITES,
    )
    .by(Way::Syscalls),
    optional("exit_splice", Place::Syscall("sys_exit_splice"), WRITES).by(Way::Syscalls),
    optional("enter_splice", Place::Syscall("sys_enter_splice"), WRITES).by(Way::Syscalls),
    optional("exit_splice_in", Place::Syscall("sys_exit_splice"), READS)
        .by(Way::Syscalls)
        .on(demand::SPLICE),
    required("exit_read", Place::Syscall("sys_exit_read"), READS).by(Way::Syscalls),
    required("exit_readv", Place::Syscall("sys_exit_readv"), READS).by(Way::Syscalls),
    required("exit_recvfrom", Place::Syscall("sys_exit_recvfrom"), READS).by(Way::Syscalls),
    required("exit_recvmsg", Place::Syscall("sys_exit_recvmsg"), READS).by(Way::Syscalls),
    optional("exit_recvmmsg", Place::Syscall("sys_exit_recvmmsg"), READS)
        .by(Way::Syscalls)
        .on(demand::MMSG),
    // Programs at one place run in the order in which they were attached.
    optional(
        "exit_recvmmsg_next",
        Place::Syscall("sys_exit_recvmmsg"),
        READS,
    )
    .by(Way::Syscalls)
    .on(demand::MMSG),
    // Where a Go program that serves is found; each costs its own place alone (ARCHITECTURE §2a).
    optional("go_spawn", Place::User("runtime.newproc1"), GOROUTINES),
    optional(
        "go_write_request",
        Place::User("net/http.(*persistConn).writeLoop"),
        GO_CALLS,
    ),
    optional(
        "go_round_trip",
        Place::User("net/http.(*persistConn).roundTrip"),
        GO_CALLS,
    ),
    optional(
        "go_dial",
        Place::User("net/http.(*Transport).dialConnFor"),
        GO_CALLS,
    ),
    optional(
        "go_queue_dial",
        Place::User("net/http.(*Transport).queueForDial"),
        GO_CALLS,
    ),
    optional("go_receive", Place::User("runtime.chanrecv1"), GOROUTINES),
    optional(
        "go_next",
        Place::User("runtime.chanrecv2, sync.(*Cond).Wait"),
        GOROUTINES,
    ),
    optional("go_select", Place::User("runtime.selectgo"), GOROUTINES),
    optional("go_poll", Place::User("runtime.selectnbrecv"), GOROUTINES),
    optional("go_sleep", Place::User("time.Sleep"), GOROUTINES),
    optional(
        "tokio_spawn",
        Place::User("tokio's OwnedTasks::bind_inner, Handle::schedule_option_task_without_yield"),
        TOKIO,
    ),
    optional(
        "tokio_end",
        Place::User("tokio::runtime::task::state::State::transition_to_complete"),
        TOKIO,
    ),
    optional(
        "tokio_wait",
        Place::User("tokio::sync::task::AtomicWaker::register_by_ref"),
        TOKIO,
    ),
    optional(
        "tokio_send",
        Place::User("tokio::sync::task::AtomicWaker::wake"),
        TOKIO,
    ),
];
