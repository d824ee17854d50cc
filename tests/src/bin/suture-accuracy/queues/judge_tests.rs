//! Hand-made spans of one or two jobs, and what is right, linked, a root, wrong, missing or doubled about them.

use std::collections::BTreeMap;

use suture_tests::span::{ReceivedLink, StatusCode};
use suture_tests::{Kind, ReceivedSpan, Value};

use super::judge::{Job, Measured, Session};
use crate::score::Score;

const BROKER: u16 = 6379;

/// A span of trace `trace`; messages have the broker's port, others a path.
fn span(kind: Kind, trace: u8, id: u8, parent: Option<u8>, path: &str) -> ReceivedSpan {
    let mut attributes = BTreeMap::new();
    if path.is_empty() {
        attributes.insert("server.port".to_owned(), Value::Int(i64::from(BROKER)));
    } else {
        attributes.insert("url.path".to_owned(), Value::Str(path.to_owned()));
    }
    ReceivedSpan {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent: parent.map(|id| vec![id; 8]),
        trace_state: String::new(),
        flags: 0,
        kind,
        name: String::new(),
        start: u64::from(id),
        end: u64::from(id),
        status: StatusCode::Unset,
        status_message: String::new(),
        attributes,
        repeated_keys: Vec::new(),
        resource: BTreeMap::new(),
        links: Vec::new(),
    }
}

/// Job `a`: its request 1, message 2, work 3, calls 4 and 5.
fn story() -> Vec<ReceivedSpan> {
    vec![
        span(Kind::Server, 1, 1, None, "/put/work/a"),
        span(Kind::Producer, 1, 2, Some(1), ""),
        span(Kind::Consumer, 1, 3, Some(2), ""),
        span(Kind::Client, 1, 4, Some(3), "/leaf/a/0"),
        span(Kind::Client, 1, 5, Some(3), "/leaf/a/1"),
    ]
}

/// The same, tried twice by redelivery: work 3 with call 4, work 6 with call 7.
fn retried() -> Vec<ReceivedSpan> {
    let mut second = span(Kind::Consumer, 1, 6, Some(2), "");
    second.links.push(ReceivedLink {
        trace_id: vec![1; 16],
        span_id: vec![3; 8],
        attributes: BTreeMap::new(),
    });
    let mut spans = story();
    spans.truncate(4);
    spans.extend([second, span(Kind::Client, 1, 7, Some(6), "/leaf/a/1")]);
    spans
}

fn judged(spans: &[ReceivedSpan], fails_once: bool) -> Measured {
    let job = Job {
        id: "a".to_owned(),
        kind: "work",
        fails_once,
        calls: 2,
        is_put_again: false,
    };
    Session::sort(spans, BROKER).judge(&(0..100), &[job])
}

/// right, link, root, wrong, missing, doubled
fn six(score: &Score) -> [usize; 6] {
    [
        score.right,
        score.link,
        score.root,
        score.wrong,
        score.missing,
        score.doubled,
    ]
}

