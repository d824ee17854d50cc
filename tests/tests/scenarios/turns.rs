//! Turns of Node.js' event loop: many requests in flight, each call the child of the request whose id is in its path.

use std::path::Path;

use suture_tests::check::{Complaints, of_process};
use suture_tests::client::get_all;
use suture_tests::process::{Folder, program};
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::compiled;
use suture_tests::victims::scripts::turns;
use suture_tests::{Kind, Scene};

/// Requests at once.
const IN_FLIGHT: usize = 24;

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
    ("after", 1),
];

/// Sends requests for each shape and looks at the calls' parents.
fn check(node: &Path, shapes: &[(&str, usize)]) {
    let scene = Scene::open().unwrap();
    let leaf = compiled::go(None).unwrap();
    let victim = turns(node, &leaf).unwrap();
    let folder = Folder::new().unwrap();
    let agent = scene
        .agent()
        .configured(&folder, "[capture]\nnode_turns = \"on\"\n")
        .unwrap()
        .start()
        .unwrap();
    // Node compiles what fetch needs with the first one, outside of any turn.
    get_all(victim.port, &["/fetch/first".to_owned()], 1).unwrap();
    let mut complaints = Complaints::default();
    let mut asked = Vec::new();
    for (shape, calls) in shapes {
        let ids = unique_ids(times(60));
        let paths: Vec<String> = ids.iter().map(|id| format!("/{shape}/{id}")).collect();
        get_all(victim.port, &paths, IN_FLIGHT).unwrap();
        asked.extend(ids.into_iter().map(|id| (*shape, id, *calls)));
    }
    let spans = scene
        .receiver()
        .settle(std::time::Duration::from_millis(1500));
    agent.stop().unwrap();
    let pids = victim.pids();
    for (shape, id, calls) in &asked {
        let served = complaints.only(&format!("{shape}: the SERVER span"), &spans, |span| {
            span.kind == Kind::Server
                && of_process(span, &pids)
                && span.path() == format!("/{shape}/{id}")
        });
        let Some(served) = served else { continue };
        let prefix = format!("/leaf/{id}/");
        let own: Vec<_> = spans
            .iter()
            .filter(|span| {
                span.kind == Kind::Client
                    && of_process(span, &pids)
                    && span.path().starts_with(&prefix)
            })
            .collect();
        complaints.unless(own.len() >= *calls, || {
            format!("{shape}: {} calls of {id} instead of {calls}", own.len())
        });
        for call in own {
            let is_right =
                call.parent.as_ref() == Some(&served.span_id) && call.trace_id == served.trace_id;
            complaints.unless(is_right, || {
                format!(
                    "{shape}: the parent is not {}: {}",
                    served.line(),
                    call.line()
                )
            });
        }
    }
    complaints.verdict("turns of Node.js").unwrap();
}

fn installed() -> std::path::PathBuf {
    program(&["node"], "nodejs").unwrap()
}

#[test]
fn each_call_is_its_requests() {
    check(&installed(), SHAPES);
}
