//! Turns of Node.js' event loop: each call is the child of the request whose id is in its path, or a root where that is not certain.

use std::time::Duration;

use suture_tests::check::{Complaints, of_process};
use suture_tests::client::{Connection, get_all, request};
use suture_tests::process::{Folder, program};
use suture_tests::scene::{scaled, times, unique_id, unique_ids};
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::scripts::{NodeShapes, node_shapes, turns};
use suture_tests::victims::{Victim, compiled};
use suture_tests::{Agent, Kind, ReceivedSpan, Scene};

/// The shapes of `turns.js` that hand nothing over, and how many calls each makes.
const SHAPES: &[(&str, usize)] = &[
    ("get", 1),
    ("kept", 1),
    ("queued", 1),
    ("named", 1),
    ("callbacks", 3),
    ("fetch", 1),
    ("post", 1),
    ("sequence", 3),
    ("at_once", 3),
    ("slept", 2),
    ("slept_alike", 1),
    ("timer", 1),
    ("timer_async", 1),
    ("timer_fetch", 1),
    ("immediate", 1),
    ("file", 1),
];

/// What is expected of calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// All are their request's children.
    Children,
    /// None is another request's child.
    NoneWrong,
}

/// Requests that were sent.
struct Asked {
    /// The path up to the id.
    prefix: String,
    id: String,
    calls: usize,
    wanted: Wanted,
}

/// A program that is traced, and what it was asked for.
struct Stage {
    scene: Scene,
    victim: Victim,
    _leaf: Victim,
    agent: Agent,
    asked: Vec<Asked>,
}

impl Stage {
    /// `setting` is that of `capture.node_turns`; none: the default.
    fn start(setting: Option<&str>) -> Self {
        let scene = Scene::open().unwrap();
        let leaf = compiled::go(None).unwrap();
        let node = program(&["node"], "nodejs").unwrap();
        let victim = turns(&node, &leaf).unwrap();
        let folder = Folder::new().unwrap();
        let mut agent = scene.agent();
        if let Some(setting) = setting {
            let text = format!("[capture]\nnode_turns = \"{setting}\"\n");
            agent = agent.configured(&folder, &text).unwrap();
        }
        let agent = agent.start().unwrap();
        // Node compiles what fetch needs with the first one, outside of any turn.
        get_all(victim.port, &["/fetch/first".to_owned()], 1).unwrap();
        Self {
            scene,
            victim,
            _leaf: leaf,
            agent,
            asked: Vec::new(),
        }
    }

    /// Sends `count` requests for each shape, one shape after the other in the list, `in_flight` at once.
    fn ask(&mut self, shapes: &[(&str, usize)], count: usize, in_flight: usize, wanted: Wanted) {
        let mut paths = Vec::new();
        for id in unique_ids(count * shapes.len()) {
            let (shape, calls) = shapes[paths.len() % shapes.len()];
            let prefix = format!("/{shape}/");
            paths.push(format!("{prefix}{id}"));
            self.asked.push(Asked {
                prefix,
                id,
                calls,
                wanted,
            });
        }
        get_all(self.victim.port, &paths, in_flight).unwrap();
    }

    /// Looks at all that was asked for.
    fn check(self) {
        let spans = self.scene.receiver().settle(Duration::from_millis(1500));
        let ended = self.agent.stop().unwrap();
        let pids = self.victim.pids();
        let mut complaints = Complaints::default();
        for asked in &self.asked {
            judge(&mut complaints, &spans, &pids, asked);
        }
        if let Err(complaints) = complaints.verdict("turns of Node.js") {
            panic!(
                "{complaints:#}\n--- the agent's stderr ---\n{}",
                ended.stderr
            );
        }
    }
}

