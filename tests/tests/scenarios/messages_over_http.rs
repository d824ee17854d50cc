//! SQS' interface over HTTP (ElasticMQ), boto3: request, message, work, calls, in one trace; redelivery, batches, equal bodies, a killed worker.

use std::collections::HashSet;
use std::time::Duration;

use suture_tests::check::{Complaints, of_process, unique};
use suture_tests::client::get_all;
use suture_tests::scene::unique_ids;
use suture_tests::span::{StatusCode, listing};
use suture_tests::victims::broker::Server;
use suture_tests::victims::leaf;
use suture_tests::victims::teams::{Program, Team};
use suture_tests::{Kind, ReceivedSpan, Scene};

fn of(kind: Kind, port: u16) -> impl Fn(&&ReceivedSpan) -> bool {
    move |span| span.kind == kind && span.int("server.port") == Some(i64::from(port))
}

/// Puts messages of a kind; returns their paths.
fn put_all(team: &Team, kind: &str, count: usize, at_once: usize) -> Vec<String> {
    let ids = unique_ids(count);
    let paths: Vec<String> = ids.iter().map(|id| format!("/put/{kind}/{id}")).collect();
    get_all(team.shop.port, &paths, at_once).unwrap();
    paths
}

/// Waits until so many messages were worked on.
fn worked(scene: &Scene, team: &Team, count: usize) -> Vec<ReceivedSpan> {
    let _ = scene.receiver().wait_until(
        |spans| {
            spans
                .iter()
                .filter(of(Kind::Consumer, team.broker.port))
                .count()
                >= count
        },
        Duration::from_secs(15),
    );
    scene.receiver().settle(Duration::from_millis(800))
}

/// One request: its put, its deliveries and the call of each (`calls`: the last parts of their paths); `again`: each is an attempt.
fn check_request(
    complaints: &mut Complaints,
    team: &Team,
    spans: &[ReceivedSpan],
    (put_path, calls, again): (&str, &[String], bool),
) {
    let path = put_path;
    let Some(served) = complaints.only(path, spans, |span| {
        span.kind == Kind::Server && span.path() == path
    }) else {
        return;
    };
    let in_trace = |kind: Kind| {
        let mut found: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(of(kind, team.broker.port))
            .filter(|span| span.trace_id == served.trace_id)
            .collect();
        found.sort_by_key(|span| span.start);
        found
    };
    let (puts, work) = (in_trace(Kind::Producer), in_trace(Kind::Consumer));
    let counts = (puts.len(), work.len());
    complaints.unless(counts == (1, calls.len()), || {
        format!(
            "{path}: {counts:?} messages: {}",
            listing(puts.iter().chain(&work).copied())
        )
    });
    let Some(put) = puts.first() else { return };
    let parent = Some(served.span_id.clone());
    complaints.equal("parent of a put", put, put.parent.clone(), parent);
    let is_of_the_put = |delivery: &&ReceivedSpan| delivery.parent.as_ref() == Some(&put.span_id);
    complaints.unless(work.iter().all(is_of_the_put), || {
        format!("WRONG: {}", listing(work.iter().copied()))
    });
    let mut callers = HashSet::new();
    for (nth, call) in calls.iter().enumerate() {
        let path = format!("/leaf/{call}");
        let Some(call) = complaints.only(&path, spans, |span| {
            span.kind == Kind::Client && span.path() == path
        }) else {
            continue;
        };
        let by = work
            .iter()
            .find(|delivery| call.parent.as_ref() == Some(&delivery.span_id));
        complaints.unless(
            by.is_some_and(|delivery| callers.insert(&delivery.span_id)),
            || format!("not its work's: {}", call.line()),
        );
        let Some(delivery) = work.get(nth).filter(|_| again) else {
            continue;
        };
        complaints.equal(
            "parent of a call",
            call,
            call.parent.clone(),
            Some(delivery.span_id.clone()),
        );
        let before = nth.checked_sub(1).and_then(|before| work.get(before));
        let links: Vec<_> = delivery
            .links
            .iter()
            .map(|link| link.span_id.clone())
            .collect();
        let expected: Vec<_> = before.iter().map(|before| before.span_id.clone()).collect();
        complaints.equal("links", delivery, links, expected);
        let number = before.map(|_| nth as i64);
        complaints.equal(
            "number",
            delivery,
            delivery.int("suture.messaging.retries").filter(|n| *n > 0),
            number,
        );
        // Of one that was not deleted nobody says that it failed.
        let is_killed = put_path.contains("/killed/");
        let status = if is_killed && nth == 0 {
            StatusCode::Error
        } else {
            StatusCode::Unset
        };
        complaints.equal("status", delivery, delivery.status, status);
    }
}

