//! `traceparent` written into the requests of clients, before the bytes are given to TCP.
//!
//! In: a message of a client (what one call sends, or a part of a long one), in kernel memory, before its first byte has a place in the
//! stream. Out: the client's exchange is registered; a header line behind the request's first line. Always holds: nothing else is
//! changed, and that only where a request is certain to begin: at the position where the one before ended by its own head, after the
//! response to it began, with nothing unacknowledged before it, its whole head in the message. Refuses: everything else, each reason counted.
//!
//! A socket is in the map for as little as can be, because its reads are not what they were while it is there. Without a verdict
//! program for what arrives, kernels with commit 929e30f93125 tell it of no waiting bytes; and on every kernel a blocking read that
//! is woken by anything but bytes (room in the send buffer, a reset) ends with EAGAIN (`tcp_msg_wait_data` waits once; seen on 6.1.192 and
//! 6.18.44). So it leaves the map in the call that sends its first bytes, before they reach the wire and an answer can come, by a callback
//! that TCP makes before it sends ([`leaves`]). Only one that never blocks stays, on a kernel that passes the agent's probe.
//!
//! Facts, of net/ipv4/tcp_bpf.c, net/core/filter.c and skmsg.c, 6.1 to 6.18: the program runs in the sender's own call, under the
//! socket's lock, after the bytes were copied and before `tcp_sendmsg_locked` (6.1 goes past that). Each piece of a message is sent
//! by a call of its own, so a header in the middle would make three segments, the second of which waits for an acknowledgement:
//! the pieces are joined. What is left of a message that a full send buffer stops is taken off from what the call returns, the header
//! too: a program would send bytes twice. That cannot happen behind the first segment of an empty queue, which takes all or
//! nothing (`tcp_stream_alloc_skb` with `force_schedule`, `tcp_wmem_schedule`): the header must end in it.

use agent_common::{
    abi::{Conn, SocketKey, conn_flag, header_state, protocol, role, verdict},
    carried::context,
    counters::Counter,
    header::{BEGIN, FLAGS_AT, HEADER_BYTES, SPAN_AT, TRACE_AT, digits},
    limits::{ADOPT_BYTES, HEADER_MARGIN_BYTES, HEADER_WHOLE_BYTES, SNIFF_BYTES},
};
use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::{
        bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data, bpf_probe_read_kernel,
    },
};

use crate::{
    adopt::{self, Request, UNKNOWN},
    conn,
    exchange::begin_client,
    flow::{may_begin_client, write_pos},
    maps::{CONNS, Scratch, count, scratch},
    scope::task_in_scope,
    settings::setting,
    sniff,
    walk::{Task, field, is_nonblocking},
};

/// What becomes of a message (`include/uapi/linux/bpf.h`, `enum sk_action`).
pub(crate) const PASS: u32 = 1;
const DROP: u32 = 0;

/// A field of the context. Volatile: the verifier knows loads of one field, not what a compiler may make of two.
macro_rules! field_of {
    ($msg:ident, $($name:ident).+) => {{
        // SAFETY: the context lives as long as the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$msg).$($name).+) }
    }};
}

/// Bytes of the message's first piece: address and length. None where they are not the message's own (sendfile, splice).
#[inline(always)]
fn first_piece(msg: *mut sk_msg_md) -> Option<(u64, u64)> {
    let begin = field_of!(msg, __bindgen_anon_1.data) as u64;
    let end = field_of!(msg, __bindgen_anon_2.data_end) as u64;
    (end > begin).then(|| (begin, end - begin))
}

/// Copies up to `len` of the message's first bytes; returns how many.
#[inline(always)]
fn copied(to: *mut u8, piece: (u64, u64), most: u64) -> u64 {
    // The compiler would compare pointers in its place, and 6.1's verifier not know the length then.
    let mut len = core::hint::black_box(piece.1);
    if len > most {
        len = most;
    }
    // SAFETY: the caller's room has `most` bytes; the helper checks the source.
    let failed = unsafe { bpf_probe_read_kernel(to.cast(), len as u32, piece.0 as *const _) } != 0;
    if failed { 0 } else { len }
}

/// Whether the socket's reads and writes never wait: its file says so.
#[inline(always)]
fn never_waits(sk: u64) -> bool {
    let socket: u64 = field(sk, setting!(offsets.sk_socket));
    let file: u64 = field(socket, setting!(offsets.socket_file));
    file != 0 && is_nonblocking(file)
}

/// The position of the next request is not known any more.
#[inline(always)]
fn lose(conn: &mut Conn, why: Counter) {
    conn.header |= header_state::LOST;
    count(why, 1);
}

/// The write that began the exchange moved nothing.
#[inline(always)]
pub(crate) fn take_back(conn: &mut Conn) {
    if conn.header & header_state::MEMBER != 0 {
        conn.due_seq = conn.pending_seq;
        conn.injected = 0;
    }
}

