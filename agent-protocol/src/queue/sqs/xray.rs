//! AWS X-Ray's trace header, as SQS carries it beside a message (`AWSTraceHeader`).
//!
//! In: `Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1`. Out: the context in W3C's words: the trace id is the root's 32
//! digits (OpenTelemetry's X-Ray propagator says the same). Always holds: without a parent there is none. Refuses: other versions.

use crate::tracecontext::{self, Traceparent};

/// See the module.
pub(super) fn context(value: &[u8]) -> Traceparent {
    let (mut root, mut parent, mut sampled) = (None, None, b"00");
    for part in value.split(|byte| *byte == b';') {
        let part = part.trim_ascii();
        if let Some(text) = part.strip_prefix(b"Root=1-") {
            root = Some(text);
        } else if let Some(text) = part.strip_prefix(b"Parent=") {
            parent = Some(text);
        } else if part == b"Sampled=1" {
            sampled = b"01";
        }
    }
    let (Some(root), Some(parent)) = (root, parent) else {
        return Traceparent::Absent;
    };
    let Some((time, [b'-', rest @ ..])) = root.split_at_checked(8) else {
        return Traceparent::Absent;
    };
    let text = [b"00-", time, rest, b"-", parent, b"-", sampled].concat();
    match tracecontext::parse(&text.to_ascii_lowercase()) {
        Ok(context) => Traceparent::Valid(context),
        Err(_) => Traceparent::Absent,
    }
}
