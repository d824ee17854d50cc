//! Values and keys of the maps: what the programs remember of connections and threads. User space writes a verdict, and
//! the groups of hooks that are attached.

use core::mem::size_of;

use super::{ProcessKey, SocketKey, UnitKey, Words};

/// An end of a TCP connection as its other end names it: key of the maps of clients and of the agent's own connections.
/// Several connections may have the same client address and port, each to another server; that server's address would
/// tell them apart, but the two ends do not agree on it where it is translated (a published port of a container). Both
/// know where the client's bytes begin.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerKey {
    /// Address as in [`super::ConnRecord`].
    pub addr: Words,
    /// Port, host order.
    pub port: u32,
    /// Network namespace for loopback addresses, which every namespace has for itself; else 0, because the two ends of
    /// a connection may be in two namespaces.
    pub netns: u32,
    /// Sequence number of the first byte that this end sends.
    pub first: u32,
    /// Always 0.
    pub zero: u32,
}

/// A server with a queue over HTTP, as its clients name it: its address, and its port. Key of their map.
pub type ServerKey = [u64; 3];

/// See [`ServerKey`].
#[inline(always)]
#[must_use]
pub const fn server_key(address: Words, port: u16) -> ServerKey {
    [address[0], address[1], port as u64]
}

/// Flags of a unit ([`Unit::flags`]).
pub mod unit_flag {
    /// `trace_id` and `span_id` are a context that may count.
    pub const LIVE: u32 = 1;
    /// The request was read from a blocking socket.
    pub const BLOCKING: u32 = 2;
    /// Sticky: the unit waits with epoll.
    pub const EPOLL: u32 = 4;
    /// Sticky: the unit read a request while another one it had read was unanswered.
    pub const MULTIPLEX: u32 = 8;
    /// The request was read by an event loop that has not yet entered the Context it belongs to (uvloop).
    pub const UNCLAIMED: u32 = 16;
    /// The context is what was last read from a broker, not a request.
    pub const JOB: u32 = 32;
    /// With `JOB`: it was read from a socket that does not block, and the unit has not waited with epoll since then.
    pub const TURN: u32 = 64;
    /// Sticky: user space was woken for a connection of this thread, so that it knows the process.
    pub const TOLD: u32 = 128;
}

/// What an execution unit is doing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Trace of the server exchange it serves.
    pub trace_id: Words,
    /// Span of the server exchange it serves.
    pub span_id: u64,
    /// When the context was set.
    pub ktime_ns: u64,
    /// Flags of [`unit_flag`].
    pub flags: u32,
    /// Different request heads read in this event-loop turn that no call has consumed.
    pub turn_heads: u32,
    /// The connection the request was read from.
    pub socket: SocketKey,
}

/// Flags of a connection ([`Conn::flags`]).
pub mod conn_flag {
    /// Addresses come from connect(); the local ones are not known yet.
    pub const ADDRESS_PARTIAL: u16 = 1;
    /// `trace_id` and `parent_span_id` are the context of the turn that made this connection, for its first request.
    pub const BOUND: u16 = 2;
    /// The client exchange waits for its server: the byte at `pending_seq` belongs to `trace_id` and `span_id`.
    pub const PENDING: u16 = 4;
    /// The server exchange's context was taken by a call of its turn.
    pub const CONSUMED: u16 = 8;
    /// The final response to the current exchange has begun.
    pub const RESPONDED: u16 = 16;
    /// The agent's own connection (to its backend): the other end, if on this host, is not traced either.
    pub const OWN: u16 = 32;
    /// A client exchange began with the write that is under way; its segment has not been told yet.
    pub const BEGUN: u16 = 64;
    /// User space knows the connection.
    pub const TOLD: u16 = 128;
    /// The connection is in the map of clients.
    pub const PEERED: u16 = 256;
    /// Its requests are read by a unit that descends from the one made for it when it was accepted.
    pub const OWN_UNITS: u16 = 512;
    /// For a client: its server has a queue, so who reads from it may be given work.
    pub const OF_QUEUE: u16 = 1024;
}

