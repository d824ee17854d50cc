//! Two ends of connections that know every byte they say to each other, and where a header may be written into it.
//!
//! In: how many requests, over how many connections at once. Out: how often a header was written, or the first byte that was not as
//! it was sent. Always holds: a header is accepted only behind the first line of a request that may have one, once, whole and well formed;
//! anything else that differs is an error. Refuses: nothing; other protocols are said, too.

mod send;
mod shapes;
mod talk;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use send::How;
pub use talk::{Conversation, Place, Step};

use crate::scene::scaled;

/// Bytes of `traceparent: 00-…-…-..` with its end.
const HEADER: usize = 70;
/// How long one end waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);
const BEGIN: &[u8] = b"traceparent: 00-";

/// What was said and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and messages of other protocols.
    pub sent: usize,
    /// Requests that must have had a header written into them.
    pub due: usize,
    /// Those that had.
    pub written: usize,
    /// Connections that began with a request that must have had one.
    pub first: usize,
    /// Connections.
    pub connections: usize,
    /// Reads that came back without bytes before their time was over, as they do on kernels that mishandle such sockets.
    pub woken: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.due += other.due;
        self.written += other.written;
        self.first += other.first;
        self.connections += other.connections;
        self.woken += other.woken;
    }
}

/// How clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// In their calls.
    Blocks,
    /// For their sockets, which never wait.
    Polls,
}

/// Says at least `requests` requests, over `connections` connections at once. The same `seed` says the same bytes.
///
/// # Errors
/// The first byte that is not as it was sent, or a connection that stalls.
pub fn run(kind: Client, requests: usize, connections: usize, seed: u64) -> Result<Counts> {
    let said = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut counts = Counts::default();
                    while said.load(Ordering::Relaxed) < requests {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let conversation = shapes::conversation(seed, number);
                        let one = converse(kind, &conversation).with_context(|| {
                            format!("connection {number} of seed {seed} ({})", conversation.name)
                        })?;
                        said.fetch_add(one.sent, Ordering::Relaxed);
                        counts.add(one);
                    }
                    Ok(counts)
                })
            })
            .collect();
        let mut counts = Counts::default();
        for thread in threads {
            match thread.join() {
                Ok(Ok(one)) => counts.add(one),
                Ok(Err(error)) => return Err(error),
                Err(_) => bail!("a thread panicked"),
            }
        }
        Ok(counts)
    })
}

/// One connection over the loopback, from its first byte to its last.
fn converse(kind: Client, conversation: &Conversation) -> Result<Counts> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let patience = Some(scaled(PATIENCE));
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(patience)?;
            serve(stream, conversation)
        });
        // A thread of its own: what one before read from a broker is not its job.
        let client = scope.spawn(move || {
            let client = TcpStream::connect(address)?;
            client.set_nodelay(conversation.nodelay)?;
            client.set_read_timeout(patience)?;
            client.set_nonblocking(kind == Client::Polls)?;
            ask(kind, &client, conversation)
        });
        let (Ok(served), Ok(asked)) = (server.join(), client.join()) else {
            bail!("a thread panicked")
        };
        match (served, asked) {
            (Ok(counts), Ok(woken)) => Ok(Counts { woken, ..counts }),
            (Err(server), Ok(_)) => Err(server.context("the server")),
            (Ok(_), Err(client)) => Err(client.context("the client")),
            (Err(server), Err(client)) => bail!("the server: {server:#}; the client: {client:#}"),
        }
    })
}

/// Says the client's part; returns how often it was woken for nothing.
fn ask(kind: Client, client: &TcpStream, conversation: &Conversation) -> Result<usize> {
    let mut woken = 0;
    for (number, step) in conversation.steps.iter().enumerate() {
        match step {
            Step::Send { bytes, how, .. } => how
                .send(client, bytes)
                .with_context(|| format!("step {number}, sending {how:?}"))?,
            Step::Answer(bytes) => {
                let mut got = vec![0; bytes.len()];
                woken += read_exact(kind, client, &mut got)
                    .with_context(|| format!("step {number}, reading an answer"))?;
                ensure!(got == *bytes, "step {number}: an answer changed on its way");
            }
        }
    }
    Ok(woken)
}

