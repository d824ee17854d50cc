//! Whose calls asyncio makes: every way in which a Context is made, under every CPython that is installed.

use std::path::Path;
use std::time::{Duration, Instant};

use suture_tests::check::{Complaints, collect, of_process};
use suture_tests::client::{Connection, get_all, request};
use suture_tests::scene::{scaled, times, unique_id, unique_ids};
use suture_tests::victims::compiled::go;
use suture_tests::victims::python::{
    EventLoop, Tasks, contexts, event_loop, interpreter, interpreters,
};
use suture_tests::{Kind, ReceivedSpan, Scene};

/// What a call's parent must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// The request it was made for.
    Right,
    /// That one, or none.
    RightOrNone,
}

/// Shapes of `contexts_app.py`, and how many calls each makes.
const SHAPES: &[(&str, usize, Parent)] = &[
    ("own", 2, Parent::Right),
    ("gather", 3, Parent::Right),
    ("timer", 1, Parent::Right),
    ("pool", 1, Parent::Right),
    ("after", 1, Parent::Right),
    ("empty", 1, Parent::Right),
    // Of a copy of a given Context, and of a thread without one, it is not known whom they work for.
    ("copied", 1, Parent::RightOrNone),
    ("bare", 1, Parent::RightOrNone),
];

fn serves(span: &ReceivedSpan, shape: &str, id: &str) -> bool {
    span.kind == Kind::Server && span.path() == format!("/work/{shape}/{id}")
}

fn check(complaints: &mut Complaints, scene: &Scene, on: (&Path, bool), tasks: Tasks) {
    let leaf = go(None).unwrap();
    let ticks = unique_id();
    let victim = contexts(on, tasks, &ticks, &leaf).unwrap();
    // A connection that comes before its process is known and probed has calls that are roots.
    std::thread::sleep(scaled(Duration::from_millis(300)));
    let loop_name = if on.1 { "uvloop" } else { "asyncio" };
    let of = format!("{} {loop_name} {tasks:?}", on.0.display());
    let sent: Vec<(String, &str, usize, Parent)> = SHAPES
        .iter()
        .flat_map(|(shape, calls, parent)| {
            let ids = unique_ids(times(10)).into_iter();
            ids.map(|id| (id, *shape, *calls, *parent))
        })
        .collect();
    let paths: Vec<String> = sent
        .iter()
        .map(|(id, shape, ..)| format!("/work/{shape}/{id}"))
        .collect();
    let began = Instant::now();
    get_all(victim.port, &paths, 16).unwrap();
    let answered = began.elapsed();
    // What is called after the response; then the ticks end, which would keep spans coming.
    std::thread::sleep(scaled(Duration::from_millis(200)));
    let pids = victim.pids();
    drop(victim);
    let ids: Vec<&str> = sent.iter().map(|(id, ..)| id.as_str()).collect();
    let spans = collect(scene.receiver(), &ids, 4);
    for (id, shape, calls, parent) in &sent {
        let Some(server) = complaints.only(&of, &spans, |span| serves(span, shape, id)) else {
            continue;
        };
        for step in 0..*calls {
            let path = format!("/leaf/{id}/{step}");
            let what = format!("{of}, {shape}: CLIENT span of {path}");
            let Some(call) = complaints.only(&what, &spans, |span| {
                span.kind == Kind::Client && span.path() == path && of_process(span, &pids)
            }) else {
                continue;
            };
            let is_root = call.parent.is_none();
            let is_right = call.parent.as_ref() == Some(&server.span_id)
                && call.trace_id == server.trace_id
                && call.evidence() == "context";
            complaints.unless(
                is_right || (is_root && *parent == Parent::RightOrNone),
                || format!("{of}, {shape}: {}", call.line()),
            );
        }
    }
    let own = scene.receiver().settle(Duration::ZERO);
    let own: Vec<&ReceivedSpan> = own
        .iter()
        .filter(|span| span.kind == Kind::Client && span.path().contains(&ticks))
        .collect();
    println!(
        "{of}: {} spans, answered in {answered:?}, collected after {:?}",
        spans.len(),
        began.elapsed()
    );
    complaints.unless(own.len() > 10, || format!("{of}: {} ticks", own.len()));
    for span in own {
        complaints.unless(span.parent.is_none(), || {
            format!("{of}: a call of no request has a parent: {}", span.line())
        });
    }
}

#[test]
fn calls_of_asyncio_tasks_are_children_of_the_request_they_work_for() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let mut complaints = Complaints::default();
    for path in interpreters().unwrap() {
        for tasks in [Tasks::OfConnections, Tasks::OfRequests] {
            check(&mut complaints, &scene, (&path, false), tasks);
        }
    }
    agent.stop().unwrap();
    complaints.verdict("asyncio").unwrap();
}

#[test]
fn calls_of_tasks_on_uvloop_are_children_of_the_request_they_work_for() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let mut complaints = Complaints::default();
    for tasks in [Tasks::OfConnections, Tasks::OfRequests] {
        check(
            &mut complaints,
            &scene,
            (&interpreter().unwrap(), true),
            tasks,
        );
    }
    agent.stop().unwrap();
    complaints.verdict("uvloop").unwrap();
}

#[test]
fn a_pipelined_request_is_not_mixed_up_with_the_one_before_it() {
    let scene = Scene::open().unwrap();
    let leaf = go(None).unwrap();
    let mut complaints = Complaints::default();
    for kind in [
        EventLoop::Aiohttp,
        EventLoop::Uvicorn,
        EventLoop::UvicornUvloop,
    ] {
        let victim = event_loop(kind, Some(&leaf)).unwrap();
        let agent = scene.agent().start().unwrap();
        let ids = unique_ids(3 * times(10));
        for three in ids.chunks(3) {
            let mut connection = Connection::local(victim.port).unwrap();
            // All in one write, and then one while the answer to the first is awaited.
            let asked = |id: &String| request("GET", &format!("/work/{id}"), &[], b"");
            connection
                .send(&[asked(&three[0]), asked(&three[1])].concat())
                .unwrap();
            connection.send(&asked(&three[2])).unwrap();
            for _ in three {
                assert_eq!(connection.one_answer(false).unwrap().status, 200);
            }
        }
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let spans = collect(scene.receiver(), &names, 3);
        agent.stop().unwrap();
        for id in &ids {
            let path = format!("/leaf/{id}/0");
            let served = spans
                .iter()
                .find(|span| span.kind == Kind::Server && span.path() == format!("/work/{id}"));
            let calls = spans
                .iter()
                .filter(|span| span.kind == Kind::Client && span.path() == path);
            for call in calls.filter(|call| call.parent.is_some()) {
                complaints.unless(
                    served.is_some_and(|served| call.parent.as_ref() == Some(&served.span_id)),
                    || format!("{kind:?}: {}", call.line()),
                );
            }
        }
    }
    complaints.verdict("pipelined").unwrap();
}
