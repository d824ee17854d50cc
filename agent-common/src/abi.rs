//! Records in the ring buffer and values in maps.
//!
//! Every record starts with [`RecordHead`]; `size` counts the whole record with its payload. A reader that meets
//! an unknown kind or a size that does not fit counts it and goes on with the next one.

mod maps;
pub mod node;
mod units;

use core::mem::{offset_of, size_of};

pub use maps::{
    Arrival, Arrived, Conn, Inflight, PeerKey, ServerKey, Thread, Tick, Unit, conn_flag, demand,
    destination, header_state, option_state, server_key, unit_flag,
};
pub use units::{
    Runtime, UnitContext, UnitKey, cpython_variant, go_variant, goroutine_note, java_variant,
    node_variant, runtime, task_note, tokio_variant, unit_kind, unit_note,
};

/// Sixteen bytes (a trace id, an address) as two words in memory order: BPF copies and compares a word in one instruction,
/// a byte array byte by byte. Eight bytes (a span id) are a `u64` for the same reason.
pub type Words = [u64; 2];

/// The bytes of [`Words`].
#[must_use]
pub const fn bytes_of(words: Words) -> [u8; 16] {
    let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    [
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6],
        b[7],
    ]
}

/// Sixteen bytes as [`Words`].
#[must_use]
pub const fn words_of(bytes: [u8; 16]) -> Words {
    let b = bytes;
    [
        u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
    ]
}

/// Kinds of records ([`RecordHead::kind`]).
pub mod kind {
    /// [`super::ConnRecord`]: a connection is followed from here on.
    pub const CONN: u16 = 1;
    /// [`super::SegmentRecord`] and its payload: bytes moved.
    pub const SEGMENT: u16 = 2;
    /// [`super::StateRecord`]: a socket changed its state or was closed.
    pub const STATE: u16 = 3;
    /// [`super::TaskRecord`]: a process called execve.
    pub const EXEC: u16 = 4;
    /// [`super::TaskRecord`]: the last thread of a process ended.
    pub const EXIT: u16 = 5;
    /// [`super::TaskRecord`]: a process set up an io_uring.
    pub const IO_URING: u16 = 6;
    /// [`super::TaskRecord`]: a process listens on a TCP port: it is about to serve.
    pub const LISTEN: u16 = 7;
    /// [`super::DoubtRecord`]: calls that were said to be a request's may be another's.
    pub const DOUBT: u16 = 8;
    /// [`super::TickRecord`]: a scheduler began a command, or which processes belong to it.
    pub const TICK: u16 = 9;
}

/// Directions of a segment, seen from the socket the syscall was made on.
pub mod direction {
    /// Ingress: bytes the process read.
    pub const RX: u8 = 0;
    /// Egress: bytes the process wrote.
    pub const TX: u8 = 1;
}

/// Roles of a connection's end.
pub mod role {
    /// No message was recognised yet.
    pub const UNKNOWN: u8 = 0;
    /// It reads requests.
    pub const SERVER: u8 = 1;
    /// It writes requests.
    pub const CLIENT: u8 = 2;
}

/// What the kernel side does with a connection ([`Conn::verdict`]).
pub mod verdict {
    /// Look at the first bytes after each change of direction.
    pub const SNIFF: u8 = 0;
    /// A known protocol: capture heads.
    pub const HEADS: u8 = 1;
    /// Nothing more is looked at; written by both sides.
    pub const IGNORED: u8 = 2;
    /// A client of a broker: capture the beginning of everything it writes and reads.
    pub const MESSAGES: u8 = 3;
}

/// Wire protocols the kernel side recognises ([`Conn::protocol`], [`SegmentRecord::protocol`]).
pub mod protocol {
    /// Not recognised yet.
    pub const UNKNOWN: u8 = 0;
    /// HTTP/1.0 or 1.1.
    pub const HTTP1: u8 = 1;
    /// FastCGI (responder role).
    pub const FASTCGI: u8 = 2;
    /// Redis' RESP2 or RESP3.
    pub const REDIS: u8 = 3;
    /// AMQP 0-9-1.
    pub const AMQP: u8 = 4;
    /// Kafka.
    pub const KAFKA: u8 = 5;
    /// NATS.
    pub const NATS: u8 = 6;
    /// MQTT.
    pub const MQTT: u8 = 7;
    /// PostgreSQL.
    pub const POSTGRES: u8 = 8;

