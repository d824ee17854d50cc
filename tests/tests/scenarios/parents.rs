//! Many requests at once to a program of which each call names the request that it was made for.
//!
//! Always holds: a call's path has the id of its request, so a wrong parent is seen whatever the others do.

use std::collections::BTreeMap;
use std::time::Duration;

use suture_tests::check::{Complaints, of_process};
use suture_tests::client::get_all;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::Victim;
use suture_tests::{Kind, ReceivedSpan, Scene};

/// What a call's parent must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The request that it was made for.
    Its,
    /// That, or none: who asked for it went through a lock or a queue that nobody watches.
    ItsOrNone,
}

/// Calls for one request.
#[derive(Clone, Copy)]
pub struct Expected {
    /// How many.
    pub calls: usize,
    /// Whose they are.
    pub parent: Parent,
    /// A request that is not judged goes ahead: what is attached on demand is attached then.
    pub is_asked_ahead: bool,
}

/// Sends requests to `/NAME/ID`, and looks at each call for one of them. Returns how many calls had their parent.
pub fn of_calls(
    scene: &Scene,
    victim: &Victim,
    name: &str,
    expected: Expected,
    in_flight: usize,
) -> usize {
    let agent = scene.agent().start().unwrap();
    if expected.is_asked_ahead {
        get_all(victim.port, &["/".to_owned()], 1).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    // One at a time a call may take 40 ms: the client's delayed acknowledgement of a leaf that sends head and body apart.
    let full = if in_flight == 1 { 50 } else { 200 };
    let ids = unique_ids(times(full).max(in_flight));
    let paths: Vec<String> = ids.iter().map(|id| format!("/{name}/{id}")).collect();
    get_all(victim.port, &paths, in_flight).unwrap();
    let pids = victim.pids();
    let is_call = |span: &ReceivedSpan| {
        span.kind == Kind::Client && of_process(span, &pids) && span.path().starts_with("/leaf/")
    };
    let is_for_nobody = |span: &ReceivedSpan| span.path().starts_with("/leaf/none/");
    let all = expected.calls * ids.len();
    // What does not come is complained about below.
    let _ = scene.receiver().wait_until(
        |spans| {
            let is_for_one = |span: &&ReceivedSpan| is_call(span) && !is_for_nobody(span);
            spans.iter().filter(is_for_one).count() >= all
        },
        Duration::from_secs(10),
    );
    // (What is called for nobody is called for ever.)
    let is_ours = |span: &ReceivedSpan| of_process(span, &pids) && !is_for_nobody(span);
    let spans = scene
        .receiver()
        .settle_of(is_ours, Duration::from_millis(500));
    agent.stop().unwrap();
    let served: BTreeMap<String, &ReceivedSpan> = spans
        .iter()
        .filter(|span| span.kind == Kind::Server && of_process(span, &pids))
        .map(|span| (span.path().to_owned(), span))
        .collect();
    let mut complaints = Complaints::default();
    let (mut right, mut roots, mut evidence) = (0, 0, BTreeMap::<String, usize>::new());
    for span in spans.iter().filter(|span| is_call(span)) {
        *evidence.entry(span.evidence().to_owned()).or_default() += 1;
        let id = span.path().split('/').nth(2).unwrap_or_default();
        let own = served.get(&format!("/{name}/{id}"));
        match (&span.parent, own) {
            (Some(parent), Some(own))
                if *parent == own.span_id && span.trace_id == own.trace_id =>
            {
                right += 1
            }
            (None, _) => {
                roots += usize::from(!is_for_nobody(span));
                complaints.unless(
                    expected.parent == Parent::ItsOrNone || is_for_nobody(span),
                    || format!("a root: {}", span.line()),
                );
            }
            _ => complaints.unless(false, || format!("wrong parent: {}", span.line())),
        }
    }
    println!("{name}, {in_flight} in flight: {right} right, {roots} roots; {evidence:?}");
    complaints.unless(right + roots >= all, || {
        format!("{} calls instead of {all}", right + roots)
    });
    complaints.verdict(name).unwrap();
    right
}
