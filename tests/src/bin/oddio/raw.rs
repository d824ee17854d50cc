//! The syscalls, each in the plainest form that moves whole buffers.
//!
//! Always holds: counts are checked, EINTR is tried again, EAGAIN waits with poll. Refuses: nothing silently; every
//! failed syscall is an error that names it.

use std::io::{Error, ErrorKind, Write};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Result, bail};

/// The count of a syscall, or its error with its name.
fn count(name: &str, result: isize) -> Result<usize> {
    usize::try_from(result)
        .map_err(|_| anyhow::Error::new(Error::last_os_error()).context(name.to_owned()))
}

fn would_block(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn poll(fd: RawFd, events: i16) -> Result<()> {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one valid pollfd, count 1.
    count("poll", unsafe { libc::poll(&raw mut entry, 1, -1) }
        as isize)
    .map(|_| ())
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn message(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    header
}

/// exit: ends this thread alone, as pthread_exit does in the end.
pub fn end_thread() {
    // SAFETY: the main thread keeps nothing that others use.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// read, waiting with poll when the fd is non-blocking.
pub fn read_waiting(fd: RawFd, bytes: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: the buffer is ours and as long as said.
        match count("read", unsafe {
            libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len())
        }) {
            Err(error) if would_block(&error) => poll(fd, libc::POLLIN)?,
            other => return other,
        }
    }
}

/// write until all is gone, waiting with poll when the fd is non-blocking.
pub fn write_waiting(fd: RawFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is ours and as long as said.
        match count("write", unsafe {
            libc::write(fd, bytes.as_ptr().cast(), bytes.len())
        }) {
            Err(error) if would_block(&error) => poll(fd, libc::POLLOUT)?,
            other => bytes = &bytes[other?..],
        }
    }
    Ok(())
}

/// readv into three buffers of uneven sizes (7, 50, rest).
pub fn readv(fd: RawFd, bytes: &mut [u8]) -> Result<usize> {
    let (first, rest) = bytes.split_at_mut(7);
    let (second, third) = rest.split_at_mut(50);
    let vectors = [vector(first), vector(second), vector(third)];
    // SAFETY: three vectors over disjoint parts of our buffer, all alive through the call.
    count("readv", unsafe { libc::readv(fd, vectors.as_ptr(), 3) })
}

/// writev until all is gone.
pub fn writev(fd: RawFd, parts: &[&[u8]]) -> Result<()> {
    gather(parts, |vectors| {
        // SAFETY: the vectors point into `parts`, alive through the call.
        count("writev", unsafe {
            libc::writev(fd, vectors.as_ptr(), vectors.len() as i32)
        })
    })
}

/// sendmsg until all is gone.
pub fn sendmsg(fd: RawFd, parts: &[&[u8]]) -> Result<()> {
    gather(parts, |vectors| {
        let header = message(vectors);
        // SAFETY: the header points to `vectors`, which point into `parts`.
        count("sendmsg", unsafe {
            libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL)
        })
    })
}

/// Calls `send` with the vectors of what is left until nothing is.
fn gather(
    parts: &[&[u8]],
    mut send: impl FnMut(&mut [libc::iovec]) -> Result<usize>,
) -> Result<()> {
    let mut left: Vec<&[u8]> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    while !left.is_empty() {
        let mut vectors: Vec<libc::iovec> = left.iter().map(|part| vector(part)).collect();
        let mut sent = send(&mut vectors)?;
        while let Some(first) = left.first_mut() {
            let taken = sent.min(first.len());
            *first = &first[taken..];
            sent -= taken;
            if !first.is_empty() {
                break;
            }
            left.remove(0);
        }
    }
    Ok(())
}

/// recvfrom with flags.
pub fn recvfrom(fd: RawFd, bytes: &mut [u8], flags: i32) -> Result<usize> {
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the buffer is ours; no address is asked for.
    count("recvfrom", unsafe {
        libc::recvfrom(
            fd,
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            flags,
            address,
            length,
        )
    })
}

/// sendto until all is gone.
pub fn sendto(fd: RawFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let address = std::ptr::null();
        // SAFETY: the buffer is ours; no address is given.
        let sent = unsafe {
            libc::sendto(
                fd,
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
                address,
                0,
            )
        };
        bytes = &bytes[count("sendto", sent)?..];
    }
    Ok(())
}

/// recvmsg into two buffers.
pub fn recvmsg(fd: RawFd, bytes: &mut [u8]) -> Result<usize> {
    let (first, second) = bytes.split_at_mut(11);
    let mut vectors = [vector(first), vector(second)];
    let mut header = message(&mut vectors);
    // SAFETY: the header points to our vectors, which point to disjoint parts of our buffer.
    count("recvmsg", unsafe { libc::recvmsg(fd, &raw mut header, 0) })
}

/// recvmmsg of up to two messages; waits for the first only.
pub fn recvmmsg(fd: RawFd, bytes: &mut [u8]) -> Result<usize> {
    // A head is cut between the messages.
    let split = 40;
    let (first, second) = bytes.split_at_mut(split);
    let (mut one, mut two) = ([vector(first)], [vector(second)]);
    let mut messages = [
        libc::mmsghdr {
            msg_hdr: message(&mut one),
            msg_len: 0,
        },
        libc::mmsghdr {
            msg_hdr: message(&mut two),
            msg_len: 0,
        },
    ];
    let timeout = std::ptr::null_mut();
    // SAFETY: two headers over disjoint parts of our buffer.
    let got =
        unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), 2, libc::MSG_WAITFORONE, timeout) };
    let got = count("recvmmsg", got as isize)?;
    let lengths = messages.map(|message| message.msg_len as usize);
    let (in_first, in_second) = (
        if got > 0 { lengths[0] } else { 0 },
        if got > 1 { lengths[1] } else { 0 },
    );
    bytes.copy_within(split..split + in_second, in_first);
    Ok(in_first + in_second)
}

