//! Pipelining, upgrades, FastCGI, connections met in their middle, and what is no HTTP/1 at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{direction, evidence, protocol, role, segment_flag};
use agent_trace::counters::Counter;
use agent_trace::tracer::Command;
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
}

/// A header of 70 bytes was written into the first of these requests, behind its first line; the server read it.
const WRITTEN: &[u8] = b"traceparent: 00-01010101010101010101010101010101-0101010101010101-01\r\n";

fn with_header(request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    [&request[..line], WRITTEN, &request[line..]].concat()
}

#[test]
fn bytes_that_the_kernel_side_wrote_are_no_hole_in_what_the_program_did() {
    const POST: &[u8] = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    let (mut first, payload) =
        world.segment(&mut client, direction::TX, POST, Some(ids(1, 1, None)));
    first.injected = WRITTEN.len() as u8;
    client.tx += WRITTEN.len() as u32;
    world.push(&(first, payload));
    world.write(&mut client, b"12345", None);
    world.read(
        &mut server,
        &with_header(POST),
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.read(&mut server, b"12345", None);
    world.write(&mut server, OK, None);
    world.read(&mut client, OK, None);
    // The next one, at the position that follows.
    world.exchange(&mut client, &mut server, GET, OK, 3);
    let outcome = world.run();
    assert_eq!(outcome.count(Counter::StreamHole), 0);
    assert_eq!(outcome.count(Counter::StreamOverlap), 0);
    assert_eq!(outcome.spans.len(), 4, "{:?}", outcome.lines());
}

#[test]
fn pipelined_requests_behind_a_header_that_was_written_are_joined_by_their_places() {
    let mut world = World::default();
    let (mut client, mut server) = open(&mut world);
    let burst = [GET, GET].concat();
    let (mut first, payload) =
        world.segment(&mut client, direction::TX, &burst, Some(ids(1, 1, None)));
    first.injected = WRITTEN.len() as u8;
    client.tx += WRITTEN.len() as u32;
    world.push(&(first, payload));
    let received = [&with_header(GET)[..], GET].concat();
    world.read(
        &mut server,
        &received,
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.write(&mut server, &[OK, OK].concat(), None);
    world.read(&mut client, &[OK, OK].concat(), None);
    let outcome = world.run();
    let joined = outcome.spans.iter().filter(|span| {
        span.parent_span_id
            .is_some_and(|parent| outcome.spans.iter().any(|other| other.span_id == parent))
    });
    assert_eq!(joined.count(), 2, "{:?}", outcome.lines());
}
