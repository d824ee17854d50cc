//! Messages by RabbitMQ, Mosquitto and PostgreSQL: request, message, work, calls, in one trace.

use std::time::Duration;

use suture_tests::check::{Complaints, of_process, unique};
use suture_tests::client::get_all;
use suture_tests::scene::unique_ids;
use suture_tests::span::listing;
use suture_tests::victims::brokers::{Crew, System, crew};
use suture_tests::victims::leaf;
use suture_tests::{Kind, ReceivedSpan, Scene};

fn of(kind: Kind, port: u16) -> impl Fn(&&ReceivedSpan) -> bool {
    move |span| span.kind == kind && span.int("server.port") == Some(i64::from(port))
}

fn put_all(crew: &Crew, kind: &str, ids: &[String], at_once: usize) {
    let paths: Vec<String> = ids.iter().map(|id| format!("/put/{kind}/{id}")).collect();
    get_all(crew.shop.port, &paths, at_once).unwrap();
}

/// Waits until so many messages were worked on.
fn worked(scene: &Scene, crew: &Crew, count: usize) -> Vec<ReceivedSpan> {
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(of(Kind::Consumer, crew.port())).count() >= count,
        Duration::from_secs(15),
    );
    scene.receiver().settle(Duration::from_millis(800))
}

/// One message: its request, its put, its deliveries and the calls of each.
fn check_message(
    complaints: &mut Complaints,
    crew: &Crew,
    spans: &[ReceivedSpan],
    path: &str,
    deliveries: usize,
) {
    let Some(served) = complaints.only(path, spans, |span| {
        span.kind == Kind::Server && span.path() == path
    }) else {
        return;
    };
    let id = path.rsplit('/').next().unwrap_or_default();
    let in_trace = |kind: Kind| {
        let mut found: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(of(kind, crew.port()))
            .filter(|span| span.trace_id == served.trace_id)
            .collect();
        found.sort_by_key(|span| span.start);
        found
    };
    let (puts, work) = (in_trace(Kind::Producer), in_trace(Kind::Consumer));
    let counts = (puts.len(), work.len());
    complaints.unless(counts == (1, deliveries), || {
        format!(
            "{path}: {counts:?} messages: {}",
            listing(puts.iter().copied())
        )
    });
    let Some(put) = puts.first() else { return };
    let parent = Some(served.span_id.clone());
    complaints.equal("parent of a put", put, put.parent.clone(), parent);
    for (nth, delivery) in work.iter().enumerate() {
        let parent = Some(put.span_id.clone());
        complaints.equal("parent of work", delivery, delivery.parent.clone(), parent);
        let again = delivery.attributes.get("suture.messaging.redelivered");
        complaints.equal("redelivered", delivery, again.is_some(), nth > 0);
        let path = format!("/leaf/{id}/{nth}");
        let call = complaints.only(&path, spans, |span| {
            span.kind == Kind::Client && span.path() == path
        });
        if let Some(call) = call {
            let parent = Some(delivery.span_id.clone());
            complaints.equal("parent of a call", call, call.parent.clone(), parent);
        }
    }
}

/// Messages of each kind, one after the other and eight at once; then equal ones at once.
fn check_system(system: System, kinds: &[(&str, usize)]) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(system, &leaf).unwrap();
    // Until the runtimes of all three are known.
    put_all(&crew, "work", &unique_ids(4), 1);
    std::thread::sleep(Duration::from_millis(1_500));
    scene.receiver().settle(Duration::from_millis(800));
    scene.receiver().clear();
    let mut asked = Vec::new();
    for (kind, deliveries) in kinds {
        for (count, at_once) in [(4, 1), (16, 8)] {
            let ids = unique_ids(count);
            put_all(&crew, kind, &ids, at_once);
            asked.extend(
                ids.iter()
                    .map(|id| (format!("/put/{kind}/{id}"), *deliveries)),
            );
        }
    }
    // A message of MQTT whose end nobody says ends with the next.
    let last = unique_ids(1);
    put_all(&crew, "work", &last, 1);
    let deliveries: usize = asked.iter().map(|(_, deliveries)| deliveries).sum();
    let spans = worked(
        &scene,
        &crew,
        deliveries + usize::from(system != System::Mosquitto),
    );
    let mut complaints = Complaints::default();
    for (path, deliveries) in &asked {
        check_message(&mut complaints, &crew, &spans, path, *deliveries);
    }
    for span in &spans {
        complaints.unless(!of_process(span, &crew.broker.running.pids()), || {
            format!("of the broker: {}", span.line())
        });
    }
    let puts = spans.iter().filter(of(Kind::Producer, crew.port())).count();
    complaints.unless(puts == asked.len() + 1, || format!("{puts} puts"));
    unique(&mut complaints, &spans);

    scene.receiver().clear();
    put_all(&crew, "same", &unique_ids(24), 8);
    let spans = worked(&scene, &crew, 24);
    check_equal(&mut complaints, &crew, &spans, system);
    let ended = agent.stop().unwrap();
    if let Err(complaints) = complaints.verdict(&format!("{system:?}")) {
        panic!(
            "{complaints:#}\n--- the worker ---\n{}\n--- the agent's stderr ---\n{}",
            crew.worker.log(),
            ended.stderr
        );
    }
}

/// Each put has at most one delivery, which began after it; rows have ids, so that all are joined.
fn check_equal(complaints: &mut Complaints, crew: &Crew, spans: &[ReceivedSpan], system: System) {
    let mut joined = 0;
    let mut parents = std::collections::HashSet::new();
    for work in spans.iter().filter(of(Kind::Consumer, crew.port())) {
        let Some(parent) = &work.parent else { continue };
        joined += 1;
        let put = spans.iter().find(|span| &span.span_id == parent);
        let fits = put.is_none_or(|put| put.start <= work.start) && parents.insert(parent);
        complaints.unless(fits, || format!("WRONG: {}", work.line()));
    }
    println!("{system:?}: {joined} of 24 equal messages joined");
    complaints.unless(system != System::Postgresql || joined == 24, || {
        format!("{joined} rows joined")
    });
}

#[test]
fn pika_s_messages_and_what_its_callbacks_call_are_in_the_trace_of_the_request() {
    check_system(System::Rabbitmq, &[("work", 1), ("again", 2)]);
}

#[test]
fn paho_s_messages_and_what_its_callbacks_call_are_in_the_trace_of_the_request() {
    check_system(System::Mosquitto, &[("work", 1)]);
}

#[test]
fn rows_of_a_table_that_is_a_queue_and_what_their_worker_calls_are_in_the_trace_of_the_request() {
    check_system(System::Postgresql, &[("work", 1)]);
}