fn judge(complaints: &mut Complaints, spans: &[ReceivedSpan], pids: &[u32], asked: &Asked) {
    let path = format!("{}{}", asked.prefix, asked.id);
    let served = complaints.only(&format!("the SERVER span of {path}"), spans, |span| {
        span.kind == Kind::Server && of_process(span, pids) && span.path() == path
    });
    let Some(served) = served else { return };
    let called = format!("/leaf/{}/", asked.id);
    let own: Vec<_> = spans
        .iter()
        .filter(|span| {
            span.kind == Kind::Client && of_process(span, pids) && span.path().starts_with(&called)
        })
        .collect();
    complaints.unless(own.len() >= asked.calls, || {
        format!("{path}: {} calls instead of {}", own.len(), asked.calls)
    });
    for call in own {
        let is_child =
            call.parent.as_ref() == Some(&served.span_id) && call.trace_id == served.trace_id;
        let is_root = call.parent.is_none() && asked.wanted == Wanted::NoneWrong;
        complaints.unless(is_child || is_root, || {
            format!("the parent is not {}: {}", served.line(), call.line())
        });
    }
}

#[test]
fn each_call_is_its_requests_where_turns_always_count() {
    let mut stage = Stage::start(Some("on"));
    for shape in SHAPES.iter().chain(&[("after", 1)]) {
        stage.ask(&[*shape], times(60), 24, Wanted::Children);
    }
    stage.check();
}

#[test]
fn each_call_of_a_lone_request_is_its_own() {
    let mut stage = Stage::start(None);
    for shape in SHAPES {
        stage.ask(&[*shape], times(20), 1, Wanted::Children);
    }
    stage.check();
}

/// Shapes that hand something over to who waits for it in an async function, and how many calls each makes.
const AWAITED: &[(&str, usize)] = &[
    ("locked", 1),
    ("limited", 2),
    ("gathered", 1),
    ("littered", 4),
    ("thrown", 1),
];

#[test]
fn each_call_of_an_async_function_is_its_requests_whoever_else_is_open() {
    let mut stage = Stage::start(None);
    let is_callback = |shape: &str| shape == "callbacks";
    for (shape, calls) in SHAPES.iter().chain(AWAITED) {
        if !is_callback(shape) {
            stage.ask(&[(shape, *calls)], times(48), 24, Wanted::Children);
        }
    }
    stage.check();
}

#[test]
fn a_loop_that_works_for_all_who_wait_gives_no_wrong_parent() {
    let mut stage = Stage::start(None);
    for in_flight in [2, 24] {
        for shape in [("served", 1), ("served_back", 1)] {
            stage.ask(&[shape], times(48), in_flight, Wanted::NoneWrong);
        }
    }
    stage.check();
}

#[test]
fn a_call_in_a_turn_that_was_handed_over_is_nobody_elses_child() {
    let mut stage = Stage::start(None);
    for in_flight in [2, 24] {
        for shape in [
            ("locked", 1),
            ("shared", 1),
            ("limited", 2),
            ("queued_once", 1),
        ] {
            stage.ask(&[shape], times(50), in_flight, Wanted::NoneWrong);
        }
        stage.ask(
            &[("waits", 1), ("tells", 2)],
            times(4),
            in_flight,
            Wanted::NoneWrong,
        );
        stage.ask(SHAPES, times(2), in_flight, Wanted::NoneWrong);
    }
    stage.check();
}

#[test]
fn calls_that_hand_on_their_requests_id_are_its_children_under_load() {
    const IN_FLIGHT: usize = 24;
    let mut stage = Stage::start(None);
    let port = stage.victim.port;
    let ids = unique_ids(times(10) * IN_FLIGHT);
    std::thread::scope(|scope| {
        for ids in ids.chunks(ids.len() / IN_FLIGHT) {
            scope.spawn(move || {
                let mut connection = Connection::local(port).unwrap();
                for id in ids {
                    let carried = format!("req-{id}");
                    let headers = [("Host", "shop"), ("X-Request-Id", carried.as_str())];
                    connection
                        .send(&request("GET", &format!("/handed_on/{id}"), &headers, b""))
                        .unwrap();
                    assert_eq!(connection.answer(false).unwrap().status, 200);
                }
            });
        }
    });
    stage.asked.extend(ids.into_iter().map(|id| Asked {
        prefix: "/handed_on/".to_owned(),
        id,
        calls: 2,
        wanted: Wanted::Children,
    }));
    stage.check();
}

