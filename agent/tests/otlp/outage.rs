//! Backends that refuse, are down, or never answer: what is retried, what is lost, and that every loss is counted.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::config::{self, Protocol, Target};
use agent::export::{Drop, ExportCounters, ExportThread, RetryPolicy, TraceExporter};
use tonic::Code;

use crate::deliver::{QUICK, serve};
use crate::receiver::{Answer, Receiver};
use crate::samples::{facts, queue, small, target};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// Sends ten spans to a receiver with a script and ends.
fn deliver(
    protocol: Protocol,
    retry: RetryPolicy,
    script: &[Answer],
) -> (Arc<ExportCounters>, Receiver) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = Receiver::with(script.to_vec());
    let target = serve(&receiver, &runtime, protocol);
    let thread = ExportThread::start().unwrap();
    let exporter = TraceExporter::start(&thread, &target, &queue(), Vec::new(), retry).unwrap();
    let facts = facts(1);
    for number in 0..10 {
        exporter.handle().enqueue(small(number), Arc::clone(&facts));
    }
    let counters = exporter.counters();
    let started = Instant::now();
    while counters.sent() + counters.dropped_total() < 10 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "neither sent nor dropped"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    exporter.shutdown(&thread, Duration::from_secs(5));
    (counters, receiver)
}

#[test]
fn retryable_answers_are_retried_and_others_are_not() {
    let check = |protocol, answer: Answer, retried: bool| {
        let (counters, _) = deliver(protocol, QUICK, std::slice::from_ref(&answer));
        let expect = if retried { (10, 0, 1) } else { (0, 10, 0) };
        let seen = (
            counters.sent(),
            counters.dropped(Drop::Refused),
            counters.retries(),
        );
        assert_eq!(seen, expect, "{answer:?}");
    };
    for code in [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ] {
        check(Protocol::Grpc, Answer::Grpc(code, None), true);
    }
    for code in [
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::Unimplemented,
        Code::Internal,
        Code::Unknown,
    ] {
        check(Protocol::Grpc, Answer::Grpc(code, None), false);
    }
    check(
        Protocol::Grpc,
        Answer::Grpc(Code::ResourceExhausted, None),
        false,
    );
    check(
        Protocol::Grpc,
        Answer::Grpc(Code::ResourceExhausted, Some(Duration::from_millis(1))),
        true,
    );
    for status in [429, 502, 503, 504] {
        check(Protocol::HttpProtobuf, Answer::Http(status, None), true);
    }
    for status in [301, 400, 401, 404, 413, 500] {
        check(Protocol::HttpProtobuf, Answer::Http(status, None), false);
    }
}

#[test]
fn the_backend_says_how_long_to_wait() {
    let check = |protocol, answer: Answer, at_least: Duration| {
        let (counters, receiver) = deliver(protocol, QUICK, &[answer]);
        let arrivals = receiver.look(|kept| kept.arrivals.clone());
        assert_eq!((arrivals.len(), counters.sent()), (2, 10));
        let gap = arrivals[1] - arrivals[0];
        assert!(gap >= at_least && gap < at_least * 3, "{gap:?}");
    };
    let wait = Duration::from_millis(700);
    check(
        Protocol::Grpc,
        Answer::Grpc(Code::ResourceExhausted, Some(wait)),
        wait,
    );
    check(
        Protocol::Grpc,
        Answer::Grpc(Code::Unavailable, Some(wait)),
        wait,
    );
    check(
        Protocol::HttpProtobuf,
        Answer::Http(503, Some("1")),
        Duration::from_secs(1),
    );
}

/// An address where nobody listens.
fn nobody() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn start(target: &Target, bounds: &config::Queue) -> (ExportThread, TraceExporter) {
    let thread = ExportThread::start().unwrap();
    let exporter = TraceExporter::start(&thread, target, bounds, Vec::new(), QUICK).unwrap();
    (thread, exporter)
}

