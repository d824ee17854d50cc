//! The scenario all server victims share: caller -> victim (-> victim …) -> leaf.

use suture_tests::check::{Asked, Call, Hop, check_chain, collect};
use suture_tests::client::get_all;
use suture_tests::curl::curl_ok;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::{Victim, leaf};
use suture_tests::{Agent, Scene};

/// Sends `times(20)` requests by curl one by one, then as many by 8 threads, and checks every span of `hops`.
pub fn check_hops(scene: &Scene, agent: Agent, front: &Victim, hops: &[Hop]) {
    let mut calls = Vec::new();
    for id in unique_ids(times(20)) {
        let outcome = curl_ok(&format!("{}/work/{id}", front.url()), &[], 200).unwrap();
        calls.push(Call {
            id,
            client: outcome.pid,
            alone: true,
            traceparent: None,
        });
    }
    let ids = unique_ids(times(20));
    let paths: Vec<String> = ids.iter().map(|id| format!("/work/{id}")).collect();
    get_all(front.port, &paths, 8).unwrap();
    let own = std::process::id();
    calls.extend(ids.into_iter().map(|id| Call {
        id,
        client: own,
        alone: false,
        traceparent: None,
    }));
    let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    let spans = collect(scene.receiver(), &ids, 2 * hops.len());
    let ended = agent.stop().unwrap();
    if let Err(complaints) = check_chain(&spans, &calls, hops) {
        panic!(
            "{complaints:#}\n--- the agent's stderr ---\n{}",
            ended.stderr
        );
    }
}

/// [`check_hops`] for one victim that calls a leaf, both started before the agent.
pub fn check_victim(start: impl FnOnce(Option<&Victim>) -> anyhow::Result<Victim>) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let victim = start(Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    check_hops(
        &scene,
        agent,
        &victim,
        &[Hop::of(&victim, Asked::Work), Hop::of(&leaf, Asked::Leaf)],
    );
}
