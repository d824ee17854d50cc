//! The ways a program has of giving bytes to TCP.
//!
//! In: a connected socket, bytes. Out: all of them are sent. Always holds: what a call says it took is not sent again. Refuses: calls that
//! fail for another reason than that there is no room yet.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::scene::scaled;

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `write`
    Write,
    /// `writev` with buffers of this size.
    Vectors(usize),
    /// `write` for every so many bytes.
    Pieces(usize),
    /// `send` with MSG_MORE for the first part of this length, without for the rest.
    More(usize),
    /// `send` with MSG_ZEROCOPY; it waits for the notice.
    Zerocopy,
    /// `write` of this many, `sendfile` of the rest.
    Sendfile(usize),
    /// `write` of this many, `splice` of the rest from a pipe.
    Splice(usize),
    /// `sendmmsg` of two messages, the first of this length.
    Several(usize),
    /// Non-blocking, with a small send buffer: calls take a part, or nothing.
    Partial,
}

fn checked(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Waits until a socket is ready for these events.
pub(super) fn wait(stream: &TcpStream, events: libc::c_short) -> io::Result<()> {
    let mut wait = libc::pollfd {
        fd: stream.as_raw_fd(),
        events,
        revents: 0,
    };
    let deadline = Instant::now() + scaled(super::PATIENCE);
    while Instant::now() < deadline {
        // SAFETY: one entry, which the kernel writes.
        match unsafe { libc::poll(&raw mut wait, 1, 1_000) } {
            0 => {}
            count if count < 0 => return Err(io::Error::last_os_error()),
            // A notice of bytes that were not copied is an error to poll().
            _ if wait.revents == libc::POLLERR => std::thread::sleep(Duration::from_millis(1)),
            _ => return Ok(()),
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}

/// Makes a call again when the socket has room, where it never waits itself.
fn patient(stream: &TcpStream, mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match checked(call()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(stream, libc::POLLOUT)?,
            outcome => return outcome,
        }
    }
}

fn send(stream: &TcpStream, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel reads `bytes`.
    patient(stream, || unsafe {
        libc::send(
            stream.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
        )
    })
}

fn send_all(stream: &TcpStream, mut bytes: &[u8], flags: libc::c_int) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(stream, bytes, flags)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

impl How {
    /// Sends all of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(self, stream: &TcpStream, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Write => send_all(stream, bytes, 0)?,
            Self::Vectors(size) => vectors(stream, bytes, size)?,
            Self::Pieces(size) => {
                for piece in bytes.chunks(size) {
                    send_all(stream, piece, 0)?;
                }
            }
            Self::More(first) => {
                let (first, rest) = bytes.split_at(first.min(bytes.len()));
                send_all(stream, first, libc::MSG_MORE)?;
                send_all(stream, rest, 0)?;
            }
            Self::Zerocopy => zerocopy(stream, bytes)?,
            Self::Sendfile(first) => {
                let (first, rest) = bytes.split_at(first.min(bytes.len()));
                send_all(stream, first, libc::MSG_MORE)?;
                sendfile(stream, rest)?;
            }
            Self::Splice(first) => {
                let (first, rest) = bytes.split_at(first.min(bytes.len()));
                send_all(stream, first, 0)?;
                splice(stream, rest)?;
            }
            Self::Several(first) => several(stream, bytes, first)?,
            Self::Partial => partial(stream, bytes)?,
        }
        Ok(())
    }
}

fn vectors(stream: &TcpStream, bytes: &[u8], size: usize) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let buffers: Vec<libc::iovec> = rest
            .chunks(size.max(1))
            .take(1_000)
            .map(|part| libc::iovec {
                iov_base: part.as_ptr().cast_mut().cast(),
                iov_len: part.len(),
            })
            .collect();
        // SAFETY: the kernel reads the buffers, which are parts of `bytes`.
        let sent = patient(stream, || unsafe {
            libc::writev(
                stream.as_raw_fd(),
                buffers.as_ptr(),
                buffers.len() as libc::c_int,
            )
        })?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// Sends without a copy and waits until the kernel says that it does not need the bytes any more.
