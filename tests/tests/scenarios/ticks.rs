//! Schedulers: each tick is a root, and what it began is under it.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use suture_tests::check::Complaints;
use suture_tests::client::Connection;
use suture_tests::jobs::is_message;
use suture_tests::process::{Folder, Running, built, free_port, source};
use suture_tests::scene::{scaled, unique_id};
use suture_tests::span::StatusCode;
use suture_tests::victims::cron::{Scheduler, start};
use suture_tests::victims::jobs::{Crew, Library, beat, crew};
use suture_tests::victims::leaf;
use suture_tests::victims::systemd;
use suture_tests::{Kind, ReceivedSpan, Scene};

/// `job.sh NAME [PORT]`: two calls, one in the background a second later, a job; with a port, a server that stays. A server's end is 3.
const SCRIPT: &str = r#"#!/bin/sh
call() { curl -sS --noproxy '*' "$LEAF_URL/leaf/$1/$2" >/dev/null; }
call "$1" 0
call "$1" 1
(sleep 1; call "$1" 2) &
cd "$JOBS" && "$PYTHON" -c "import sys, celery_jobs; celery_jobs.put('work', 'job-' + sys.argv[1])" "$1"
[ -n "$2" ] || exit 0
"$PYTHON" "$SERVER" "$2" >/dev/null 2>&1 </dev/null &
echo $! >"$0.pid"
exit 3
"#;

/// Waits for the beginning of a minute's safe part: a scheduler's first two seconds are for its own start.
fn away_from_the_minute() {
    let second = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            % 60
    };
    while second() > 55 || second() < 1 {
        sleep(Duration::from_millis(200));
    }
}

/// What `job.sh` must be told.
fn environment(crew: &Crew, leaf: &str) -> [(&'static str, String); 6] {
    [
        ("LEAF_URL", leaf.to_owned()),
        ("REDIS_PORT", crew.port.to_string()),
        ("JOBS", source("jobs").display().to_string()),
        (
            "PYTHON",
            built("jobs/bin/python").unwrap().display().to_string(),
        ),
        (
            "SERVER",
            source("python/threading_app.py").display().to_string(),
        ),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ]
}

/// The line of a crontab for `job.sh NAME [PORT]`.
fn line(crew: &Crew, leaf: &str, name: &str, port: Option<u16>) -> String {
    let environment: String = environment(crew, leaf)
        .iter()
        .map(|(key, value)| format!("{key}={value} "))
        .collect();
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    format!("* * * * * {environment}FOLDER/job.sh {name} {port}")
}

/// Spans that name a tick's id in their paths.
fn of<'a>(spans: &'a [ReceivedSpan], id: &str) -> Vec<&'a ReceivedSpan> {
    spans
        .iter()
        .filter(|span| span.path().contains(id))
        .collect()
}

/// Checks one tick: all that it did is one trace. Returns that trace.
fn check_tick(
    complaints: &mut Complaints,
    spans: &[ReceivedSpan],
    name: &str,
    id: &str,
    code: i64,
    crew: &Crew,
) -> Option<Vec<u8>> {
    let first = complaints.only(&format!("{id}'s first call"), spans, |span| {
        span.kind == Kind::Client && span.path() == format!("/leaf/{id}/0")
    })?;
    let trace = &first.trace_id;
    let own: Vec<ReceivedSpan> = spans
        .iter()
        .filter(|span| &span.trace_id == trace)
        .cloned()
        .collect();
    let is_tick = |span: &ReceivedSpan| span.kind == Kind::Internal;
    let tick = complaints.only(&format!("{id}'s tick"), &own, is_tick)?;
    complaints.equal("the name", tick, tick.name.as_str(), name);
    complaints.equal("the parent", tick, tick.parent.clone(), None);
    complaints.equal("evidence", tick, tick.evidence(), "none");
    let scheduler = name.split(' ').next().unwrap_or_default();
    complaints.equal(
        "scheduler",
        tick,
        tick.text("suture.tick.scheduler"),
        scheduler,
    );
    complaints.equal(
        "program",
        tick,
        tick.text("process.executable.name"),
        "job.sh",
    );
    complaints.equal("exit code", tick, tick.int("process.exit.code"), Some(code));
    let status = if code == 0 {
        StatusCode::Unset
    } else {
        StatusCode::Error
    };
    complaints.equal("status", tick, tick.status, status);
    let error = if code == 0 { "" } else { "exit_code" };
    complaints.equal("error.type", tick, tick.text("error.type"), error);
    complaints.equal(
        "pid",
        tick,
        tick.int("process.pid"),
        tick.resource_int("process.pid"),
    );
    for number in 0..3 {
        let path = format!("/leaf/{id}/{number}");
        let what = format!("{id}'s call {number}");
        let is_call = |span: &ReceivedSpan| span.kind == Kind::Client && span.path() == path;
        if let Some(call) = complaints.only(&what, &own, is_call) {
            complaints.equal(
                "the parent",
                call,
                call.parent.as_ref(),
                Some(&tick.span_id),
            );
            complaints.equal("evidence", call, call.evidence(), "tick");
            complaints.unless(call.end <= tick.end, || {
                format!("after its tick: {}", call.line())
            });
        }
        complaints.only(&format!("{what}, served"), &own, |span| {
            span.kind == Kind::Server && span.path() == path
        });
    }
    let put = complaints.only(&format!("{id}'s put"), &own, |span| {
        span.kind == Kind::Producer && is_message(span, crew.port)
    })?;
    complaints.equal("the parent", put, put.parent.as_ref(), Some(&tick.span_id));
    complaints.equal("evidence", put, put.evidence(), "tick");
    check_job(complaints, &own, put, &format!("job-{id}"));
    // What it did not do is not there: the tick, 3 calls, the put, the work, its 2 calls; each call is served.
    complaints.unless(own.len() == 13, || {
        let lines: Vec<String> = own.iter().map(ReceivedSpan::line).collect();
        format!("{} spans: {lines:#?}", own.len())
    });
    Some(trace.clone())
}