#[test]
fn messages_work_and_calls_are_right_root_wrong_missing_or_doubled() {
    let changed = |change: fn(&mut Vec<ReceivedSpan>)| {
        let mut spans = story();
        change(&mut spans);
        spans
    };
    let right = [1, 0, 0, 0, 0, 0];
    let root = [0, 0, 1, 0, 0, 0];
    let missing = [0, 0, 0, 0, 1, 0];
    let both = [2, 0, 0, 0, 0, 0];
    for (what, spans, puts, work, calls, whole) in [
        ("all right", story(), right, right, both, 2),
        (
            "the message is a root: what is below it is right, in a trace of its own",
            changed(|spans| {
                spans[1].parent = None;
                spans[1..]
                    .iter_mut()
                    .for_each(|span| span.trace_id = vec![7; 16]);
            }),
            root,
            right,
            both,
            0,
        ),
        (
            "the work is a root",
            changed(|spans| {
                spans[2].parent = None;
                spans[2..]
                    .iter_mut()
                    .for_each(|span| span.trace_id = vec![7; 16]);
            }),
            right,
            root,
            both,
            0,
        ),
        (
            "a call is a root",
            changed(|spans| {
                spans[4].parent = None;
                spans[4].trace_id = vec![7; 16];
            }),
            right,
            right,
            [1, 0, 1, 0, 0, 0],
            1,
        ),
        (
            "a call is below nothing that came",
            changed(|spans| spans[4].parent = Some(vec![8; 8])),
            right,
            right,
            [1, 0, 0, 1, 0, 0],
            1,
        ),
        (
            "no message",
            changed(|spans| drop(spans.remove(1))),
            missing,
            [0, 0, 0, 1, 0, 0],
            both,
            2,
        ),
        (
            "no work",
            changed(|spans| spans.truncate(2)),
            right,
            missing,
            [0, 0, 0, 0, 2, 0],
            0,
        ),
        (
            "twice the work",
            changed(|spans| spans.push(span(Kind::Consumer, 1, 8, Some(2), ""))),
            right,
            [1, 0, 0, 0, 0, 1],
            both,
            2,
        ),
        (
            "given to another member meanwhile, and linked",
            changed(|spans| {
                spans.push(span(Kind::Consumer, 1, 8, Some(2), ""));
                spans[5].links.push(ReceivedLink {
                    trace_id: vec![1; 16],
                    span_id: vec![3; 8],
                    attributes: BTreeMap::new(),
                });
            }),
            right,
            right,
            both,
            2,
        ),
        (
            "another job's call below the work",
            changed(|spans| {
                spans.truncate(3);
                spans.push(span(Kind::Client, 1, 8, Some(3), "/leaf/b/0"));
            }),
            right,
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 2, 0],
            0,
        ),
    ] {
        let measured = judged(&spans, false);
        assert_eq!(six(&measured.puts), puts, "messages: {what}");
        assert_eq!(six(&measured.work), work, "work: {what}");
        assert_eq!(six(&measured.calls), calls, "calls: {what}");
        assert_eq!(measured.whole, whole, "in the request's trace: {what}");
    }
}

#[test]
fn two_messages_that_are_roots_of_one_trace_are_wrong() {
    let mut spans = story();
    spans[1].parent = None;
    spans[1..]
        .iter_mut()
        .for_each(|span| span.trace_id = vec![7; 16]);
    spans.push(span(Kind::Producer, 7, 8, None, ""));
    assert_eq!(judged(&spans, false).puts.wrong, 1);
}

#[test]
fn retries_are_linked_to_the_attempt_before_and_to_nothing_else() {
    let linked_to = |to: Option<u8>| {
        let mut spans = retried();
        spans[4].links.truncate(usize::from(to.is_some()));
        if let (Some(link), Some(to)) = (spans[4].links.first_mut(), to) {
            link.span_id = vec![to; 8];
        }
        spans
    };
    for (to, links) in [
        (Some(3), [1, 0, 0, 0, 0, 0]),
        (None, [0, 0, 1, 0, 0, 0]),
        (Some(77), [0, 0, 0, 1, 0, 0]),
    ] {
        let measured = judged(&linked_to(to), true);
        assert_eq!(six(&measured.links), links, "{to:?}");
        assert_eq!(six(&measured.calls), [2, 0, 0, 0, 0, 0], "{to:?}");
    }
    let mut swapped = retried();
    swapped[5].parent = Some(vec![3; 8]);
    assert_eq!(judged(&swapped, true).calls.wrong, 1);
}

#[test]
fn work_that_ends_long_after_its_last_call_is_late() {
    let mut spans = story();
    assert_eq!(judged(&spans, false).late, 0);
    spans[2].end += 400_000_000;
    assert_eq!(judged(&spans, false).late, 1);
}
