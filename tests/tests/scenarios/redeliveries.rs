//! A message that comes a second time: its worker was killed, or refused it. Both deliveries are in the trace of the request that put it.

use std::time::Duration;

use suture_tests::check::{Complaints, unique};
use suture_tests::client::get_all;
use suture_tests::scene::unique_id;
use suture_tests::span::{StatusCode, listing};
use suture_tests::victims::broker::Server;
use suture_tests::victims::brokers::System;
use suture_tests::victims::leaf;
use suture_tests::victims::teams::{Program, Team};
use suture_tests::{Kind, ReceivedSpan, Scene};

/// Puts one message of this kind; returns its request and its two deliveries, whose calls were checked.
fn two_deliveries(kind: &str) -> (Complaints, Vec<ReceivedSpan>) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let program = Program::Broker(System::Rabbitmq);
    let team = Team::start(Server::Rabbitmq, program, 2, 1, &leaf).unwrap();
    let put = |kind: &str| {
        let id = unique_id();
        get_all(team.shop.port, &[format!("/put/{kind}/{id}")], 1).unwrap();
        id
    };
    // One for each worker: what a worker calls for its first message may come before the hooks that tell whose it is.
    for _ in 0..2 {
        put("work");
        std::thread::sleep(Duration::from_millis(800));
    }
    let id = put(kind);
    let last = format!("/leaf/{id}/1");
    let _ = scene.receiver().wait_until(
        |spans| {
            spans
                .iter()
                .any(|span| span.kind == Kind::Client && span.path() == last)
        },
        Duration::from_secs(15),
    );
    scene.receiver().settle(Duration::from_millis(800));
    let ended = agent.stop().unwrap();
    let spans = scene.receiver().spans();
    let mut complaints = Complaints::default();
    let path = format!("/put/{kind}/{id}");
    let served = complaints
        .only(&path, &spans, |span| {
            span.kind == Kind::Server && span.path() == path
        })
        .unwrap_or_else(|| panic!("no request; the agent said:\n{}", ended.stderr));
    let of = |kind: Kind| {
        let mut found: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(|span| span.kind == kind && span.trace_id == served.trace_id)
            .filter(|span| span.int("server.port") == Some(i64::from(team.broker.port)))
            .collect();
        found.sort_by_key(|span| span.start);
        found
    };
    let (puts, work) = (of(Kind::Producer), of(Kind::Consumer));
    complaints.unless((puts.len(), work.len()) == (1, 2), || {
        listing(puts.iter().chain(&work).copied())
    });
    for (nth, delivery) in work.iter().enumerate() {
        let put = puts.first().map(|put| put.span_id.clone());
        complaints.equal("parent of work", delivery, delivery.parent.clone(), put);
        let path = format!("/leaf/{id}/{nth}");
        let call = complaints.only(&path, &spans, |span| {
            span.kind == Kind::Client && span.path() == path
        });
        if let Some(call) = call {
            let parent = Some(delivery.span_id.clone());
            complaints.equal("parent of a call", call, call.parent.clone(), parent);
        }
    }
    unique(&mut complaints, &spans);
    let work = work.into_iter().cloned().collect();
    (complaints, work)
}

#[test]
fn a_message_whose_worker_is_killed_is_linked_from_the_worker_that_gets_it_next() {
    let (mut complaints, work) = two_deliveries("killed");
    if let [first, second] = work.as_slice() {
        let status = StatusCode::Error;
        complaints.equal("status of the killed one", first, first.status, status);
        let pids = (
            first.resource_int("process.pid"),
            second.resource_int("process.pid"),
        );
        complaints.unless(pids.0 != pids.1, || format!("both by {pids:?}"));
        let links: Vec<_> = second.links.iter().map(|link| &link.span_id).collect();
        complaints.equal("links", second, links, vec![&first.span_id]);
        let number = second.int("suture.messaging.retries");
        complaints.equal("number of the attempt", second, number, Some(1));
    }
    complaints.verdict("a killed worker").unwrap();
}

#[test]
fn a_dead_letter_is_worked_on_in_the_trace_of_the_request_that_put_it() {
    let (mut complaints, work) = two_deliveries("refused");
    if let [first, second] = work.as_slice() {
        let status = StatusCode::Error;
        complaints.equal("status of the refused one", first, first.status, status);
        let from = second.text("messaging.destination.name").to_owned();
        complaints.equal("queue", second, from, "dead".to_owned());
        let links: Vec<_> = second.links.iter().map(|link| &link.span_id).collect();
        complaints.equal("links", second, links, vec![&first.span_id]);
    }
    complaints.verdict("a dead letter").unwrap();
}
