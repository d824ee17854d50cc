//! Which end of a connection with a broker a socket is, also where the connection is older than the agent.
//!
//! In: a socket whose connection's protocol has just been recognised. Out: its role. Always holds: what connect() gave a port to is a client's,
//! whatever its number; nothing else is so sure, so the rest goes by ports and by who says what. Refuses: nothing; it asks the kernel's books, not
//! the bytes, as commands of Redis and answers to them can begin alike and a connection met in its middle may begin with either.
//!
//! The bucket of a port (`inet_bind_bucket`) whose first user was connect() has `fastreuse` -1 (`__inet_hash_connect`), one that bind() or listen()
//! made 0 or 1, and an accepted connection shares its listener's (`__inet_inherit_port`). Seen on 6.18 with bpftrace, on ports of both ranges, also after the
//! listener was closed. An accepted unix socket shares its listener's name; a client has none.

use agent_common::abi::{Conn, direction, role};

use crate::{pending::AF_UNIX, settings::setting, sniff::Token, walk::field};

/// First of the ports that Linux gives to clients (`net.ipv4.ip_local_port_range`'s default; Documentation/networking/ip-sysctl.rst).
const EPHEMERAL: u16 = 32_768;

/// The role of the end that moved `token` first (`way`).
#[inline(never)]
pub(crate) fn role_of(conn: &Conn, sk: u64, way: u8, token: u8) -> u64 {
    let token = Token::of(token);
    let by_word = if token.is_of_a_client() == (way == direction::RX) {
        role::SERVER
    } else {
        role::CLIENT
    };
    let by_kernel = if conn.family == AF_UNIX {
        unix(sk)
    } else {
        tcp(conn, sk, way)
    };
    u64::from(match by_kernel {
        role::CLIENT => role::CLIENT,
        role::SERVER if token.is_of_either() => role::SERVER,
        _ => by_word,
    })
}

#[inline(always)]
fn unix(sk: u64) -> u8 {
    let name: u64 = field(sk, setting!(offsets.unix_addr));
    if name == 0 {
        role::CLIENT
    } else {
        role::SERVER
    }
}

#[inline(always)]
fn tcp(conn: &Conn, sk: u64, way: u8) -> u8 {
    let bucket: u64 = field(sk, setting!(offsets.icsk_bind_hash));
    if bucket != 0 && field::<i8>(bucket, setting!(offsets.bucket_fastreuse)) < 0 {
        return role::CLIENT;
    }
    if (conn.local_port < EPHEMERAL) != (conn.remote_port < EPHEMERAL) {
        return if conn.local_port < EPHEMERAL {
            role::SERVER
        } else {
            role::CLIENT
        };
    }
    // A client that bound its port itself: who speaks before anything was said to it is no server.
    let received: u64 = field(sk, setting!(offsets.tcp_bytes_received));
    if way == direction::TX && received == 0 {
        role::CLIENT
    } else {
        role::SERVER
    }
}
