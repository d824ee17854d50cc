//! TCP's header options: announced in SYN and SYN-ACK, then the ids of a request on the segment with its first byte.
//!
//! In: the kernel's calls on sockets of every cgroup (`BPF_PROG_TYPE_SOCK_OPS`, header options since 5.10). Out: options;
//! those that arrived in `ARRIVED`. Always holds: only who announced is sent an option; an option names its byte of the stream
//! (`agent_common::carried`); a SYN that must be repeated is repeated without one, and so are segments that do not arrive.
//! Another program's callbacks on the same socket stay on. Refuses: hosts that are not on the list of destinations, the
//! loopback, and connections whose server was found on this host.
//!
//! Facts, of net/ipv4/tcp_output.c and tcp_input.c, 5.10 to 6.18: the room for options is asked for without a buffer when the
//! segment size is computed (`tcp_current_mss`), and again for each buffer that is sent; both must agree, or a full segment is
//! too long for its path and does not leave. A buffer's sequence number is known only when its option is written. The option
//! is copied to all segments of a buffer. Old duplicates are dropped before their options are shown.

use agent_common::{
    abi::{
        Arrival, Arrived, Conn, conn_flag, destination, direction, option_state, role, said,
        verdict,
    },
    carried::{self, ANNOUNCEMENT, BUFFER_MAX, Carried, OPTION_BYTES, OPTION_WORDS, context},
    counters::Counter,
    limits::{OPTION_TRIES_MAX, SILENT_TRIES_MAX},
};
use aya_ebpf::{
    bindings::bpf_sock_ops,
    helpers::generated::{bpf_load_hdr_opt, bpf_reserve_hdr_opt, bpf_store_hdr_opt},
    macros::sock_ops,
    maps::lpm_trie::Key,
    programs::SockOpsContext,
};

use crate::{
    carry,
    ids::now,
    maps::{ARRIVED, CONNS, DESTINATIONS, PORTS, SILENT, count},
    pending::is_loopback,
    scope::task_in_scope,
    settings::setting,
};

/// Operations (`include/uapi/linux/bpf.h`, `BPF_SOCK_OPS_*`).
mod call {
    pub(super) const CONNECT: u32 = 3;
    pub(super) const ACTIVE_ESTABLISHED: u32 = 4;
    pub(super) const PASSIVE_ESTABLISHED: u32 = 5;
    pub(super) const STATE: u32 = 10;
    pub(super) const LISTEN: u32 = 11;
    pub(super) const PARSE: u32 = 13;
    pub(super) const LEN: u32 = 14;
    pub(super) const WRITE: u32 = 15;
}

/// Callbacks that a socket asks for (`BPF_SOCK_OPS_*_CB_FLAG`).
mod wants {
    pub(super) const STATE: u32 = 4;
    pub(super) const PARSE_UNKNOWN: u32 = 32;
    pub(super) const WRITE: u32 = 64;
}

/// `BPF_WRITE_HDR_TCP_CURRENT_MSS`: room is asked for to compute the segment size.
const FOR_SEGMENT_SIZE: u32 = 1;
/// `BPF_LOAD_HDR_OPT_TCP_SYN`: look into the SYN that is being answered.
const IN_SYN: u64 = 1;
const TCP_CLOSE: u32 = 7;
const SYN: u32 = 2;
const ACK: u32 = 16;

/// A call of the kernel.
#[sock_ops]
pub(crate) fn option(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        call::LEN => reserve(&ctx),
        call::WRITE => write(&ctx),
        call::PARSE => parse(&ctx),
        call::CONNECT => connect(&ctx),
        call::ACTIVE_ESTABLISHED => agreed(&ctx),
        call::PASSIVE_ESTABLISHED => accepted(&ctx),
        call::LISTEN => listens(&ctx),
        call::STATE if ctx.arg(1) == TCP_CLOSE => {
            // There may be none.
            let _ = ARRIVED.remove(sk(&ctx));
        }
        _ => {}
    }
    1
}

/// A field of the context. Volatile: the verifier knows loads of one field, not what a compiler may make of two.
macro_rules! field {
    ($ctx:ident, $($name:ident).+) => {{
        // SAFETY: the context lives as long as the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx.ops).$($name).+) }
    }};
}

/// Address of the `struct sock`; 0 for a request that has none yet.
#[inline(always)]
fn sk(ctx: &SockOpsContext) -> u64 {
    // SAFETY: as in `field`; a pointer that is only compared.
    unsafe { core::ptr::read_volatile(&raw const (*ctx.ops).__bindgen_anon_2.sk) as u64 }
}

/// The client connection of this socket.
#[inline(always)]
fn conn(ctx: &SockOpsContext) -> Option<&'static mut Conn> {
    let place = CONNS.get_ptr_mut(sk(ctx))?;
    // SAFETY: see `conn::find`; the kernel works on this very socket, so its entry is not another's.
    Some(unsafe { &mut *place })
}

