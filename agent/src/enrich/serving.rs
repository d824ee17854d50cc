//! Must the kernel side see this process wait with epoll, does the process serve at all, and does it do so unseen?
//!
//! In: a tgid, its runtime class. Out: yes or no. Always holds: when in doubt the answer is yes, because a loop that is not seen
//! gives wrong parents, and one that is seen costs only time (40 ns for every syscall of the host). Refuses: nothing; a process that is gone
//! needs nothing.

use std::{collections::HashSet, io};

use agent_common::abi::{demand, runtime};

use super::{
    nginx,
    proc_root::{ProcRoot, read_bounded},
};

/// Descriptors looked at.
const FDS_MAX: usize = 65_536;
/// Bound of one of the kernel's tables of sockets: 7,000 TCP sockets; the kernel takes milliseconds to write it.
const TABLE: usize = 1 << 20;

/// Whether the evidence this process gives depends on seeing it wait with epoll.
///
/// THREADED: a thread that waits so may have many requests. TURN_PROXY: a wait ends the turn in which a call belongs to the request read
/// before; an nginx that never calls has no such turn. The answer holds for this process; an nginx that reads its configuration anew
/// starts new workers, which have to be asked about again.
pub fn needs_loops(root: &ProcRoot, tgid: u32, class: u8) -> bool {
    match class {
        runtime::THREADED | runtime::CPYTHON => true,
        runtime::TURN_PROXY => !nginx::passes_nothing_on(root, tgid) && is_alive(root, tgid),
        _ => false,
    }
}

/// Groups of hooks (`abi::demand`) that the evidence of this process depends on.
pub fn needs(root: &ProcRoot, tgid: u32, class: u8) -> u64 {
    let loops = if needs_loops(root, tgid, class) {
        demand::LOOPS
    } else {
        0
    };
    // Tasks that asyncio makes for a connection, before its first request.
    let accepts = if class == runtime::CPYTHON {
        demand::ACCEPTS
    } else {
        0
    };
    loops | accepts
}

/// Whether a process listens on a stream socket (for processes that ran before the agent).
///
/// Sockets are looked up in the process' own network namespace; one brought from another namespace is not found.
pub fn listens(root: &ProcRoot, tgid: u32) -> bool {
    let sockets = match sockets(root, tgid) {
        Ok(Some(sockets)) => sockets,
        Ok(None) => return true,
        Err(_) => return is_alive(root, tgid),
    };
    if sockets.is_empty() {
        return false;
    }
    let is_listening = |table: &str, listener: Listener| {
        match read_bounded(&root.file(tgid, table), TABLE + 1) {
            Ok(rows) if rows.len() > TABLE => true,
            Ok(rows) => rows
                .split(|byte| *byte == b'\n')
                .filter_map(listener)
                .any(|inode| sockets.contains(&inode)),
            // A kernel without IPv6 has no tcp6.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    };
    is_listening("net/tcp", tcp_listener)
        || is_listening("net/tcp6", tcp_listener)
        || is_listening("net/unix", unix_listener)
}

/// True if the process holds an io_uring: what it does through it passes no hooked syscall.
pub fn uses_io_uring(root: &ProcRoot, tgid: u32) -> bool {
    /// Descriptors looked at; processes with more are proxies whose ring, if any, was made early and has a low number.
    const FDS_MAX: usize = 65_536;
    let Ok(fds) = std::fs::read_dir(root.file(tgid, "fd")) else {
        return false;
    };
    fds.flatten().take(FDS_MAX).any(|fd| {
        std::fs::read_link(fd.path())
            .is_ok_and(|target| target == std::path::Path::new("anon_inode:[io_uring]"))
    })
}

/// Whether a process is a worker of Node.js' cluster, which serves connections that its primary process hands over.
pub fn is_cluster_worker(root: &ProcRoot, tgid: u32) -> bool {
    /// `cluster.fork` gives it to its children (lib/internal/cluster/primary.js).
    const MARK: &[u8] = b"NODE_UNIQUE_ID=";
    root.environ(tgid).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(MARK))
    })
}

/// Inodes of the sockets a process has; none if it has too many descriptors.
fn sockets(root: &ProcRoot, tgid: u32) -> io::Result<Option<HashSet<u64>>> {
    let mut found = HashSet::new();
    for (count, fd) in std::fs::read_dir(root.file(tgid, "fd"))?.enumerate() {
        if count >= FDS_MAX {
            return Ok(None);
        }
        // Closed since, or no socket.
        let Ok(target) = std::fs::read_link(fd?.path()) else {
            continue;
        };
        let inode: Option<u64> = target.to_str().and_then(|text| {
            text.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        });
        found.extend(inode);
    }
    Ok(Some(found))
}

/// Takes the inode from a row if that row is a listening socket's.
type Listener = fn(&[u8]) -> Option<u64>;

/// A row of `net/tcp` and `net/tcp6`: `SL LOCAL REMOTE ST QUEUES TIMER RETRANSMITS UID TIMEOUT INODE …` (`man 5 proc_pid_net`).
fn tcp_listener(row: &[u8]) -> Option<u64> {
    /// TCP_LISTEN of `include/net/tcp_states.h`.
    const LISTEN: &str = "0A";
    let mut fields = fields(row);
    (fields.nth(3)? == LISTEN)
        .then(|| fields.nth(5))??
        .parse()
        .ok()
}

/// A row of `net/unix`: `NUM REFCOUNT PROTOCOL FLAGS TYPE ST INODE PATH`.
fn unix_listener(row: &[u8]) -> Option<u64> {
    /// `__SO_ACCEPTCON` of `include/uapi/linux/net.h`, the only flag the kernel shows.
    const LISTEN: &str = "00010000";
    /// SOCK_STREAM
    const STREAM: &str = "0001";
    let mut fields = fields(row);
    (fields.nth(3)? == LISTEN && fields.next()? == STREAM)
        .then(|| fields.nth(1))??
        .parse()
        .ok()
}

/// A field that is no text is empty; what is read here is digits.
fn fields(row: &[u8]) -> impl Iterator<Item = &str> {
    row.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .map(|field| std::str::from_utf8(field).unwrap_or_default())
}

/// False if the process is gone.
fn is_alive(root: &ProcRoot, tgid: u32) -> bool {
    match root.stat(tgid) {
        Ok(stat) => !matches!(stat.state, b'Z' | b'X'),
        // ESRCH: it ended while the file was read.
        Err(error) => {
            error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ESRCH)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "serving_tests.rs"]
mod tests;