    /// Amazon SQS' calls over HTTP/1; user space's name, in no record.
    pub const SQS: u8 = 10;
    /// A pipe between processes of one program ([`super::SegmentRecord::socket`] is its inode's address and number).
    pub const PIPE: u8 = 9;

    /// Whether it is spoken with a broker, or with a database that can be one.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_a_broker(protocol: u8) -> bool {
        protocol >= REDIS && protocol <= POSTGRES
    }
}

/// Flags of a segment ([`SegmentRecord::flags`]).
pub mod segment_flag {
    /// The kernel began an exchange at this segment's first byte; `exchange` is valid. On a broker's client: what a write puts has these
    /// ids; what a read brought is the context of its unit from here on, and `parent_span_id` is the one before.
    /// The same holds for what a client over HTTP/1 reads from a server that has a queue.
    pub const EXCHANGE: u8 = 1;
    /// `ret` was 0 on a read: the peer's end of stream.
    pub const EOF: u8 = 2;
    /// The payload could not be read though it was wanted (fault, sendfile, splice).
    pub const UNSEEN: u8 = 4;
    /// `tail` holds the segment's last bytes (as many as min(len, 8), right-aligned).
    pub const TAIL: u8 = 8;
    /// The syscall failed; `len` is 0 and `error` its positive errno.
    pub const ERROR: u8 = 16;
    /// `pos` is a count kept by the programs (unix sockets), not a TCP sequence number.
    pub const COUNTED: u8 = 32;
}

/// Evidence for the parent of an exchange, as the kernel side knows it ([`ExchangeIds::evidence`]).
pub mod evidence {
    /// None: the exchange begins a trace unless its bytes say otherwise.
    pub const NONE: u8 = 0;
    /// The client exchange of the peer socket on this host.
    pub const SOCKET: u8 = 1;
    /// The thread that serves a request made this call.
    pub const THREAD: u8 = 2;
    /// A proxy's event-loop turn completed exactly one request head before this call.
    pub const TURN: u8 = 3;
    /// The goroutine that serves a request made this call.
    pub const GOROUTINE: u8 = 4;
    /// The contextvars Context in which the request was read made this call, or a copy of it.
    pub const CONTEXT: u8 = 5;
    /// The event loop had just read the reply to a call of the request, and did nothing else since.
    pub const REPLY: u8 = 6;
    /// The async resource that made this call was made under the request.
    pub const ASYNC: u8 = 7;
    /// The unit that made this call was made by one that served the request.
    pub const SPAWN: u8 = 8;
    /// The peer's agent said so in a TCP option on the segment with the request's first byte.
    pub const OPTION: u8 = 9;
    /// haproxy made this call for the client whose request it is.
    pub const SESSION: u8 = 10;
    /// The virtual thread that serves a request made this call.
    pub const VIRTUAL_THREAD: u8 = 11;
    /// The task of tokio's that serves a request made this call, or handed it to the one that writes for it.
    pub const TASK: u8 = 12;
    /// A process that a scheduler began made this call, or one of its descendants.
    pub const TICK: u8 = 13;
    /// None, but the contextvars Context that did this was seen to be made: `parent_span_id` is its number in the upper half, and the number of
    /// the Context it was copied from in the lower one ([`super::kin_number`]); 0 where one is not known.
    pub const KIN: u8 = 14;
}

/// The number of a Context that was made at this time: no other one of its process has it within [`KIN_WRAPS_NS`].
#[inline(always)]
#[must_use]
pub const fn kin_number(ktime_ns: u64) -> u32 {
    let number = (ktime_ns >> KIN_SHIFT) as u32;
    if number == 0 { 1 } else { number }
}

// Contexts that are told of and those they were copied from are told apart by which is older.
const _: () = assert!(2 * crate::limits::KIN_AGE_MAX_NS < KIN_WRAPS_NS / 2);
/// A Context is made with the interpreter lock held, and takes longer than 64 ns.
const KIN_SHIFT: u32 = 6;
/// After this long numbers of Contexts come again.
pub const KIN_WRAPS_NS: u64 = 1 << (32 + KIN_SHIFT);