/// Checks the work on a job that was put by `put`.
fn check_job(complaints: &mut Complaints, own: &[ReceivedSpan], put: &ReceivedSpan, id: &str) {
    let is_work = |span: &ReceivedSpan| span.kind == Kind::Consumer;
    let Some(work) = complaints.only(&format!("{id}'s work"), own, is_work) else {
        return;
    };
    complaints.equal("the parent", work, work.parent.as_ref(), Some(&put.span_id));
    for number in 0..2 {
        let path = format!("/leaf/{id}/{number}");
        let is_call = |span: &ReceivedSpan| span.kind == Kind::Client && span.path() == path;
        if let Some(call) = complaints.only(&path, own, is_call) {
            complaints.equal(
                "the parent",
                call,
                call.parent.as_ref(),
                Some(&work.span_id),
            );
        }
    }
}

#[test]
fn what_cron_begins_is_one_trace_with_its_calls_and_its_jobs() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Celery, &leaf, 2).unwrap();
    let (first, second, third) = (unique_id(), unique_id(), unique_id());
    let port = free_port().unwrap();
    let url = leaf.url();
    away_from_the_minute();
    let lines = [
        line(&crew, &url, &first, None),
        line(&crew, &url, &second, Some(port)),
    ];
    let cron = start(Scheduler::Cron, SCRIPT, &lines).unwrap();
    let crond = start(Scheduler::Crond, SCRIPT, &[line(&crew, &url, &third, None)]).unwrap();
    // Three calls, two of the job; both ends.
    let is_there = |spans: &[ReceivedSpan]| {
        let has_all = |id: &String| of(spans, id).len() >= 10;
        [&first, &second, &third].into_iter().all(has_all)
    };
    let _ = scene
        .receiver()
        .wait_until(is_there, Duration::from_secs(75));
    // No second tick.
    let pid = std::fs::read_to_string(cron.folder.path().join("job.sh.pid")).unwrap_or_default();
    let served = unique_id();
    let ask = || Connection::local(port).and_then(|mut to| to.get(&format!("/work/{served}")));
    let mut asked = ask();
    for _ in 0..100 {
        if asked.is_ok() {
            break;
        }
        sleep(Duration::from_millis(100));
        asked = ask();
    }
    let _ = scene.receiver().settle(Duration::from_millis(1_500));
    let ended = agent.stop().unwrap();
    drop(crond);
    let spans = scene.receiver().spans();
    let mut complaints = Complaints::default();
    complaints.unless(asked.is_ok(), || {
        format!("the server left behind ({pid}): {asked:?}")
    });
    let mut traces = BTreeSet::new();
    for (name, id, code) in [
        ("cron job.sh", &first, 0),
        ("cron job.sh", &second, 3),
        ("crond job.sh", &third, 0),
    ] {
        traces.extend(check_tick(&mut complaints, &spans, name, id, code, &crew));
    }
    complaints.unless(traces.len() == 3, || format!("{} traces", traces.len()));
    // The server that a tick left behind serves for whoever asks.
    let path = format!("/work/{served}");
    let serves = |span: &ReceivedSpan| span.kind == Kind::Server && span.path() == path;
    if let Some(serves) = complaints.only("the request to the server left behind", &spans, serves) {
        complaints.unless(!traces.contains(&serves.trace_id), || {
            format!("WRONG: in a tick's trace: {}", serves.line())
        });
        let path = format!("/leaf/{served}/0");
        let calls = |span: &ReceivedSpan| span.kind == Kind::Client && span.path() == path;
        if let Some(call) = complaints.only("its call", &spans, calls) {
            complaints.equal(
                "the parent",
                call,
                call.parent.as_ref(),
                Some(&serves.span_id),
            );
        }
    }
    if let Err(complaints) = complaints.verdict("cron and crond") {
        panic!(
            "{complaints:#}\n--- the worker ---\n{}\n--- the agent's stderr ---\n{}",
            crew.worker.log(),
            ended.stderr
        );
    }
}

