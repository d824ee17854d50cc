//! What becomes of each shape an HTTP/1 exchange can have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::evidence;
use agent_trace::counters::Counter;
use agent_trace::tracer::TracerConfig;
use support::{End, World, ids, pair, text};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both ends of one connection, announced.
fn open(world: &mut World) -> (End, End) {
    let (client, server) = pair(1, 10, 20);
    world.conn(&client);
    world.conn(&server);
    (client, server)
}

/// One exchange with these bytes on a fresh connection; the spans' lines and the counters other than `spans_emitted`.
fn one(request: &[u8], response: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    world.exchange(&mut client, &mut server, request, response, 1);
    let outcome = world.run();
    (
        outcome.lines(),
        outcome
            .counted()
            .into_iter()
            .filter(|line| !line.starts_with("spans_emitted"))
            .collect(),
    )
}

#[test]
fn each_shape_of_exchange_gives_one_span_per_side() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(300));
    for (request, response, client, server) in [
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET / 200 -",
            "GET / 200 -",
        ),
        (
            "GET /a?b=c HTTP/1.0\r\n\r\n",
            "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "GET /a 404 404",
            "GET /a 404 -",
        ),
        (
            "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
            "POST /a 503 503",
            "POST /a 503 503",
        ),
        (
            "HEAD /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            "HEAD /a 200 -",
            "HEAD /a 200 -",
        ),
        (
            "GET /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "GET /a 204 -",
            "GET /a 204 -",
        ),
        (
            "GET /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "GET /a 304 -",
            "GET /a 304 -",
        ),
        (
            "GET /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "GET /a 200 -",
            "GET /a 200 -",
        ),
        (
            "GET /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET /a 200 -",
            "GET /a 200 -",
        ),
        (
            "PURGE /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP /a 200 -",
            "HTTP /a 200 -",
        ),
        (
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "OPTIONS * 200 -",
            "OPTIONS * 200 -",
        ),
        (
            "GET http://o/x/1 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET /x/{id} 200 -",
            "GET /x/{id} 200 -",
        ),
        (
            &long_target,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET /{id} 200 -",
            "GET /{id} 200 -",
        ),
    ] {
        let (lines, counted) = one(request.as_bytes(), response.as_bytes());
        assert_eq!(
            lines,
            [
                format!("Client {client} t01 s01 p- none"),
                format!("Server {server} t01 s02 p01 socket")
            ],
            "{request}"
        );
        assert_eq!(counted, [""; 0], "{request}");
    }
}

#[test]
fn an_exchange_cut_anywhere_gives_the_same_spans() {
    let request: &[u8] = b"POST /items/7 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let response: &[u8] =
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let expect = [
        "Client POST /items/{id} 201 - t01 s01 p- none",
        "Server POST /items/{id} 201 - t01 s02 p01 socket",
    ];
    for cut in 1..request.len() {
        let mut world = World::default();
        let (mut client, mut server) = open(&mut world);
        let socket = Some((1, evidence::SOCKET));
        world.write(&mut client, &request[..cut], Some(ids(1, 1, None)));
        world.write(&mut client, &request[cut..], None);
        world.read(&mut server, &request[..cut], Some(ids(1, 2, socket)));
        world.read(&mut server, &request[cut..], None);
        let cut = cut.min(response.len() - 1);
        world.write(&mut server, &response[..cut], None);
        world.write(&mut server, &response[cut..], None);
        world.read(&mut client, &response[..cut], None);
        world.read(&mut client, &response[cut..], None);
        let outcome = world.run();
        assert_eq!(outcome.lines(), expect, "cut at {cut}");
        assert_eq!(outcome.counted(), ["spans_emitted=2"], "cut at {cut}");
    }
}

#[test]
fn keep_alive_gives_one_span_per_request() {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    for n in 0..5 {
        world.exchange(&mut client, &mut server, GET, OK, 1 + 2 * n);
    }
    let outcome = world.run();
    assert_eq!(outcome.counted(), ["spans_emitted=10"]);
    for n in 0..5 {
        assert_eq!(
            outcome.span(2 + 2 * n).parent_span_id,
            Some(outcome.span(1 + 2 * n).span_id)
        );
    }
}

#[test]
fn a_continue_does_not_split_the_exchange() {
    let head: &[u8] = b"PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    let socket = Some((1, evidence::SOCKET));
    world.write(&mut client, head, Some(ids(1, 1, None)));
    world.read(&mut server, head, Some(ids(1, 2, socket)));
    world.write(&mut server, b"HTTP/1.1 100 Continue\r\n\r\n", None);
    world.read(&mut client, b"HTTP/1.1 100 Continue\r\n\r\n", None);
    // A body that looks like a request: the kernel may take it for one.
    world.write(&mut client, b"GET /", Some(ids(7, 7, None)));
    world.read(
        &mut server,
        b"GET /",
        Some(ids(7, 8, Some((7, evidence::SOCKET)))),
    );
    world.write(&mut server, OK, None);
    world.read(&mut client, OK, None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client PUT /a 200 - t01 s01 p- none",
            "Server PUT /a 200 - t01 s02 p01 socket"
        ]
    );
    assert_eq!(
        outcome.counted(),
        ["spans_emitted=2", "kernel_guess_wrong=2"]
    );
    assert_eq!(text(outcome.span(2), "http.request.body.size"), "5");
}