/// What an option said beside the ids ([`ExchangeIds::said`]).
pub mod said {
    /// The trace is sampled.
    pub const SAMPLED: u8 = 1;
    /// Where the tag begins (`carried::tag_of`); 0: the client's process had received no `traceparent`.
    pub const TAG_SHIFT: u32 = 1;
}

/// Syscalls that moved bytes ([`SegmentRecord::op`]).
pub mod op {
    /// read
    pub const READ: u8 = 1;
    /// write
    pub const WRITE: u8 = 2;
    /// readv
    pub const READV: u8 = 3;
    /// writev
    pub const WRITEV: u8 = 4;
    /// recvfrom
    pub const RECVFROM: u8 = 5;
    /// sendto
    pub const SENDTO: u8 = 6;
    /// recvmsg
    pub const RECVMSG: u8 = 7;
    /// sendmsg
    pub const SENDMSG: u8 = 8;
    /// recvmmsg
    pub const RECVMMSG: u8 = 9;
    /// sendmmsg
    pub const SENDMMSG: u8 = 10;
    /// sendfile64
    pub const SENDFILE: u8 = 11;
    /// splice from a pipe to the socket
    pub const SPLICE_OUT: u8 = 12;
    /// splice from the socket to a pipe
    pub const SPLICE_IN: u8 = 13;
    /// Another call, such as io_uring's; its bytes are not seen.
    pub const OTHER: u8 = 14;
}

/// Head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHead {
    /// One of [`kind`].
    pub kind: u16,
    /// Bytes of payload after the fixed part.
    pub payload: u16,
    /// Bytes of the whole record.
    pub size: u32,
    /// CLOCK_MONOTONIC when the record was made (for syscalls: at sys_exit).
    pub ktime_ns: u64,
}

/// A process, exact over pid reuse.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// `task->group_leader->start_time`, ns of CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Always 0.
    pub zero: u32,
}

/// A socket, exact over reuse of kernel memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketKey {
    /// Address of the `struct sock`; only compared, never shown.
    pub sk: u64,
    /// The socket's inode number.
    pub ino: u64,
}

/// Ids of an exchange, made in the kernel when its request is read or written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeIds {
    /// Trace id as far as the kernel knows; user space may replace it by the one in a header.
    pub trace_id: Words,
    /// Span id of this exchange's span.
    pub span_id: u64,
    /// Span id of the parent exchange; all zero when `evidence` is [`evidence::NONE`].
    pub parent_span_id: u64,
    /// One of [`evidence`].
    pub evidence: u8,
    /// With [`evidence::OPTION`]: [`said`] in the option; else 0.
    pub said: u8,
    /// Always 0.
    pub zero: [u8; 6],
}

/// `kind::CONN`. Sent at connect, or when the first bytes are seen on a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnRecord {
    /// Head.
    pub head: RecordHead,
    /// The process whose syscall it was.
    pub process: ProcessKey,
    /// The socket.
    pub socket: SocketKey,
    /// Local address; IPv4 as IPv4-mapped IPv6; for unix sockets zero.
    pub local_addr: Words,
    /// Remote address, the same way; for unix sockets the first 8 bytes are the peer's `struct sock` address.
    pub remote_addr: Words,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// AF_INET (2), AF_INET6 (10) or AF_UNIX (1).
    pub family: u16,
    /// 1: the record was made by connect(), whose ids are in `exchange` in case it never carries a request.
    pub by_connect: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name, padded with zeros.
    pub comm: [u8; 16],
    /// For connect: ids a span of the failed attempt would have.
    pub exchange: ExchangeIds,
}

/// `kind::SEGMENT`, followed by `head.payload` bytes: the first captured bytes of the segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Head; `ktime_ns` is the time of sys_exit.
    pub head: RecordHead,
    /// The process whose syscall it was.
    pub process: ProcessKey,
    /// The socket.
    pub socket: SocketKey,
    /// CLOCK_MONOTONIC at sys_enter for writes; equals `head.ktime_ns` for reads.
    pub enter_ktime_ns: u64,
    /// Stream position of the first byte: TCP sequence number, or a count (flag `COUNTED`). Wraps.
    pub pos: u32,
    /// Bytes moved.
    pub len: u32,
    /// Thread id.
    pub tid: u32,
    /// Positive errno when flag `ERROR` is set, else 0.
    pub error: u16,
    /// One of [`direction`].
    pub direction: u8,
    /// One of [`op`].
    pub op: u8,
    /// Flags of [`segment_flag`].
    pub flags: u8,
    /// One of [`role`], after this segment.
    pub role: u8,
    /// One of [`protocol`].
    pub protocol: u8,
    /// Bytes of the stream from `pos` on that the program did not write: a header was written into the request that begins
    /// here, so that the next segment's position is `pos + len + injected`.
    pub injected: u8,
    /// So many bytes at the end of the payload are the segment's last ones (of a large message of Redis), those before them its first.
    pub ending: u16,
    /// Always 0.
    pub zero: [u8; 2],
    /// The last bytes of the segment, when flag `TAIL` is set.
    pub tail: [u8; 8],
    /// Valid when flag `EXCHANGE` is set.
    pub exchange: ExchangeIds,
}