/// Value of the connection map, keyed by the address of the `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conn {
    /// The socket's inode number; another one means that the kernel reused the memory.
    pub ino: u64,
    /// The process that was seen first on it.
    pub process: ProcessKey,
    /// CLOCK_MONOTONIC of the last bytes moved.
    pub last_ns: u64,
    /// Bytes read since it is followed.
    pub rx_bytes: u64,
    /// Bytes written since it is followed.
    pub tx_bytes: u64,
    /// The unit that read the current request.
    pub unit: UnitKey,
    /// For a server: the client's end, once it was found; before that `sk` is 0 and `ino` counts how often it was not.
    pub peer: SocketKey,
    /// Trace of the current exchange.
    pub trace_id: Words,
    /// Span of the current exchange.
    pub span_id: u64,
    /// Parent of the current exchange; zero where `evidence` is NONE.
    pub parent_span_id: u64,
    /// CLOCK_MONOTONIC when the write that began the current exchange was entered (flag `BEGUN`).
    pub begun_ns: u64,
    /// See [`super::ConnRecord::local_addr`].
    pub local_addr: Words,
    /// See [`super::ConnRecord::remote_addr`].
    pub remote_addr: Words,
    /// See [`super::ConnRecord::local_port`].
    pub local_port: u16,
    /// See [`super::ConnRecord::remote_port`].
    pub remote_port: u16,
    /// See [`super::ConnRecord::family`].
    pub family: u16,
    /// One of [`super::role`].
    pub role: u8,
    /// One of [`super::protocol`].
    pub protocol: u8,
    /// Network namespace.
    pub netns: u32,
    /// Stream position of the first byte of the client exchange that waits (flag `PENDING`).
    pub pending_seq: u32,
    /// For a client: [`PeerKey::first`] (flag `PEERED` or `OWN`).
    pub first: u32,
    /// Bytes that may still be captured in this direction.
    pub budget: u32,
    /// Flags of [`conn_flag`].
    pub flags: u16,
    /// One of [`super::verdict`].
    pub verdict: u8,
    /// Last [`super::direction`]; 255 before the first bytes.
    pub last_direction: u8,
    /// `last_direction` before the write that began an exchange, for the case that it moves nothing.
    pub direction_before: u8,
    /// Changes of direction without a known token.
    pub turns: u8,
    /// One of [`super::evidence`], for the current exchange.
    pub evidence: u8,
    /// Flags of [`option_state`]. Only the program on TCP's options writes it, under the socket's lock.
    pub option: u8,
    /// How often the current exchange was written into an option.
    pub option_tries: u8,
    /// [`super::ExchangeIds::said`] of the current exchange.
    pub said: u8,
    /// Bits of `carried::context`, for the current exchange.
    pub context: u16,
    /// For a client: not 0 once its server was found on this host.
    pub paired: u8,
    /// Flags of [`header_state`].
    pub header: u8,
    /// Bytes written into the request of the current exchange beside what the program wrote, until its segment was told.
    pub injected: u8,
    /// Always 0.
    pub zero: u8,
    /// For a client (flag [`header_state::MEMBER`]): stream position at which its next request must begin.
    pub due_seq: u32,
    /// Always 0.
    pub zero_too: u32,
}

/// What is known of a client's connection whose requests may be given a header ([`Conn::header`]).
pub mod header_state {
    /// Its messages are seen before they are sent, from its first byte on.
    pub const MEMBER: u8 = 1;
    /// Where its next request begins is not known any more: nothing is written into it again.
    pub const LOST: u8 = 2;
    /// It leaves the map before the message that is under way reaches the wire.
    pub const LEAVING: u8 = 4;
    /// It stays in the map for its next requests.
    pub const STAYING: u8 = 8;
    /// Who asked for callbacks before packets are sent was not only the one that takes it out of the map.
    pub const SHARED: u8 = 16;
}

/// How far a client's connection is in agreeing on options ([`Conn::option`]).
pub mod option_state {
    /// Its SYN announced.
    pub const ASKED: u8 = 1;
    /// The SYN-ACK did, too.
    pub const AGREED: u8 = 2;
    /// The last segment size that was computed leaves room for an option.
    pub const ROOM: u8 = 4;
    /// Options were sent over and over and nothing with them arrived: no more of them.
    pub const GIVEN_UP: u8 = 8;
    /// A segment with an option was acknowledged.
    pub const PASSED: u8 = 16;
}

/// What the context may be carried to (map of destinations).
pub mod destination {
    /// TCP options.
    pub const OPTION: u8 = 1;
    /// Headers.
    pub const HEADER: u8 = 2;
}

