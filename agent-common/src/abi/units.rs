//! Execution units that are not threads (goroutines, contextvars Contexts, turns of an event loop), and the processes that have them.
//!
//! Which runtime a process has and where its structs are is found in user space; the programs find the unit that runs.

use core::mem::size_of;

use super::Words;

/// Runtime classes of processes, found in user space, that say which evidence may be trusted (DESIGN §5).
pub mod runtime {
    /// Unknown or native: a thread's context counts only if it reads its requests from blocking sockets.
    pub const NATIVE: u8 = 0;
    /// One request per thread unless the thread waits with epoll (CPython, Ruby, PHP).
    pub const THREADED: u8 = 1;
    /// nginx: handles each ready event to its end before the next, one thread per process.
    pub const TURN_PROXY: u8 = 2;
    /// Execution units are not threads, and this kind's are not known (tokio, .NET): nothing but the socket counts.
    pub const MULTIPLEXING: u8 = 3;
    /// Go: the unit is the goroutine ([`super::unit_kind::GOROUTINE`]).
    pub const GO: u8 = 4;
    /// CPython whose running Context can be read: the unit is that Context, or else the thread as in `THREADED`.
    pub const CPYTHON: u8 = 5;
    /// Node.js: the unit is what runs between two callbacks of libuv.
    pub const NODE: u8 = 6;
    /// haproxy: the unit is the client's connection for which a task works ([`super::unit_kind::SESSION`]).
    pub const HAPROXY: u8 = 7;
    /// A JVM whose virtual threads can be read: the unit is the one that is mounted, or else the thread as in `NATIVE`.
    pub const JAVA: u8 = 8;
    /// tokio whose running task can be read: the unit is the task ([`super::unit_kind::TASK`]).
    pub const TOKIO: u8 = 9;
}

/// Kinds of units ([`UnitKey::kind`]).
pub mod unit_kind {
    /// A thread; `id` is its tid.
    pub const THREAD: u32 = 0;
    /// A goroutine; `id` is the address of its `g`.
    pub const GOROUTINE: u32 = 1;
    /// A contextvars Context of CPython; `id` is its address.
    pub const CONTEXT: u32 = 2;
    /// A turn or resource of a Node.js environment; `id` is what `unit/node.rs` says.
    pub const ASYNC: u32 = 3;
    /// A client of haproxy; `id` is the address of its `struct connection`.
    pub const SESSION: u32 = 4;
    /// Work that one goroutine hands to another: a request that net/http's writing goroutine will write, or a connection that its
    /// dialling one will make. `id` is the object's address; the entry is taken when the work begins.
    pub const HANDED: u32 = 5;
    /// A goroutine of a process whose new goroutines are not all seen ([`super::go_variant`]); `id` is the address of its `g`.
    pub const GOROUTINE_ALONE: u32 = 6;
    /// A virtual thread of a JVM; `id` is its `Thread.threadId()`, which is never given out twice.
    pub const VIRTUAL_THREAD: u32 = 7;
    /// A task of tokio; `id` is its `task::Id`, which no other task of the process ever has.
    pub const TASK: u32 = 8;
    /// What wakes the receiver of a channel of tokio's (`mpsc`); `id` is the address of its `AtomicWaker`. What the value's fields mean is said
    /// in `unit/task`. In a map of its own, as [`TASK_RECEIVER`].
    pub const TASK_CHANNEL: u32 = 9;
    /// A task that receives from such a channel; `id` is its `task::Id`.
    pub const TASK_RECEIVER: u32 = 10;
    /// A type of tasks of which one was made under a request and ended; `id` is the address of its vtable.
    pub const TASK_TYPE: u32 = 11;
    /// A task of a type of which none has ended yet; `id` is its `task::Id`.
    pub const TASK_MADE: u32 = 12;
    /// What was last sent to channels whose receivers are not known; `id` is 0. Made by user space.
    pub const TASK_SENT: u32 = 13;
    /// Who asked for a request of net/http: `id` is the request's address, or the `g` that writes it; the value's `span_id` the asking `g`. Only
    /// while a server with a queue is known.
    pub const ASKER: u32 = 14;
}

/// Bits of [`Runtime::variant`] of `runtime::TOKIO`.
pub mod tokio_variant {
    /// Each new task and each task's end is seen, and who sends to whom.
    pub const FOLLOWED: u8 = 1;
}

/// What else is known of a task's context: bits of [`UnitContext::evidence`] above the evidence itself.
pub mod task_note {
    /// The response to the request has begun.
    pub const ANSWERED: u64 = 0x100;
    /// Sticky: the task read a request while another one it had read was unanswered. It has no context.
    pub const VOID: u64 = 0x800;
    /// None of the task's type had ended when it was made.
    pub const UNPROVEN: u64 = 0x1000;
    /// Of a channel: something was sent to it. Of a receiver: it receives from more than one, or writes to more than one connection.
    pub const SENT: u64 = 0x2000;
    /// From this bit on: of a task, the one that read the request; of a channel, its receiver. Both `task::Id`s, which count up from 1.
    pub const READER_SHIFT: u64 = 16;
    /// What is not [`READER_SHIFT`]'s.
    pub const NOTES: u64 = 0xffff;
    /// Stands for a receiver that is no task: `block_on`'s future.
    pub const NO_TASK: u64 = (1 << 47) - 1;
}

