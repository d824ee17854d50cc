//! Functions of the socket layer, before and after (fentry, fexit): for kernels that have trampolines for BPF but not the tracepoints
//! of `sockets`.
//!
//! Always holds: they run for the current task's own call; only that call pays. What follows is what `sockets` does with its tracepoints.
//! A function that takes a `struct socket` leads to its `sk`. Refuses: the kernel's own sockets, which have no file.
//!
//! Programs of this kind can be interrupted by another task of the same CPU on kernels that preempt themselves: see `maps::scratch`.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};

use super::sockets::{received, sends, sent};
use crate::{settings::setting, walk::Typed};

/// `int F(struct socket *sock, struct msghdr *msg, size_t size, int flags)` returned (net/ipv4/af_inet.c, net/ipv6/af_inet6.c,
/// net/unix/af_unix.c).
macro_rules! after_receiving {
    ($name:ident, $function:literal) => {
        #[fexit(function = $function)]
        pub(crate) fn $name(ctx: FExitContext) -> i32 {
            let (flags, moved): (i32, i32) = (ctx.arg(3), ctx.arg(4));
            let sock = Typed(ctx.arg(0)).sk(setting!(offsets.socket_sk));
            let _ = received(sock, i64::from(moved), flags as u64);
            0
        }
    };
}

/// `int F(struct socket *sock, struct msghdr *msg, size_t size)` returned.
macro_rules! after_sending {
    ($name:ident, $function:literal) => {
        #[fexit(function = $function)]
        pub(crate) fn $name(ctx: FExitContext) -> i32 {
            let moved: i32 = ctx.arg(3);
            let sock = Typed(ctx.arg(0)).sk(setting!(offsets.socket_sk));
            let _ = sent(sock, i64::from(moved));
            0
        }
    };
}

after_receiving!(after_inet_recvmsg, "inet_recvmsg");
after_receiving!(after_inet6_recvmsg, "inet6_recvmsg");
after_receiving!(after_unix_recvmsg, "unix_stream_recvmsg");
after_sending!(after_inet_sendmsg, "inet_sendmsg");
after_sending!(after_inet6_sendmsg, "inet6_sendmsg");
after_sending!(after_unix_sendmsg, "unix_stream_sendmsg");

/// `ssize_t inet_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags)` returned: how sendfile and
/// splice reach TCP before 6.5, which took it away.
#[fexit(function = "inet_sendpage")]
pub(crate) fn after_inet_sendpage(ctx: FExitContext) -> i32 {
    let moved: i64 = ctx.arg(5);
    let sock = Typed(ctx.arg(0)).sk(setting!(offsets.socket_sk));
    let _ = sent(sock, moved);
    0
}

/// `int tcp_sendmsg_locked(struct sock *sk, struct msghdr *msg, size_t size)` (net/ipv4/tcp.c) begins: none of its bytes has left.
#[fentry(function = "tcp_sendmsg_locked")]
pub(crate) fn before_tcp_sendmsg(ctx: FEntryContext) -> i32 {
    let _ = sends(Typed(ctx.arg(0)));
    0
}

/// `unix_stream_sendmsg` begins: no reader has been woken.
#[fentry(function = "unix_stream_sendmsg")]
pub(crate) fn before_unix_sendmsg(ctx: FEntryContext) -> i32 {
    let _ = sends(Typed(ctx.arg(0)).sk(setting!(offsets.socket_sk)));
    0
}
