//! What becomes of each shape an HTTP/1 exchange can have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{direction, evidence, protocol, role, segment_flag};
use agent_trace::counters::Counter;
use agent_trace::tracer::{Command, TracerConfig};
use support::{End, MS, World, ids, pair, text};

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
fn upgrades_and_tunnels_end_with_the_handshake_and_the_connection_is_ignored() {
    for (request, response, name) in [
        (
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x02frame",
            "GET /ws 101 -",
        ),
        (
            "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nbanner",
            "CONNECT 200 -",
        ),
    ] {
        let mut world = World::default();
        let (mut client, mut server) = open(&mut world);
        world.exchange(
            &mut client,
            &mut server,
            request.as_bytes(),
            response.as_bytes(),
            1,
        );
        world.write(
            &mut client,
            b"GET /not-http HTTP/1.1\r\n\r\n",
            Some(ids(9, 9, None)),
        );
        world.state(&client, 1, 7, 0);
        let outcome = world.run();
        assert_eq!(
            outcome.lines(),
            [
                format!("Client {name} t01 s01 p- none"),
                format!("Server {name} t01 s02 p01 socket")
            ]
        );
        assert!(
            outcome
                .commands
                .contains(&Command::IgnoreConnection(client.socket))
        );
        assert!(
            outcome
                .commands
                .contains(&Command::IgnoreConnection(server.socket))
        );
        assert_eq!(outcome.count(Counter::Upgraded), 2);
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
fn pipelined_requests_are_joined_by_their_place_in_the_stream() {
    // The client writes three requests at once; the server reads them in two pieces that do not match the writes.
    let all = [
        GET,
        b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /c HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /d HTTP/1.1\r\n\r\n",
    ]
    .concat();
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    world.write(&mut client, &all, Some(ids(1, 1, None)));
    let cut = GET.len() + 5;
    world.read(
        &mut server,
        &all[..cut],
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.read(&mut server, &all[cut..], None);
    world.write(&mut server, &OK.repeat(4), None);
    world.read(&mut client, &OK.repeat(4), None);
    let outcome = world.run();
    assert_eq!(outcome.counted(), ["spans_emitted=8"]);
    for name in ["GET /a", "GET /b", "POST /c", "GET /d"] {
        let of = |kind: &str| {
            outcome
                .spans
                .iter()
                .find(|span| span.name == name && format!("{:?}", span.kind) == kind)
                .unwrap()
        };
        assert_eq!(
            of("Server").parent_span_id,
            Some(of("Client").span_id),
            "{name}"
        );
        assert_eq!(of("Server").trace_id, of("Client").trace_id, "{name}");
        assert_eq!(text(of("Server"), "suture.parent.evidence"), "socket");
    }
}

#[test]
fn pipelined_requests_over_a_unix_socket_are_joined_by_their_number() {
    let mut world = World::default();
    let (mut client, mut server) = pair(1, 10, 20);
    for end in [&mut client, &mut server] {
        end.family = 1;
        (end.tx, end.rx) = (0, 0);
        (end.local, end.remote) = (([0; 16], 0), ([0; 16], 0));
    }
    world.conn(&client);
    world.conn(&server);
    let all = GET.repeat(3);
    world.write(&mut client, &all, Some(ids(1, 1, None)));
    world.read(
        &mut server,
        &all,
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.write(&mut server, &OK.repeat(3), None);
    world.read(&mut client, &OK.repeat(3), None);
    let outcome = world.run();
    assert_eq!(outcome.counted(), ["spans_emitted=6"]);
    let servers: Vec<_> = outcome
        .spans
        .iter()
        .filter(|span| format!("{:?}", span.kind) == "Server")
        .collect();
    assert_eq!(servers.len(), 3);
    for server in servers {
        assert_eq!(text(server, "suture.parent.evidence"), "socket");
        assert_eq!(text(server, "network.transport"), "unix");
        assert_eq!(text(server, "network.peer.address"), "-");
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
fn what_is_not_http_is_given_up() {
    let mut world = World::default();
    let (mut client, _) = open(&mut world);
    world.write(
        &mut client,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0",
        Some(ids(1, 1, None)),
    );
    let outcome = world.run();
    assert_eq!(outcome.spans, []);
    assert_eq!(outcome.count(Counter::Http2), 1);
    assert!(
        outcome
            .commands
            .contains(&Command::IgnoreConnection(client.socket))
    );
}

#[test]
fn a_connection_met_in_its_middle_begins_with_the_first_request_that_is_seen() {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    server.role = role::UNKNOWN;
    client.role = role::UNKNOWN;
    // The rest of somebody's upload, its response, then a request.
    world.read(&mut server, b"rest of a body", None);
    world.write(&mut server, OK, None);
    world.wait(300);
    server.role = role::SERVER;
    client.role = role::CLIENT;
    world.exchange(&mut client, &mut server, GET, OK, 1);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /a 200 - t01 s01 p- none",
            "Server GET /a 200 - t01 s02 p01 socket"
        ]
    );
    assert_eq!(outcome.count(Counter::ResponseWithoutRequest), 1);
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
fn fastcgi_gives_http_spans() {
    let record =
        |kind: u8, body: &[u8]| [&[1, kind, 0, 1, 0, body.len() as u8, 0, 0][..], body].concat();
    let pair_of = |name: &str, value: &str| {
        [
            &[name.len() as u8, value.len() as u8][..],
            name.as_bytes(),
            value.as_bytes(),
        ]
        .concat()
    };
    let params = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/pay/17?card=4111"),
        ("SCRIPT_NAME", "/index.php"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_HOST", "shop"),
        ("REMOTE_ADDR", "203.0.113.9"),
        ("CONTENT_LENGTH", "2"),
    ]
    .map(|(name, value)| pair_of(name, value))
    .concat();
    let request = [
        record(1, &[0, 1, 0, 0, 0, 0, 0, 0]),
        record(4, &params),
        record(4, b""),
        record(5, b"hi"),
        record(5, b""),
    ]
    .concat();
    let response = [
        record(6, b"Status: 503 Busy\r\n\r\nsorry"),
        record(6, b""),
        record(3, &[0; 8]),
    ]
    .concat();
    let mut world = World::default();
    let (mut nginx, mut php) = open(&mut world);
    nginx.protocol = protocol::FASTCGI;
    php.protocol = protocol::FASTCGI;
    world.write(&mut nginx, &request, Some(ids(1, 1, None)));
    // php-fpm reads record by record: first each header, then its body.
    let mut rest: &[u8] = &request;
    let mut first = Some(ids(1, 2, Some((1, evidence::SOCKET))));
    while !rest.is_empty() {
        let body = usize::from(rest[5]);
        world.read(&mut php, &rest[..8], first.take());
        if body > 0 {
            world.read(&mut php, &rest[8..8 + body], None);
        }
        rest = &rest[8 + body..];
    }
    world.write(&mut php, &response, None);
    world.read(&mut nginx, &response, None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client POST /pay/{id} 503 503 t01 s01 p- none",
            "Server POST /pay/{id} 503 503 t01 s02 p01 socket"
        ]
    );
    let span = outcome.span(2);
    for (key, value) in [
        ("network.protocol.name", "fastcgi"),
        ("client.address", "203.0.113.9"),
        ("server.address", "shop"),
        ("url.query", "card=REDACTED"),
        ("http.response.body.size", "5"),
    ] {
        assert_eq!(text(span, key), value, "{key}");
    }
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

#[test]
fn a_hidden_request_head_still_gives_a_span_when_its_response_is_seen() {
    let mut world = World::default();
    let (mut client, _) = open(&mut world);
    let (mut record, _) = world.segment(&mut client, direction::TX, GET, Some(ids(1, 1, None)));
    record.flags |= segment_flag::UNSEEN;
    record.head.payload = 0;
    record.head.size -= GET.len() as u32;
    world.push(&(record, Vec::new()));
    world.read(&mut client, OK, None);
    let outcome = world.run();
    assert_eq!(outcome.lines(), ["Client HTTP 200 - t01 s01 p- none"]);
    assert_eq!(text(outcome.span(1), "http.request.method"), "_OTHER");
    let _ = MS;
}