#[test]
fn what_an_answered_or_aborted_request_left_waiting_is_nobody_elses_child() {
    let mut stage = Stage::start(None);
    stage.ask(
        &[("after", 1), ("sequence", 3)],
        times(40),
        1,
        Wanted::NoneWrong,
    );
    stage.ask(&[("ticks", 0)], 1, 1, Wanted::NoneWrong);
    stage.ask(&[("locked", 1)], times(60), 1, Wanted::NoneWrong);
    for _ in 0..times(5) {
        let id = unique_id();
        let prefix = "/waits/".to_owned();
        let mut gone = Connection::local(stage.victim.port).unwrap();
        gone.send(&request("GET", &format!("{prefix}{id}"), &[], b""))
            .unwrap();
        std::thread::sleep(scaled(Duration::from_millis(30)));
        drop(gone);
        std::thread::sleep(scaled(Duration::from_millis(30)));
        stage.asked.push(Asked {
            prefix,
            id,
            calls: 1,
            wanted: Wanted::NoneWrong,
        });
        stage.ask(&[("tells", 2)], 1, 1, Wanted::NoneWrong);
    }
    std::thread::sleep(scaled(Duration::from_millis(1000)));
    stage.check();
}

/// nginx -> `start`'s Node -> a leaf, one request after the other for `path`, each with two calls.
fn check_chain_behind_nginx(start: impl FnOnce(&Victim) -> Victim, path: &str) {
    let scene = Scene::open().unwrap();
    let leaf = compiled::go(None).unwrap();
    let victim = start(&leaf);
    let front = nginx(1, &Behind::Proxy(&victim)).unwrap();
    let agent = scene.agent().start().unwrap();
    get_all(victim.port, &[format!("{path}first")], 1).unwrap();
    let ids = unique_ids(times(20));
    let paths: Vec<String> = ids.iter().map(|id| format!("{path}{id}")).collect();
    get_all(front.port, &paths, 1).unwrap();
    let spans = scene.receiver().settle(Duration::from_millis(1500));
    let ended = agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (id, path) in ids.iter().zip(&paths) {
        let mut only = |kind, victim: &Victim, path: &str| {
            complaints.only(&format!("the {kind:?} span of {path}"), &spans, |span| {
                span.kind == kind && of_process(span, &victim.pids()) && span.path() == path
            })
        };
        let mut chain = vec![
            only(Kind::Server, &front, path),
            only(Kind::Client, &front, path),
            only(Kind::Server, &victim, path),
        ];
        let served = chain.len() - 1;
        let mut pairs = vec![(0, 1), (1, served)];
        for step in 0..2 {
            let called = format!("/leaf/{id}/{step}");
            chain.push(only(Kind::Client, &victim, &called));
            pairs.push((served, chain.len() - 1));
            chain.push(only(Kind::Server, &leaf, &called));
            pairs.push((chain.len() - 2, chain.len() - 1));
        }
        for (parent, child) in pairs {
            let (Some(parent), Some(child)) = (chain[parent], chain[child]) else {
                continue;
            };
            let is_child =
                child.parent.as_ref() == Some(&parent.span_id) && child.trace_id == parent.trace_id;
            complaints.unless(is_child, || {
                format!("the parent is not {}: {}", parent.line(), child.line())
            });
        }
    }
    if let Err(complaints) = complaints.verdict("nginx -> Node.js -> leaf") {
        panic!(
            "{complaints:#}\n--- the agent's stderr ---\n{}",
            ended.stderr
        );
    }
}

#[test]
fn a_lone_request_through_nginx_is_one_trace_with_axios() {
    check_chain_behind_nginx(
        |leaf| node_shapes(NodeShapes::Express, leaf).unwrap(),
        "/work/timer/",
    );
}

#[test]
fn a_lone_request_through_nginx_is_one_trace_with_fetch() {
    check_chain_behind_nginx(
        |leaf| turns(&program(&["node"], "nodejs").unwrap(), leaf).unwrap(),
        "/slept/",
    );
}