/// Bits of [`Runtime::variant`] of `runtime::GO`.
pub mod go_variant {
    /// Each new goroutine is seen, and what can end its context; where it is not set, a goroutine's context ends with the answer.
    pub const FOLLOWED: u8 = 1;
}

/// Bits of [`Runtime::variant`] of `runtime::NODE`.
pub mod node_variant {
    /// A call counts only while its request is alone on its thread.
    pub const ALONE: u8 = 1;
    /// Timers and immediates of a list are told apart.
    pub const TIMERS: u8 = 2;
    /// Async functions are followed from where they wait to where they go on.
    pub const AWAITS: u8 = 4;
}

/// What else is known of a unit's context: bits of [`UnitContext::evidence`] above the evidence itself.
pub mod unit_note {
    /// The evidence's own bits.
    pub const EVIDENCE: u64 = 0xff;
    /// The unit itself read the request, which is unanswered.
    pub const READ: u64 = 0x100;
    /// Holds only until the unit is next entered: it serves many connections, one after the other.
    pub const TURN: u64 = 0x200;
    /// The unit serves a connection: its context is the request that is open there. `trace_id` is the socket (`sk`, `ino`).
    pub const CONNECTION: u64 = 0x400;
    /// With `CONNECTION`: not for this unit, but for the first one made by it.
    pub const FIRST_MADE: u64 = 0x800;
    /// With `CONNECTION`: it is known without a look at who reads the connection's requests.
    pub const CERTAIN: u64 = 0x2000;
    /// Sticky: the unit read a request while another one it had read was unanswered. It has no context.
    pub const VOID: u64 = 0x1000;
    /// It works for nobody that is known, but was seen to be made, at `ktime_ns`; `span_id` is as `evidence::KIN` says.
    pub const KIN: u64 = 0x4000;
}

/// Bits of [`Runtime::variant`] of `runtime::CPYTHON`.
pub mod cpython_variant {
    /// uvloop reads before it enters a connection's Context, which is one for all connections of a listener.
    pub const UVLOOP: u8 = 1;
    /// Greenlets: a thread serves many requests, so that only Contexts count.
    pub const GREENLETS: u8 = 2;
    /// Twisted: one turn of a thread's loop may run callbacks of many connections.
    pub const CALLBACKS: u8 = 4;
    /// Which Context is a copy of which is told with calls: its jobs are settled by copies of the Contexts that work on them.
    pub const KIN: u8 = 8;
}

/// Bits of [`Runtime::variant`] of `runtime::JAVA`.
pub mod java_variant {
    /// The JVM itself keeps the id of the mounted thread (25); where it does not, it is read out of the object.
    pub const OWNER_ID: u8 = 1;
}

/// What else is known of a goroutine's context: bits of [`UnitContext::evidence`] above the evidence itself.
pub mod goroutine_note {
    /// The response to the request has begun.
    pub const ANSWERED: u64 = 0x100;
    /// Since then the goroutine has waited for a time or a signal.
    pub const WAITED: u64 = 0x200;
    /// Sticky: the goroutine read a request while another one it had read was unanswered. It has no context.
    pub const VOID: u64 = 0x400;
    /// The context is what was last read from a broker, not a request.
    pub const JOB: u64 = 0x800;
    /// With `JOB`: another goroutine was made since then, which has the context as well.
    pub const HANDED: u64 = 0x1000;
    /// Of a goroutine that was made by one with a `JOB`, and of all that it makes: whether the job is over, user space knows.
    pub const OF_JOB: u64 = 0x2000;
    /// From this bit on: the `g` that read the request. User addresses have 47 bits.
    pub const READER_SHIFT: u64 = 16;
    /// What is not [`READER_SHIFT`]'s.
    pub const NOTES: u64 = 0xffff;
}

/// Which unit of which process. The map of units is keyed by it; a process' entries go when it ends or calls execve.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnitKey {
    /// See [`unit_kind`].
    pub id: u64,
    /// The process.
    pub tgid: u32,
    /// One of [`unit_kind`].
    pub kind: u32,
}

/// Value of the map of units: the request a unit works for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitContext {
    /// Trace of the server exchange.
    pub trace_id: Words,
    /// Span of the server exchange.
    pub span_id: u64,
    /// CLOCK_MONOTONIC when the context was set.
    pub ktime_ns: u64,
    /// One of [`super::evidence`]: what a call made by this unit stands on; with bits of [`unit_note`], for goroutines of
    /// [`goroutine_note`].
    pub evidence: u64,
}

/// Value of the runtime map, by tgid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// One of [`runtime`].
    pub class: u8,
    /// Which of a class' ways to read it; what it means is said where the class' units are found.
    pub variant: u8,
    /// Always 0.
    pub zero: u16,
    /// Offsets into the runtime's own structs, bytes; what each is is said where the class' units are found.
    pub offsets: [u32; 7],
    /// Addresses in the process.
    pub addresses: [u64; 2],
}

impl Runtime {
    /// A class that needs no more than its name.
    #[must_use]
    pub const fn of(class: u8) -> Self {
        Self {
            class,
            variant: 0,
            zero: 0,
            offsets: [0; 7],
            addresses: [0; 2],
        }
    }
}

const _: () = {
    assert!(size_of::<UnitKey>() == 16);
    assert!(size_of::<UnitContext>() == 40);
    assert!(size_of::<Runtime>() == 48);
};