/// A message is about to be sent. What becomes of it.
#[inline(always)]
pub(crate) fn message(msg: *mut sk_msg_md) -> u32 {
    let sk = field_of!(msg, __bindgen_anon_3.sk) as u64;
    let Some(place) = CONNS.get_ptr_mut(sk) else {
        return PASS;
    };
    // SAFETY: see `conn::find`; the kernel works on this very socket, so its entry is not another's.
    let conn = unsafe { &mut *place };
    if conn.header & header_state::MEMBER == 0 || conn.header & header_state::LEAVING != 0 {
        return PASS;
    }
    let is_begun = conn.flags & conn_flag::BEGUN != 0;
    if conn.verdict == verdict::IGNORED || conn.role == role::SERVER {
        conn.header |= header_state::LEAVING;
        return PASS;
    }
    if !is_begun && !may_begin_client(conn) {
        return PASS;
    }
    let (Some(task), Some(mut held)) = (task_in_scope(), scratch()) else {
        conn.header |= header_state::LEAVING;
        return PASS;
    };
    let scratch = &mut *held;
    let sender = &raw mut scratch.sender;
    // SAFETY: a word of a map value.
    let sk = unsafe {
        core::ptr::write_volatile(sender, sk);
        core::ptr::read_volatile(sender)
    };
    let at = begins(msg, scratch, conn, sk, task);
    let stays = setting!(header_stay) != 0
        && conn.header & header_state::LOST == 0
        && (setting!(header_stay) == FORCED || never_waits(sk));
    conn.header |= if stays {
        header_state::STAYING
    } else {
        header_state::LEAVING
    };
    if at == 0 {
        return PASS;
    }
    write(msg, conn, at as u32)
}

/// Value of the setting `header_stay` in tests: those that wait stay, too.
const FORCED: u32 = 2;

/// Whether the socket is to leave the map now; TCP is about to compute a segment's size, or to send one.
#[inline(always)]
pub(crate) fn leaves(conn: &mut Conn) -> bool {
    if conn.header & header_state::LEAVING == 0 {
        return false;
    }
    conn.header = conn.header & header_state::SHARED | header_state::LOST;
    true
}

/// A request begins with this message, or it is none. Returns where its header is to stand; 0: nowhere.
#[inline(always)]
fn begins(msg: *mut sk_msg_md, scratch: &mut Scratch, conn: &mut Conn, sk: u64, task: Task) -> u64 {
    let seq = write_pos(conn, sk);
    let is_begun = conn.flags & conn_flag::BEGUN != 0;
    if is_begun && conn.pending_seq != seq {
        // A later part of what one call sends.
        return 0;
    }
    let Some(piece) = first_piece(msg) else {
        lose(conn, Counter::HeaderUnseen);
        return 0;
    };
    let len = copied(scratch.sniff.as_mut_ptr(), piece, SNIFF_BYTES as u64);
    let token = sniff::token(&scratch.sniff, len);
    if !token.is_request() {
        // Another protocol, or a body that goes on after its answer began.
        conn.header |= header_state::LOST;
        return 0;
    }
    if !is_known(task) {
        lose(conn, Counter::HeaderUnseen);
        return 0;
    }
    if !is_begun {
        if conn.flags & conn_flag::ADDRESS_PARTIAL != 0 {
            // Its own address is known by now; that it is told of is the next hook's part.
            let family = conn.family;
            conn::addresses(conn, sk, family);
        }
        let key = SocketKey { sk, ino: conn.ino };
        begin_client::<false>(&key, conn, seq, token.protocol(), task);
    }
    if conn.protocol != protocol::HTTP1 {
        conn.header |= header_state::LOST;
        return 0;
    }
    if conn.header & header_state::LOST != 0 || conn.due_seq != seq {
        lose(conn, Counter::HeaderLost);
        return 0;
    }
    let captured = copied(scratch.payload.as_mut_ptr(), piece, ADOPT_BYTES as u64);
    let found = adopt::request(scratch, captured);
    let size = field_of!(msg, size);
    judge(scratch, conn, sk, found, size)
}

/// Whether the call's bytes are seen by the other hooks, too: only then is the client's span certain.
#[inline(always)]
fn is_known(task: Task) -> bool {
    /// `write`, `writev`, `sendto`, `sendmsg` (arch/x86/entry/syscalls/syscall_64.tbl).
    const KNOWN: [u64; 4] = [1, 20, 44, 46];
    let call = task.registers().call();
    call == KNOWN[0] || call == KNOWN[1] || call == KNOWN[2] || call == KNOWN[3]
}

