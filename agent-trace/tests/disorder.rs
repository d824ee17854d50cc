//! Records that come in another order, are lost, come twice or are nonsense.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::HashSet;

use agent_common::abi::{direction, evidence};
use agent_trace::counters::Counter;
use agent_trace::frame::Frame;
use agent_trace::span::{Evidence, Span, SpanId, TraceId};
use agent_trace::tracer::{Tracer, TracerConfig};
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::Index;
use support::talk::get;
use support::{End, Step, World, ids, pair, run, text};

fn answer(status: u16, body: usize, chunked: bool) -> Vec<u8> {
    let text = "b".repeat(body);
    if chunked {
        let chunk = if body > 0 {
            format!("{body:x}\r\n{text}\r\n")
        } else {
            String::new()
        };
        return format!(
            "HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        )
        .into_bytes();
    }
    format!("HTTP/1.1 {status} X\r\nContent-Length: {body}\r\n\r\n{text}").into_bytes()
}

/// Whether each span that has a status has the one its path asked for.
fn wrong_statuses(spans: &[Span]) -> Vec<String> {
    spans
        .iter()
        .filter_map(|span| {
            let path = match text(span, "url.path").as_str() {
                "-" => text(span, "url.full"),
                path => path.to_owned(),
            };
            let status = text(span, "http.response.status_code");
            let asked = path.rsplit('/').next().unwrap_or("-").to_owned();
            (status != "-" && asked != "-" && asked != status)
                .then(|| format!("{path} got {status}"))
        })
        .collect()
}

/// `count` exchanges over one connection, both ends; responses with bodies of `body` bytes.
fn series(world: &mut World, n: u8, count: u8, body: usize, chunked: bool) -> (End, End) {
    let (mut client, mut server) = pair(n, u32::from(n) * 100 + 10, u32::from(n) * 100 + 20);
    world.conn(&client);
    world.conn(&server);
    for i in 0..count {
        let status = 200 + u16::from(i);
        let span = n * 64 + i * 2;
        world.exchange(
            &mut client,
            &mut server,
            &get(status),
            &answer(status, body, chunked),
            span,
        );
    }
    (client, server)
}

#[test]
fn a_lost_record_never_gives_a_span_somebody_elses_status() {
    for (body, chunked) in [(0, false), (10, false), (9_000, false), (9_000, true)] {
        let mut world = World::default();
        series(&mut world, 1, 5, body, chunked);
        let records = world.steps.len();
        for lost in 3..records {
            let mut steps = world.steps.clone();
            steps.remove(lost);
            let outcome = run(&steps, TracerConfig::default());
            assert_eq!(
                wrong_statuses(&outcome.spans),
                [""; 0],
                "record {lost} lost, body {body}"
            );
            // One request or one response is gone: at most its own span, and what cannot be told apart from it.
            assert!(
                outcome.spans.len() >= 9,
                "record {lost} lost, body {body}: {:#?} {:?}",
                outcome.lines(),
                outcome.counted()
            );
        }
    }
}

#[test]
fn a_segment_that_comes_twice_counts_once() {
    let mut world = World::default();
    let (mut client, _) = pair(1, 10, 20);
    world.conn(&client);
    let request = world.segment(&mut client, direction::TX, &get(200), Some(ids(1, 1, None)));
    let response = world.segment(&mut client, direction::RX, &answer(200, 3, false), None);
    world.push(&request);
    world.push(&response);
    world.push(&response);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        ["Client GET /say/{id} 200 - t01 s01 p- none"]
    );
    assert_eq!(outcome.count(Counter::StreamOverlap), 1);
}

#[test]
fn a_response_to_a_request_that_was_not_seen_is_counted() {
    let mut world = World::default();
    let (mut client, _) = pair(1, 10, 20);
    world.conn(&client);
    world.lose(&mut client, direction::TX, &get(201));
    world.read(&mut client, &answer(201, 0, false), None);
    world.write(&mut client, &get(202), Some(ids(1, 1, None)));
    world.read(&mut client, &answer(202, 0, false), None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        ["Client GET /say/{id} 202 - t01 s01 p- none"]
    );
    assert_eq!(outcome.count(Counter::ResponseWithoutRequest), 1);
}