/// Sets what a socket asks for.
#[inline(always)]
fn want(ctx: &SockOpsContext, flags: u32) {
    // Fails for sockets that are none (requests), which are not asked here.
    let _ = ctx.set_cb_flags(flags as i32);
}

/// Asks for no more callbacks before sending, unless another program may have asked, too.
#[inline(always)]
fn want_no_write(ctx: &SockOpsContext) {
    if ctx.cb_flags() == wants::WRITE {
        want(ctx, 0);
    }
}

/// The address may be sent an announcement, and has answered those that it was sent.
#[inline(always)]
fn is_asked(conn: &Conn) -> bool {
    if is_loopback(conn.remote_addr) {
        return false;
    }
    let Some(carriers) = DESTINATIONS.get(Key::new(128, conn.remote_addr)) else {
        return false;
    };
    *carriers & destination::OPTION != 0 && unanswered(conn) < SILENT_TRIES_MAX
}

/// Announcements to the address, one after the other, that had to be repeated without one.
#[inline(always)]
fn unanswered(conn: &Conn) -> u8 {
    // SAFETY: one byte, copied at once.
    unsafe { SILENT.get(conn.remote_addr) }
        .copied()
        .unwrap_or(0)
}

/// A followed process connects: its SYN announces.
#[inline(always)]
fn connect(ctx: &SockOpsContext) {
    let Some(conn) = conn(ctx) else { return };
    let flags = ctx.cb_flags();
    if conn.verdict == verdict::IGNORED || flags & wants::WRITE != 0 || !is_asked(conn) {
        return;
    }
    conn.option = option_state::ASKED;
    want(ctx, flags | wants::WRITE);
}

/// A process listens: its SYN-ACKs answer announcements.
#[inline(always)]
fn listens(ctx: &SockOpsContext) {
    let flags = ctx.cb_flags();
    if flags & wants::WRITE != 0 || task_in_scope().is_none() {
        return;
    }
    let port = field!(ctx, local_port) as u16;
    // SAFETY: one byte, only tested for presence.
    if setting!(ports_all) != 0 || unsafe { PORTS.get(port) }.is_some() {
        want(ctx, flags | wants::WRITE);
    }
}

/// Whether the packet at hand (or, with [`IN_SYN`], the SYN it answers) has an announcement.
#[inline(always)]
fn has_announcement(ctx: &SockOpsContext, at: u64) -> bool {
    let mut found = ANNOUNCEMENT;
    // SAFETY: four bytes that the helper reads and writes.
    let len = unsafe { bpf_load_hdr_opt(ctx.ops, found.as_mut_ptr().cast(), 4, at) };
    len == 4
}

/// The SYN-ACK came.
#[inline(always)]
fn agreed(ctx: &SockOpsContext) {
    let Some(conn) = conn(ctx) else { return };
    if conn.option & option_state::ASKED == 0 {
        return;
    }
    if has_announcement(ctx, 0) {
        conn.option |= option_state::AGREED;
        carry::heard();
        // SYNs that had to be repeated before were lost like any other packet.
        let before = unanswered(conn);
        if before != 0 && before < SILENT_TRIES_MAX {
            let _ = SILENT.remove(conn.remote_addr);
        }
        return;
    }
    want_no_write(ctx);
    if field!(ctx, total_retrans) != 0 {
        // An address that is not remembered is asked again.
        let _ = SILENT.insert(conn.remote_addr, unanswered(conn).saturating_add(1), 0);
    }
}

/// A server's connection is made: options of the client's agent are to be shown. The segment that completed it may carry a
/// request already.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let flags = ctx.cb_flags();
    // From its listener.
    let others = if flags == wants::WRITE { 0 } else { flags };
    want(ctx, others | wants::PARSE_UNKNOWN);
    if carry::has_agents() {
        parse(ctx);
    }
}

/// Room is asked for.
#[inline(always)]
fn reserve(ctx: &SockOpsContext) {
    if ctx.arg(0) == FOR_SEGMENT_SIZE {
        reserve_in_size(ctx);
        return;
    }
    let flags = field!(ctx, skb_tcp_flags);
    let wanted = if flags & SYN != 0 {
        let announces = if flags & ACK != 0 {
            has_announcement(ctx, IN_SYN)
        } else {
            field!(ctx, total_retrans) == 0
                && conn(ctx).is_some_and(|conn| conn.option & option_state::ASKED != 0)
        };
        if !announces {
            return;
        }
        if flags & ACK != 0 {
            carry::heard();
        }
        ANNOUNCEMENT.len() as u32
    } else if field!(ctx, skb_len) != 0 && carries(ctx) {
        OPTION_BYTES as u32
    } else {
        return;
    };
    // SAFETY: takes the context and two numbers.
    let failed = unsafe { bpf_reserve_hdr_opt(ctx.ops, wanted, 0) } != 0;
    if failed && wanted == OPTION_BYTES as u32 {
        count(Counter::OptionNoRoom, 1);
    }
}

