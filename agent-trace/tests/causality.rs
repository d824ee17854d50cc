//! Who is whose parent, and on what evidence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::evidence::{SOCKET, THREAD, TURN};
use agent_trace::counters::Counter;
use agent_trace::tracer::TracerConfig;
use support::chain::{Chain, OK, chain, edges, request};
use support::{End, Outcome, World, ids, pair};

#[test]
fn edges_follow_the_evidence() {
    let plain = || request("/", None, "01");
    let header = |t, p| request("/", Some((t, p)), "01");
    for (what, first, second, call, expect) in [
        (
            "no header",
            plain(),
            plain(),
            Some((2, THREAD)),
            [
                "1: 1<-:none",
                "2: 1<1:socket",
                "3: 1<2:thread",
                "4: 1<3:socket",
            ],
        ),
        (
            "turn",
            plain(),
            plain(),
            Some((2, TURN)),
            [
                "1: 1<-:none",
                "2: 1<1:socket",
                "3: 1<2:turn",
                "4: 1<3:socket",
            ],
        ),
        (
            "no context",
            plain(),
            plain(),
            None,
            [
                "1: 1<-:none",
                "2: 1<1:socket",
                "3: 3<-:none",
                "4: 3<3:socket",
            ],
        ),
        // curl's own header names a parent outside; the front knows it by the header.
        (
            "header in",
            header(0xaa, 0xbb),
            plain(),
            Some((2, THREAD)),
            [
                "1: aa<bb:header",
                "2: aa<bb:header",
                "3: aa<2:thread",
                "4: aa<3:socket",
            ],
        ),
        // The front passes the header on unchanged: sockets and threads are nearer than it.
        (
            "forwarded",
            header(0xaa, 0xbb),
            header(0xaa, 0xbb),
            Some((2, TURN)),
            [
                "1: aa<bb:header",
                "2: aa<bb:header",
                "3: aa<2:turn",
                "4: aa<3:socket",
            ],
        ),
        // Passed on without thread evidence: the header is all there is.
        (
            "forwarded without context",
            header(0xaa, 0xbb),
            header(0xaa, 0xbb),
            None,
            [
                "1: aa<bb:header",
                "2: aa<bb:header",
                "3: aa<bb:header",
                "4: aa<bb:header",
            ],
        ),
        // A library in the front made a header of its own.
        (
            "library",
            header(0xaa, 0xbb),
            header(0xaa, 0xcc),
            Some((2, THREAD)),
            [
                "1: aa<bb:header",
                "2: aa<bb:header",
                "3: aa<cc:header",
                "4: aa<cc:header",
            ],
        ),
        (
            "library's own trace",
            plain(),
            header(0xdd, 0xcc),
            Some((2, THREAD)),
            [
                "1: 1<-:none",
                "2: 1<1:socket",
                "3: dd<cc:header",
                "4: dd<cc:header",
            ],
        ),
    ] {
        let outcome = chain(
            &Chain {
                first,
                second,
                call,
                remote: false,
            },
            TracerConfig::default(),
        );
        assert_eq!(edges(&outcome, &[1, 2, 3, 4]), expect, "{what}");
        assert_eq!(outcome.counted(), ["spans_emitted=4"], "{what}");
    }
}

#[test]
fn invalid_headers_are_ignored_and_counted() {
    let first = b"GET / HTTP/1.1\r\ntraceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n\r\n".to_vec();
    let outcome = chain(
        &Chain {
            first,
            second: request("/", None, "01"),
            call: Some((2, THREAD)),
            remote: false,
        },
        TracerConfig::default(),
    );
    assert_eq!(edges(&outcome, &[2]), ["2: 1<1:socket"]);
    assert_eq!(outcome.count(Counter::TraceparentInvalid), 2);
}

/// A call made under exchange 2, whose own record is as `front` does it.
fn call_under(front: impl Fn(&mut World, &mut End)) -> Outcome {
    let mut world = World::default();
    let (_, mut server) = pair(1, 10, 20);
    let (mut call, _) = pair(2, 20, 30);
    world.conn(&server);
    world.conn(&call);
    front(&mut world, &mut server);
    world.write(
        &mut call,
        &request("/", None, "01"),
        Some(ids(1, 3, Some((2, THREAD)))),
    );
    world.read(&mut call, OK, None);
    world.run()
}

