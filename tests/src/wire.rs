//! A wire between two hosts that this process carries packets over, with the faults of real ones.
//!
//! In: IPv4 packets of two TUN devices. Out: the same ones at the other end, some of them lost, late, twice, or changed as
//! middleboxes change them. Always holds: without faults each packet arrives once, unchanged and in order; checksums of changed
//! packets are right. The kernel hands out ready segments: a buffer with an option becomes many packets with its copies.
//! Refuses: packets that are not TCP over IPv4 are never changed.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What a wire does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of 1,000 packets, how many are lost.
    pub lost: u64,
    /// How many arrive twice.
    pub twice: u64,
    /// How many arrive after some that were sent later.
    pub late: u64,
    /// SYNs get this segment size.
    pub segment_size: Option<u16>,
    /// Unknown options become padding.
    pub strips: Strips,
}

/// Whose unknown options become padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strips {
    /// Nobody's.
    #[default]
    Nothing,
    /// Everybody's.
    All,
    /// Those of segments that are no SYNs: announcements pass.
    AfterSyn,
    /// SYNs with unknown options are dropped, as some firewalls do.
    DropsSyn,
    /// Segments with unknown options that are no SYNs are dropped.
    DropsAfterSyn,
}

/// A TUN device in the current thread's network namespace.
///
/// # Errors
/// The kernel has none, or refuses.
pub fn tun(name: &str) -> Result<File> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN: i16 = 1;
    const IFF_NO_PI: i16 = 0x1000;
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("opening /dev/net/tun (modprobe tun)")?;
    // struct ifreq: 16 bytes of name, then flags, 40 bytes in all (include/uapi/linux/if.h).
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(IFF_TUN | IFF_NO_PI).to_ne_bytes());
    // SAFETY: the kernel reads and writes 40 bytes.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("TUNSETIFF");
    }
    // SAFETY: takes a descriptor and flags.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(std::io::Error::last_os_error()).context("O_NONBLOCK");
    }
    Ok(file)
}

/// What passed a wire.
#[derive(Debug, Default)]
pub struct Passed {
    /// Packets.
    pub packets: AtomicU64,
    /// SYNs with our option kind.
    pub announcements: AtomicU64,
    /// Other segments with our option kind.
    pub options: AtomicU64,
    /// Segments longer than the segment size that was agreed on allows.
    pub too_long: AtomicU64,
}

/// See the module.
pub struct Wire {
    stop: Arc<AtomicBool>,
    passed: Arc<Passed>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Begins to carry packets.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn between(left: File, right: File, faults: Faults) -> Result<Self> {
        let (stop, passed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Passed::default()),
        );
        let mut line = Line {
            faults,
            passed: Arc::clone(&passed),
            held: [Vec::new(), Vec::new()],
            dice: 0x9e37_79b9_7f4a_7c15,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || {
                let mut ends = [left, right];
                while !stopped.load(Ordering::Relaxed) {
                    wait(&ends);
                    for from in 0..2 {
                        line.carry(&mut ends, from);
                    }
                }
            })?;
        Ok(Self {
            stop,
            passed,
            thread: Some(thread),
        })
    }

    /// What passed so far, before faults.
    pub fn passed(&self) -> &Passed {
        &self.passed
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic while it holds something that others need.
            let _ = thread.join();
        }
    }
}

fn wait(ends: &[File; 2]) {
    let mut polled = ends.each_ref().map(|end| libc::pollfd {
        fd: end.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: two initialised pollfds, valid for the call.
    unsafe { libc::poll(polled.as_mut_ptr(), 2, 1) };
}

struct Line {
    faults: Faults,
    passed: Arc<Passed>,
    /// Late packets, per direction, with the time from which on they may go.
    held: [Vec<(Instant, Vec<u8>)>; 2],
    dice: u64,
}

impl Line {
    /// One of 1,000.
    fn throws(&mut self, under: u64) -> bool {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % 1_000 < under
    }

    fn carry(&mut self, ends: &mut [File; 2], from: usize) {
        let mut packet = vec![0; 65_536];
        let now = Instant::now();
        for index in (0..self.held[from].len()).rev() {
            if self.held[from][index].0 <= now {
                let (_, late) = self.held[from].remove(index);
                put(&mut ends[1 - from], &late);
            }
        }
        loop {
            let size = match ends[from].read(&mut packet) {
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let bytes = &mut packet[..size];
            if !self.change(bytes) || self.throws(self.faults.lost) {
                continue;
            }
            if self.throws(self.faults.late) {
                let until = Instant::now() + Duration::from_millis(3);
                self.held[from].push((until, bytes.to_vec()));
                continue;
            }
            put(&mut ends[1 - from], bytes);
            if self.throws(self.faults.twice) {
                put(&mut ends[1 - from], bytes);
            }
        }
    }

    /// Counts a packet and changes it; false: it is dropped.
    fn change(&mut self, packet: &mut [u8]) -> bool {
        self.passed.packets.fetch_add(1, Ordering::Relaxed);
        let is_tcp = packet.len() >= 40 && packet[0] == 0x45 && packet[9] == 6;
        if !is_tcp {
            return true;
        }
        let is_syn = packet[33] & 2 != 0;
        let end = 20 + usize::from(packet[32] >> 4) * 4;
        let (mut at, mut ours, mut changed) = (40, false, false);
        while at < end.min(packet.len()) {
            let kind = packet[at];
            let len = match kind {
                0 => break,
                1 => 1,
                _ => usize::from(packet[at + 1]).max(2),
            };
            if kind == 2
                && is_syn
                && let Some(size) = self.faults.segment_size
            {
                packet[at + 2..at + 4].copy_from_slice(&size.to_be_bytes());
                changed = true;
            }
            if kind == 253 {
                ours = true;
                let strips = self.faults.strips == Strips::All
                    || (self.faults.strips == Strips::AfterSyn && !is_syn);
                if strips {
                    packet[at..(at + len).min(end)].fill(1);
                    changed = true;
                }
            }
            at += len;
        }
        if ours {
            let count = if is_syn {
                &self.passed.announcements
            } else {
                &self.passed.options
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(size) = self.faults.segment_size
            && packet.len() > usize::from(size) + 40
        {
            self.passed.too_long.fetch_add(1, Ordering::Relaxed);
        }
        if changed {
            sum(packet);
        }
        let drops = match self.faults.strips {
            Strips::DropsSyn => is_syn,
            Strips::DropsAfterSyn => !is_syn,
            Strips::Nothing | Strips::All | Strips::AfterSyn => false,
        };
        !(ours && drops)
    }
}

fn put(end: &mut File, packet: &[u8]) {
    // A full queue loses packets, as real ones do.
    let _ = end.write(packet);
}

/// Writes the checksum of a TCP segment (RFC 9293 §3.1).
fn sum(packet: &mut [u8]) {
    packet[36..38].fill(0);
    let mut total = 6 + (packet.len() - 20) as u64;
    for pair in packet[12..].chunks(2) {
        total += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    packet[36..38].copy_from_slice(&(!(total as u16)).to_be_bytes());
}
