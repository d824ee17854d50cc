//! Requests between two programs of one host, both watched: what becomes of ordinary exchanges.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::evidence;
use agent_trace::counters::Counter;
use agent_trace::tracer::Command;
use support::{EPOCH, STEP, World, ids, pair, process, text};

const GET: &[u8] =
    b"GET /users/42?token=secret&b HTTP/1.1\r\nHost: shop:8080\r\nUser-Agent: t/1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_get_gives_a_client_root_and_a_server_child() {
    let mut world = World::default();
    let (mut curl, mut nginx) = pair(1, 10, 20);
    world.conn(&curl);
    world.conn(&nginx);
    world.exchange(&mut curl, &mut nginx, GET, OK, 1);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /users/{id} 200 - t01 s01 p- none",
            "Server GET /users/{id} 200 - t01 s02 p01 socket"
        ]
    );
    assert_eq!(outcome.counted(), ["spans_emitted=2"]);
    let client = outcome.span(1);
    for (key, value) in [
        ("http.request.method", "GET"),
        (
            "url.full",
            "http://shop:8080/users/42?token=REDACTED&REDACTED",
        ),
        ("url.template", "/users/{id}"),
        ("server.address", "shop"),
        ("server.port", "8080"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("network.transport", "tcp"),
        ("network.peer.address", "127.0.0.2"),
        ("network.peer.port", "8080"),
        ("network.local.port", "40001"),
        ("user_agent.original", "t/1"),
        ("http.response.body.size", "5"),
        ("http.request.body.size", "0"),
        ("client.address", "-"),
        ("url.path", "-"),
    ] {
        assert_eq!(text(client, key), value, "{key}");
    }
    let server = outcome.span(2);
    for (key, value) in [
        ("url.scheme", "http"),
        ("url.path", "/users/42"),
        ("url.query", "token=REDACTED&REDACTED"),
        ("client.address", "127.0.0.1"),
        ("http.route", "-"),
        ("url.full", "-"),
    ] {
        assert_eq!(text(server, key), value, "{key}");
    }
    assert!(server.parent_is_remote);
    // Two CONN records, then write, read, write, read, one step each; a write counts from its sys_enter.
    let first = EPOCH + 1_000_000_000 + 3 * STEP;
    assert_eq!(
        (client.start_unix_ns, client.end_unix_ns),
        (first - STEP / 2, first + 3 * STEP)
    );
    assert_eq!(
        (server.start_unix_ns, server.end_unix_ns),
        (first + STEP, first + 2 * STEP)
    );
    assert_eq!(
        outcome.commands,
        [
            Command::DescribeProcess(process(10), "victim".to_owned()),
            Command::DescribeProcess(process(20), "victim".to_owned())
        ]
    );
}

#[test]
fn a_call_by_the_serving_thread_is_the_servers_child() {
    let mut world = World::default();
    let (mut curl, mut front) = pair(1, 10, 20);
    let (mut call, mut back) = pair(2, 20, 30);
    for end in [&curl, &front, &call, &back] {
        world.conn(end);
    }
    world.write(&mut curl, GET, Some(ids(1, 1, None)));
    world.read(
        &mut front,
        GET,
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    world.write(&mut call, GET, Some(ids(1, 3, Some((2, evidence::THREAD)))));
    world.read(&mut back, GET, Some(ids(1, 4, Some((3, evidence::SOCKET)))));
    world.write(&mut back, OK, None);
    world.read(&mut call, OK, None);
    world.write(&mut front, OK, None);
    world.read(&mut curl, OK, None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /users/{id} 200 - t01 s01 p- none",
            "Client GET /users/{id} 200 - t01 s03 p02 thread",
            "Server GET /users/{id} 200 - t01 s02 p01 socket",
            "Server GET /users/{id} 200 - t01 s04 p03 socket",
        ]
    );
    assert!(!outcome.span(3).parent_is_remote);
    assert_eq!(outcome.count(Counter::ParentUnknown), 0);
}
