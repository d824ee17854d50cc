//! Jobs in Redis by the libraries that keep them there: request, message, work, calls, in one trace.

use std::time::Duration;

use suture_tests::check::Complaints;
use suture_tests::client::get_all;
use suture_tests::jobs::{Asked, CHAIN, Calls, Plan, RETRY, WORK, check, collect, is_message};
use suture_tests::scene::unique_id;
use suture_tests::victims::jobs::{Crew, Library, crew};
use suture_tests::victims::{Victim, leaf};
use suture_tests::{Agent, Kind, ReceivedSpan, Scene};

/// Puts jobs, `at_once` requests at a time, and checks what became of them.
fn check_jobs(library: Library, workers: usize, rounds: &[(Plan, usize, usize)], must: Calls) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(library, &leaf, workers).unwrap();
    check_work((library, &crew), (&scene, agent), &leaf, rounds, must);
}

/// The same by programs, and on connections, that are older than the agent.
fn check_jobs_of_older(library: Library, workers: usize, rounds: &[(Plan, usize, usize)]) {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let crew = crew(library, &leaf, workers).unwrap();
    let agent = scene.agent().start().unwrap();
    check_work(
        (library, &crew),
        (&scene, agent),
        &leaf,
        rounds,
        Calls::Under,
    );
}

fn check_work(
    (library, crew): (Library, &Crew),
    (scene, agent): (&Scene, Agent),
    leaf: &Victim,
    rounds: &[(Plan, usize, usize)],
    must: Calls,
) {
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
    if let Err(complaints) = check(&what, crew, leaf, &spans, &asked, must) {
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
fn celery_s_children_that_are_older_than_the_agent_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 6, 1), (RETRY, 4, 1), (WORK, 24, 8)];
    check_jobs_of_older(Library::Celery, 4, &rounds);
}

#[test]
fn celery_s_children_that_are_older_than_the_agent_work_in_the_trace_of_the_request_over_rabbitmq()
{
    let rounds = [(WORK, 6, 1), (RETRY, 4, 1), (WORK, 24, 8)];
    check_jobs_of_older(Library::CeleryRabbitmq, 4, &rounds);
}

#[test]
fn celery_s_children_without_results_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 4, 1), (WORK, 24, 8), (RETRY, 8, 8)];
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
fn dramatiq_s_threads_work_in_the_trace_of_the_request() {
    let rounds = [
        (WORK, 6, 1),
        (RETRY, 4, 1),
        (CHAIN, 4, 1),
        (WORK, 40, 8),
        (RETRY, 8, 8),
        (CHAIN, 16, 8),
    ];
    check_jobs(Library::Dramatiq, 4, &rounds, Calls::Under);
}

#[test]
fn what_dramatiq_s_threads_call_between_two_jobs_is_neither_s() {
    const JOBS: usize = 40;
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::DramatiqBetween, &leaf, 4).unwrap();
    let asked: Vec<Asked> = (0..JOBS)
        .map(|_| Asked {
            id: unique_id(),
            plan: WORK,
        })
        .collect();
    let paths: Vec<String> = asked
        .iter()
        .map(|job| format!("/put/work/{}", job.id))
        .collect();
    get_all(crew.shop.port, &paths, 8).unwrap();
    let spans = collect(scene.receiver(), crew.port, &asked, Duration::from_secs(25));
    let ended = agent.stop().unwrap();
    let mut complaints = Complaints::default();
    if let Err(found) = check("calls", &crew, &leaf, &spans, &asked, Calls::UnderOrRoot) {
        complaints.unless(false, || format!("{found:#}"));
    }
    let after = |span: &&ReceivedSpan| span.kind == Kind::Client && span.path().ends_with("/after");
    complaints.unless(spans.iter().filter(after).count() == JOBS, || {
        format!("{} calls after jobs", spans.iter().filter(after).count())
    });
    for call in spans.iter().filter(after) {
        complaints.unless(call.parent.is_none(), || {
            format!("WRONG PARENT: {}", call.line())
        });
    }
    complaints
        .verdict(&format!("the agent said:\n{}", ended.stderr))
        .unwrap();
}

#[test]
fn bullmq_s_functions_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 6, 1), (RETRY, 4, 1), (WORK, 40, 8), (RETRY, 16, 8)];
    check_jobs(Library::BullMq, 5, &rounds, Calls::UnderOrRoot);
}