#[test]
fn a_response_in_a_hole_leaves_spans_without_a_status() {
    let mut world = World::default();
    let (mut client, mut server) = pair(1, 10, 20);
    world.conn(&client);
    world.conn(&server);
    world.exchange(
        &mut client,
        &mut server,
        &get(200),
        &answer(200, 0, false),
        8,
    );
    world.write(&mut client, &get(201), Some(ids(1, 1, None)));
    world.lose(&mut client, direction::RX, &answer(201, 9, false));
    // Whether this is the answer to 202, or to a request whose record was lost too, nobody can say.
    world.write(&mut client, &get(202), Some(ids(2, 2, None)));
    world.read(&mut client, &answer(202, 0, false), None);
    world.write(&mut client, &get(203), Some(ids(3, 3, None)));
    world.read(&mut client, &answer(203, 0, false), None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /say/{id} - - t01 s01 p- none",
            "Client GET /say/{id} - - t02 s02 p- none",
            "Client GET /say/{id} 200 - t08 s08 p- none",
            "Client GET /say/{id} 203 - t03 s03 p- none",
            "Server GET /say/{id} 200 - t08 s09 p08 socket",
        ]
    );
    assert_eq!(text(outcome.span(1), "suture.response.unseen"), "true");
    assert_eq!(
        (
            outcome.count(Counter::ResponseUnseen),
            outcome.count(Counter::StreamHole)
        ),
        (2, 1)
    );
}

#[test]
fn records_that_are_cut_or_unknown_are_counted() {
    let mut world = World::default();
    series(&mut world, 1, 1, 0, false);
    let Step::Record(bytes) = &world.steps[3] else {
        panic!("a record")
    };
    let mut tracer = Tracer::new(TracerConfig::default());
    for end in 0..bytes.len() {
        tracer.on_frame(Frame::Kernel(&bytes[..end]));
    }
    assert_eq!(
        tracer.counters().get(Counter::RecordMalformed),
        bytes.len() as u64
    );
    let mut other = bytes.clone();
    other[..2].copy_from_slice(&99_u16.to_ne_bytes());
    tracer.on_frame(Frame::Kernel(&other));
    assert_eq!(tracer.counters().get(Counter::RecordUnknownKind), 1);
    // A ring buffer rounds up: bytes after the record's size do not matter.
    let padded = [&bytes[..], &[0xff; 7]].concat();
    tracer.on_frame(Frame::Kernel(&padded));
    assert_eq!(
        tracer.counters().get(Counter::RecordMalformed),
        bytes.len() as u64
    );
}

/// Each record of both connections, in one order per socket.
fn by_socket(world: &World) -> Vec<Vec<Vec<u8>>> {
    let mut sockets: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
    for step in &world.steps {
        let Step::Record(bytes) = step else { continue };
        // ConnRecord and SegmentRecord have the socket after head and process.
        let socket = bytes[32..48].to_vec();
        match sockets.iter_mut().find(|(key, _)| *key == socket) {
            Some((_, records)) => records.push(bytes.clone()),
            None => sockets.push((socket, vec![bytes.clone()])),
        }
    }
    sockets.into_iter().map(|(_, records)| records).collect()
}

fn check_spans(spans: &[Span]) {
    let mut seen = HashSet::new();
    for span in spans {
        assert!(seen.insert(span.span_id), "span id twice: {span:?}");
        assert_ne!(span.span_id, SpanId::default());
        assert_ne!(span.trace_id, TraceId::default());
        assert_ne!(span.parent_span_id, Some(span.span_id));
        assert!(span.start_unix_ns <= span.end_unix_ns, "{span:?}");
        assert_eq!(
            span.parent_span_id.is_some(),
            span.evidence != Evidence::None,
            "{span:?}"
        );
    }
}