#[test]
fn a_backend_that_comes_back_gets_what_was_held() {
    for protocol in BOTH {
        let listener = nobody();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let bounds = config::Queue {
            max_spans: 100,
            max_batch_spans: 10,
            ..queue()
        };
        let (thread, exporter) = start(&target(address, protocol), &bounds);
        let facts = facts(1);
        let taken = (0..250)
            .filter(|number| {
                exporter
                    .handle()
                    .enqueue(small(*number), Arc::clone(&facts))
            })
            .count();
        let counters = exporter.counters();
        assert_eq!((taken, counters.dropped(Drop::QueueFull)), (100, 150));
        while counters.retries() < 8 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let listener = TcpListener::bind(address).unwrap();
        match protocol {
            Protocol::Grpc => receiver.serve_grpc_on(&runtime, listener),
            Protocol::HttpProtobuf => receiver.serve_http_on(&runtime, listener),
        };
        receiver.wait("all held spans", |kept| kept.spans().len() == 100);
        exporter.shutdown(&thread, Duration::from_secs(5));
        assert_eq!((counters.sent(), counters.dropped_total()), (100, 150));
        let mut ids: Vec<_> = receiver
            .look(|kept| kept.spans())
            .into_iter()
            .map(|span| span.span_id)
            .collect();
        ids.sort();
        let expect: Vec<_> = (1..=100_u64).map(|id| id.to_be_bytes().to_vec()).collect();
        assert_eq!(ids, expect, "the oldest are kept, each once");
    }
}

#[test]
fn a_backend_that_never_answers_costs_nothing_but_counted_drops() {
    for protocol in BOTH {
        let listener = nobody(); // accepts in the kernel, nobody reads
        let bounds = config::Queue {
            max_spans: 1_000_000,
            max_bytes: 200_000,
            max_batch_spans: 50,
            ..queue()
        };
        let (thread, exporter) = start(&target(listener.local_addr().unwrap(), protocol), &bounds);
        let (handle, counters, facts) = (exporter.handle(), exporter.counters(), facts(1));
        let mut slowest = Duration::ZERO;
        for number in 0..20_000 {
            let before = Instant::now();
            handle.enqueue(small(number), Arc::clone(&facts));
            slowest = slowest.max(before.elapsed());
            let (_, bytes) = handle.held();
            assert!(bytes < 210_000, "{bytes}");
        }
        // An hour of slack for a busy machine: the point is that it is not the 400 ms of a request.
        assert!(
            slowest < Duration::from_millis(200),
            "offering a span took {slowest:?}"
        );
        let started = Instant::now();
        exporter.shutdown(&thread, Duration::from_secs(1));
        assert!(
            started.elapsed() < Duration::from_millis(2_500),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(counters.sent(), 0);
        assert_eq!(
            counters.dropped_total(),
            20_000,
            "every span is accounted for"
        );
        assert!(
            counters.dropped(Drop::Shutdown) > 100,
            "what was held at the end"
        );
        drop(listener);
    }
}

#[test]
fn ending_does_not_wait_for_a_backend_that_is_down() {
    for protocol in BOTH {
        let listener = nobody();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (thread, exporter) = start(&target(address, protocol), &queue());
        for number in 0..10 {
            exporter.handle().enqueue(small(number), facts(1));
        }
        let counters = exporter.counters();
        let started = Instant::now();
        exporter.shutdown(&thread, Duration::from_secs(10));
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        assert_eq!((counters.sent(), counters.dropped(Drop::Shutdown)), (0, 10));
    }
}

#[test]
fn a_batch_is_given_up_after_its_time() {
    for protocol in BOTH {
        let listener = nobody();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let bounds = config::Queue {
            give_up_after: Duration::from_millis(300),
            ..queue()
        };
        let (thread, exporter) = start(&target(address, protocol), &bounds);
        exporter.handle().enqueue(small(1), facts(1));
        let counters = exporter.counters();
        let started = Instant::now();
        while counters.dropped(Drop::GaveUp) == 0 {
            assert!(started.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(exporter.handle().held(), (0, 0), "its room is free again");
        exporter.shutdown(&thread, Duration::from_secs(1));
        assert_eq!(counters.dropped_total(), 1);
    }
}

#[test]
fn a_server_of_another_kind_gets_nothing_and_is_counted() {
    // OTLP/HTTP to a gRPC server and the other way round: what a wrong OTEL_EXPORTER_OTLP_PROTOCOL does.
    for protocol in BOTH {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let address = match protocol {
            Protocol::Grpc => receiver.serve_http(&runtime),
            Protocol::HttpProtobuf => receiver.serve_grpc(&runtime),
        };
        let (thread, exporter) = start(&target(address, protocol), &queue());
        exporter.handle().enqueue(small(1), facts(1));
        let counters = exporter.counters();
        exporter.shutdown(&thread, Duration::from_secs(2));
        assert_eq!((counters.sent(), counters.dropped_total()), (0, 1));
    }
}
