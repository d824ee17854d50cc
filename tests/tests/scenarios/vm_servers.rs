//! Each victim in a chain caller -> victim -> leaf, called by curl one by one and by 8 threads at once.

use suture_tests::check::{Call, Hop, check_chain, collect};
use suture_tests::client::get_all;
use suture_tests::curl::curl_ok;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::python::{Worker, gunicorn, http_server};
use suture_tests::victims::{Victim, leaf};
use suture_tests::{Agent, Scene};

/// Sends `times(20)` requests by curl, then as many by 8 threads, and checks every span.
fn check_victim(scene: &Scene, agent: Agent, victim: &Victim, leaf: &Victim) {
    let mut calls = Vec::new();
    for id in unique_ids(times(20)) {
        let outcome = curl_ok(&format!("{}/work/{id}", victim.url()), &[], 200).unwrap();
        calls.push(Call {
            id,
            client: outcome.pid,
            traceparent: None,
        });
    }
    let ids = unique_ids(times(20));
    let paths: Vec<String> = ids.iter().map(|id| format!("/work/{id}")).collect();
    get_all(victim.port, &paths, 8).unwrap();
    calls.extend(ids.into_iter().map(|id| Call {
        id,
        client: std::process::id(),
        traceparent: None,
    }));
    let spans = collect(scene.receiver(), &calls);
    let (victim_hop, leaf_hop) = (Hop::of(victim), Hop::of(leaf));
    agent.stop().unwrap();
    check_chain(&spans, &calls, &victim_hop, &leaf_hop).unwrap();
}

#[test]
fn http_server_started_before_the_agent() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let victim = http_server(Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    check_victim(&scene, agent, &victim, &leaf);
}

#[test]
fn http_server_started_after_the_agent() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let leaf = leaf().unwrap();
    let victim = http_server(Some(&leaf)).unwrap();
    check_victim(&scene, agent, &victim, &leaf);
}

#[test]
fn gunicorn_sync_with_requests() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let victim = gunicorn(Worker::Sync, "requests", Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    check_victim(&scene, agent, &victim, &leaf);
}
