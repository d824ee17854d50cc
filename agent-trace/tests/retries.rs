//! Calls that are made again: attempts of one parent in, links out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{SHUT_BOTH, evidence::THREAD};
use agent_trace::counters::Counter;
use agent_trace::tracer::TracerConfig;
use support::calls::{BUSY, GET, OK, Scene, links};
use support::{End, ids, pair, text, v4};

const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const FIN_WAIT1: u8 = 4;
const CLOSE: u8 = 7;

fn post(body: &str) -> String {
    format!(
        "POST /charge HTTP/1.1\r\nHost: bank\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn the_same_call_after_a_failure_is_linked_to_the_attempt_before() {
    let with = |line: &str| format!("{line} HTTP/1.1\r\nHost: shop\r\n\r\n");
    let to = |host: &str| format!("GET /price?id=7 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let status = |code: u16| format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n");
    for (what, calls, expected) in [
        (
            "twice busy, then well",
            vec![
                (GET.to_owned(), BUSY.to_owned()),
                (GET.to_owned(), BUSY.to_owned()),
                (GET.to_owned(), OK.to_owned()),
            ],
            &["11>10:retry#1", "12>11:retry#2"][..],
        ),
        (
            "a poll",
            vec![
                (GET.to_owned(), OK.to_owned()),
                (GET.to_owned(), OK.to_owned()),
            ],
            &[],
        ),
        (
            "a success between",
            vec![
                (GET.to_owned(), BUSY.to_owned()),
                (GET.to_owned(), OK.to_owned()),
                (GET.to_owned(), OK.to_owned()),
            ],
            &["11>10:retry#1"],
        ),
        (
            "another method",
            vec![
                (GET.to_owned(), BUSY.to_owned()),
                (with("HEAD /price?id=7"), OK.to_owned()),
            ],
            &[],
        ),
        (
            "another path",
            vec![
                (GET.to_owned(), BUSY.to_owned()),
                (with("GET /prices?id=7"), OK.to_owned()),
            ],
            &[],
        ),
        (
            "another query",
            vec![
                (GET.to_owned(), BUSY.to_owned()),
                (with("GET /price?id=8"), OK.to_owned()),
            ],
            &[],
        ),
        (
            "another server",
            vec![(to("shop"), BUSY.to_owned()), (to("shop-2"), OK.to_owned())],
            &[],
        ),
        (
            "a recording's query",
            vec![
                (with("GET /price?id=x"), BUSY.to_owned()),
                (with("GET /price?id=x"), OK.to_owned()),
            ],
            &[],
        ),
        (
            "not found is an answer",
            vec![
                (GET.to_owned(), status(404)),
                (GET.to_owned(), OK.to_owned()),
            ],
            &[],
        ),
        (
            "a redirection has another target",
            vec![
                (GET.to_owned(), status(307)),
                (GET.to_owned(), OK.to_owned()),
            ],
            &[],
        ),
        (
            "too many",
            vec![
                (GET.to_owned(), status(429)),
                (GET.to_owned(), OK.to_owned()),
            ],
            &["11>10:retry#1"],
        ),
        (
            "with credentials",
            vec![
                (GET.to_owned(), status(401)),
                (GET.to_owned(), OK.to_owned()),
            ],
            &["11>10:retry#1"],
        ),
        (
            "the same body",
            vec![
                (post("{\"to\":1}"), BUSY.to_owned()),
                (post("{\"to\":1}"), OK.to_owned()),
            ],
            &["11>10:retry#1"],
        ),
        (
            "another body of that length",
            vec![
                (post("{\"to\":1}"), BUSY.to_owned()),
                (post("{\"to\":2}"), OK.to_owned()),
            ],
            &[],
        ),
        (
            "a body that was not captured whole",
            vec![
                (post(&"{\"a\":1}".repeat(999)), BUSY.to_owned()),
                (post(&"{\"a\":1}".repeat(999)), OK.to_owned()),
            ],
            &[],
        ),
        (
            "a recording's body",
            vec![
                (post("xxxxxxxx"), BUSY.to_owned()),
                (post("xxxxxxxx"), OK.to_owned()),
            ],
            &[],
        ),
    ] {
        let mut scene = Scene::new();
        scene.serve(1);
        for ((request, response), n) in calls.iter().zip(10..) {
            scene.call(1, n, request, response);
        }
        assert_eq!(links(&scene.run()), expected, "{what}");
    }
}

#[test]
fn equal_calls_of_different_parents_are_never_joined() {
    let body = post("{\"amount\":100}");
    let mut scene = Scene::new();
    scene.serve(1);
    scene.serve(2);
    // Two customers at once, each tried twice; and the second's attempts begin just after the first's failed.
    for (n, parent, response) in [
        (10, 1, BUSY),
        (20, 2, BUSY),
        (11, 1, OK),
        (21, 2, OK),
        (12, 1, BUSY),
    ] {
        scene.call(parent, n, &body, response);
    }
    // A third customer whose only attempt follows a failure of the first.
    scene.serve(3);
    scene.call(3, 30, &body, OK);
    assert_eq!(links(&scene.run()), ["11>10:retry#1", "21>20:retry#1"]);
}

#[test]
fn equal_calls_of_two_parents_in_one_trace_are_not_joined() {
    let mut scene = Scene::new();
    for parent in [1, 2] {
        scene.serve_in(1, parent, "GET /in HTTP/1.1\r\nHost: front\r\n\r\n");
    }
    scene.call(1, 10, GET, BUSY);
    // The call of parent 2 is in trace 2 for the kernel, and in its parent's trace at last.
    scene.call(2, 20, GET, OK);
    scene.call(1, 11, GET, OK);
    let outcome = scene.run();
    assert_eq!(links(&outcome), ["11>10:retry#1"]);
    assert_eq!(outcome.span(20).trace_id, outcome.span(10).trace_id);
}

#[test]
fn equal_bodies_under_concurrency_stay_with_their_parents() {
    let body = post("{\"amount\":100}");
    let mut scene = Scene::new();
    let parents: Vec<u8> = (1..=9).collect();
    for &parent in &parents {
        scene.serve(parent);
    }
    // All first attempts are open at once, all second ones too; they end in the opposite order.
    for attempt in 0..3 {
        let mut open: Vec<End> = parents
            .iter()
            .map(|&parent| scene.begin(parent, parent * 10 + attempt, &body))
            .collect();
        while let Some(client) = open.pop() {
            scene.end(client, if attempt < 2 { BUSY } else { OK });
        }
        scene.world.wait(10);
    }
    let expected: Vec<String> = parents
        .iter()
        .flat_map(|parent| {
            [1, 2].map(|attempt| {
                let n = parent * 10 + attempt;
                format!("{n}>{}:retry#{attempt}", n - 1)
            })
        })
        .collect();
    assert_eq!(links(&scene.run()), expected);
}

#[test]
fn calls_beside_each_other_repeat_nothing() {
    let mut scene = Scene::new();
    scene.serve(1);
    let first = scene.begin(1, 10, GET);
    let second = scene.begin(1, 11, GET);
    scene.end(first, BUSY);
    scene.end(second, BUSY);
    scene.call(1, 12, GET, OK);
    let outcome = scene.run();
    assert_eq!(links(&outcome), [""; 0]);
    assert_eq!(outcome.count(Counter::AttemptsBeside), 2);
}

#[test]
fn attempts_that_are_found_to_have_failed_late_come_before_their_repetition() {
    // The client gives up and closes; the next attempt is answered at once, long before the close is believed.
    let mut scene = Scene::new();
    scene.serve(1);
    let given_up = scene.begin(1, 10, GET);
    scene.world.wait(30);
    scene.world.state(&given_up, ESTABLISHED, FIN_WAIT1, 0);
    let again = scene.begin(1, 11, GET);
    scene.world.state(&given_up, FIN_WAIT1, CLOSE, 0);
    scene.end(again, OK);
    let outcome = scene.run();
    assert_eq!(links(&outcome), ["11>10:retry#1"]);
    assert_eq!(text(outcome.span(10), "error.type"), "timeout");

    // The peer acknowledges the close late, or never.
    for acknowledged in [true, false] {
        let mut scene = Scene::new();
        scene.serve(1);
        let given_up = scene.begin(1, 10, GET);
        scene.world.wait(30);
        scene
            .world
            .state_shut(&given_up, ESTABLISHED, FIN_WAIT1, 0, SHUT_BOTH);
        let again = scene.begin(1, 11, GET);
        scene.end(again, OK);
        scene.world.wait(50);
        if acknowledged {
            scene.world.state(&given_up, FIN_WAIT1, CLOSE, 0);
        }
        let outcome = scene.run();
        assert_eq!(links(&outcome), ["11>10:retry#1"], "{acknowledged}");
        assert_eq!(text(outcome.span(10), "error.type"), "timeout");
    }

    // The server closes; the client finds that out, tries again, and closes its end only then.
    let mut scene = Scene::new();
    scene.serve(1);
    let mut broken = scene.begin(1, 10, GET);
    scene.world.eof(&mut broken);
    let again = scene.begin(1, 11, GET);
    scene.world.state(&broken, ESTABLISHED, FIN_WAIT1, 0);
    scene.world.state(&broken, FIN_WAIT1, CLOSE, 0);
    scene.end(again, OK);
    assert_eq!(links(&scene.run()), ["11>10:retry#1"]);
}

/// A connection to port 8080 of address `to`, in SYN_SENT.
fn connecting(scene: &mut Scene, parent: u8, n: u8, to: u8) -> End {
    let (mut client, _) = pair(n, 20, 30);
    client.remote.0 = v4(to);
    let of = (parent > 0).then_some((parent, THREAD));
    scene.world.connect(&client, ids(parent.max(1), n, of));
    client
}

#[test]
fn a_failed_connection_attempt_is_linked_from_what_follows_it() {
    for (what, second_parent, second_to, new_connection, expected) in [
        ("refused, then well", 1, 2, true, &["12>11:retry#1"][..]),
        ("of another parent", 2, 2, true, &[]),
        ("without a parent", 0, 2, true, &[]),
        ("to another address", 1, 3, true, &[]),
        ("on a connection that was there", 1, 2, false, &[]),
    ] {
        let mut scene = Scene::new();
        scene.serve(1);
        scene.serve(2);
        let kept = connecting(&mut scene, 1, 12, second_to);
        if !new_connection {
            scene.world.state(&kept, SYN_SENT, ESTABLISHED, 0);
        }
        let refused = connecting(&mut scene, 1, 11, 2);
        scene.world.state(&refused, SYN_SENT, CLOSE, 111);
        let client = if new_connection {
            let mut again = connecting(&mut scene, second_parent, 12, second_to);
            again.socket.sk += 7;
            scene.world.connect(&again, ids(1, 12, None));
            scene.world.state(&again, SYN_SENT, ESTABLISHED, 0);
            again
        } else {
            kept
        };
        let client = scene.begin_on(client, second_parent, 12, GET);
        scene.end(client, OK);
        assert_eq!(links(&scene.run()), expected, "{what}");
    }
}

#[test]
fn what_comes_after_a_kept_connection_repeats_no_failed_attempt() {
    let mut scene = Scene::new();
    scene.serve(1);
    let kept = connecting(&mut scene, 1, 10, 2);
    scene.world.state(&kept, SYN_SENT, ESTABLISHED, 0);
    let refused = connecting(&mut scene, 1, 11, 2);
    scene.world.state(&refused, SYN_SENT, CLOSE, 111);
    let kept = scene.begin_on(kept, 1, 10, GET);
    scene.end(kept, OK);
    let client = connecting(&mut scene, 1, 12, 2);
    scene.world.state(&client, SYN_SENT, ESTABLISHED, 0);
    let client = scene.begin_on(client, 1, 12, &GET.replace("id=7", "id=8"));
    scene.end(client, OK);
    // The first exchange on a connection counts as made with it; here the connection is older than the failure.
    assert_eq!(links(&scene.run()), [""; 0]);
}

#[test]
fn a_parent_that_only_a_header_names_makes_no_attempts() {
    let header = format!("traceparent: 00-{}-{}-01", "07".repeat(16), "08".repeat(8));
    let request = GET.replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    let mut scene = Scene::new();
    scene.call(0, 10, &request, BUSY);
    scene.call(0, 11, &request, OK);
    let outcome = scene.run();
    assert_eq!(links(&outcome), [""; 0]);
    assert_eq!(
        outcome.span(10).parent_span_id,
        outcome.span(11).parent_span_id
    );
}

#[test]
fn attempts_of_both_kinds_are_counted_together() {
    let mut scene = Scene::new();
    scene.serve(1);
    scene.call(1, 10, GET, BUSY);
    let refused = connecting(&mut scene, 1, 11, 2);
    scene.world.state(&refused, SYN_SENT, CLOSE, 111);
    let client = connecting(&mut scene, 1, 12, 2);
    scene.world.state(&client, SYN_SENT, ESTABLISHED, 0);
    let client = scene.begin_on(client, 1, 12, GET);
    scene.end(client, OK);
    // The attempt directly before is the connection's.
    assert_eq!(links(&scene.run()), ["12>11:retry#2"]);
}

#[test]
fn spans_that_are_left_out_are_nobodys_attempt_before() {
    let mut scene = Scene::new();
    scene.serve(1);
    scene.call(1, 10, GET, BUSY);
    scene.call(1, 11, GET, OK);
    let outcome = scene.run_with(TracerConfig {
        ignore_paths: vec!["/price".to_owned()],
        ..TracerConfig::default()
    });
    assert_eq!(outcome.spans.len(), 1);
}