/// `kind::STATE`: a followed socket changed its TCP state, or a unix socket was closed (new state `TCP_CLOSE`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateRecord {
    /// Head.
    pub head: RecordHead,
    /// The socket.
    pub socket: SocketKey,
    /// Old state, as in the kernel's `include/net/tcp_states.h`.
    pub old_state: u8,
    /// New state.
    pub new_state: u8,
    /// `sk->sk_err`: positive errno or 0.
    pub error: u16,
    /// Bytes the process has read and written since the socket is followed (wrapping).
    pub rx_bytes: u32,
    /// See `rx_bytes`.
    pub tx_bytes: u32,
    /// `sk->sk_shutdown`: [`SHUT_BOTH`] when the program has closed the socket; 0 when it is not known.
    pub shutdown: u8,
    /// Always 0.
    pub zero: [u8; 3],
}

/// `SHUTDOWN_MASK` (include/net/sock.h): neither direction is of use to the program any more.
pub const SHUT_BOTH: u8 = 3;

/// `kind::EXEC`, `EXIT`, `IO_URING`, `LISTEN`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskRecord {
    /// Head.
    pub head: RecordHead,
    /// The process.
    pub process: ProcessKey,
    /// Thread id.
    pub tid: u32,
    /// For LISTEN: the port; for EXIT: the status as wait(2) gives it; else 0.
    pub other: u32,
    /// The thread's name, padded with zeros.
    pub comm: [u8; 16],
}

/// `kind::DOUBT`: an event loop answered a request in a turn of another one's, so that one of them went on in the other's turn. Calls of
/// the other one that stand on turns (`evidence::REPLY`, `ASYNC`) may have been the answered one's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoubtRecord {
    /// Head.
    pub head: RecordHead,
    /// The process.
    pub process: ProcessKey,
    /// Span of the server exchange whose calls are doubted.
    pub span_id: u64,
}

/// What a [`TickRecord`] says.
pub mod tick {
    /// A scheduler began `process`: it is the first one of a tick.
    pub const BEGUN: u32 = 1;
    /// `process` was forked by `by`, which belongs to the tick.
    pub const JOINED: u32 = 2;
}

/// `kind::TICK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickRecord {
    /// Head.
    pub head: RecordHead,
    /// The process it is about.
    pub process: ProcessKey,
    /// The tick's trace.
    pub trace_id: Words,
    /// Its span.
    pub span_id: u64,
    /// One of [`tick`].
    pub what: u32,
    /// For JOINED: the process that forked it; else 0.
    pub by: u32,
    /// Name of the process' thread, padded with zeros.
    pub comm: [u8; 16],
    /// For BEGUN: the scheduler's; else zeros.
    pub scheduler: [u8; 16],
}

const _: () = {
    assert!(size_of::<TickRecord>() == 96);
    assert!(size_of::<DoubtRecord>() == 40);
    assert!(size_of::<RecordHead>() == 16);
    assert!(size_of::<ProcessKey>() == 16);
    assert!(size_of::<SocketKey>() == 16);
    assert!(size_of::<ExchangeIds>() == 40);
    assert!(size_of::<ConnRecord>() == 16 + 16 + 16 + 32 + 8 + 8 + 16 + 40);
    assert!(size_of::<SegmentRecord>() == 16 + 16 + 16 + 8 + 12 + 4 + 8 + 8 + 40);
    assert!(offset_of!(SegmentRecord, tail) == 80);
    assert!(size_of::<StateRecord>() == 48);
    assert!(size_of::<TaskRecord>() == 56);
};