/// Whether options are agreed on for a connection and its server is on another host. Turns the callbacks off for good where
/// that will not change.
#[inline(always)]
fn is_agreed(ctx: &SockOpsContext, conn: &Conn) -> bool {
    // One that did not even ask has its callbacks from an agent before this one.
    if conn.option & option_state::AGREED == 0
        || conn.verdict == verdict::IGNORED
        || conn.option & option_state::GIVEN_UP != 0
        || conn.paired != 0
        || conn.role == role::SERVER
    {
        want_no_write(ctx);
        return false;
    }
    true
}

/// Whether the exchange that began last may still have to be named: its first byte is not acknowledged.
#[inline(always)]
fn is_due(ctx: &SockOpsContext, conn: &mut Conn) -> bool {
    if conn.flags & conn_flag::PENDING == 0 || conn.context & context::CERTAIN == 0 {
        return false;
    }
    let is_acknowledged = field!(ctx, snd_una).wrapping_sub(conn.pending_seq) as i32 > 0;
    if is_acknowledged && conn.option_tries != 0 && conn.option_tries < OPTION_TRIES_MAX {
        conn.option |= option_state::PASSED;
    }
    !is_acknowledged
}

/// The segment size is computed: with room for an option from the end of a response on, because it is computed before the
/// request that is about to be sent is known, and until the request's first byte is acknowledged.
#[inline(always)]
fn reserve_in_size(ctx: &SockOpsContext) {
    let Some(conn) = conn(ctx) else { return };
    if !is_agreed(ctx, conn) {
        return;
    }
    let room = (conn.last_direction != direction::TX || is_due(ctx, conn))
        // SAFETY: takes the context and two numbers.
        && unsafe { bpf_reserve_hdr_opt(ctx.ops, OPTION_BYTES as u32, 0) } == 0;
    if room {
        conn.option |= option_state::ROOM;
    } else {
        conn.option &= !option_state::ROOM;
    }
}

/// Whether a buffer may have the byte with which the exchange began. One that was sent before is not told from new data behind
/// it: both get room.
#[inline(always)]
fn carries(ctx: &SockOpsContext) -> bool {
    let Some(conn) = conn(ctx) else { return false };
    if !is_agreed(ctx, conn) || !is_due(ctx, conn) {
        return false;
    }
    let len = field!(ctx, skb_len);
    let ahead = conn.pending_seq.wrapping_sub(field!(ctx, snd_nxt));
    if (ahead as i32) >= 0 && ahead >= len {
        return false;
    }
    // A segment size from before the room was kept may be in use: then only a buffer that fits in any case gets it.
    let fits = conn.option & option_state::ROOM != 0
        || len + OPTION_BYTES as u32 <= field!(ctx, mss_cache);
    if !fits {
        count(Counter::OptionNoRoom, 1);
    }
    fits
}

/// The TCP header of the packet at hand: its sequence number, and the bytes behind it.
#[inline(always)]
fn segment(ctx: &SockOpsContext) -> Option<(u32, u32)> {
    let ops: *const bpf_sock_ops = ctx.ops;
    // SAFETY: as in `field`; the verifier knows both as the packet's bounds.
    let (begin, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*ops).__bindgen_anon_3.skb_data) as usize,
            core::ptr::read_volatile(&raw const (*ops).__bindgen_anon_4.skb_data_end) as usize,
        )
    };
    if begin + 20 > end {
        return None;
    }
    // SAFETY: 20 bytes are there.
    let (seq, words) = unsafe {
        (
            core::ptr::read_volatile((begin + 4) as *const u32),
            core::ptr::read_volatile((begin + 12) as *const u8),
        )
    };
    let header = u32::from(words >> 4) * 4;
    Some((u32::from_be(seq), field!(ctx, skb_len).wrapping_sub(header)))
}

