//! Every map, once. Causal maps are HASH with explicit deletes, never LRU: an entry that vanished by itself would
//! look like "no evidence" in one place and like a stale context in another (DESIGN §10).

use core::ops::{Deref, DerefMut};

use agent_common::{
    abi::{
        Arrived, Conn, ConnRecord, PeerKey, Runtime, SegmentRecord, ServerKey, SocketKey, Thread,
        Tick, UnitContext, UnitKey, Words, demand,
        node::{Environment, Wait, WaitKey, Waiting},
    },
    counters::Counter,
    limits,
};
use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash},
};

use crate::{adopt::Adopted, settings::setting, sniff::Token};

/// Records for user space.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(limits::RING_BYTES, 0);

/// Followed connections, by address of their `struct sock`.
#[map]
pub(crate) static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(limits::CONNS_MAX, 0);

/// TCP connections of clients, by the address their servers see.
#[map]
pub(crate) static PEERS: HashMap<PeerKey, SocketKey> =
    HashMap::with_max_entries(limits::PEERS_MAX, 0);

/// Threads: their context, and the write they are in. Keyed by tgid << 32 | tid.
#[map]
pub(crate) static THREADS: HashMap<u64, Thread> = HashMap::with_max_entries(limits::THREADS_MAX, 0);

/// Addresses of the agent's own connections: what a backend on this host does with an export is no request of
/// anybody's, and its span would be exported, too, without end.
#[map]
pub(crate) static OWN: HashMap<PeerKey, u8> = HashMap::with_max_entries(limits::OWN_MAX, 0);

/// Units that are no threads: the request they work for.
#[map]
pub(crate) static UNITS: HashMap<UnitKey, UnitContext> =
    HashMap::with_max_entries(limits::UNITS_MAX, 0);

/// Channels of tokio's tasks and their receivers. Apart from [`UNITS`], because a program may have tens of thousands of tasks that
/// sleep, whatever they work for.
#[map]
pub(crate) static CHANNELS: HashMap<UnitKey, UnitContext> =
    HashMap::with_max_entries(limits::CHANNELS_MAX, 0);

/// Threads with a Node.js environment, by tgid << 32 | tid. Allocated one by one, because a value is large.
#[map]
pub(crate) static ENVIRONMENTS: HashMap<u64, Environment> =
    HashMap::with_max_entries(limits::ENVIRONMENTS_MAX, BPF_F_NO_PREALLOC);

/// Async functions of Node.js that wait for a request that is known.
#[map]
pub(crate) static WAITS: HashMap<WaitKey, Wait> =
    HashMap::with_max_entries(limits::WAITS_MAX, BPF_F_NO_PREALLOC);

/// Which of them are a thread's, by tgid << 32 | tid. Allocated one by one, because a value is large.
#[map]
pub(crate) static WAITING: HashMap<u64, Waiting> =
    HashMap::with_max_entries(limits::ENVIRONMENTS_MAX, BPF_F_NO_PREALLOC);

/// Runtime of a process, by tgid. Absent means NATIVE.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> =
    HashMap::with_max_entries(limits::PROCESSES_MAX, 0);

/// Processes in scope, when not all are.
#[map]
pub(crate) static SCOPE: HashMap<u32, u8> = HashMap::with_max_entries(limits::PROCESSES_MAX, 0);

/// Processes whose pipes are read: they hand jobs to each other.
#[map]
pub(crate) static PIPED: HashMap<u32, u8> = HashMap::with_max_entries(limits::PIPED_MAX, 0);

/// Processes of what schedulers began, by tgid.
#[map]
pub(crate) static TICKS: HashMap<u32, Tick> = HashMap::with_max_entries(limits::TICKS_MAX, 0);

/// Ticks whose unit a timer of systemd began, by their span: user space reads that.
#[map]
pub(crate) static TIMED: HashMap<u64, u8> = HashMap::with_max_entries(limits::TIMED_MAX, 0);

/// Ports in scope, when not all are.
#[map]
pub(crate) static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(limits::PORTS_MAX, 0);

/// Groups of hooks asked for and attached (`agent_common::abi::demand`).
#[map]
pub(crate) static DEMANDS: Array<u64> = Array::with_max_entries(demand::SLOTS, 0);

/// Servers with queues over HTTP: user space reads the requests that name their calls.
#[map]
pub(crate) static SERVERS: HashMap<ServerKey, u8> =
    HashMap::with_max_entries(limits::SERVERS_MAX, 0);

/// Options of other agents, by the address of the `struct sock` on which they arrived.
#[map]
pub(crate) static ARRIVED: HashMap<u64, Arrived> =
    HashMap::with_max_entries(limits::ARRIVED_MAX, 0);

/// Connections of clients whose messages are seen before they are sent, by the address of their `struct sock`. A socket leaves it
/// by itself when it closes, and all do when the map goes.
#[map]
pub(crate) static MEMBERS: SockHash<u64> =
    SockHash::with_max_entries(limits::HEADER_MEMBERS_MAX, 0);