#[test]
fn asynq_s_goroutines_work_in_the_trace_of_the_request() {
    let rounds = [(WORK, 6, 1), (RETRY, 4, 1), (WORK, 40, 8), (RETRY, 12, 8)];
    check_jobs(Library::Asynq, 4, &rounds, Calls::Under);
}

/// Puts what redis-py's threads work on: ids of `kind`.
fn put_all(crew: &Crew, kind: &str, count: usize, at_once: usize) -> Vec<Asked> {
    let plan = Plan {
        kind: match kind {
            "list" => "list",
            "stream" => "stream",
            _ => "channel",
        },
        ..WORK
    };
    let asked: Vec<Asked> = (0..count)
        .map(|_| Asked {
            id: unique_id(),
            plan,
        })
        .collect();
    let paths: Vec<String> = asked
        .iter()
        .map(|job| format!("/put/{kind}/{}", job.id))
        .collect();
    get_all(crew.shop.port, &paths, at_once).unwrap();
    asked
}

#[test]
fn lists_streams_and_channels_of_redis_py_are_joined_by_what_is_in_them() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Lists, &leaf, 4).unwrap();
    let mut asked = Vec::new();
    for kind in ["list", "stream"] {
        asked.extend(put_all(&crew, kind, 4, 1));
        asked.extend(put_all(&crew, kind, 24, 8));
    }
    // One thread hears the channel: what comes while it works it hears later.
    asked.extend(put_all(&crew, "channel", 8, 2));
    collect(scene.receiver(), crew.port, &asked, Duration::from_secs(15));
    // Nothing tells the end of the last message of a channel but the agent's own.
    let ended = agent.stop().unwrap();
    let spans = collect(scene.receiver(), crew.port, &asked, Duration::from_secs(5));
    if let Err(complaints) = check("lists", &crew, &leaf, &spans, &asked, Calls::UnderOrRoot) {
        panic!(
            "{complaints:#}\n--- the worker ---\n{}\n--- the agent's stderr ---\n{}",
            crew.worker.log(),
            ended.stderr
        );
    }
}

#[test]
fn equal_messages_of_two_requests_at_once_are_nobody_s() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Lists, &leaf, 1).unwrap();
    let ids: Vec<String> = (0..40).map(|_| unique_id()).collect();
    let paths: Vec<String> = ids.iter().map(|id| format!("/put/equal/{id}")).collect();
    get_all(crew.shop.port, &paths, 8).unwrap();
    let of =
        |kind: Kind| move |span: &&ReceivedSpan| span.kind == kind && is_message(span, crew.port);
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(of(Kind::Consumer)).count() >= ids.len(),
        Duration::from_secs(10),
    );
    let spans = scene.receiver().settle(Duration::from_millis(800));
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let puts: Vec<&ReceivedSpan> = spans.iter().filter(of(Kind::Producer)).collect();
    let work: Vec<&ReceivedSpan> = spans.iter().filter(of(Kind::Consumer)).collect();
    // Before the first one is taken nobody knows that the list is a queue.
    complaints.unless(
        puts.len() <= ids.len() && puts.len() + 16 >= ids.len(),
        || format!("{} puts", puts.len()),
    );
    complaints.unless(work.len() == ids.len(), || {
        format!("{} deliveries", work.len())
    });
    let mut joined = 0;
    for span in &work {
        let Some(put) = puts
            .iter()
            .find(|put| Some(&put.span_id) == span.parent.as_ref())
        else {
            complaints.unless(span.parent.is_none(), || format!("WRONG: {}", span.line()));
            continue;
        };
        joined += 1;
        // Then it was the only one under way.
        let others = puts
            .iter()
            .filter(|other| {
                other.span_id != put.span_id && other.start < span.start && {
                    let taken = work.iter().filter(|taken| taken.start < span.start).count();
                    let before = puts
                        .iter()
                        .filter(|before| before.start < put.start)
                        .count();
                    taken < before
                }
            })
            .count();
        complaints.unless(others == 0, || format!("WRONG: {}", span.line()));
    }
    println!("equal messages: {joined} of {} joined", work.len());
    complaints.unless(joined * 2 < work.len(), || {
        format!("{joined} of {} are joined", work.len())
    });
    complaints.verdict("equal messages").unwrap();
}