/// A request begins where one is due: where the next one is due, and where the header is to stand.
#[inline(never)]
fn judge(scratch: &mut Scratch, conn: &mut Conn, sk: u64, found: u64, size: u32) -> u64 {
    if found == Request::Cut as u64 {
        let why = if u64::from(size) >= ADOPT_BYTES as u64 {
            Counter::HeaderLong
        } else {
            Counter::HeaderSplit
        };
        lose(conn, why);
        return 0;
    }
    let asks_for_tunnel =
        scratch.sniff[0] == b'C' && scratch.sniff[1] == b'O' && scratch.sniff[2] == b'N';
    if found == Request::Other as u64 || asks_for_tunnel {
        lose(conn, Counter::HeaderOther);
        return 0;
    }
    let (line, head) = (adopt::first_line(scratch), adopt::head_bytes(scratch));
    let body = adopt::body_bytes(scratch);
    if body == UNKNOWN {
        conn.header |= header_state::LOST;
    } else {
        let whole = u64::from(head) + body;
        if whole < u64::from(size) {
            // What follows is a request that was not asked for yet.
            lose(conn, Counter::HeaderPipelined);
        }
        conn.due_seq = conn.due_seq.wrapping_add(whole as u32);
    }
    if found == Request::Traced as u64 {
        count(Counter::HeaderOwn, 1);
        return 0;
    }
    if setting!(socket_pair) != 0 && conn.paired != 0 {
        // Its server is on this host and knows it by the socket.
        return 0;
    }
    if conn.context & context::CERTAIN == 0 {
        count(Counter::HeaderUncertain, 1);
        return 0;
    }
    let una: u32 = field(sk, setting!(offsets.tcp_snd_una));
    if una != conn.pending_seq {
        count(Counter::HeaderBusy, 1);
        return 0;
    }
    let segment: u32 = field(sk, setting!(offsets.tcp_mss_cache));
    if line + HEADER_BYTES as u32 + HEADER_MARGIN_BYTES > segment {
        count(Counter::HeaderNoRoom, 1);
        return 0;
    }
    u64::from(line)
}

/// Writes the header behind the first `at` bytes.
#[inline(never)]
fn write(msg: *mut sk_msg_md, conn: &mut Conn, at: u32) -> u32 {
    let upto = at + HEADER_BYTES as u32;
    // SAFETY: takes the context and three numbers.
    if unsafe { bpf_msg_push_data(msg, at, HEADER_BYTES as u32, 0) } != 0 {
        count(Counter::HeaderNoMemory, 1);
        return PASS;
    }
    // SAFETY: as above.
    if unsafe { bpf_msg_pull_data(msg, at, upto, 0) } != 0 || !put(msg, conn) {
        count(Counter::HeaderNoMemory, 1);
        // What stands there is nobody's. SAFETY: as above.
        if unsafe { bpf_msg_pop_data(msg, at, HEADER_BYTES as u32, 0) } != 0 {
            count(Counter::HeaderDropped, 1);
            return DROP;
        }
        return PASS;
    }
    let size = field_of!(msg, size);
    let joined = if size <= HEADER_WHOLE_BYTES {
        size
    } else {
        upto
    };
    // Where there is no memory for it, the message leaves in pieces. SAFETY: as above.
    let _ = unsafe { bpf_msg_pull_data(msg, 0, joined, 0) };
    conn.injected = HEADER_BYTES as u8;
    conn.due_seq = conn.due_seq.wrapping_add(HEADER_BYTES as u32);
    count(Counter::HeaderWritten, 1);
    PASS
}

/// Writes the line's bytes where the message's window is.
#[inline(always)]
fn put(msg: *mut sk_msg_md, conn: &Conn) -> bool {
    let begin = field_of!(msg, __bindgen_anon_1.data) as usize;
    let end = field_of!(msg, __bindgen_anon_2.data_end) as usize;
    if begin + HEADER_BYTES > end {
        return false;
    }
    let word = |at: usize, word: u64| {
        // SAFETY: `at` and eight more are inside of the line, which is inside of the window. Words may stand anywhere on x86-64.
        unsafe { core::ptr::write_volatile((begin + at) as *mut u64, word) };
    };
    let half = |at: usize, half: u16| {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile((begin + at) as *mut u16, half) };
    };
    let byte = |at: usize, byte: u8| {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile((begin + at) as *mut u8, byte) };
    };
    const FIRST: [u64; 2] = agent_common::abi::words_of(BEGIN);
    word(0, FIRST[0]);
    word(8, FIRST[1]);
    word(TRACE_AT, digits(conn.trace_id[0] as u32));
    word(TRACE_AT + 8, digits((conn.trace_id[0] >> 32) as u32));
    word(TRACE_AT + 16, digits(conn.trace_id[1] as u32));
    word(TRACE_AT + 24, digits((conn.trace_id[1] >> 32) as u32));
    byte(SPAN_AT - 1, b'-');
    word(SPAN_AT, digits(conn.span_id as u32));
    word(SPAN_AT + 8, digits((conn.span_id >> 32) as u32));
    byte(FLAGS_AT - 1, b'-');
    let flags = if conn.context & context::SAMPLED != 0 {
        *b"01"
    } else {
        *b"00"
    };
    half(FLAGS_AT, u16::from_le_bytes(flags));
    half(FLAGS_AT + 2, u16::from_le_bytes(*b"\r\n"));
    true
}
