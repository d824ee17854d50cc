//! Exchanges and connection attempts that go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{ConnRecord, ExchangeIds, direction, evidence, kind};
use agent_trace::counters::Counter;
use support::{EPOCH, End, STEP, World, ids, pair, text, v4};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";

// Of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const FIN_WAIT1: u8 = 4;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;

/// A request was written on `client` and read on `server`; what happens then is up to `then`.
fn after_request(then: impl Fn(&mut World, &mut End, &mut End)) -> Vec<String> {
    let mut world = World::default();
    let (mut client, mut server) = pair(1, 10, 20);
    world.conn(&client);
    world.conn(&server);
    world.write(&mut client, GET, Some(ids(1, 1, None)));
    world.read(
        &mut server,
        GET,
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    then(&mut world, &mut client, &mut server);
    let outcome = world.run();
    assert_eq!(outcome.count(Counter::SpansEmitted), 2);
    outcome
        .lines()
        .into_iter()
        .map(|line| {
            line.replace(" t01 s01 p- none", "")
                .replace(" t01 s02 p01 socket", "")
        })
        .collect()
}

#[test]
fn each_way_to_lose_a_connection_has_its_error_type() {
    assert_eq!(
        after_request(|world, client, server| {
            world.state(client, ESTABLISHED, FIN_WAIT1, 0);
            world.state(server, ESTABLISHED, CLOSE_WAIT, 0);
            world.eof(server);
            world.state(server, CLOSE_WAIT, LAST_ACK, 0);
            world.state(client, FIN_WAIT1, CLOSE, 0);
            world.state(server, LAST_ACK, CLOSE, 0);
        }),
        [
            "Client GET /a - timeout",
            "Server GET /a - connection_closed"
        ],
        "the client gives up"
    );
    assert_eq!(
        after_request(|world, client, server| {
            world.state(server, ESTABLISHED, FIN_WAIT1, 0);
            world.state(client, ESTABLISHED, CLOSE_WAIT, 0);
            world.eof(client);
            world.state(client, CLOSE_WAIT, LAST_ACK, 0);
            world.state(client, LAST_ACK, CLOSE, 0);
            world.state(server, FIN_WAIT1, CLOSE, 0);
        }),
        [
            "Client GET /a - connection_closed",
            "Server GET /a - connection_closed"
        ],
        "the server closes without a word"
    );
    assert_eq!(
        after_request(|world, client, server| {
            world.state(server, ESTABLISHED, CLOSE, 0);
            world.state(client, ESTABLISHED, CLOSE, 104);
            world.error(client, direction::RX, 104);
        }),
        [
            "Client GET /a - connection_reset",
            "Server GET /a - connection_closed"
        ],
        "the server resets"
    );
    assert_eq!(
        after_request(|world, client, server| {
            world.write(server, HALF, None);
            world.read(client, HALF, None);
            world.state(server, ESTABLISHED, CLOSE, 0);
            world.state(client, ESTABLISHED, CLOSE, 104);
        }),
        [
            "Client GET /a 200 connection_reset",
            "Server GET /a 200 connection_closed"
        ],
        "the response is cut"
    );
    assert_eq!(
        after_request(|world, client, server| {
            world.task(kind::EXIT, server.process);
            world.state(server, ESTABLISHED, FIN_WAIT1, 0);
            world.state(server, FIN_WAIT1, CLOSE, 0);
            // The programs leave the change to CLOSE_WAIT out: the next state's record says that it was the one before.
            world.state(client, CLOSE_WAIT, LAST_ACK, 0);
            world.state(client, LAST_ACK, CLOSE, 0);
        }),
        [
            "Client GET /a - connection_closed",
            "Server GET /a - process_exit"
        ],
        "the server dies"
    );
    assert_eq!(
        after_request(|world, client, server| {
            world.write(server, OK, None);
            world.state(server, ESTABLISHED, FIN_WAIT1, 0);
            world.state(server, FIN_WAIT1, CLOSE, 0);
            // The close is seen before the record of the read that was made before it.
            let read = world.segment(client, direction::RX, OK, None);
            world.state(client, ESTABLISHED, CLOSE, 104);
            world.push(&read);
        }),
        ["Client GET /a 200 -", "Server GET /a 200 -"],
        "a late record"
    );
}

#[test]
fn what_is_open_at_the_end_is_marked_unfinished() {
    let mut world = World::default();
    let (mut client, _) = pair(1, 10, 20);
    world.conn(&client);
    world.write(&mut client, GET, Some(ids(1, 1, None)));
    let outcome = world.run();
    assert_eq!(outcome.lines(), ["Client GET /a - - t01 s01 p- none"]);
    assert_eq!(text(outcome.span(1), "suture.unfinished"), "true");
    assert_eq!(outcome.count(Counter::OpenAtFinish), 1);
}

/// An attempt to reach `address`, under server exchange `under`.
fn attempt(world: &mut World, n: u8, address: [u8; 16], under: Option<u8>) -> End {
    let (mut end, _) = pair(n, 10, 20);
    end.remote.0 = address;
    let parent = under.map(|parent| (parent, evidence::THREAD));
    let record = ConnRecord {
        by_connect: 1,
        exchange: ids(1, n, parent),
        local_port: 0,
        ..world.conn_record(&end)
    };
    world
        .steps
        .push(support::Step::Record(support::bytes_of(&record, &[])));
    end
}

#[test]
fn failed_connects_are_client_spans() {
    for (error, expect) in [
        (111, "connection_refused"),
        (110, "timeout"),
        (0, "timeout"),
        (113, "host_unreachable"),
        (101, "network_unreachable"),
        (99, "_OTHER"),
    ] {
        let mut world = World::default();
        let (_, mut server) = pair(9, 30, 10);
        world.conn(&server);
        world.read(&mut server, GET, Some(ids(1, 9, None)));
        let end = attempt(&mut world, 1, v4(3), Some(9));
        let begin = world.now;
        world.wait(20);
        world.state(&end, SYN_SENT, CLOSE, error);
        world.write(&mut server, OK, None);
        let outcome = world.run();
        assert_eq!(
            outcome.lines(),
            [
                format!("Client connect - {expect} t01 s01 p09 thread"),
                "Server GET /a 200 - t01 s09 p- none".to_owned()
            ]
        );
        let span = outcome.span(1);
        assert_eq!(
            (text(span, "server.address"), text(span, "server.port")),
            ("127.0.0.3".to_owned(), "8080".to_owned())
        );
        assert_eq!(
            (span.start_unix_ns, span.end_unix_ns),
            (EPOCH + begin, EPOCH + begin + 20 * support::MS + STEP)
        );
    }
}

#[test]
fn attempts_on_other_addresses_of_one_name_are_not_failures() {
    let v6 = [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (address, error, order, wait, spans) in [
        // ::1 refused, then 127.0.0.1 works.
        (v6, 111, "failed first", 100, 0),
        (v6, 111, "works first", 0, 0),
        (v6, 111, "failed first", 400, 1),
        // Another address of the same family: refused is a failure, given up is not.
        (v4(7), 111, "failed first", 10, 1),
        (v4(7), 0, "works first", 10, 0),
        (v4(2), 0, "works first", 10, 1),
    ] {
        let mut world = World::default();
        let loser = attempt(&mut world, 1, address, None);
        let winner = attempt(&mut world, 2, v4(2), None);
        if order == "failed first" {
            world.state(&loser, SYN_SENT, CLOSE, error);
            world.wait(wait);
            world.state(&winner, SYN_SENT, ESTABLISHED, 0);
        } else {
            world.state(&winner, SYN_SENT, ESTABLISHED, 0);
            world.wait(wait);
            world.state(&loser, SYN_SENT, CLOSE, error);
        }
        let outcome = world.run();
        assert_eq!(
            outcome.spans.len(),
            spans,
            "{address:?} {error} {order} {wait}"
        );
        assert_eq!(outcome.count(Counter::ConnectSuperseded), 1 - spans as u64);
    }
}

#[test]
fn a_socket_that_connects_again_begins_anew() {
    let mut world = World::default();
    let mut end = attempt(&mut world, 1, v4(2), None);
    world.state(&end, SYN_SENT, CLOSE, 111);
    world.wait(1);
    world.connect(
        &end,
        ExchangeIds {
            span_id: 7,
            ..ids(7, 7, None)
        },
    );
    world.state(&end, SYN_SENT, ESTABLISHED, 0);
    world.write(&mut end, GET, Some(ids(2, 2, None)));
    world.read(&mut end, OK, None);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /a 200 - t02 s02 p- none",
            "Client connect - connection_refused t01 s01 p- none"
        ]
    );
}

#[test]
fn a_write_before_the_connection_is_made_does_not_hide_its_failure() {
    let mut world = World::default();
    let end = attempt(&mut world, 1, v4(2), None);
    world.conn(&end);
    world.state(&end, SYN_SENT, CLOSE, 111);
    assert_eq!(
        world.run().lines(),
        ["Client connect - connection_refused t01 s01 p- none"]
    );
}

#[test]
fn a_missing_unix_socket_is_counted_only() {
    for (error, spans) in [(2, 0), (111, 1)] {
        let mut world = World::default();
        let (mut end, _) = pair(1, 10, 20);
        end.family = 1;
        world.connect(&end, ids(1, 1, None));
        world.state(&end, SYN_SENT, CLOSE, error);
        let outcome = world.run();
        assert_eq!(outcome.spans.len(), spans);
        assert_eq!(outcome.count(Counter::ConnectNoSocket), 1 - spans as u64);
    }
}
