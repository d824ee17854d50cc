//! Whether this kernel treats sockets in a SockHash well, tried with sockets of our own; and who else has such sockets.
//!
//! In: nothing. Out: nothing, or what went wrong. Always holds: the map, the program and the sockets are gone when it returns; no other
//! socket is touched. Refuses: to guess by version: kernels with commit 929e30f93125 (from 6.6.128, 6.12.75, 6.18.14 and 6.19 on) say
//! that no bytes wait where some do, which makes nginx and others stop reading (seen on 6.18.44), until a later commit mended it:
//! Debian's 6.12.117 has both and is sound.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use aya::programs::loaded_programs;

/// What is wrong with a SockHash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A reader is told another number of waiting bytes than there are.
    #[error("{told} bytes are said to wait on such a socket where {waiting} do (FIONREAD)")]
    Waiting {
        /// What the kernel said.
        told: i32,
        /// What was sent.
        waiting: usize,
    },
    /// A reader is not woken.
    #[error("epoll does not wake who waits for {0} on such a socket")]
    Asleep(&'static str),
    /// Bytes are missing or wrong.
    #[error("what is read from such a socket is not what was sent")]
    Bytes,
    /// It could not be tried.
    #[error("it cannot be tried: {0}")]
    Untried(String),
}

impl From<io::Error> for Unsound {
    fn from(error: io::Error) -> Self {
        Self::Untried(error.to_string())
    }
}

/// `BPF_PROG_TYPE_SK_MSG` (include/uapi/linux/bpf.h).
const BPF_PROG_TYPE_SK_MSG: u32 = 16;
/// How long a reader may take to be woken.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times the whole is repeated: a lost wake-up is a matter of moments.
const ROUNDS: usize = 16;

/// Tries it.
///
/// # Errors
/// What is wrong.
pub fn probe() -> Result<(), Unsound> {
    let map = map()?;
    let program = program()?;
    attach(&map, &program)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let member = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    member.set_nonblocking(true)?;
    peer.set_nodelay(true)?;
    insert(&map, &member)?;
    exercise(&member, &peer)
}

fn exercise(mut member: &TcpStream, mut peer: &TcpStream) -> Result<(), Unsound> {
    let ready = Ready::on(member)?;
    let mut buffer = [0; 64];
    for round in 0..ROUNDS {
        peer.write_all(b"12345678")?;
        ready.within("bytes", libc::EPOLLIN)?;
        waiting(member, 8)?;
        // Half of it, then more comes: another wake-up, and the rest together.
        if member.read(&mut buffer[..4])? != 4 || buffer[..4] != *b"1234" {
            return Err(Unsound::Bytes);
        }
        waiting(member, 4)?;
        peer.write_all(b"abcd")?;
        ready.within("more bytes", libc::EPOLLIN)?;
        waiting(member, 8)?;
        if member.read(&mut buffer)? != 8 || buffer[..8] != *b"5678abcd" {
            return Err(Unsound::Bytes);
        }
        waiting(member, 0)?;
        // What the member sends goes past the program.
        member.write_all(b"back")?;
        if peer.read(&mut buffer)? != 4 || buffer[..4] != *b"back" {
            return Err(Unsound::Bytes);
        }
        // A reader that waits already.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(round as u64 % 3));
                peer.write_all(b"late")
            });
            ready.within("late bytes", libc::EPOLLIN)
        })?;
        if member.read(&mut buffer)? != 4 {
            return Err(Unsound::Bytes);
        }
    }
    peer.shutdown(Shutdown::Write)?;
    ready.within("the end", libc::EPOLLRDHUP)?;
    match member.read(&mut buffer)? {
        0 => Ok(()),
        _ => Err(Unsound::Bytes),
    }
}

/// Compares what the kernel says that waits with what does.
fn waiting(member: &TcpStream, waiting: usize) -> Result<(), Unsound> {
    let mut told: libc::c_int = -1;
    // SAFETY: FIONREAD writes one int.
    if unsafe { libc::ioctl(member.as_raw_fd(), libc::FIONREAD, &raw mut told) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if usize::try_from(told) == Ok(waiting) {
        return Ok(());
    }
    Err(Unsound::Waiting { told, waiting })
}

/// An edge-triggered wait, as nginx has it.
struct Ready(OwnedFd);

impl Ready {
    fn on(member: &TcpStream) -> io::Result<Self> {
        // SAFETY: takes a number.
        let ready = Self(owned(
            unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into(),
        )?);
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: 0,
        };
        // SAFETY: both descriptors are open, and the kernel only reads `event`.
        let added = unsafe {
            libc::epoll_ctl(
                ready.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                member.as_raw_fd(),
                &raw mut event,
            )
        };
        if added != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ready)
    }

    fn within(&self, what: &'static str, wanted: libc::c_int) -> Result<(), Unsound> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let patience = PATIENCE.as_millis() as libc::c_int;
        // SAFETY: room for one event, which the kernel writes.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, patience) };
        if count < 0 {
            return Err(io::Error::last_os_error().into());
        }
        if count == 1 && event.events & wanted as u32 != 0 {
            return Ok(());
        }
        Err(Unsound::Asleep(what))
    }
}