/// sendmmsg, one message for each part; what a short message leaves is sent with sendto.
pub fn sendmmsg(fd: RawFd, parts: &[&[u8]]) -> Result<()> {
    let mut vectors: Vec<[libc::iovec; 1]> = parts.iter().map(|part| [vector(part)]).collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|one| libc::mmsghdr {
            msg_hdr: message(one),
            msg_len: 0,
        })
        .collect();
    // SAFETY: as many headers as said, each with one vector into `parts`.
    let sent = unsafe {
        libc::sendmmsg(
            fd,
            messages.as_mut_ptr(),
            messages.len() as u32,
            libc::MSG_NOSIGNAL,
        )
    };
    let sent = count("sendmmsg", sent as isize)?;
    for (at, part) in parts.iter().enumerate() {
        let done = if at < sent {
            messages[at].msg_len as usize
        } else {
            0
        };
        sendto(fd, &part[done..])?;
    }
    Ok(())
}

/// sendfile of the bytes from an unlinked file.
pub fn sendfile(fd: RawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the name is a C string; the flags are known.
    let memory =
        count(
            "memfd_create",
            unsafe { libc::memfd_create(c"body".as_ptr(), libc::MFD_CLOEXEC) } as isize,
        )?;
    write_waiting(memory as RawFd, bytes)?;
    let mut offset: libc::off_t = 0;
    while (offset as usize) < bytes.len() {
        let left = bytes.len() - offset as usize;
        // SAFETY: `offset` is ours and alive through the call.
        count("sendfile", unsafe {
            libc::sendfile(fd, memory as RawFd, &raw mut offset, left)
        })?;
    }
    close(memory as RawFd);
    Ok(())
}

/// splice of the bytes from a pipe to the socket.
pub fn splice_out(fd: RawFd, bytes: &[u8]) -> Result<()> {
    let (reader, mut writer) = std::io::pipe()?;
    for part in bytes.chunks(32 << 10) {
        writer.write_all(part)?;
        splice(reader.as_raw_fd(), fd, part.len())?;
    }
    Ok(())
}

/// splice of `length` bytes from the socket to a pipe, where they are read and forgotten.
pub fn splice_away(fd: RawFd, mut length: usize) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    while length > 0 {
        let part = length.min(32 << 10);
        let (null, flags) = (std::ptr::null_mut(), libc::SPLICE_F_MOVE);
        // SAFETY: no offsets are given.
        let moved = unsafe { libc::splice(fd, null, writer.as_raw_fd(), null, part, flags) };
        let moved = count("splice", moved)?;
        if moved == 0 {
            bail!("the body ended early");
        }
        let mut away = vec![0; moved];
        let mut read = 0;
        while read < moved {
            read += read_waiting(reader.as_raw_fd(), &mut away[read..])?;
        }
        length -= moved;
    }
    Ok(())
}

fn splice(from: RawFd, to: RawFd, mut length: usize) -> Result<()> {
    while length > 0 {
        let null = std::ptr::null_mut();
        // SAFETY: no offsets are given.
        length -= count("splice", unsafe {
            libc::splice(from, null, to, null, length, 0)
        })?;
    }
    Ok(())
}

/// SO_SNDBUF.
pub fn set_send_buffer(fd: RawFd, bytes: i32) -> Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is ours and of the size said.
    let done = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            std::ptr::from_ref(&bytes).cast(),
            size,
        )
    };
    count("setsockopt", done as isize).map(|_| ())
}

/// fork; only called while this process has one thread.
pub fn fork() -> Result<i32> {
    // SAFETY: the process has one thread here, so the child's memory is whole.
    let pid = unsafe { libc::fork() };
    count("fork", pid as isize).map(|_| pid)
}

/// Children are reaped by the kernel.
pub fn ignore_children() {
    // SAFETY: SIG_IGN for SIGCHLD is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// close of an fd nobody else owns.
pub fn close(fd: RawFd) {
    // SAFETY: callers own the fd and do not use it again.
    unsafe { libc::close(fd) };
}

/// Room for one fd in a control message, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends an fd with one byte over a unix socket.
pub fn pass_fd(socket: RawFd, fd: RawFd) -> Result<()> {
    let mut control = Control([0; 64]);
    let mut vectors = [vector(b"f")];
    let mut header = message(&mut vectors);
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE computes from a constant; `control` is aligned and longer than the space for one fd, so
    // the first header and its payload lie inside it.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd);
        count(
            "sendmsg with SCM_RIGHTS",
            libc::sendmsg(socket, &raw const header, 0),
        )
        .map(|_| ())
    }
}

/// Receives an fd; `None` at the end of the stream.
pub fn receive_fd(socket: RawFd) -> Result<Option<RawFd>> {
    let mut control = Control([0; 64]);
    let mut byte = [0; 1];
    let mut vectors = [vector(&byte)];
    vectors[0].iov_base = byte.as_mut_ptr().cast();
    let mut header = message(&mut vectors);
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: header, vector and control are ours and alive; CMSG_FIRSTHDR is null or inside `control`, whose
    // contents the kernel wrote.
    unsafe {
        if count("recvmsg", libc::recvmsg(socket, &raw mut header, 0))? == 0 {
            return Ok(None);
        }
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() || (*first).cmsg_type != libc::SCM_RIGHTS {
            bail!("a message without an fd");
        }
        Ok(Some(
            libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned(),
        ))
    }
}
