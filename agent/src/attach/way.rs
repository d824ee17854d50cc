//! Which way of seeing bytes this kernel has.
//!
//! In: the kernel's release, its types, the list of functions that can be traced. Out: a [`Way`]. Always holds: what cannot be looked at is
//! taken for absent. Refuses: tracepoints of releases that were not tried, unless the user asks for them.

use std::path::Path;

use super::{btf_offsets, table::Way};

/// Tracepoints that [`Way::Sockets`] cannot do without.
pub const SOCKETS_NEED: &[&str] = &["tcp_sendmsg_locked", "sock_send_length", "sock_recv_length"];

/// Functions that [`Way::Functions`] cannot do without.
const FUNCTIONS_NEED: &[&str] = &["tcp_sendmsg_locked", "inet_sendmsg", "inet_recvmsg"];

/// Functions that can be traced, one a line, with the module's name behind a space.
const FUNCTIONS_LIST: &str = "/sys/kernel/tracing/available_filter_functions";

/// Newest release whose tracepoints were tried: they run programs with preemption off there.
const SOCKETS_LAST: (u32, u32) = (6, 18);

/// The way of seeing bytes that is chosen on this kernel by itself.
#[must_use]
pub fn preferred_way() -> Way {
    if prefers_sockets_way() {
        Way::Sockets
    } else if has_functions_way() {
        Way::Functions
    } else {
        Way::Syscalls
    }
}

fn prefers_sockets_way() -> bool {
    kernel_release().is_some_and(|version| version <= SOCKETS_LAST) && has_sockets_way()
}

/// Whether this kernel has [`Way::Sockets`].
#[must_use]
pub fn has_sockets_way() -> bool {
    // BTF that cannot be read is told of when the offsets are.
    btf_offsets::has_tracepoints(Path::new(btf_offsets::KERNEL_BTF), SOCKETS_NEED).unwrap_or(false)
}

/// Whether this kernel has [`Way::Functions`]: it lists the functions it can put a trampoline into, these among them. (The development
/// machine's 6.18.44 lets nobody read the list, and refuses programs of this kind with EPERM.)
#[must_use]
pub fn has_functions_way() -> bool {
    let Ok(listed) = std::fs::read(FUNCTIONS_LIST) else {
        return false;
    };
    let mut absent: Vec<&[u8]> = FUNCTIONS_NEED.iter().map(|name| name.as_bytes()).collect();
    for line in listed.split(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        absent.retain(|wanted| *wanted != name);
    }
    absent.is_empty()
}

/// Major and minor number of the running kernel.
pub(super) fn kernel_release() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next())
}
