//! Go: work that passes from one goroutine to another, many requests at once.
//!
//! Always holds: a call's path has the id of the request it was made for, so a wrong parent is seen whatever the others do.

use std::time::Duration;

use suture_tests::check::{Complaints, of_process};
use suture_tests::client::get_all;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::compiled;
use suture_tests::{Kind, ReceivedSpan, Scene};

use super::parents::{Expected, Parent, of_calls};

fn calls_have_parents(name: &str, calls: usize, parent: Parent, in_flight: usize) {
    let scene = Scene::open().unwrap();
    // (http.server sends head and body apart: a client that acknowledges late waits 40 ms for each call.)
    let leaf = compiled::go_late(4).unwrap();
    let victim = compiled::go_units(Some(&leaf)).unwrap();
    let expected = Expected {
        calls,
        parent,
        is_asked_ahead: false,
    };
    of_calls(&scene, &victim, name, expected, in_flight);
}

macro_rules! handed_over {
    ($($test:ident: $name:literal, $calls:literal, $parent:ident;)+) => {
        $(#[test]
        fn $test() {
            for in_flight in [1, 64] {
                calls_have_parents($name, $calls, Parent::$parent, in_flight);
            }
        })+
    };
}

handed_over! {
    goroutines_of_goroutines_call_for_the_request: "fan", 6, Its;
    goroutines_that_wait_for_a_token_and_a_timer_call_for_the_request: "limit", 4, Its;
    a_goroutine_that_outlives_the_answer_calls_for_the_request: "after", 2, Its;
    a_call_after_the_beginning_of_the_answer_is_the_requests: "stream", 1, Its;
    a_request_written_by_hand_is_the_requests: "raw", 1, Its;
    a_request_written_by_hand_in_a_goroutine_is_the_requests: "rawspawn", 1, Its;
    a_copied_request_is_the_requests: "clone", 2, Its;
    a_pool_that_the_first_request_starts_never_calls_for_it_alone: "pool", 1, ItsOrNone;
    goroutines_made_on_demand_and_kept_never_call_for_an_old_request: "demand", 1, ItsOrNone;
    a_queue_behind_a_condition_gives_no_wrong_parent: "queue", 1, ItsOrNone;
    a_loop_that_the_first_request_starts_is_not_part_of_it: "lazy", 1, Its;
}

#[test]
fn refused_connections_are_the_requests_even_when_they_wait_for_each_other() {
    let scene = Scene::open().unwrap();
    // (http.server sends head and body apart: a client that acknowledges late waits 40 ms for each call.)
    let leaf = compiled::go_late(4).unwrap();
    let victim = compiled::go_units(Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    let ids = unique_ids(times(100));
    // Nothing listens on port 1.
    let path = |id: &String| format!("/refused/{id}?at=127.0.0.1:1");
    let paths: Vec<String> = ids.iter().map(path).collect();
    get_all(victim.port, &paths, 16).unwrap();
    let pids = victim.pids();
    let is_attempt = |span: &ReceivedSpan| span.kind == Kind::Client && of_process(span, &pids);
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(|span| is_attempt(span)).count() >= 2 * ids.len(),
        Duration::from_secs(10),
    );
    let spans = scene.receiver().settle(Duration::from_millis(500));
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for id in &ids {
        let own = complaints.only("SERVER span", &spans, |span| {
            span.kind == Kind::Server && span.path() == format!("/refused/{id}")
        });
        let Some(own) = own else { continue };
        // An attempt has no path; but each request made two.
        let of_it =
            |span: &&ReceivedSpan| is_attempt(span) && span.parent.as_ref() == Some(&own.span_id);
        let attempts = spans.iter().filter(of_it).count();
        complaints.unless(attempts == 2, || {
            format!("{attempts} attempts instead of 2 under {}", own.line())
        });
    }
    complaints.verdict("refused connections").unwrap();
}
