//! Prints what a span costs from record to attributes: `cargo run --release -p agent-trace --example span_speed`.
//!
//! In: nothing; keep-alive GETs over loopback, both ends watched. Out: ns of one core, allocations and bytes held.
//! Always holds: the records are made before the clock starts. Refuses: nothing.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "its output is its purpose"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use agent_common::abi::evidence;
use agent_trace::frame::Frame;
use agent_trace::tracer::{Tracer, TracerConfig};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{EPOCH, Step, World, ids, pair};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system allocator unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] = b"GET /index.html?q=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk/4.1.0\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 612\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"6592\"\r\nAccept-Ranges: bytes\r\n\r\n";

/// Connections, and exchanges on each of them in one round.
const CONNS: u8 = 64;
const EXCHANGES: u64 = 312;

/// One second of records at full load (40,000 spans); every id is new in each round.
fn round(n: u64) -> Vec<Step> {
    let mut world = World {
        now: 1_000_000_000 * (n + 1),
        steps: Vec::new(),
    };
    let mut ends: Vec<_> = (0..CONNS).map(|c| pair(c, 10, 20)).collect();
    let response = [RESPONSE, &[b'x'; 612]].concat();
    let requests = (REQUEST.len() as u64 * EXCHANGES * n) as u32;
    let responses = (response.len() as u64 * EXCHANGES * n) as u32;
    for (client, server) in &mut ends {
        if n == 0 {
            world.conn(client);
            world.conn(server);
        }
        client.tx = client.tx.wrapping_add(requests);
        server.rx = server.rx.wrapping_add(requests);
        client.rx = client.rx.wrapping_add(responses);
        server.tx = server.tx.wrapping_add(responses);
    }
    for i in 0..EXCHANGES * u64::from(CONNS) {
        let (client, server) = &mut ends[(i % u64::from(CONNS)) as usize];
        let id =
            |side: u64| ((n * 1_000_000 + i) * 2 + side + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut first = ids(1, 1, None);
        first.span_id = id(0);
        first.trace_id[0] = id(0);
        let mut second = first;
        second.span_id = id(1);
        second.parent_span_id = id(0);
        second.evidence = evidence::SOCKET;
        world.write(client, REQUEST, Some(first));
        world.read(server, REQUEST, Some(second));
        world.write(server, &response, None);
        world.read(client, &response, None);
        world.now += 10_000;
        if i % 200 == 0 {
            world.tick();
        }
    }
    world.steps
}

/// ns this thread has run on a processor; other programs do not count.
fn ran() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number")
}

fn main() {
    let mut tracer = Tracer::new(TracerConfig::default());
    for n in 0..8 {
        let steps = round(n);
        let (before, held, clock) = (ALLOCATIONS.load(Relaxed), HELD.load(Relaxed), ran());
        let mut spans = 0_u64;
        for step in &steps {
            match step {
                Step::Record(bytes) => tracer.on_frame(Frame::Kernel(bytes)),
                Step::Process(facts) => tracer.on_frame(Frame::Process(facts.clone())),
                Step::Tick(ktime_ns) => tracer.on_frame(Frame::Tick {
                    ktime_ns: *ktime_ns,
                    epoch_offset_ns: EPOCH,
                }),
            }
            while let Some(span) = tracer.poll_span() {
                spans += 1;
                tracer.take_back(span);
            }
        }
        let took = ran() - clock;
        println!(
            "{spans} spans: {} ns each, {:.1} allocations each; {:.1} % of a core at 40,000 spans/s; {} KiB more held",
            took / spans.max(1),
            (ALLOCATIONS.load(Relaxed) - before) as f64 / spans.max(1) as f64,
            took as f64 / spans.max(1) as f64 * 40_000.0 / 1e7,
            HELD.load(Relaxed).saturating_sub(held) / 1024,
        );
    }
    for (counter, value) in tracer.counters().iter().filter(|&(_, value)| value > 0) {
        println!("{} {value}", counter.name());
    }
}