#[test]
fn each_tick_of_celery_s_beat_is_a_trace_with_its_job_in_it() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Celery, &leaf, 2).unwrap();
    let id = unique_id();
    let folder = Folder::new().unwrap();
    let mut command = beat(crew.port, &leaf, folder.path(), &id).unwrap();
    let beat = Running::start("celery beat", &mut command).unwrap();
    let is_there = |spans: &[ReceivedSpan]| of(spans, &id).len() >= 16;
    let _ = scene
        .receiver()
        .wait_until(is_there, Duration::from_secs(30));
    drop(beat);
    sleep(scaled(Duration::from_secs(1)));
    let ended = agent.stop().unwrap();
    let spans = scene.receiver().spans();
    let mut complaints = Complaints::default();
    let is_put = |span: &&ReceivedSpan| span.kind == Kind::Producer && is_message(span, crew.port);
    let puts: Vec<&ReceivedSpan> = spans.iter().filter(is_put).collect();
    complaints.unless(puts.len() >= 4, || format!("{} puts", puts.len()));
    let mut traces = BTreeSet::new();
    for put in &puts {
        complaints.equal("the parent", put, put.parent.clone(), None);
        complaints.equal("evidence", put, put.evidence(), "none");
        traces.insert(put.trace_id.clone());
        let own: Vec<ReceivedSpan> = spans
            .iter()
            .filter(|span| span.trace_id == put.trace_id)
            .cloned()
            .collect();
        check_job(&mut complaints, &own, put, &id);
        complaints.unless(own.len() == 6, || {
            let lines: Vec<String> = own.iter().map(ReceivedSpan::line).collect();
            format!("{} spans: {lines:#?}", own.len())
        });
    }
    complaints.unless(traces.len() == puts.len(), || {
        format!("{} traces of {} puts", traces.len(), puts.len())
    });
    if let Err(complaints) = complaints.verdict("celery beat") {
        panic!(
            "{complaints:#}\n--- the agent's stderr ---\n{}",
            ended.stderr
        );
    }
}

#[test]
fn what_a_timer_of_systemd_begins_is_one_trace_and_what_else_it_begins_is_none() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Celery, &leaf, 2).unwrap();
    let (timed, other) = (unique_id(), unique_id());
    let variables: String = environment(&crew, &leaf.url())
        .iter()
        .map(|(key, value)| format!("Environment={key}={value}\n"))
        .collect();
    let service = |of: &str, id: &str| {
        format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType={of}\nKillMode=process\n{variables}ExecStart=FOLDER/job.sh {id}\n"
        )
    };
    // Later than what systemd begins for its own start (`TICK_AFTER_START_NS`).
    let timer = "[Unit]\nDefaultDependencies=no\n[Timer]\nOnActiveSec=4s\nAccuracySec=1ms\n";
    let units = [
        ("welcome.timer", timer.to_owned()),
        ("welcome.service", service("oneshot", &timed)),
        ("other.service", service("oneshot", &other)),
    ];
    let systemd = systemd::start(&units, SCRIPT, "welcome.timer other.service").unwrap();
    let is_there = |spans: &[ReceivedSpan]| {
        let has_all = |id: &String| of(spans, id).len() >= 10;
        [&timed, &other].into_iter().all(has_all)
    };
    let _ = scene
        .receiver()
        .wait_until(is_there, Duration::from_secs(30));
    let _ = scene.receiver().settle(Duration::from_millis(1_500));
    let ended = agent.stop().unwrap();
    let spans = scene.receiver().spans();
    let mut complaints = Complaints::default();
    let name = "systemd welcome.service";
    let trace = check_tick(&mut complaints, &spans, name, &timed, 0, &crew);
    let ticks = spans.iter().filter(|span| span.kind == Kind::Internal);
    for tick in ticks {
        complaints.equal(
            "service",
            tick,
            tick.resource_text("service.name"),
            "welcome",
        );
        complaints.equal("trace", tick, Some(&tick.trace_id), trace.as_ref());
    }
    let mut calls = 0;
    for call in of(&spans, &format!("/leaf/{other}/")) {
        if call.kind == Kind::Client {
            calls += 1;
            complaints.equal("the parent", call, call.parent.clone(), None);
            complaints.equal("evidence", call, call.evidence(), "none");
        }
    }
    complaints.unless(calls == 3, || format!("{calls} calls of the other unit"));
    if let Err(complaints) = complaints.verdict("systemd") {
        panic!(
            "{complaints:#}\n--- systemd ---\n{}\n--- the agent's stderr ---\n{}",
            systemd.log(),
            ended.stderr
        );
    }
}