fn zerocopy(stream: &TcpStream, bytes: &[u8]) -> Result<()> {
    const SO_ZEROCOPY: libc::c_int = 60;
    const MSG_ZEROCOPY: libc::c_int = 0x400_0000;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_ZEROCOPY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    checked(set as isize)?;
    let mut rest = bytes;
    let mut calls = 0_u32;
    while !rest.is_empty() {
        let sent = send(stream, rest, MSG_ZEROCOPY)?;
        calls += 1;
        rest = &rest[sent..];
    }
    let deadline = Instant::now() + scaled(Duration::from_secs(10));
    let mut noticed = 0;
    while noticed < calls {
        match notice(stream)? {
            Some(count) => noticed += count,
            None if Instant::now() > deadline => {
                bail!("{noticed} of {calls} calls without a copy were told to be over")
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(())
}

/// How many calls a notice in the error queue is for.
fn notice(stream: &TcpStream) -> io::Result<Option<u32>> {
    let mut control = [0_u64; 32];
    // SAFETY: all zero is a message header without buffers.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes into `control`.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, flags) };
    if got < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    // A cmsghdr of 16 bytes, then struct sock_extended_err, whose last two words are the first and the last call.
    let (first, last) = (control[3] as u32, (control[3] >> 32) as u32);
    Ok(Some(last.wrapping_sub(first).wrapping_add(1)))
}

fn memory_file(bytes: &[u8]) -> io::Result<std::fs::File> {
    // SAFETY: a name that ends with zero.
    let fd = checked(unsafe { libc::memfd_create(c"body".as_ptr(), 0) } as isize)?;
    // SAFETY: the kernel has just given this descriptor to us.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    file.write_all(bytes)?;
    Ok(file)
}

fn sendfile(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let file = memory_file(bytes)?;
    let mut at: libc::off_t = 0;
    while (at as usize) < bytes.len() {
        // SAFETY: the kernel moves `at` on.
        let sent = patient(stream, || unsafe {
            libc::sendfile(
                stream.as_raw_fd(),
                file.as_raw_fd(),
                &raw mut at,
                bytes.len() - at as usize,
            )
        })?;
        if sent == 0 {
            return Err(io::Error::other("sendfile sent nothing"));
        }
    }
    Ok(())
}

fn splice(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let (reader, mut writer) = io::pipe()?;
    for part in bytes.chunks(32 * 1024) {
        writer.write_all(part)?;
        let mut left = part.len();
        while left > 0 {
            let null = std::ptr::null_mut();
            // SAFETY: takes two descriptors and numbers.
            left -= patient(stream, || unsafe {
                libc::splice(reader.as_raw_fd(), null, stream.as_raw_fd(), null, left, 0)
            })?;
        }
    }
    Ok(())
}

fn several(stream: &TcpStream, bytes: &[u8], first: usize) -> io::Result<()> {
    let (first, second) = bytes.split_at(first.min(bytes.len()));
    let mut buffers = [first, second].map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    let mut messages = buffers.each_mut().map(|buffer| {
        // SAFETY: all zero is a message without buffers.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = buffer;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    // SAFETY: the kernel reads the buffers and writes the lengths.
    let sent = patient(stream, || unsafe {
        libc::sendmmsg(stream.as_raw_fd(), messages.as_mut_ptr(), 2, 0) as isize
    })?;
    let took: usize = messages
        .iter()
        .take(sent)
        .map(|message| message.msg_len as usize)
        .sum();
    send_all(stream, &bytes[took..], 0)
}

/// A small send buffer that its reader empties slowly.
fn partial(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let small: libc::c_int = 4_096;
    // SAFETY: the kernel reads one int.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const small).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = send(stream, rest, libc::MSG_DONTWAIT)?;
        rest = &rest[sent..];
    }
    Ok(())
}