/// What the context may be carried to: networks, IPv4 as IPv4-mapped IPv6 (`agent_common::abi::destination`).
#[map]
pub(crate) static DESTINATIONS: LpmTrie<Words, u8> =
    LpmTrie::with_max_entries(limits::DESTINATIONS_MAX, 0);

/// Addresses that did not answer SYNs with an announcement, and how often. Not causal, hence LRU: who is forgotten is asked
/// once more.
#[map]
pub(crate) static SILENT: LruHashMap<Words, u8> =
    LruHashMap::with_max_entries(limits::SILENT_MAX, 0);

/// Slot 0: 1 once another agent's announcement was seen.
#[map]
pub(crate) static AGENTS: Array<u32> = Array::with_max_entries(1, 0);

/// Counters, one slot per `Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// State of a walk over I/O vectors. In map memory on purpose: the verifier forgets what it knew of a value that went
/// through it, so that all ways through one vector arrive at the next one as the same state. On the stack the states
/// multiply, and a million instructions are not enough for eight vectors.
#[repr(C)]
pub(crate) struct Cursor {
    done: u64,
    rest: u64,
    from: u64,
    len: u64,
}

/// A word of the [`Cursor`].
macro_rules! cursor_word {
    ($get:ident, $set:ident, $field:ident) => {
        #[inline(always)]
        pub(crate) fn $get(&self) -> u64 {
            // SAFETY: a field of an initialised map value.
            unsafe { core::ptr::read_volatile(&raw const self.$field) }
        }
        #[inline(always)]
        pub(crate) fn $set(&mut self, value: u64) {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut self.$field, value) }
        }
    };
}

impl Cursor {
    cursor_word!(done, set_done, done);
    cursor_word!(rest, set_rest, rest);
    cursor_word!(from, set_from, from);
    cursor_word!(len, set_len, len);
}

/// What [`crate::flow`] found in a call's bytes. In map memory for the same reason as the [`Cursor`].
#[repr(C)]
pub(crate) struct Found {
    captured: u64,
    token: u8,
    flags: u8,
}

impl Found {
    #[inline(always)]
    pub(crate) fn set(&mut self, captured: u64, token: Token, flags: u8) {
        // SAFETY: fields of an initialised map value.
        unsafe {
            core::ptr::write_volatile(&raw mut self.captured, captured);
            core::ptr::write_volatile(&raw mut self.token, token.number());
            core::ptr::write_volatile(&raw mut self.flags, flags);
        }
    }

    /// Bytes in the payload.
    #[inline(always)]
    pub(crate) fn captured(&self) -> u64 {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(&raw const self.captured) }
    }

    /// What they begin with.
    #[inline(always)]
    pub(crate) fn token(&self) -> Token {
        // SAFETY: as above.
        Token::of(unsafe { core::ptr::read_volatile(&raw const self.token) })
    }

    /// Adds flags for the segment's record.
    #[inline(always)]
    pub(crate) fn add(&mut self, flags: u8) {
        let all = self.flags() | flags;
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut self.flags, all) };
    }

    /// Flags for the segment's record.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(&raw const self.flags) }
    }
}

/// Room for one segment being put together, some per CPU. It belongs to programs that run for a call of the current
/// task: on syscall tracepoints, which never nest on a CPU (the kernel's `bpf_prog_active` refuses it,
/// kernel/trace/bpf_trace.c), and on tracepoints inside of socket calls, which never run inside one another and up to 6.18
/// with preemption off (`__do_trace_##name`, include/linux/tracepoint.h; later kernels took that away). Programs on functions can be
/// preempted, where the kernel preempts itself: another task of this CPU finds the room `held`, and takes the next.
/// Programs that run in softirq can interrupt them and must not use it.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record's fixed part.
    pub record: SegmentRecord,
    /// Its payload, with room so that a masked offset plus one vector's length stay inside for the verifier. (A
    /// per-CPU value may not exceed 32 KiB, PCPU_MIN_UNIT_SIZE.)
    pub payload: [u8; limits::HEAD_CAPTURE_MAX + limits::VECTOR_CAPTURE_MAX],
    /// A connection being made, too large for the stack.
    pub conn: Conn,
    /// A connection record being made.
    pub announced: ConnRecord,
    /// Where a walk over I/O vectors stands.
    pub cursor: Cursor,
    /// What the call's bytes are.
    pub found: Found,
    /// What a request's head says of its trace.
    pub adopted: Adopted,
    /// First bytes of a call.
    pub sniff: [u8; limits::SNIFF_BYTES],
    /// Sockets on which servers read last on this CPU: what is sent on them begins no client's request.
    pub served: [SocketKey; SERVED],
    /// Whether the processes that were last asked about are in the scope (`scope`).
    pub scoped: [u64; SCOPED],
    /// Bytes this CPU has put into the ring since it woke the reader.
    pub unwoken: u32,
    /// 1 while a program works with this.
    pub held: u32,
    /// Which of this CPU's it is.
    pub slot: u32,
    /// Always 0.
    pub zero: u32,
    /// The socket of a message: a pointer that went through here is a number to the verifier.
    pub sender: u64,
}

