//! A plain HTTP/1.1 client on blocking sockets, which writes exactly the bytes it is told, when it is told.
//!
//! In: bytes of requests. Out: parsed answers. Always holds: it reads no further than an answer's end, so the next
//! answer on the connection starts where this one ended. Refuses: answers over 64 MiB.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::scene::scaled;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body without chunk framing.
    pub body: Vec<u8>,
    /// The peer wants the connection closed, or framed the body by closing it.
    pub closes: bool,
}

/// The stream under a connection.
pub trait Stream: Read + Write + Send + AsFd {}
impl<T: Read + Write + Send + AsFd> Stream for T {}

/// One open connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    local: Option<SocketAddr>,
}

impl Connection {
    /// Connects over TCP with TCP_NODELAY, so that each write is a segment of its own.
    ///
    /// # Errors
    /// When the peer refuses.
    pub fn tcp(address: impl Into<SocketAddr>) -> Result<Self> {
        let address = address.into();
        let stream =
            TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        Self::over(stream)
    }

    /// The same over a stream that is connected.
    ///
    /// # Errors
    /// When an option is refused.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(scaled(Duration::from_secs(30))))?;
        let local = Some(stream.local_addr()?);
        Ok(Self {
            stream: BufReader::with_capacity(1 << 16, Box::new(stream)),
            local,
        })
    }

    /// Connects to 127.0.0.1.
    ///
    /// # Errors
    /// When the peer refuses.
    pub fn local(port: u16) -> Result<Self> {
        Self::tcp(([127, 0, 0, 1], port))
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// When the peer refuses.
    pub fn unix(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        stream.set_read_timeout(Some(scaled(Duration::from_secs(30))))?;
        Ok(Self {
            stream: BufReader::with_capacity(1 << 16, Box::new(stream)),
            local: None,
        })
    }

    /// This end's address, for TCP.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Closes with a reset instead of a FIN (SO_LINGER of 0 s).
    ///
    /// # Errors
    /// When the option is refused.
    pub fn reset_on_close(self) -> Result<()> {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        let fd = self.stream.get_ref().as_fd().as_raw_fd();
        let size = libc::socklen_t::try_from(size_of::<libc::linger>())?;
        // SAFETY: `linger` lives through the call and `size` is its size; `fd` is open while `self` lives.
        let done = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                size,
            )
        };
        if done != 0 {
            return Err(std::io::Error::last_os_error()).context("setting SO_LINGER");
        }
        Ok(())
    }

    /// Writes the bytes with one `write` where the kernel takes them at once.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .context("writing a request")
    }

    /// Writes the bytes one `write` each.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn send_bytewise(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(1).try_for_each(|byte| self.send(byte))
    }

    /// Sends `GET path` and reads the answer.
    ///
    /// # Errors
    /// When the connection broke or the answer is not HTTP.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(request("GET", path, &[], b"").as_slice())?;
        self.answer(false)
    }

    /// Reads one final answer (1xx, except 101, are read over); `head_only` when it answers HEAD.
    ///
    /// # Errors
    /// When the connection broke or the answer is not HTTP.
    pub fn answer(&mut self, head_only: bool) -> Result<Answer> {
        loop {
            let answer = self.one_answer(head_only)?;
            if answer.status >= 200 || answer.status == 101 {
                return Ok(answer);
            }
        }
    }

    /// Reads one answer, interim ones too.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub fn one_answer(&mut self, head_only: bool) -> Result<Answer> {
        let status_line = self.line()?;
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("not a status line: {status_line:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let says_close =
            find("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let chunked =
            find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length: Option<u64> = find("content-length").and_then(|value| value.parse().ok());
        let (body, by_close) = if head_only || status < 200 || status == 204 || status == 304 {
            (Vec::new(), false)
        } else if chunked {
            (self.chunks()?, false)
        } else if let Some(length) = length {
            let mut body = vec![0; usize::try_from(length.min(64 << 20))?];
            self.stream
                .read_exact(&mut body)
                .context("reading a body")?;
            (body, false)
        } else {
            let mut body = Vec::new();
            (&mut self.stream)
                .take(64 << 20)
                .read_to_end(&mut body)
                .context("reading a body")?;
            (body, true)
        };
        Ok(Answer {
            status,
            headers,
            body,
            closes: says_close || by_close,
        })
    }

    /// Reads what comes next, at most `count` bytes; empty at the end of the stream.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn raw(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.stream.read(&mut bytes).context("reading")?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(64 << 10)
            .read_until(b'\n', &mut line)
            .context("reading a line")?;
        if read == 0 {
            bail!("the peer closed the connection where a line was expected");
        }
        Ok(String::from_utf8_lossy(&line)
            .trim_end_matches(['\r', '\n'])
            .to_owned())
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .with_context(|| format!("not a chunk size: {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            if body.len() as u64 + size > 64 << 20 {
                bail!("a body over 64 MiB");
            }
            let at = body.len();
            body.resize(at + usize::try_from(size)?, 0);
            self.stream
                .read_exact(&mut body[at..])
                .context("reading a chunk")?;
            self.line()?;
        }
    }
}

