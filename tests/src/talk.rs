//! A client and a server that know every byte they say to each other.
//!
//! In: an id, a connection's number, a count. Out: requests of many shapes whose bodies, both ways, follow from their paths.
//! Always holds: a byte that changed on the way, was lost or came twice is an error, by the content of each body. Refuses:
//! requests with a body that does not follow from its path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Connection, request};
use crate::scene::scaled;

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One write, and a short answer.
    Small,
    /// Head and body in one write, more than a segment.
    Posted,
    /// Head and body in one write, more than the first congestion window.
    Large,
    /// The head in two writes.
    Split,
    /// One byte per write.
    Bytewise,
    /// A head of 3,000 bytes.
    LongHead,
    /// A megabyte in the answer.
    BigAnswer,
}

/// All shapes; a connection sends them in turn.
pub const SHAPES: &[Shape] = &[
    Shape::Small,
    Shape::Posted,
    Shape::Small,
    Shape::LongHead,
    Shape::Split,
    Shape::Large,
    Shape::BigAnswer,
    Shape::Bytewise,
];

impl Shape {
    fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Posted => "posted",
            Self::Large => "large",
            Self::Split => "split",
            Self::Bytewise => "bytewise",
            Self::LongHead => "longhead",
            Self::BigAnswer => "biganswer",
        }
    }

    /// Bytes in the request's and in the answer's body.
    fn sizes(self) -> (usize, usize) {
        match self {
            Self::Small | Self::Split | Self::Bytewise | Self::LongHead => (0, 40),
            Self::Posted => (5_000, 300),
            Self::Large => (200_000, 300),
            Self::BigAnswer => (0, 1_000_000),
        }
    }
}

/// The path of a request.
pub fn path(id: &str, connection: usize, number: usize) -> String {
    let shape = SHAPES[number % SHAPES.len()];
    format!("/{id}/{connection}/{number}/{}", shape.word())
}

/// A body that follows from its path and is like no other.
fn body(path: &str, salt: u64, size: usize) -> Vec<u8> {
    let mut state = path.bytes().fold(salt | 1, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&(state ^ state >> 31).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

const ASKED: u64 = 11;
const ANSWERED: u64 = 29;

fn sizes_of(path: &str) -> Result<(usize, usize)> {
    let word = path.rsplit('/').next().unwrap_or_default();
    let shape = SHAPES.iter().find(|shape| shape.word() == word);
    Ok(shape
        .with_context(|| format!("no shape in {path}"))?
        .sizes())
}

/// Serves connections until `count` of them are over.
///
/// # Errors
/// A request that is not what its path says.
pub fn serve(listener: &TcpListener, count: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let mut served = Vec::new();
        for _ in 0..count {
            let (stream, _) = listener.accept()?;
            served.push(scope.spawn(move || serve_one(stream)));
        }
        for thread in served {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a server thread panicked"),
            }
        }
        Ok(())
    })
}

fn serve_one(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(scaled(Duration::from_secs(60))))?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::with_capacity(1 << 16, stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (size, answer_size) = sizes_of(&path)?;
        loop {
            let mut header = String::new();
            ensure!(
                input.read_line(&mut header)? > 0,
                "{path}: a head that ends"
            );
            if header == "\r\n" {
                break;
            }
        }
        let mut got = vec![0; size];
        input.read_exact(&mut got).with_context(|| path.clone())?;
        ensure!(
            got == body(&path, ASKED, size),
            "{path}: a request changed on its way"
        );
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {answer_size}\r\n\r\n");
        let mut answer = head.into_bytes();
        answer.extend(body(&path, ANSWERED, answer_size));
        out.write_all(&answer)?;
    }
}

/// Sends requests `from..to` of a connection, and checks each answer.
///
/// # Errors
/// An answer that is not the one to its request.
pub fn ask(
    open: &mut Connection,
    id: &str,
    connection: usize,
    numbers: std::ops::Range<usize>,
    headers: &[(&str, &str)],
) -> Result<()> {
    for number in numbers {
        let shape = SHAPES[number % SHAPES.len()];
        let path = path(id, connection, number);
        let (size, answer_size) = shape.sizes();
        let long = "x".repeat(2_900);
        let mut headers = headers.to_vec();
        if shape == Shape::LongHead {
            headers.insert(0, ("X-Long", &long));
        }
        let method = if size == 0 { "GET" } else { "POST" };
        let bytes = request(method, &path, &headers, &body(&path, ASKED, size));
        match shape {
            Shape::Split => {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                open.send(first)?;
                std::thread::sleep(Duration::from_millis(2));
                open.send(second)?;
            }
            Shape::Bytewise => open.send_bytewise(&bytes)?,
            _ => open.send(&bytes)?,
        }
        let answer = open.answer(false).with_context(|| path.clone())?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        let right = body(&path, ANSWERED, answer_size);
        ensure!(answer.body == right, "{path}: an answer changed on its way");
    }
    Ok(())
}

/// Opens `connections` connections and sends `requests` requests over each, all at once.
///
/// # Errors
/// The first failure.
pub fn ask_all(
    address: SocketAddr,
    id: &str,
    connections: usize,
    requests: usize,
    enter: impl Fn() -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let enter = &enter;
                scope.spawn(move || {
                    enter()?;
                    let mut open = Connection::tcp(address)?;
                    ask(&mut open, id, number, 0..requests, &[])
                })
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