/// The header of a packet is written.
#[inline(always)]
fn write(ctx: &SockOpsContext) {
    if field!(ctx, skb_tcp_flags) & SYN != 0 {
        // SAFETY: four bytes that the helper reads. Without room nothing is announced.
        let _ = unsafe { bpf_store_hdr_opt(ctx.ops, ANNOUNCEMENT.as_ptr().cast(), 4, 0) };
        return;
    }
    let (Some(conn), Some((seq, len))) = (conn(ctx), segment(ctx)) else {
        return;
    };
    if len >= BUFFER_MAX || conn.pending_seq.wrapping_sub(seq) >= len || !is_due(ctx, conn) {
        return;
    }
    if conn.option_tries >= OPTION_TRIES_MAX {
        // The room becomes padding.
        if conn.option_tries == OPTION_TRIES_MAX {
            conn.option_tries += 1;
            failed(conn);
        }
        return;
    }
    let said = Carried {
        trace_id: conn.trace_id,
        span_id: conn.span_id,
        sampled: conn.context & context::SAMPLED != 0,
        tag: (conn.context >> context::TAG_SHIFT) as u8 & 0x7f,
        position: conn.pending_seq as u16,
    };
    let Some(words) = said.encode() else { return };
    // SAFETY: 28 bytes that the helper reads.
    let stored =
        unsafe { bpf_store_hdr_opt(ctx.ops, words.as_ptr().cast(), OPTION_BYTES as u32, 0) };
    if stored != 0 {
        count(Counter::OptionNoRoom, 1);
        return;
    }
    conn.option_tries += 1;
}

/// An exchange was written into options over and over and none arrived. Where none ever did, something on the way drops
/// them: no more of them, on other connections to that address neither.
#[inline(always)]
fn failed(conn: &mut Conn) {
    count(Counter::OptionLost, 1);
    if conn.option & option_state::PASSED != 0 {
        return;
    }
    conn.option |= option_state::GIVEN_UP;
    count(Counter::OptionGivenUp, 1);
    // An address that is not remembered is asked again.
    let _ = SILENT.insert(conn.remote_addr, SILENT_TRIES_MAX, 0);
}

/// A packet with options that the kernel does not know arrived.
#[inline(always)]
fn parse(ctx: &SockOpsContext) {
    let mut words = [0; OPTION_WORDS];
    // Asked for by kind and experiment identifier, for which the length is that of both.
    words[0] = carried::head(ANNOUNCEMENT.len() as u8);
    // SAFETY: 28 bytes that the helper reads and writes.
    let len =
        unsafe { bpf_load_hdr_opt(ctx.ops, words.as_mut_ptr().cast(), OPTION_BYTES as u32, 0) };
    if len != OPTION_BYTES as i64 {
        return;
    }
    let (Some(said), Some((seq, len))) = (Carried::decode(&words), segment(ctx)) else {
        return;
    };
    let Some(position) = said.place(seq, len) else {
        return;
    };
    // A byte that was received already: its option was shown then.
    if (position.wrapping_sub(field!(ctx, rcv_nxt)) as i32) < 0 {
        return;
    }
    keep(ctx, &said, position);
}

/// Keeps an option for the request that begins at `position`.
#[inline(always)]
fn keep(ctx: &SockOpsContext, said: &Carried, position: u32) {
    /// What a socket begins with.
    static NONE: Arrived = Arrived {
        options: [Arrival {
            trace_id: [0; 2],
            span_id: 0,
            position: 0,
            said: 0,
            check: 0,
        }; 2],
        ktime_ns: 0,
    };
    let sk = sk(ctx);
    let mut place = ARRIVED.get_ptr_mut(sk);
    if place.is_none() {
        if ARRIVED.insert(sk, NONE, 0).is_err() {
            count(Counter::ArrivedFull, 1);
            return;
        }
        // Its end is wanted.
        want(ctx, ctx.cb_flags() | wants::STATE);
        place = ARRIVED.get_ptr_mut(sk);
    }
    let Some(place) = place else { return };
    // SAFETY: a map value; only this program writes options, under the socket's lock, and who takes one only voids its sum.
    let arrived = unsafe { &mut *place };
    arrived.ktime_ns = now();
    let [first, second] = &mut arrived.options;
    if first.check != 0 && first.position != position {
        if second.check != 0 {
            count(Counter::OptionUnmatched, 1);
        }
        put(second, *first);
    }
    let sampled = if said.sampled { said::SAMPLED } else { 0 };
    put(
        first,
        Arrival {
            trace_id: said.trace_id,
            span_id: said.span_id,
            position,
            said: u32::from(sampled | said.tag << said::TAG_SHIFT),
            check: 0,
        },
    );
}

/// Writes an option so that who reads it meanwhile sees a sum that does not fit.
#[inline(always)]
fn put(place: &mut Arrival, arrival: Arrival) {
    let place = &raw mut *place;
    // SAFETY: fields of a map value.
    unsafe {
        core::ptr::write_volatile(&raw mut (*place).check, 0);
        core::ptr::write_volatile(&raw mut (*place).trace_id[0], arrival.trace_id[0]);
        core::ptr::write_volatile(&raw mut (*place).trace_id[1], arrival.trace_id[1]);
        core::ptr::write_volatile(&raw mut (*place).span_id, arrival.span_id);
        core::ptr::write_volatile(&raw mut (*place).position, arrival.position);
        core::ptr::write_volatile(&raw mut (*place).said, arrival.said);
        core::ptr::write_volatile(&raw mut (*place).check, arrival.sum());
    }
}
