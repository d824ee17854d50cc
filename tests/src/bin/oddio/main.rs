//! `oddio WAY PORT`: an HTTP/1.1 server that moves its bytes in one particular way of the kernel's.
//!
//! In: `GET /big/N/…` (answers N bytes), `POST …` (answers the size of the body), anything else (answers 5 bytes); `/turn/…` also lets the main
//! thread go on, where its way has it wait.
//! Out: answers on 127.0.0.1:PORT, kept alive. Always holds: only the named way's syscalls touch the connection.
//! Refuses: heads over 64 KiB, chunked requests.

mod raw;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;

use anyhow::{Context, Result, bail};

/// How bytes are moved, or how the connection reaches the process that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ReadWrite,
    ReadvWritev,
    RecvfromSendto,
    RecvmsgSendmsg,
    RecvmmsgSendmmsg,
    /// MSG_PEEK before every read, twice.
    Peek,
    /// Non-blocking, small send buffer, poll: EAGAIN and partial writes.
    Partial,
    Sendfile,
    /// Bodies go through pipes in both directions.
    Splice,
    /// Reads one duplicate of the fd, writes the other.
    Dup,
    /// A child made by fork serves each connection.
    Fork,
    /// A process made before the accept gets the connection by SCM_RIGHTS.
    PassFd,
    /// The main thread ends, others go on.
    MainEnds,
    /// Another thread than the main one becomes another program: `oddio read-write`.
    ThreadBecomes,
}

const WAYS: [(&str, Way); 14] = [
    ("read-write", Way::ReadWrite),
    ("readv-writev", Way::ReadvWritev),
    ("recvfrom-sendto", Way::RecvfromSendto),
    ("recvmsg-sendmsg", Way::RecvmsgSendmsg),
    ("recvmmsg-sendmmsg", Way::RecvmmsgSendmmsg),
    ("peek", Way::Peek),
    ("partial", Way::Partial),
    ("sendfile", Way::Sendfile),
    ("splice", Way::Splice),
    ("dup", Way::Dup),
    ("fork", Way::Fork),
    ("pass-fd", Way::PassFd),
    ("main-ends", Way::MainEnds),
    ("thread-becomes", Way::ThreadBecomes),
];

/// One connection: bytes read but not used yet, and the way.
struct Served {
    way: Way,
    input: OwnedFd,
    output: OwnedFd,
    pending: Vec<u8>,
}

impl Served {
    fn new(way: Way, stream: TcpStream) -> Result<Self> {
        if way == Way::Partial {
            stream.set_nonblocking(true)?;
            raw::set_send_buffer(stream.as_raw_fd(), 16 << 10)?;
        }
        let output = OwnedFd::from(stream.try_clone()?);
        let input = if way == Way::Dup {
            // Both ends in use are duplicates; the accepted fd itself is closed.
            let again = stream.try_clone()?;
            drop(stream);
            OwnedFd::from(again)
        } else {
            OwnedFd::from(stream)
        };
        Ok(Self {
            way,
            input,
            output,
            pending: Vec::new(),
        })
    }