/// Reads all of `room`; returns how often a read came back early without bytes.
fn read_exact(kind: Client, mut client: &TcpStream, room: &mut [u8]) -> Result<usize> {
    let (mut done, mut woken) = (0, 0);
    while done < room.len() {
        let begun = Instant::now();
        if kind == Client::Polls {
            send::wait(client, libc::POLLIN)?;
        }
        match client.read(&mut room[done..]) {
            Ok(0) => bail!("the connection ended early"),
            Ok(got) => done += got,
            Err(error)
                if error.kind() == ErrorKind::WouldBlock
                    && begun.elapsed() < scaled(PATIENCE) / 2 =>
            {
                woken += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(woken)
}

/// The server's end: bytes that were read and not compared yet.
struct Heard {
    stream: TcpStream,
    bytes: Vec<u8>,
    from: usize,
}

impl Heard {
    /// Reads until at least `len` bytes wait to be compared.
    fn need(&mut self, len: usize) -> Result<()> {
        while self.bytes.len() - self.from < len {
            self.bytes.drain(..self.from);
            self.from = 0;
            let mut more = [0; 16 * 1024];
            let got = self.stream.read(&mut more)?;
            ensure!(got > 0, "the connection ended early");
            self.bytes.extend_from_slice(&more[..got]);
        }
        Ok(())
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// Compares the next bytes.
    fn expect(&mut self, expected: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < expected.len() {
            let part = (expected.len() - done).min(16 * 1024);
            self.need(part)?;
            let (got, right) = (&self.waiting()[..part], &expected[done..done + part]);
            if let Some(at) = (0..part).find(|&at| got[at] != right[at]) {
                let from = at.saturating_sub(40);
                bail!(
                    "byte {} differs: {:?} was sent, {:?} came",
                    done + at,
                    String::from_utf8_lossy(&right[from..part.min(at + 90)]),
                    String::from_utf8_lossy(&got[from..part.min(at + 90)]),
                );
            }
            self.from += part;
            done += part;
        }
        Ok(())
    }

    /// Takes a header off, if one is next. `after` is what was sent behind it.
    fn header(&mut self, after: &[u8]) -> Result<bool> {
        let looked = BEGIN.len().min(after.len());
        self.need(looked)?;
        if self.waiting()[..looked] == after[..looked] {
            return Ok(false);
        }
        self.need(HEADER)?;
        let line = &self.waiting()[..HEADER];
        let hex = |range: std::ops::Range<usize>| {
            line[range]
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_well_formed = line.starts_with(BEGIN)
            && hex(16..48)
            && line[48] == b'-'
            && hex(49..65)
            && line[65..] == *b"-01\r\n"
            && line[16..48] != [b'0'; 32]
            && line[49..65] != [b'0'; 16];
        ensure!(
            is_well_formed,
            "no header: {:?} came before {:?}",
            String::from_utf8_lossy(line),
            String::from_utf8_lossy(&after[..looked])
        );
        self.from += HEADER;
        Ok(true)
    }
}

fn serve(stream: TcpStream, conversation: &Conversation) -> Result<Counts> {
    let mut out = stream.try_clone()?;
    let mut counts = Counts {
        connections: 1,
        first: usize::from(
            matches!(conversation.steps.first(), Some(Step::Send { places, .. }) if !places.is_empty()),
        ),
        ..Counts::default()
    };
    let mut heard = Heard {
        stream,
        bytes: Vec::new(),
        from: 0,
    };
    for (number, step) in conversation.steps.iter().enumerate() {
        match step {
            Step::Send { bytes, places, .. } => {
                counts.sent += 1;
                let mut done = 0;
                for Place(at) in places {
                    heard
                        .expect(&bytes[done..*at])
                        .with_context(|| format!("step {number}"))?;
                    done = *at;
                    counts.due += 1;
                    counts.written += usize::from(
                        heard
                            .header(&bytes[done..])
                            .with_context(|| format!("step {number}"))?,
                    );
                }
                heard
                    .expect(&bytes[done..])
                    .with_context(|| format!("step {number}"))?;
            }
            Step::Answer(bytes) => out.write_all(bytes)?,
        }
    }
    let mut rest = Vec::new();
    heard.stream.read_to_end(&mut rest)?;
    ensure!(
        rest.is_empty() && heard.waiting().is_empty(),
        "{} bytes more than were sent",
        rest.len() + heard.waiting().len()
    );
    Ok(counts)
}
