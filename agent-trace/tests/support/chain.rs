//! A chain of three programs: curl (10) calls front (20), front calls back (30).

use agent_common::abi::evidence::SOCKET;
use agent_trace::tracer::TracerConfig;

use super::{Outcome, World, ids, pair};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request for `path`, with the `traceparent` of trace `t` and parent `p`.
pub fn request(path: &str, header: Option<(u8, u8)>, flags: &str) -> Vec<u8> {
    let header = header.map_or(String::new(), |(t, p)| {
        format!(
            "traceparent: 00-{}-{}-{flags}\r\n",
            format!("{t:02x}").repeat(16),
            format!("{p:02x}").repeat(8)
        )
    });
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n").into_bytes()
}

/// A chain curl(10) -> front(20) -> back(30); spans 1 to 4. What each request carries, and the kernel's evidence at
/// the front's call.
pub struct Chain {
    pub first: Vec<u8>,
    pub second: Vec<u8>,
    pub call: Option<(u8, u8)>,
    /// The outermost client is not on this host.
    pub remote: bool,
}

pub fn chain(chain: &Chain, config: TracerConfig) -> Outcome {
    let mut world = World::default();
    let (mut curl, mut front) = pair(1, 10, 20);
    let (mut call, mut back) = pair(2, 20, 30);
    for end in [&curl, &front, &call, &back] {
        world.conn(end);
    }
    let call_trace = if chain.call.is_some() { 1 } else { 3 };
    if !chain.remote {
        world.write(&mut curl, &chain.first, Some(ids(1, 1, None)));
    }
    world.read(
        &mut front,
        &chain.first,
        Some(ids(1, 2, (!chain.remote).then_some((1, SOCKET)))),
    );
    world.write(
        &mut call,
        &chain.second,
        Some(ids(call_trace, 3, chain.call)),
    );
    world.read(
        &mut back,
        &chain.second,
        Some(ids(call_trace, 4, Some((3, SOCKET)))),
    );
    world.write(&mut back, OK, None);
    world.read(&mut call, OK, None);
    world.write(&mut front, OK, None);
    if !chain.remote {
        world.read(&mut curl, OK, None);
    }
    world.run_with(config)
}

/// Trace, parent and evidence of spans 1 to 4, as `trace<parent:evidence`.
pub fn edges(outcome: &Outcome, spans: &[u8]) -> Vec<String> {
    spans
        .iter()
        .map(|&n| {
            let span = outcome.span(n);
            let parent = span
                .parent_span_id
                .map_or("-".to_owned(), |id| format!("{:x}", id.0[0]));
            format!(
                "{n}: {:x}<{parent}:{}",
                span.trace_id.0[0],
                span.evidence.as_str()
            )
        })
        .collect()
}