#[test]
fn an_exchange_that_is_not_known_is_nobodys_parent() {
    let lost = call_under(|_, _| {});
    assert_eq!(edges(&lost, &[3]), ["3: 1<-:none"]);
    assert_eq!(lost.counted(), ["spans_emitted=1", "parent_unknown=1"]);
    // The kernel took a body for a request.
    let bogus = call_under(|world, server| {
        world.read(
            server,
            b"POST /up HTTP/1.1\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n",
            Some(ids(8, 8, None)),
        );
        world.write(server, b"HTTP/1.1 100 Continue\r\n\r\n", None);
        world.read(server, b"GET /fake HTTP/1.1\r\n", Some(ids(1, 2, None)));
        world.write(server, OK, None);
    });
    assert_eq!(edges(&bogus, &[3]), ["3: 1<-:none"]);
    assert_eq!(
        bogus.counted(),
        [
            "spans_emitted=2",
            "kernel_guess_wrong=1",
            "parent_unknown=1"
        ]
    );
}

#[test]
fn a_root_whose_parent_was_lost_stays_in_the_trace_of_the_header() {
    // The kernel's trace 1 is known as aa from a sibling, though the parent's record is gone.
    let mut world = World::default();
    let (_, mut server) = pair(1, 10, 20);
    let (mut call, _) = pair(2, 20, 30);
    world.conn(&server);
    world.conn(&call);
    world.read(
        &mut server,
        &request("/", Some((0xaa, 0xbb)), "01"),
        Some(ids(1, 2, None)),
    );
    world.write(&mut server, OK, None);
    world.wait(1_000);
    world.write(
        &mut call,
        &request("/", None, "01"),
        Some(ids(1, 3, Some((9, THREAD)))),
    );
    world.read(&mut call, OK, None);
    assert_eq!(
        edges(&world.run(), &[2, 3]),
        ["2: aa<bb:header", "3: aa<-:none"]
    );
}

#[test]
fn a_child_whose_record_comes_first_still_finds_its_parent() {
    let mut world = World::default();
    let (mut curl, mut server) = pair(1, 10, 20);
    world.conn(&curl);
    world.conn(&server);
    let get = request("/", None, "01");
    // The client's write is recorded when its syscall returns: after the server has read, and even answered.
    let write = world.segment(&mut curl, 1, &get, Some(ids(1, 1, None)));
    world.read(&mut server, &get, Some(ids(1, 2, Some((1, SOCKET)))));
    world.write(&mut server, OK, None);
    world.read(&mut curl, OK, None);
    world.wait(100);
    world.push(&write);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET / 200 - t01 s01 p- none",
            "Server GET / 200 - t01 s02 p01 socket"
        ]
    );
    assert_eq!(outcome.counted(), ["spans_emitted=2"]);
}

#[test]
fn a_long_request_is_the_parent_of_all_its_calls() {
    let mut world = World::default();
    let (_, mut server) = pair(1, 10, 20);
    let (mut call, _) = pair(2, 20, 30);
    world.conn(&server);
    world.conn(&call);
    world.read(
        &mut server,
        &request("/slow", None, "01"),
        Some(ids(1, 2, None)),
    );
    for n in 3..6 {
        world.wait(70_000);
        world.write(
            &mut call,
            &request("/", None, "01"),
            Some(ids(1, n, Some((2, THREAD)))),
        );
        world.read(&mut call, OK, None);
    }
    world.write(&mut server, OK, None);
    assert_eq!(
        edges(&world.run(), &[2, 3, 4, 5]),
        [
            "2: 1<-:none",
            "3: 1<2:thread",
            "4: 1<2:thread",
            "5: 1<2:thread"
        ]
    );
}

#[test]
fn tracestate_is_kept_with_the_header() {
    let first = b"GET / HTTP/1.1\r\ntraceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01\r\ntracestate: v=1\r\n\r\n".to_vec();
    let outcome = chain(
        &Chain {
            first,
            second: request("/", None, "01"),
            call: Some((2, THREAD)),
            remote: true,
        },
        TracerConfig::default(),
    );
    assert_eq!(outcome.span(2).trace_state.as_deref(), Some("v=1"));
    assert!(outcome.span(2).parent_is_remote);
    assert!(!outcome.span(3).parent_is_remote);
    assert!(outcome.span(4).parent_is_remote);
}
