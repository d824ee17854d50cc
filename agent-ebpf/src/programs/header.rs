//! The two programs that write headers into requests: one that chooses connections, one that sees their messages.
//!
//! In: connections that become established (`BPF_PROG_TYPE_SOCK_OPS`, all cgroups); messages of those that were chosen
//! (`BPF_PROG_TYPE_SK_MSG`). Out: members of the map; a header in a request. Always holds: only connections that followed processes made
//! to listed destinations are chosen, before their first byte; one leaves the map with its first bytes in either direction, but for those
//! that may stay (`inject`), and by itself when it closes. Refuses: connections
//! older than the agent, those that sent bytes in their SYN, those another program has in a map of its own, and those over the loopback where
//! every process is traced, because the pair of sockets tells then.

use agent_common::{
    abi::{Conn, destination, header_state, verdict},
    counters::Counter,
};
use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::bpf_map_delete_elem,
    macros::{sk_msg, sock_ops},
    maps::lpm_trie::Key,
    programs::{SkMsgContext, SockOpsContext},
};

use crate::{
    inject,
    maps::{CONNS, DESTINATIONS, MEMBERS, count},
    pending::is_loopback,
    settings::setting,
};

/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`
const ACTIVE_ESTABLISHED: u32 = 4;
/// `BPF_SOCK_OPS_PARSE_HDR_OPT_CB`: a packet arrived.
const PARSE: u32 = 13;
/// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`: a segment's size is computed, or one is sent.
const LEN: u32 = 14;
/// `BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG`
const WANTS_PARSE_ALL: u32 = 16;
/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`
const WANTS_WRITE: u32 = 64;

/// A field of the context. Volatile: the verifier knows loads of one field, not what a compiler may make of two.
macro_rules! field {
    ($ctx:ident, $($name:ident).+) => {{
        // SAFETY: the context lives as long as the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx.ops).$($name).+) }
    }};
}

/// A call of the kernel.
#[sock_ops]
pub(crate) fn header_member(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        ACTIVE_ESTABLISHED => choose(&ctx),
        LEN => sends(&ctx),
        PARSE => arrives(&ctx),
        _ => {}
    }
    1
}

/// The client connection of this socket, if its messages are seen.
#[inline(always)]
fn member(ctx: &SockOpsContext) -> Option<&'static mut Conn> {
    let place = CONNS.get_ptr_mut(sk(ctx))?;
    // SAFETY: see `conn::find`; the kernel works on this very socket, so its entry is not another's.
    let conn = unsafe { &mut *place };
    (conn.header & header_state::MEMBER != 0).then_some(conn)
}

/// Takes a socket out of the map, and its callbacks off. What it sends in this moment goes on as it was.
#[inline(always)]
fn take_out(ctx: &SockOpsContext, is_shared: bool) {
    let key = sk(ctx);
    // SAFETY: a map of the object and a key of its size. The socket may have left by itself.
    let _ = unsafe {
        bpf_map_delete_elem(
            (&raw const MEMBERS).cast_mut().cast(),
            (&raw const key).cast(),
        )
    };
    let flags = ctx.cb_flags() & !WANTS_PARSE_ALL;
    let flags = if is_shared {
        flags
    } else {
        flags & !WANTS_WRITE
    };
    let _ = ctx.set_cb_flags(flags as i32);
}

/// TCP computes a segment's size or sends one.
#[inline(always)]
fn sends(ctx: &SockOpsContext) {
    let Some(conn) = member(ctx) else { return };
    if inject::leaves(conn) {
        take_out(ctx, conn.header & header_state::SHARED != 0);
    } else if conn.header & header_state::STAYING != 0 {
        let flags = ctx.cb_flags();
        if flags & WANTS_PARSE_ALL != 0 {
            let _ = ctx.set_cb_flags((flags & !WANTS_PARSE_ALL) as i32);
        }
    }
}

/// A packet arrived, and its bytes are not readable yet. Who is spoken to before it speaks is no client of ours.
#[inline(always)]
fn arrives(ctx: &SockOpsContext) {
    let Some(conn) = member(ctx) else { return };
    let begin = field!(ctx, __bindgen_anon_3.skb_data) as usize;
    let end = field!(ctx, __bindgen_anon_4.skb_data_end) as usize;
    if begin + 20 > end {
        return;
    }
    // SAFETY: 20 bytes are there.
    let words = unsafe { core::ptr::read_volatile((begin + 12) as *const u8) };
    let header = u32::from(words >> 4) * 4;
    if field!(ctx, skb_len) > header && conn.header & header_state::STAYING == 0 {
        conn.header |= header_state::LEAVING;
        inject::leaves(conn);
        take_out(ctx, conn.header & header_state::SHARED != 0);
    }
}

/// Address of the `struct sock`.
#[inline(always)]
fn sk(ctx: &SockOpsContext) -> u64 {
    field!(ctx, __bindgen_anon_2.sk) as u64
}

/// Whether headers may be written into what a connection sends.
#[inline(always)]
fn is_wanted(conn: &Conn) -> bool {
    if conn.verdict == verdict::IGNORED {
        return false;
    }
    let all_traced =
        setting!(socket_pair) != 0 && setting!(scope_all) != 0 && setting!(ports_all) != 0;
    if all_traced && is_loopback(conn.remote_addr) {
        return false;
    }
    DESTINATIONS
        .get(Key::new(128, conn.remote_addr))
        .is_some_and(|carriers| *carriers & destination::HEADER != 0)
}

/// A connection of a followed process is established: its messages are seen from now on.
#[inline(always)]
fn choose(ctx: &SockOpsContext) {
    let sk = sk(ctx);
    let Some(place) = CONNS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: see `conn::find`; the kernel works on this very socket, so its entry is not another's.
    let conn = unsafe { &mut *place };
    if !is_wanted(conn) {
        return;
    }
    // The SYN counts as one. Bytes that went with it (TCP Fast Open) were not seen.
    let next = field!(ctx, snd_nxt);
    if field!(ctx, bytes_acked) != 1 || field!(ctx, snd_una) != next {
        return;
    }
    let mut key = sk;
    // SAFETY: the context lives as long as the program runs, and nobody else has a reference to it.
    let ops = unsafe { &mut *ctx.ops };
    if MEMBERS.update(&mut key, ops, 0).is_err() {
        count(Counter::HeaderRefused, 1);
        return;
    }
    let flags = ctx.cb_flags();
    conn.due_seq = next;
    conn.header = header_state::MEMBER;
    if flags & WANTS_WRITE != 0 {
        conn.header |= header_state::SHARED;
    }
    if ctx
        .set_cb_flags((flags | WANTS_WRITE | WANTS_PARSE_ALL) as i32)
        .is_err()
    {
        // It could not be taken out again.
        conn.header |= header_state::LEAVING;
        count(Counter::HeaderRefused, 1);
        inject::leaves(conn);
        take_out(ctx, true);
    }
}

/// A chosen connection is about to send.
#[sk_msg]
pub(crate) fn header(ctx: SkMsgContext) -> u32 {
    let msg: *mut sk_msg_md = ctx.msg;
    inject::message(msg)
}
