//! In: any bytes, cut into kernel records of known kinds and ticks, to the tracer. What must hold: no panic, no span id
//! twice, no span that is its own parent, no span that ends before it begins, and the same spans for the same frames.
#![no_main]

use std::collections::HashSet;

use agent_common::abi::{
    ConnRecord, DoubtRecord, RecordHead, SegmentRecord, StateRecord, TaskRecord, TickRecord,
};
use agent_trace::frame::Frame;
use agent_trace::span::Span;
use agent_trace::tracer::{Tracer, TracerConfig};
use libfuzzer_sys::fuzz_target;

/// Bytes of a record's head.
const HEAD: usize = size_of::<RecordHead>();

/// Sizes of the fixed parts, by kind; 0 is a tick.
const FIXED: [usize; 10] = [
    HEAD,
    size_of::<ConnRecord>(),
    size_of::<SegmentRecord>(),
    size_of::<StateRecord>(),
    size_of::<TaskRecord>(),
    size_of::<TaskRecord>(),
    size_of::<TaskRecord>(),
    size_of::<TaskRecord>(),
    size_of::<DoubtRecord>(),
    size_of::<TickRecord>(),
];

/// Kind, bytes of payload and ms since the record before are the first three bytes of each piece.
fn frames(mut rest: &[u8], mut take: impl FnMut(Frame<'_>)) {
    let mut ktime_ns = 1_000_000_000_u64;
    take(Frame::Tick {
        ktime_ns,
        epoch_offset_ns: 1,
    });
    while let Some((&[kind, payload, ms], bytes)) = rest.split_first_chunk::<3>() {
        ktime_ns += u64::from(ms) * 1_000_000;
        let kind = usize::from(kind) % FIXED.len();
        if kind == 0 {
            take(Frame::Tick {
                ktime_ns,
                epoch_offset_ns: 1,
            });
            rest = bytes;
            continue;
        }
        let size = FIXED[kind] + usize::from(payload);
        let body = bytes.len().min(size - HEAD);
        let mut record = Vec::with_capacity(size);
        record.extend_from_slice(&(kind as u16).to_ne_bytes());
        record.extend_from_slice(&u16::from(payload).to_ne_bytes());
        record.extend_from_slice(&(size as u32).to_ne_bytes());
        record.extend_from_slice(&ktime_ns.to_ne_bytes());
        record.extend_from_slice(&bytes[..body]);
        record.resize(size, 0);
        take(Frame::Kernel(&record));
        rest = &bytes[body..];
    }
}

fn spans(bytes: &[u8]) -> Vec<Span> {
    let mut tracer = Tracer::new(TracerConfig::default());
    let mut spans = Vec::new();
    frames(bytes, |frame| {
        tracer.on_frame(frame);
        spans.extend(std::iter::from_fn(|| tracer.poll_span()));
        while tracer.poll_command().is_some() {}
    });
    tracer.finish(u64::MAX);
    spans.extend(std::iter::from_fn(|| tracer.poll_span()));
    spans
}

fuzz_target!(|bytes: &[u8]| {
    let found = spans(bytes);
    let mut ids = HashSet::new();
    for span in &found {
        assert!(ids.insert(span.span_id), "a span id twice");
        assert_ne!(
            span.parent_span_id,
            Some(span.span_id),
            "a span that is its own parent"
        );
        assert!(
            span.start_unix_ns <= span.end_unix_ns,
            "a span that ends before it begins"
        );
    }
    assert_eq!(found, spans(bytes), "the same frames gave other spans");
});
