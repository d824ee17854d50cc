//! Requests with headers in, links by key out.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{First, KEEP_NS, Keys, TRACES_MAX};
use crate::counters::{Counter, Counters};
use crate::span::{SpanId, TraceId};

const KEY: &str = "idempotency-key";
const SECOND: u64 = 1_000_000_000;

/// A request: (trace, span, parent or 0, header, value, second in which it began and was over).
type Case<'a> = (u8, u8, u8, &'a str, &'a str, u64);

/// `span>first` for each request that is linked. Heads come first, as on a wire.
fn linked(limit: usize, requests: &[Case<'_>]) -> (Vec<String>, Counters) {
    let mut keys = Keys::new(1, limit, &["X-Order".to_owned()], &["x-kept".to_owned()]);
    let mut counters = Counters::default();
    for &(_, span, _, name, value, second) in requests {
        let mut extra = vec![(name.to_owned(), value.to_owned())];
        keys.carry(SpanId([span; 8]), &mut extra, second * SECOND);
    }
    let mut lines = Vec::new();
    for &(trace, span, parent, _, _, second) in requests {
        let of = First {
            span: SpanId([span; 8]),
            trace: TraceId([trace; 16]),
        };
        let parent = (parent > 0).then_some(SpanId([parent; 8]));
        let now_ns = second * SECOND;
        for first in keys.note(of, parent, now_ns, now_ns, &mut counters) {
            lines.push(format!("{span}>{}", first.span.0[0]));
        }
    }
    (lines, counters)
}

#[test]
fn the_first_request_with_a_key_is_linked() {
    for (what, requests, expected) in [
        (
            "later, in another trace",
            &[
                (1, 1, 0, KEY, "order-4711", 1),
                (2, 2, 0, KEY, "order-4711", 600),
            ][..],
            &["2>1"][..],
        ),
        (
            "a key that the user named",
            &[
                (1, 1, 0, "x-order", "order-4711", 1),
                (2, 2, 0, "x-order", "order-4711", 2),
            ],
            &["2>1"],
        ),
        (
            "always the first one",
            &[
                (1, 1, 0, KEY, "order-4711", 1),
                (2, 2, 0, KEY, "order-4711", 2),
                (3, 3, 0, KEY, "order-4711", 3),
            ],
            &["2>1", "3>1"],
        ),
        (
            "another value",
            &[
                (1, 1, 0, KEY, "order-4711", 1),
                (2, 2, 0, KEY, "order-4712", 2),
            ],
            &[],
        ),
        (
            "another header",
            &[
                (1, 1, 0, KEY, "order-4711", 1),
                (2, 2, 0, "x-order", "order-4711", 2),
            ],
            &[],
        ),
        (
            "a header nobody named",
            &[
                (1, 1, 0, "x-kept", "order-4711", 1),
                (2, 2, 0, "x-kept", "order-4711", 2),
            ],
            &[],
        ),
        (
            "the same trace",
            &[
                (1, 1, 0, KEY, "order-4711", 1),
                (1, 2, 9, KEY, "order-4711", 2),
            ],
            &[],
        ),
        (
            "passed on: neither the call nor its server, but the request with which it came in",
            // Inner spans end first.
            &[
                (1, 3, 2, KEY, "order-4711", 1),
                (1, 2, 1, KEY, "order-4711", 1),
                (1, 1, 0, KEY, "order-4711", 1),
                (2, 6, 5, KEY, "order-4711", 9),
                (2, 5, 4, KEY, "order-4711", 9),
                (2, 4, 0, KEY, "order-4711", 9),
            ],
            &["4>1"],
        ),
        (
            "too short",
            &[(1, 1, 0, KEY, "order-1", 1), (2, 2, 0, KEY, "order-1", 2)],
            &[],
        ),
        (
            "of few letters",
            &[
                (1, 1, 0, KEY, "00000000-0000", 1),
                (2, 2, 0, KEY, "00000000-0000", 2),
            ],
            &[],
        ),
        (
            "no key at all",
            &[
                (1, 1, 0, KEY, "undefined", 1),
                (2, 2, 0, KEY, "undefined", 2),
            ],
            &[],
        ),
        (
            "hidden in a recording",
            &[
                (1, 1, 0, KEY, "xxxxxxxxxx", 1),
                (2, 2, 0, KEY, "xxxxxxxxxx", 2),
            ],
            &[],
        ),
    ] {
        assert_eq!(linked(100, requests).0, expected, "{what}");
    }
}

#[test]
fn a_value_that_many_traces_share_is_no_key() {
    let requests: Vec<Case<'_>> = (1..=40)
        .map(|n| (n, n, 0, KEY, "tenant-0815", u64::from(n)))
        .collect();
    let (lines, counters) = linked(100, &requests);
    assert_eq!(lines.len(), TRACES_MAX - 1);
    assert_eq!(counters.get(Counter::KeyShared), 40 - TRACES_MAX as u64);
}

#[test]
fn keys_are_bounded_and_kept_while_they_are_used() {
    let values: Vec<String> = (0..10).map(|n| format!("order-{n:04}")).collect();
    let mut requests: Vec<Case<'_>> = values
        .iter()
        .zip(1..)
        .map(|(value, n)| (n, n, 0, KEY, value.as_str(), 1))
        .collect();
    let (_, counters) = linked(4, &requests);
    // The same limit holds for what requests carry: six of ten were put down before.
    assert_eq!(counters.get(Counter::KeysFull), 0);
    requests.truncate(1);

    let mut keys = Keys::new(1, 4, &[], &[]);
    let mut counters = Counters::default();
    let mut meet = |keys: &mut Keys, n: u8, at: u64| {
        let mut extra = vec![(KEY.to_owned(), "order-4711".to_owned())];
        keys.carry(SpanId([n; 8]), &mut extra, at);
        let of = First {
            span: SpanId([n; 8]),
            trace: TraceId([n; 16]),
        };
        let found = keys.note(of, None, at, at, &mut counters);
        keys.sweep(at, &mut counters);
        found.len()
    };
    assert_eq!(meet(&mut keys, 1, SECOND), 0);
    assert_eq!(meet(&mut keys, 2, KEEP_NS), 1, "young enough");
    assert_eq!(meet(&mut keys, 3, KEEP_NS + 2 * SECOND), 1, "used since");
    keys.sweep(3 * KEEP_NS, &mut Counters::default());
    assert_eq!(meet(&mut keys, 4, 3 * KEEP_NS), 0, "forgotten");
}

#[test]
fn what_only_keys_need_of_a_head_is_taken_out() {
    let mut keys = Keys::new(
        1,
        4,
        &["x-order".to_owned()],
        &["X-Kept".to_owned(), "x-order".to_owned()],
    );
    assert_eq!(keys.headers(), [KEY, "x-order", "x-kept"]);
    let header = |name: &str| (name.to_owned(), "order-4711".to_owned());
    let mut extra = vec![header(KEY), header("x-order"), header("x-kept")];
    keys.carry(SpanId([1; 8]), &mut extra, 1);
    assert_eq!(extra, [header("x-order"), header("x-kept")]);
}
