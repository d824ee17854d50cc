//! Measures what a span costs user space, from record to finished span: `cargo run --release -p agent --example
//! replay_cost -- FILE [none|encode] [ROUNDS]`.
//!
//! In: a recording (`suture record`), made under load for figures that mean something. Out: ns of one core and
//! allocations per span, for each round; `encode` adds the OTLP bytes that an exporter would queue. Always holds: the
//! recording is in memory before the clock starts. Refuses: a recording without spans.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measuring program: it stops at the first problem, and its output is its purpose"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use agent::export::encode_span;
use agent::pipeline::recording;
use agent::pipeline::{Output, Pipeline};
use agent_trace::frame::{Frame, ProcessFacts};
use agent_trace::span::Span;
use agent_trace::tracer::TracerConfig;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system allocator unchanged; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes spans as the daemon's output does.
#[derive(Default)]
struct Taken {
    spans: u64,
    encode: bool,
    bytes: Vec<u8>,
}

impl Output for Taken {
    fn span(&mut self, span: &Span, _facts: &Arc<ProcessFacts>) {
        self.spans += 1;
        if self.encode {
            if self.bytes.len() > 1 << 20 {
                self.bytes.clear();
            }
            encode_span(&mut self.bytes, span);
        }
    }

    fn tick(&mut self, _unix_ns: u64) {}

    fn finish(&mut self) {}
}

/// A frame that owns its bytes.
enum Kept {
    Kernel(std::ops::Range<usize>),
    Other(Frame<'static>),
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.first().expect("the recording's path");
    let encode = arguments.get(1).is_some_and(|word| word == "encode");
    let rounds: u64 = arguments
        .get(2)
        .map_or(5, |word| word.parse().expect("a number of rounds"));
    let (mut records, mut frames) = (Vec::new(), Vec::new());
    recording::read(Path::new(file), |frame| {
        frames.push(match frame {
            Frame::Kernel(bytes) => {
                records.extend_from_slice(bytes);
                Kept::Kernel(records.len() - bytes.len()..records.len())
            }
            Frame::Process(facts) => Kept::Other(Frame::Process(facts)),
            Frame::Tick {
                ktime_ns,
                epoch_offset_ns,
            } => Kept::Other(Frame::Tick {
                ktime_ns,
                epoch_offset_ns,
            }),
            Frame::KernelCounters(values) => Kept::Other(Frame::KernelCounters(values)),
        });
    })
    .expect("a recording");
    for _ in 0..rounds {
        let output = Taken {
            encode,
            ..Taken::default()
        };
        let mut pipeline = Pipeline::new(TracerConfig::default(), output);
        let (allocations, clock) = (ALLOCATIONS.load(Relaxed), ran());
        for frame in &frames {
            pipeline.on_frame(match frame {
                Kept::Kernel(range) => Frame::Kernel(&records[range.clone()]),
                Kept::Other(frame) => frame.clone(),
            });
            while pipeline.poll_command().is_some() {}
        }
        pipeline.finish(u64::MAX / 2);
        let took = ran() - clock;
        let spans = pipeline.output.spans;
        assert!(spans > 0, "{file} has no spans");
        println!(
            "{spans} spans of {} frames: {} ns and {:.1} allocations each",
            frames.len(),
            took / spans,
            (ALLOCATIONS.load(Relaxed) - allocations) as f64 / spans as f64,
        );
    }
}