/// An option that arrived, until its request is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Trace.
    pub trace_id: Words,
    /// The client exchange's span.
    pub span_id: u64,
    /// Stream position of the request's first byte.
    pub position: u32,
    /// [`super::ExchangeIds::said`].
    pub said: u32,
    /// [`Arrival::sum`]: who reads while it is written sees that it does not fit.
    pub check: u64,
}

impl Arrival {
    /// A check of the other fields.
    #[inline(always)]
    #[must_use]
    pub const fn sum(&self) -> u64 {
        let place = (self.position as u64) << 32 | self.said as u64;
        let mixed = self.trace_id[0]
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.trace_id[1]);
        let mixed = mixed
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .wrapping_add(self.span_id);
        mixed
            .wrapping_mul(0x94d0_49bb_1331_11eb)
            .wrapping_add(place)
            | 1
    }
}

/// Value of the map of options that arrived, by address of the `struct sock`: the last ones, newest first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Options; `check` is 0 where there is none.
    pub options: [Arrival; 2],
    /// CLOCK_MONOTONIC of the newest.
    pub ktime_ns: u64,
}

/// Value of the thread map, keyed by tgid << 32 | tid. Deleted when the thread exits (a required hook), so that a
/// reused id begins empty.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// What it is doing.
    pub unit: Unit,
    /// The write it is in.
    pub inflight: Inflight,
    /// One of [`super::runtime`], as it was looked up at `class_ktime_ns`.
    pub class: u64,
    /// CLOCK_MONOTONIC.
    pub class_ktime_ns: u64,
}

/// What a process belongs to that a scheduler began, or one of its ancestors.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// The tick's trace.
    pub trace_id: Words,
    /// Its span.
    pub span_id: u64,
    /// When it began, CLOCK_MONOTONIC.
    pub ktime_ns: u64,
    /// 1: systemd began it, so that it is one only if user space says so in the map `TIMED`.
    pub is_asked: u64,
}

/// A write between sys_enter and sys_exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inflight {
    /// The socket; `sk` is 0 when the thread is in no write that is followed.
    pub socket: SocketKey,
    /// CLOCK_MONOTONIC at sys_enter.
    pub enter_ktime_ns: u64,
    /// Stream position at sys_enter.
    pub pos: u32,
    /// Always 0.
    pub zero: u32,
}

/// Groups of hooks that are attached only once something needs them, because each of their syscall tracepoints puts
/// every syscall of the host on the kernel's slow path (40 ns, DESIGN §3). The programs ask for them in the map
/// `DEMANDS`, slot [`demand::ASKED`]; user space answers in slot [`demand::ARMED`].
pub mod demand {
    /// Slot of what the programs ask for.
    pub const ASKED: u32 = 0;
    /// Slot of what is attached.
    pub const ARMED: u32 = 1;
    /// Slot of how often user space changed the scope. Who remembers an answer about the scope remembers this, too, and the next.
    pub const SCOPED: u32 = 2;
    /// Slot of when the programs changed the scope.
    pub const SCOPED_BY_KERNEL: u32 = 3;
    /// Slot of how many servers with queues over HTTP are known.
    pub const SERVERS: u32 = 4;
    /// Slot of when a scheduler began a command last, ns of CLOCK_MONOTONIC.
    pub const TICKED: u32 = 5;
    /// Slots.
    pub const SLOTS: u32 = 6;
    /// Waiting with epoll, where it decides whose a call is.
    pub const LOOPS: u64 = 1;
    /// Unix sockets that speak a known protocol: their ends.
    pub const UNIX: u64 = 2;
    /// sendmmsg and recvmmsg on streams.
    pub const MMSG: u64 = 4;
    /// splice from sockets.
    pub const SPLICE: u64 = 8;
    /// Accepting connections, where units are made for them.
    pub const ACCEPTS: u64 = 16;
    /// Pipes over which a program's processes hand jobs to each other.
    pub const PIPES: u64 = 32;
    /// All of them.
    pub const ALL: u64 = 63;
}

const _: () = {
    assert!(size_of::<PeerKey>() == 32);
    assert!(size_of::<Unit>() == 56);
    assert!(size_of::<Conn>() == 200);
    assert!(size_of::<Arrival>() == 40);
    assert!(size_of::<Arrived>() == 88);
    assert!(size_of::<Inflight>() == 32);
    assert!(size_of::<Thread>() == 56 + 32 + 16);
    assert!(size_of::<Tick>() == 40);
};