    /// Reads some bytes into `pending`; false at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        let fd = self.input.as_raw_fd();
        let mut bytes = vec![0; 8192];
        let count = match self.way {
            Way::ReadvWritev => raw::readv(fd, &mut bytes)?,
            Way::RecvfromSendto => raw::recvfrom(fd, &mut bytes, 0)?,
            Way::RecvmsgSendmsg => raw::recvmsg(fd, &mut bytes)?,
            Way::RecvmmsgSendmmsg => raw::recvmmsg(fd, &mut bytes)?,
            Way::Peek => {
                raw::recvfrom(fd, &mut bytes, libc::MSG_PEEK)?;
                let seen = raw::recvfrom(fd, &mut bytes, libc::MSG_PEEK)?;
                raw::recvfrom(fd, &mut bytes[..seen], 0)?
            }
            _ => raw::read_waiting(fd, &mut bytes)?,
        };
        self.pending.extend_from_slice(&bytes[..count]);
        if self.pending.len() > 64 << 10 {
            bail!("more than 64 KiB pending");
        }
        Ok(count > 0)
    }

    /// The next request's head, or `None` at the end of the stream.
    fn head(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..end + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads a body of `length` bytes and forgets it.
    fn swallow(&mut self, length: usize) -> Result<()> {
        let mut left = length - length.min(self.pending.len());
        self.pending.drain(..length.min(self.pending.len()));
        if self.way == Way::Splice {
            return raw::splice_away(self.input.as_raw_fd(), left);
        }
        while left > 0 {
            if !self.fill()? {
                bail!("the body ended early");
            }
            let taken = left.min(self.pending.len());
            self.pending.drain(..taken);
            left -= taken;
        }
        Ok(())
    }

    fn answer(&self, body: &[u8]) -> Result<()> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Way: {:?}\r\n\r\n",
            body.len(),
            self.way
        );
        let (fd, head) = (self.output.as_raw_fd(), head.as_bytes());
        let whole = || [head, body].concat();
        match self.way {
            Way::ReadvWritev => raw::writev(fd, &[head, body]),
            Way::RecvfromSendto | Way::Peek => raw::sendto(fd, &whole()),
            Way::RecvmsgSendmsg => raw::sendmsg(fd, &[head, body]),
            Way::RecvmmsgSendmmsg => raw::sendmmsg(fd, &[head, body]),
            Way::Sendfile => {
                raw::write_waiting(fd, head)?;
                raw::sendfile(fd, body)
            }
            Way::Splice => {
                raw::write_waiting(fd, head)?;
                raw::splice_out(fd, body)
            }
            _ => raw::write_waiting(fd, &whole()),
        }
    }

    /// Serves requests until the peer closes.
    fn run(mut self, turn: Option<&mpsc::Sender<()>>) -> Result<()> {
        while let Some(head) = self.head()? {
            let mut words = head.split_whitespace();
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                .unwrap_or(0);
            self.swallow(length)?;
            match path
                .strip_prefix("/big/")
                .and_then(|rest| rest.split('/').next())
            {
                Some(size) => {
                    self.answer(&vec![b'x'; size.parse().context("the size in /big/N")?])?
                }
                None if method == "POST" => self.answer(length.to_string().as_bytes())?,
                None => self.answer(b"hello")?,
            }
            if let (Some(turn), true) = (turn, path.starts_with("/turn/")) {
                turn.send(())?;
            }
        }
        Ok(())
    }
}

/// Serves; a connection that breaks is told on stderr and forgotten.
fn serve(way: Way, stream: TcpStream) {
    serve_and_tell(way, stream, None);
}

fn serve_and_tell(way: Way, stream: TcpStream, turn: Option<&mpsc::Sender<()>>) {
    if let Err(error) = Served::new(way, stream).and_then(|served| served.run(turn)) {
        eprintln!("oddio {way:?}: {error:#}");
    }
}

fn accept_and_pass(listener: &TcpListener) -> Result<()> {
    let (here, there) = UnixStream::pair()?;
    if raw::fork()? == 0 {
        drop(here);
        while let Some(fd) = raw::receive_fd(there.as_raw_fd())? {
            // SAFETY: SCM_RIGHTS made this fd for us alone; nothing else owns or closes it.
            let stream = unsafe { TcpStream::from_raw_fd(fd) };
            serve(Way::PassFd, stream);
        }
        return Ok(());
    }
    drop(there);
    for stream in listener.incoming() {
        let fd: RawFd = stream?.into_raw_fd();
        raw::pass_fd(here.as_raw_fd(), fd)?;
        raw::close(fd);
    }
    Ok(())
}

/// Serves in other threads, until the main one's turn comes.
fn wait_for_turn(way: Way, listener: TcpListener) -> Result<()> {
    let (told, turn) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || serve_and_tell(way, stream, Some(&told)));
        }
    });
    Ok(turn.recv()?)
}

/// Becomes `oddio read-write PORT` by another thread than this one.
fn become_by_thread(port: &str) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["read-write", port]);
    match std::thread::spawn(move || command.exec()).join() {
        Ok(error) => Err(error.into()),
        Err(_) => bail!("the thread ended"),
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, port] = arguments.as_slice() else {
        bail!("usage: oddio WAY PORT")
    };
    let Some((_, way)) = WAYS.iter().find(|(name, _)| name == way) else {
        bail!(
            "no such way: {way}; one of {:?}",
            WAYS.map(|(name, _)| name)
        );
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().context("PORT")?))?;
    if *way == Way::PassFd {
        return accept_and_pass(&listener);
    }
    if matches!(way, Way::MainEnds | Way::ThreadBecomes) {
        wait_for_turn(*way, listener)?;
        if *way == Way::MainEnds {
            raw::end_thread();
        }
        return become_by_thread(port);
    }
    raw::ignore_children();
    for stream in listener.incoming() {
        let stream = stream?;
        match way {
            Way::Fork => {
                if raw::fork()? == 0 {
                    serve(*way, stream);
                    return Ok(());
                }
            }
            _ => {
                let way = *way;
                std::thread::spawn(move || serve(way, stream));
            }
        }
    }
    Ok(())
}