/// Room for `union bpf_attr`; the kernel accepts any size whose unknown rest is zero.
type Attr = [u64; 16];

/// Two neighbouring 32-bit fields.
fn two(first: u32, second: u32) -> u64 {
    u64::from(second) << 32 | u64::from(first)
}

fn bpf(command: libc::c_long, attr: &Attr) -> libc::c_long {
    // SAFETY: the kernel reads size_of::<Attr>() bytes of `attr`; pointers in it are to memory that outlives the call.
    unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of::<Attr>()) }
}

fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: the kernel has just given this descriptor to us; nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A SockHash with room for one.
fn map() -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_SOCKHASH: u32 = 18;
    let mut attr: Attr = [0; 16];
    // map_type, key_size, value_size, max_entries
    attr[0] = two(BPF_MAP_TYPE_SOCKHASH, 4);
    attr[1] = two(4, 1);
    owned(bpf(BPF_MAP_CREATE, &attr))
}

/// `r0 = 1; exit`: lets every message pass.
fn program() -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_SK_MSG_VERDICT: u32 = 7;
    // struct bpf_insn: opcode, registers, offset, immediate
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let license = c"GPL";
    let mut attr: Attr = [0; 16];
    // prog_type, insn_cnt, insns, license; expected_attach_type is at byte 68
    attr[0] = two(BPF_PROG_TYPE_SK_MSG, instructions.len() as u32);
    attr[1] = instructions.as_ptr().expose_provenance() as u64;
    attr[2] = license.as_ptr().expose_provenance() as u64;
    attr[8] = two(0, BPF_SK_MSG_VERDICT);
    owned(bpf(BPF_PROG_LOAD, &attr))
}

fn attach(map: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const BPF_SK_MSG_VERDICT: u32 = 7;
    let mut attr: Attr = [0; 16];
    // target_fd, attach_bpf_fd, attach_type, attach_flags
    attr[0] = two(map.as_raw_fd() as u32, program.as_raw_fd() as u32);
    attr[1] = two(BPF_SK_MSG_VERDICT, 0);
    done(bpf(BPF_PROG_ATTACH, &attr))
}

fn insert(map: &OwnedFd, member: &TcpStream) -> io::Result<()> {
    const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
    let (key, value) = (0_u32, member.as_raw_fd());
    let mut attr: Attr = [0; 16];
    // map_fd, key, value, flags
    attr[0] = two(map.as_raw_fd() as u32, 0);
    attr[1] = (&raw const key).expose_provenance() as u64;
    attr[2] = (&raw const value).expose_provenance() as u64;
    done(bpf(BPF_MAP_UPDATE_ELEM, &attr))
}

fn done(returned: libc::c_long) -> io::Result<()> {
    if returned == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Programs of others that see the messages of sockets in a map: a socket can be in one such map only.
#[must_use]
pub fn others() -> Vec<String> {
    loaded_programs()
        .flatten()
        .filter(|found| found.program_type() as u32 == BPF_PROG_TYPE_SK_MSG)
        .map(|found| {
            let name = found.name_as_str().unwrap_or("without a name");
            format!("{name} (BPF program {})", found.id())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Unsound, probe};

    /// Whether the running kernel is broken, of those that were looked at by hand.
    fn known() -> Option<bool> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        [("6.1.", false), ("6.12.117", false), ("6.18.44", true)]
            .into_iter()
            .find(|(begin, _)| release.starts_with(begin))
            .map(|(_, is_broken)| is_broken)
    }

    /// Needs root, as all tests that load BPF do.
    #[test]
    fn kernel_probe_tells_sound_kernels_from_broken_ones() {
        let found = probe();
        match known() {
            Some(true) => assert!(
                matches!(found, Err(Unsound::Waiting { .. } | Unsound::Asleep(_))),
                "{found:?}"
            ),
            Some(false) => assert_eq!(found, Ok(())),
            None => assert!(!matches!(found, Err(Unsound::Untried(_))), "{found:?}"),
        }
    }
}