/// What the server itself did is below puts, or below what is no message's (its queues' names); nothing polls.
fn check_server(complaints: &mut Complaints, team: &Team, spans: &[ReceivedSpan]) {
    let pids = team.broker.running.pids();
    for span in spans.iter().filter(|span| of_process(span, &pids)) {
        let put = spans
            .iter()
            .find(|put| Some(&put.span_id) == span.parent.as_ref());
        complaints.unless(put.is_some_and(|put| put.kind == Kind::Producer), || {
            format!("of the server: {}", span.line())
        });
    }
}

#[test]
fn boto3_s_messages_and_what_its_workers_call_are_in_the_trace_of_the_request() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let team = Team::start(Server::ElasticMq, Program::Python("sqs"), 2, 4, &leaf).unwrap();
    // Until the runtimes of all are known, and that the server has a queue.
    put_all(&team, "work", 8, 2);
    std::thread::sleep(Duration::from_millis(1_500));
    scene.receiver().settle(Duration::from_millis(800));
    scene.receiver().clear();

    let mut complaints = Complaints::default();
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let signups = put_all(&team, "work", 40, 8);
    let failing = put_all(&team, "again", 6, 3);
    let pairs = put_all(&team, "pair", 4, 2);
    let spans = worked(&scene, &team, 40 + 2 * 6 + 2 * 4);
    for path in &signups {
        let call = [format!("{}/0", last(path))];
        check_request(&mut complaints, &team, &spans, (path, &call, false));
    }
    for path in &failing {
        let calls = [0, 1].map(|nth| format!("{}/{nth}", last(path)));
        check_request(&mut complaints, &team, &spans, (path, &calls, true));
    }
    for path in &pairs {
        let calls = [0, 1].map(|nth| format!("{}-{nth}/0", last(path)));
        check_request(&mut complaints, &team, &spans, (path, &calls, false));
    }
    check_server(&mut complaints, &team, &spans);
    unique(&mut complaints, &spans);

    // Bodies say nothing: each of these is joined by its id.
    scene.receiver().clear();
    put_all(&team, "same", 24, 8);
    let spans = worked(&scene, &team, 24);
    let work = spans.iter().filter(of(Kind::Consumer, team.broker.port));
    let parents = work.filter_map(|work| {
        let put = spans
            .iter()
            .find(|put| Some(&put.span_id) == work.parent.as_ref())?;
        let ids = [put, work].map(|span| span.text("messaging.message.id").to_owned());
        (ids[0] == ids[1]).then(|| put.span_id.clone())
    });
    let parents: HashSet<_> = parents.collect();
    complaints.unless(parents.len() == 24, || {
        format!("{} equal messages joined", parents.len())
    });

    scene.receiver().clear();
    let killed = put_all(&team, "killed", 1, 1);
    let spans = worked(&scene, &team, 2);
    let calls = [0, 1].map(|nth| format!("{}/{nth}", last(&killed[0])));
    check_request(&mut complaints, &team, &spans, (&killed[0], &calls, true));
    let verdict = complaints.verdict("messages over HTTP");
    let ended = agent.stop().map(|ended| ended.stderr);
    if let Err(complaints) = verdict {
        panic!(
            "{complaints:#}\n--- the workers ---\n{}\n--- the agent's stderr ---\n{ended:?}",
            team.log()
        );
    }
    ended.unwrap();
}
