//! Responses to requests that were not seen, and what becomes of the exchanges after them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_trace::counters::Counter;
use support::talk::{ANSWER_TO_HEAD, Talk, UNTIL_THE_CLOSE, WITHOUT_BODY, answer, get};
use support::{World, ids, text};

const STRAYS: [&[u8]; 3] = [ANSWER_TO_HEAD, UNTIL_THE_CLOSE, WITHOUT_BODY];
/// In the order of records, or only after the linger time.
const WAITS_MS: [u64; 2] = [0, 300];

/// What the path of each span asked for, and its status.
fn statuses(world: &World) -> Vec<String> {
    let outcome = world.run();
    assert_eq!(outcome.count(Counter::ResponseWithoutRequest), 1);
    let mut statuses: Vec<String> = outcome
        .spans
        .iter()
        .map(|span| {
            let url = text(span, "url.path") + &text(span, "url.full");
            let asked = url.trim_end_matches('-').rsplit('/').next().unwrap();
            format!("{asked} {}", text(span, "http.response.status_code"))
        })
        .collect();
    statuses.sort();
    statuses
}

#[test]
fn a_stray_response_takes_no_byte_of_the_next_answer() {
    for (stray, wait_ms) in STRAYS
        .iter()
        .flat_map(|stray| WAITS_MS.map(|ms| (stray, ms)))
    {
        for mut talk in Talk::both() {
            talk.lose_request(&get(201));
            talk.response(stray);
            talk.world.wait(wait_ms);
            talk.request(&get(202), Some(ids(1, 1, None)));
            talk.response(&answer(202));
            talk.request(&get(203), Some(ids(2, 2, None)));
            talk.response(&answer(203));
            assert_eq!(
                statuses(&talk.world),
                ["202 202", "203 203"],
                "{} {wait_ms}",
                stray.escape_ascii()
            );
        }
    }
}

#[test]
fn a_stray_response_that_is_recorded_after_the_next_request_takes_no_byte_of_its_answer() {
    for stray in STRAYS {
        for mut talk in Talk::both() {
            talk.lose_request(&get(201));
            let late = talk.late_response(stray);
            talk.request(&get(202), Some(ids(1, 1, None)));
            talk.world.push(&late);
            talk.response(&answer(202));
            assert_eq!(
                statuses(&talk.world),
                ["202 202"],
                "{}",
                stray.escape_ascii()
            );
        }
    }
}

#[test]
fn a_stray_response_does_not_come_between_two_requests_that_were_sent_after_it() {
    for wait_ms in WAITS_MS {
        // The kernel makes ids for the first request of a burst; those may be missing too.
        for first in [Some(ids(1, 1, None)), None] {
            for mut talk in Talk::both() {
                talk.request(&get(200), Some(ids(9, 9, None)));
                talk.response(&answer(200));
                talk.lose_request(&get(201));
                talk.response(WITHOUT_BODY);
                talk.world.wait(wait_ms);
                talk.request(&get(202), first);
                talk.request(&get(203), None);
                talk.response(&answer(202));
                talk.response(&answer(203));
                assert_eq!(
                    statuses(&talk.world),
                    ["200 200", "202 202", "203 203"],
                    "{first:?} {wait_ms}"
                );
            }
        }
    }
}
