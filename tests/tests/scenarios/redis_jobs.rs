//! Jobs in Redis by the libraries that keep them there: request, message, work, calls, in one trace.

use std::time::Duration;

use suture_tests::Scene;
use suture_tests::client::get_all;
use suture_tests::jobs::{Asked, CHAIN, Calls, Plan, RETRY, WORK, check, collect};
use suture_tests::scene::unique_id;
use suture_tests::victims::jobs::{Library, crew};
use suture_tests::victims::leaf;

/// Puts jobs, `at_once` requests at a time, and checks what became of them.
fn check_jobs(library: Library, workers: usize, rounds: &[(Plan, usize, usize)], must: Calls) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let crew = crew(library, &leaf, workers).unwrap();
    let agent = scene.agent().start().unwrap();
    let mut asked = Vec::new();
    for (plan, count, at_once) in rounds {
        let ids: Vec<String> = (0..*count).map(|_| unique_id()).collect();
        let paths: Vec<String> = ids
            .iter()
            .map(|id| format!("/put/{}/{id}", plan.kind))
            .collect();
        get_all(crew.shop.port, &paths, *at_once).unwrap();
        asked.extend(ids.into_iter().map(|id| Asked { id, plan: *plan }));
    }
    let spans = collect(scene.receiver(), crew.port, &asked, Duration::from_secs(25));
    let ended = agent.stop().unwrap();
    let what = format!("{library:?}");
    if let Err(complaints) = check(&what, &crew, &leaf, &spans, &asked, must) {
        panic!(
            "{complaints:#}\n--- the worker ---\n{}\n--- the agent's stderr ---\n{}",
            crew.worker.log(),
            ended.stderr
        );
    }
}

#[test]
fn celery_s_children_work_in_the_trace_of_the_request() {
    let rounds = [
        (WORK, 6, 1),
        (RETRY, 4, 1),
        (CHAIN, 4, 1),
        (WORK, 40, 8),
        (RETRY, 16, 8),
        (CHAIN, 16, 8),
    ];
    check_jobs(Library::Celery, 4, &rounds, Calls::Under);
}

#[test]
fn celery_s_children_without_results_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 4, 1), (WORK, 24, 8), (RETRY, 8, 8), (CHAIN, 8, 8)];
    check_jobs(Library::CeleryNoResults, 4, &rounds, Calls::Under);
}

#[test]
fn rq_s_children_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 4, 1), (WORK, 12, 8), (RETRY, 4, 4)];
    check_jobs(Library::Rq, 1, &rounds, Calls::Under);
}

#[test]
fn sidekiq_s_threads_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 6, 1), (WORK, 40, 8), (RETRY, 6, 4)];
    check_jobs(Library::Sidekiq, 5, &rounds, Calls::Under);
}

#[test]
fn huey_s_threads_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 6, 1), (WORK, 40, 8), (RETRY, 6, 4)];
    check_jobs(Library::Huey, 4, &rounds, Calls::Under);
}

#[test]
fn dramatiq_s_messages_are_joined_and_its_calls_never_wrong() {
    let rounds = [(WORK, 6, 1), (WORK, 40, 8)];
    check_jobs(Library::Dramatiq, 4, &rounds, Calls::UnderOrRoot);
}

#[test]
fn bullmq_s_messages_are_joined_and_its_calls_never_wrong() {
    let rounds = [(WORK, 6, 1), (WORK, 40, 8)];
    check_jobs(Library::BullMq, 5, &rounds, Calls::UnderOrRoot);
}

#[test]
fn asynq_s_messages_are_joined_and_its_calls_never_wrong() {
    let rounds = [(WORK, 6, 1), (WORK, 40, 8)];
    check_jobs(Library::Asynq, 4, &rounds, Calls::UnderOrRoot);
}
