//! Attempts in, the attempt before out.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Attempt, Attempts, Chain, KEEP_NS};
use crate::counters::{Counter, Counters};
use crate::span::{SpanId, TraceId};

const OK: bool = false;
const FAILED: bool = true;

/// Attempts as (chain, span, began, ended, failed); out: `span<before#count` for each that repeats another one.
fn noted(limit: usize, attempts: &[(u64, u8, u64, u64, bool)]) -> (Vec<String>, Counters) {
    let mut table = Attempts::new(limit);
    let mut counters = Counters::default();
    let lines = attempts
        .iter()
        .filter_map(|&(chain, span, began_ns, ended_ns, failed)| {
            table.sweep(ended_ns);
            let attempt = Attempt {
                span: SpanId([span; 8]),
                trace: TraceId([1; 16]),
                began_ns,
                ended_ns,
                failed,
            };
            let before = table.note(Chain(chain), attempt, &mut counters)?;
            Some(format!("{span}<{}#{}", before.span.0[0], before.count))
        })
        .collect();
    (lines, counters)
}

#[test]
fn what_repeats_what() {
    const FAR: u64 = 10 + KEEP_NS;
    for (what, attempts, expected) in [
        (
            "two failures, then a success, then another call",
            &[
                (7, 1, 0, 10, FAILED),
                (7, 2, 10, 20, FAILED),
                (7, 3, 25, 30, OK),
                (7, 4, 35, 40, OK),
            ][..],
            &["2<1#1", "3<2#2"][..],
        ),
        (
            "a success in between",
            &[
                (7, 1, 0, 10, FAILED),
                (7, 2, 20, 30, OK),
                (7, 3, 40, 50, FAILED),
                (7, 4, 60, 70, OK),
            ],
            &["2<1#1", "4<3#1"],
        ),
        (
            "successes only",
            &[(7, 1, 0, 10, OK), (7, 2, 20, 30, OK)],
            &[],
        ),
        (
            "two chains side by side",
            &[
                (7, 1, 0, 10, FAILED),
                (8, 2, 1, 11, FAILED),
                (8, 3, 12, 15, OK),
                (7, 4, 12, 16, OK),
            ],
            &["3<2#1", "4<1#1"],
        ),
        (
            "beside each other",
            &[(7, 1, 0, 10, FAILED), (7, 2, 9, 20, FAILED)],
            &[],
        ),
        (
            "which of two that ran beside each other is repeated is not known",
            &[
                (7, 1, 0, 10, FAILED),
                (7, 2, 5, 12, FAILED),
                (7, 3, 20, 30, OK),
                (7, 4, 21, 31, OK),
            ],
            &[],
        ),
        (
            "just young enough",
            &[(7, 1, 0, 10, FAILED), (7, 2, 11, FAR, OK)],
            &["2<1#1"],
        ),
        (
            "too old",
            &[(7, 1, 0, 10, FAILED), (7, 2, 11, FAR + 1, OK)],
            &[],
        ),
    ] {
        assert_eq!(noted(100, attempts).0, expected, "{what}");
    }
}

#[test]
fn the_oldest_chain_makes_room() {
    let (lines, counters) = noted(
        2,
        &[
            (7, 1, 0, 1, FAILED),
            (8, 2, 1, 2, FAILED),
            (9, 3, 2, 3, FAILED),
            (7, 4, 5, 6, OK),
            (8, 5, 6, 7, OK),
            (9, 6, 7, 8, OK),
        ],
    );
    assert_eq!(lines, ["5<2#1", "6<3#1"]);
    assert_eq!(counters.get(Counter::AttemptsFull), 1);
}