#[test]
fn a_body_beyond_the_capture_counts_by_its_length_or_its_last_bytes() {
    let body = "z".repeat(70_000);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n{body}\r\n0\r\n\r\n"
    );
    for (response, size) in [
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{body}"),
            "70000",
        ),
        (chunked, "70000"),
    ] {
        let mut world = World::default();
        let (mut client, mut server) = open(&mut world);
        world.exchange(&mut client, &mut server, GET, response.as_bytes(), 1);
        let end = world.now;
        world.wait(5_000);
        let outcome = world.run();
        assert_eq!(outcome.counted(), ["spans_emitted=2"]);
        assert_eq!(text(outcome.span(1), "http.response.body.size"), size);
        assert_eq!(outcome.span(1).end_unix_ns, support::EPOCH + end);
    }
}

#[test]
fn a_response_whose_end_cannot_be_seen_ends_with_its_last_byte_after_a_while() {
    let mut world = World::default();
    let (mut client, _) = open(&mut world);
    client.capture = 60;
    world.write(&mut client, GET, Some(ids(1, 1, None)));
    let response = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}",
        "y".repeat(2_000)
    );
    world.read(&mut client, response.as_bytes(), None);
    client.capture = 0;
    let mut last = 0;
    for _ in 0..3 {
        world.wait(400);
        world.read(&mut client, &[b'y'; 500], None);
        last = world.now;
    }
    world.wait(1_400);
    world.read(&mut client, b"more\r\n0\r\n\r\n", None);
    client.capture = 4096;
    world.write(
        &mut client,
        b"GET /b HTTP/1.1\r\n\r\n",
        Some(ids(2, 2, None)),
    );
    world.read(&mut client, OK, None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /a 200 - t01 s01 p- none",
            "Client GET /b 200 - t02 s02 p- none"
        ]
    );
    assert_eq!(outcome.span(1).end_unix_ns, support::EPOCH + last);
    assert_eq!(outcome.count(Counter::BodyAfterIdleEnd), 11);
}

#[test]
fn a_response_that_is_cut_in_its_first_segment_is_shown_after_a_while() {
    let mut world = World::default();
    let (mut client, _) = open(&mut world);
    world.write(&mut client, GET, Some(ids(1, 1, None)));
    client.capture = 60;
    let response = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}",
        "y".repeat(900)
    );
    world.read(&mut client, response.as_bytes(), None);
    let outcome = world.run();
    // Had it been open to the end, it would be marked unfinished.
    assert_eq!(outcome.counted(), ["spans_emitted=1"]);
    assert_eq!(text(outcome.span(1), "suture.unfinished"), "-");
}

#[test]
fn a_close_delimited_response_ends_with_its_last_byte() {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    let response = b"HTTP/1.0 200 OK\r\n\r\nto the end";
    world.write(
        &mut client,
        b"GET /a HTTP/1.0\r\n\r\n",
        Some(ids(1, 1, None)),
    );
    world.read(
        &mut server,
        b"GET /a HTTP/1.0\r\n\r\n",
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.write(&mut server, response, None);
    let served = world.now;
    world.state(&server, 1, 4, 0);
    world.read(&mut client, response, None);
    let read = world.now;
    world.wait(50);
    world.eof(&mut client);
    world.state(&server, 4, 7, 0);
    world.state(&client, 8, 9, 0);
    let outcome = world.run();
    assert_eq!(outcome.counted(), ["spans_emitted=2"]);
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /a 200 - t01 s01 p- none",
            "Server GET /a 200 - t01 s02 p01 socket"
        ]
    );
    assert_eq!(outcome.span(1).end_unix_ns, support::EPOCH + read);
    assert_eq!(outcome.span(2).end_unix_ns, support::EPOCH + served);
    assert_eq!(text(outcome.span(1), "http.response.body.size"), "10");
}

#[test]
fn a_head_beyond_the_capture_is_marked_truncated() {
    let request = format!(
        "GET /a/b HTTP/1.1\r\nHost: h\r\nCookie: {}\r\n\r\n",
        "c".repeat(9_000)
    );
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    world.exchange(&mut client, &mut server, request.as_bytes(), OK, 1);
    world.exchange(&mut client, &mut server, GET, OK, 3);
    let outcome = world.run();
    assert_eq!(outcome.spans.len(), 4);
    assert_eq!(text(outcome.span(2), "suture.request.truncated"), "true");
    assert_eq!(text(outcome.span(2), "server.address"), "h");
    assert_eq!(text(outcome.span(2), "http.response.status_code"), "200");
    assert_eq!(text(outcome.span(4), "suture.request.truncated"), "-");
}

#[test]
fn listed_headers_and_ports_become_attributes() {
    let config = TracerConfig {
        keep_headers: vec!["X-Tenant".to_owned()],
        ..TracerConfig::default()
    };
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    let request = b"GET /a HTTP/1.1\r\nHost: [::1]:81\r\nX-Tenant: t1\r\nCookie: secret\r\n\r\n";
    world.exchange(
        &mut client,
        &mut server,
        request,
        b"HTTP/1.1 200 OK\r\nx-tenant: t2\r\nContent-Length: 0\r\n\r\n",
        1,
    );
    let outcome = world.run_with(config);
    let span = outcome.span(2);
    for (key, value) in [
        ("http.request.header.x-tenant", "t1"),
        ("http.response.header.x-tenant", "t2"),
        ("server.address", "::1"),
        ("server.port", "81"),
    ] {
        assert_eq!(text(span, key), value, "{key}");
    }
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn each_attribute_key_is_there_once_and_times_are_in_order() {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    world.exchange(&mut client, &mut server, GET, OK, 1);
    for span in world.run().spans {
        let mut keys: Vec<_> = span.attributes.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert!(span.start_unix_ns <= span.end_unix_ns);
        assert!(keys.contains(&"suture.parent.evidence"));
    }
}