/// A record with fields that make some sense and some that do not.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(get(200)),
        Just(answer(200, 4, false)),
        Just(answer(404, 40, true)),
        Just(b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just([get(200), get(201), get(202)].concat()),
        Just(b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-0202020202020202-01\r\n\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    (any::<[u8; 16]>(), text, any::<u32>(), any::<u64>()).prop_map(
        |(dice, payload, jump, ktime)| {
            let mut world = World {
                now: u64::from(dice[0]) * 7_000_000,
                steps: Vec::new(),
            };
            let (client, server) = pair(dice[1] % 3, 10, 20);
            let mut end = if dice[2] % 2 == 0 { client } else { server };
            end.role = dice[3] % 4;
            end.protocol = dice[4] % 4;
            end.capture = if dice[5] % 4 == 0 {
                usize::from(dice[6])
            } else {
                4096
            };
            end.family = [2, 2, 10, 1][usize::from(dice[6] % 4)];
            let way = dice[7] % 2;
            (end.tx, end.rx) = (u32::from(dice[8] % 8) * 40, u32::from(dice[8] % 8) * 40);
            if dice[9] % 8 == 0 {
                end.tx = jump;
            }
            match dice[10] % 8 {
                0 => world.conn(&end),
                1 => world.connect(
                    &end,
                    ids(
                        dice[11] % 4,
                        dice[12] % 8,
                        Some((dice[13] % 8, dice[14] % 4)),
                    ),
                ),
                2 => world.state(&end, dice[11] % 12, dice[12] % 12, u16::from(dice[13])),
                3 if dice[11] % 4 == 0 => world.task(u16::from(dice[12] % 9), end.process),
                _ => {
                    let given = (dice[11] % 2 == 0).then(|| {
                        ids(
                            dice[12] % 4,
                            dice[13] % 16,
                            Some((dice[14] % 16, dice[15] % 5)),
                        )
                    });
                    let (mut record, bytes) = world.segment(&mut end, way, &payload, given);
                    if dice[9] % 16 == 1 {
                        record.flags = dice[15];
                        record.len = jump;
                        record.head.ktime_ns = ktime;
                    }
                    world.push(&(record, bytes));
                }
            }
            match world.steps.pop() {
                Some(Step::Record(bytes)) => bytes,
                _ => Vec::new(),
            }
        },
    )
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256), failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_taken(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20), ktime in any::<u64>()) {
        let mut tracer = Tracer::new(TracerConfig::default());
        for mut frame in frames {
            tracer.on_frame(Frame::Kernel(&frame));
            if frame.len() >= 16 {
                let len = frame.len() as u32;
                frame[0] %= 9;
                frame[1] = 0;
                frame[2] %= 40;
                frame[3] = 0;
                frame[4..8].copy_from_slice(&len.to_ne_bytes());
                tracer.on_frame(Frame::Kernel(&frame));
            }
            tracer.on_frame(Frame::Tick { ktime_ns: ktime, epoch_offset_ns: ktime });
        }
        tracer.finish(ktime);
        check_spans(&std::iter::from_fn(|| tracer.poll_span()).collect::<Vec<_>>());
    }

    #[test]
    fn any_sequence_of_records_is_taken(records in prop::collection::vec((record(), any::<bool>()), 0..120)) {
        let mut steps = Vec::new();
        for (n, (record, tick)) in records.into_iter().enumerate() {
            steps.push(Step::Record(record));
            if tick {
                steps.push(Step::Tick(n as u64 * 40 * support::MS));
            }
        }
        let outcome = run(&steps, TracerConfig::default());
        check_spans(&outcome.spans);
        // The same frames give the same spans.
        prop_assert_eq!(&outcome.spans, &run(&steps, TracerConfig::default()).spans);
    }

    #[test]
    fn the_order_between_sockets_does_not_matter(picks in prop::collection::vec(any::<Index>(), 80)) {
        let mut world = World::default();
        series(&mut world, 1, 3, 10, false);
        // A chain on top: a call made under the first connection's server.
        let (mut call, mut back) = pair(2, 120, 30);
        world.conn(&call);
        world.conn(&back);
        world.write(&mut call, &get(210), Some(ids(64, 50, Some((65, evidence::THREAD)))));
        world.read(&mut back, &get(210), Some(ids(64, 51, Some((50, evidence::SOCKET)))));
        world.write(&mut back, &answer(210, 0, false), None);
        world.read(&mut call, &answer(210, 0, false), None);
        let sorted = |steps: &[Step]| {
            let outcome = run(steps, TracerConfig::default());
            let mut spans: Vec<String> = outcome.spans.iter().map(|span| format!("{span:?}")).collect();
            spans.sort();
            (spans, outcome.counted())
        };
        let expect = sorted(&world.steps);
        let mut queues = by_socket(&world);
        let mut steps = vec![world.steps[0].clone()];
        let mut picks = picks.into_iter();
        while !queues.is_empty() {
            let pick = picks.next().map_or(0, |pick| pick.index(queues.len()));
            steps.push(Step::Record(queues[pick].remove(0)));
            if queues[pick].is_empty() {
                queues.remove(pick);
            }
        }
        prop_assert_eq!(sorted(&steps), expect);
    }

    #[test]
    fn lost_records_never_mix_up_exchanges(keep in prop::collection::vec(prop::bool::weighted(0.8), 60), body in 0_usize..6_000, chunked in any::<bool>()) {
        let mut world = World::default();
        series(&mut world, 1, 8, body, chunked);
        let steps: Vec<Step> = world
            .steps
            .into_iter()
            .enumerate()
            // Where a stream begins is known once a segment of each direction was seen.
            .filter(|(n, _)| *n < 7 || keep.get(*n).copied().unwrap_or(true))
            .map(|(_, step)| step)
            .collect();
        let outcome = run(&steps, TracerConfig::default());
        check_spans(&outcome.spans);
        prop_assert_eq!(wrong_statuses(&outcome.spans), Vec::<String>::new());
        prop_assert!(outcome.spans.len() <= 16);
    }
}