/// See [`Scratch`].
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> =
    PerCpuArray::with_max_entries(limits::SCRATCHES, 0);

/// States of the id generators.
#[map]
pub(crate) static SEEDS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's scratch, while a program works with it.
pub(crate) struct Held(&'static mut Scratch);

impl Deref for Held {
    type Target = Scratch;
    #[inline(always)]
    fn deref(&self) -> &Scratch {
        self.0
    }
}

impl DerefMut for Held {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Scratch {
        self.0
    }
}

impl Drop for Held {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a field of an initialised map value; volatile, so that it stays behind all the work.
        unsafe { core::ptr::write_volatile(&raw mut self.0.held, 0) };
    }
}

/// A scratch of this CPU that no other program holds. None while all are held, which is counted.
#[inline(always)]
pub(crate) fn scratch() -> Option<Held> {
    let mut place = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: a field of an initialised map value. A program that is interrupted between this line and the one that sets `held`
    // finds the scratch free again when it goes on.
    if unsafe { core::ptr::read_volatile(&raw const (*place).held) } != 0 {
        place = free_scratch();
        if place.is_null() {
            return None;
        }
    }
    // SAFETY: the map lives as long as the program, and only who sets `held` goes on with it.
    let scratch = unsafe { &mut *place };
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(&raw mut scratch.held, 1) };
    Some(Held(scratch))
}

/// Another one than the first, which is held; null where all are.
#[inline(never)]
fn free_scratch() -> *mut Scratch {
    // BOUND: SCRATCHES.
    for index in 1..limits::SCRATCHES {
        if let Some(place) = SCRATCH.get_ptr_mut(index) {
            // SAFETY: a field of an initialised map value.
            if unsafe { core::ptr::read_volatile(&raw const (*place).held) } == 0 {
                // SAFETY: as above. What nobody wrote is 0, the first one's number.
                unsafe { core::ptr::write_volatile(&raw mut (*place).slot, index) };
                return place;
            }
        }
    }
    count(Counter::ScratchHeld, 1);
    core::ptr::null_mut()
}

/// Sockets that a CPU remembers: a proxy reads and writes on others between a request and its answer. A power of two.
const SERVED: usize = 16;

/// Where one of them is remembered. (The address is a pointer to the verifier, with which nothing may be calculated.)
#[inline(always)]
fn served_at(key: SocketKey) -> usize {
    key.ino as usize & (SERVED - 1)
}

/// A server reads on this socket.
#[inline(always)]
pub(crate) fn serve(scratch: &mut Scratch, key: SocketKey) {
    scratch.served[served_at(key)] = key;
}

/// Whether a server read on this socket on this CPU, as far as it remembers.
#[inline(always)]
pub(crate) fn is_served(key: SocketKey) -> bool {
    SCRATCH.get_ptr_mut(0).is_some_and(|place| {
        // SAFETY: two words of an initialised map value, at an index below its length.
        let served = unsafe {
            let first = (&raw const (*place).served).cast::<SocketKey>();
            core::ptr::read_volatile(first.add(served_at(key)))
        };
        served.sk == key.sk && served.ino == key.ino
    })
}

/// Processes whose answer a CPU remembers: a server and its client take turns on one. A power of two.
const SCOPED: usize = 4;

/// Where this CPU remembers whether a process is in the scope.
#[inline(always)]
pub(crate) fn scoped(tgid: u32) -> Option<*mut u64> {
    let index = tgid as usize & (SCOPED - 1);
    SCRATCH.get_ptr_mut(0).map(|place| {
        // SAFETY: a field of a map value, and an index below its length.
        unsafe { (&raw mut (*place).scoped).cast::<u64>().add(index) }
    })
}

/// Adds to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter, by: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU slot; a raw tracepoint interrupting this add can lose one count, never corrupt memory.
        unsafe { *slot = (*slot).wrapping_add(by) };
    }
}

/// Whether a group of hooks is attached. One that is not is asked for.
#[inline(always)]
pub(crate) fn is_armed(group: u64) -> bool {
    if setting!(all_armed) != 0 {
        return true;
    }
    let Some(armed) = DEMANDS.get(demand::ARMED) else {
        return false;
    };
    if *armed & group != 0 {
        return true;
    }
    if let Some(asked) = DEMANDS.get_ptr_mut(demand::ASKED) {
        // SAFETY: one word; two CPUs that ask at once can lose one of the bits, which is asked for again.
        unsafe { *asked |= group };
    }
    false
}
