//! Rust on tokio: axum calls through reqwest, many requests at once, in one task and in others.
//!
//! Always holds: a call's path has the id of the request it was made for, so a wrong parent is seen whatever the others do.

use std::collections::BTreeMap;
use std::time::Duration;

use suture_tests::check::{Complaints, of_process};
use suture_tests::client::get_all;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::compiled;
use suture_tests::victims::servers::{Tokio, axum};
use suture_tests::{Kind, ReceivedSpan, Scene};

/// Asks for shapes of calls on one program, one shape after the other: name, calls for each request, and how many percent of them must
/// have their parent. None may have another's.
fn calls_have_parents(runtime: Tokio, in_flight: usize, shapes: &[(&str, usize, usize)]) {
    let scene = Scene::open().unwrap();
    // Its backlog holds what dials at once.
    let leaf = compiled::go(None).unwrap();
    let victim = axum(runtime, &leaf).unwrap();
    let agent = scene.agent().start().unwrap();
    let mut asked = Vec::new();
    for (name, ..) in shapes {
        let paths = |count: usize| -> Vec<String> {
            let ids = unique_ids(count);
            ids.iter().map(|id| format!("/work/{name}/{id}")).collect()
        };
        // The first tasks of a type are nobody's.
        for path in paths(4) {
            get_all(victim.port, &[path], 1).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        let measured = paths(times(20 + 3 * in_flight).max(in_flight));
        get_all(victim.port, &measured, in_flight).unwrap();
        asked.push(measured);
    }
    let spans = scene.receiver().settle(Duration::from_secs(1));
    agent.stop().unwrap();
    let pids = victim.pids();
    let of_victim = |span: &&ReceivedSpan, kind| span.kind == kind && of_process(span, &pids);
    let served: BTreeMap<&str, &ReceivedSpan> = spans
        .iter()
        .filter(|span| of_victim(span, Kind::Server))
        .map(|span| (span.path(), span))
        .collect();
    let mut complaints = Complaints::default();
    for ((name, calls, percent), paths) in shapes.iter().zip(&asked) {
        let (mut right, mut roots) = (0, 0);
        for span in spans.iter().filter(|span| of_victim(span, Kind::Client)) {
            let id = span.path().split('/').nth(2).unwrap_or_default();
            let path = format!("/work/{name}/{id}");
            if !paths.contains(&path) {
                continue;
            }
            let own = served.get(path.as_str());
            match (&span.parent, own) {
                (None, _) => roots += 1,
                (Some(parent), Some(own))
                    if *parent == own.span_id && span.trace_id == own.trace_id =>
                {
                    right += 1
                }
                _ => complaints.unless(false, || format!("wrong parent: {}", span.line())),
            }
        }
        println!("{runtime:?} {name}, {in_flight} in flight: {right} right, {roots} roots");
        let all = calls * paths.len();
        complaints.unless(right + roots == all, || {
            format!("{name}: {} calls instead of {all}", right + roots)
        });
        complaints.unless(right * 100 >= all * percent, || {
            format!("{name}: {right} of {all} are right, not {percent} %")
        });
    }
    complaints.verdict("tokio's tasks").unwrap();
}

/// What a request does in its own task, and in tasks that it made.
const SHAPES: &[(&str, usize, usize)] = &[
    ("seq", 3, 95),
    ("select", 3, 95),
    ("lock", 2, 95),
    ("timer", 2, 95),
    ("fanout", 4, 95),
    ("pool", 3, 95),
    // After the answer a task that it made may have got work that is not seen.
    ("background", 1, 0),
];

#[test]
fn tasks_call_for_the_request_they_serve_or_were_made_for() {
    for in_flight in [1, 64] {
        calls_have_parents(Tokio::Threads, in_flight, SHAPES);
    }
}

#[test]
fn tasks_on_one_thread_call_for_the_request_they_serve_or_were_made_for() {
    calls_have_parents(Tokio::Current, 64, SHAPES);
}

#[test]
fn a_task_that_the_first_request_starts_never_calls_for_it_alone() {
    for runtime in [Tokio::Threads, Tokio::Current] {
        calls_have_parents(runtime, 64, &[("lazy", 2, 0), ("handover", 2, 0)]);
        // The same type of task serves one request alone before it serves all.
        calls_have_parents(runtime, 64, &[("own", 2, 0), ("handover", 2, 0)]);
    }
}

#[test]
fn tasks_of_a_stripped_program_are_roots() {
    calls_have_parents(Tokio::Stripped, 64, &[("seq", 3, 0), ("fanout", 4, 0)]);
}