/// The local port of a connection that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This one (0: any), bound with SO_REUSEADDR: several connections that all do so may have it.
    Shared(u16),
    /// This one, chosen by the kernel from a range of one (IP_LOCAL_PORT_RANGE, 6.3+): others that the kernel chose may have
    /// it, too.
    Given(u16),
}

/// Connects to a port of 127.0.0.1.
///
/// # Errors
/// When an option, the port or the connection is refused.
pub fn tcp_from(port: Port, to: u16) -> Result<TcpStream> {
    /// include/uapi/linux/in.h
    const IP_LOCAL_PORT_RANGE: i32 = 51;
    let address = |port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>())?;
    let done = |result: i32, what: &str| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).with_context(|| format!("{what}, {port:?}")),
    };
    // SAFETY: three integers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    done(fd.min(0), "making a socket")?;
    // SAFETY: a descriptor that was just made and that nobody else has.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let (level, option, value) = match port {
        Port::Shared(_) => (libc::SOL_SOCKET, libc::SO_REUSEADDR, 1_u32),
        Port::Given(port) => (
            libc::IPPROTO_IP,
            IP_LOCAL_PORT_RANGE,
            u32::from(port) << 16 | u32::from(port),
        ),
    };
    let place = std::ptr::from_ref(&value).cast();
    // SAFETY: `value` lives through the call and its size is given; `fd` is open.
    let set = unsafe { libc::setsockopt(fd, level, option, place, 4) };
    done(set, "setting an option")?;
    if let Port::Shared(port) = port {
        let own = address(port);
        // SAFETY: `own` lives through the call and `size` is its size; `fd` is open.
        let bound = unsafe { libc::bind(fd, std::ptr::from_ref(&own).cast(), size) };
        done(bound, "binding")?;
    }
    let peer = address(to);
    // SAFETY: `peer` lives through the call and `size` is its size; `fd` is open.
    let connected = unsafe { libc::connect(fd, std::ptr::from_ref(&peer).cast(), size) };
    done(connected, "connecting")?;
    Ok(stream)
}

/// The bytes of a request: `Host: victim.test`, a Content-Length when there is a body, the given headers.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("{method} {target} HTTP/1.1\r\nHost: victim.test\r\nUser-Agent: suture-tests\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Calls every path with `concurrency` threads; each thread has its own connection, kept alive when the server lets
/// it. Requires 200 each time.
///
/// # Errors
/// The first failure.
pub fn get_all(port: u16, paths: &[String], concurrency: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrency)
            .map(|thread| {
                let mine: Vec<&String> = paths.iter().skip(thread).step_by(concurrency).collect();
                scope.spawn(move || get_in_turn(port, &mine))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a client thread panicked"),
            }
        }
        Ok(())
    })
}

fn get_in_turn(port: u16, paths: &[&String]) -> Result<()> {
    let mut open = None;
    for path in paths {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::local(port)?,
        };
        let answer = connection.get(path)?;
        if answer.status != 200 {
            bail!(
                "GET {path} on port {port} answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        if !answer.closes {
            open = Some(connection);
        }
    }
    Ok(())
}
