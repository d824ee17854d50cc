//! Mixed traffic for a long time: does anything grow?
//!
//! In: minutes. Out: a line each minute: spans, traces, the largest trace, memory of the agent; then what is wrong. Always holds: each request has
//! an id of its own, which is in the paths of all that is done for it, so a trace with two ids has a wrong parent. Refuses: to keep spans; a trace's
//! size and first id are kept to the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use suture_tests::victims::compiled;
use suture_tests::victims::teams::Team;
use suture_tests::{Agent, ReceivedSpan, Scene, proc::resident_bytes};

use crate::load;
use crate::queues::rows::{self, Queue};
use crate::runtimes::{self, Started};
use crate::shape::Shape;
use crate::stage::Stage;

/// What serves, each as in its own row.
const SERVERS: &[&str] = &[
    "http.server",
    "nginx-keepalive",
    "php-fpm",
    "puma",
    "java-virtual",
    "java-executor",
    "go",
    "axum-reqwest",
    "node-express-axios",
    "aiohttp",
    "uvicorn-uvloop",
];
/// What works on jobs.
const QUEUES: &[&str] = &["celery-redis", "sidekiq", "asynq", "pika", "bullmq"];
/// Requests in flight at each.
const IN_FLIGHT: usize = 4;
/// Requests of a burst.
const BURST: usize = 40;
/// Between two bursts at one server: two cores serve all of them.
const PAUSE: Duration = Duration::from_millis(700);
/// Spans that one request has at most: its own two, and of a job that fails twice a put, a delivery and calls for each attempt.
const TRACE_MAX: u32 = 40;
/// What the agent's resident memory may grow by between the fifth minute and the end, bytes.
const GROWTH_MAX: u64 = 24 << 20;
/// The tables of recent exchanges and connections are full by then.
const WARM: Duration = Duration::from_secs(300);

/// A trace so far.
#[derive(Default)]
struct Trace {
    spans: u32,
    id: Option<String>,
}

/// All traces so far.
#[derive(Default)]
struct Traces {
    all: HashMap<Vec<u8>, Trace>,
    spans: u64,
    largest: u32,
    mixed: Vec<String>,
}

/// The request that a span's path names.
fn id_of(path: &str) -> Option<&str> {
    let mut words = path.split('/').skip(1);
    match words.next()? {
        "work" | "put" => words.nth(1),
        "leaf" => words.next(),
        _ => None,
    }
}

impl Traces {
    fn add(&mut self, span: &ReceivedSpan) {
        self.spans += 1;
        let trace = self.all.entry(span.trace_id.clone()).or_default();
        trace.spans += 1;
        self.largest = self.largest.max(trace.spans);
        let Some(id) = id_of(span.path()) else {
            return;
        };
        match &trace.id {
            None => trace.id = Some(id.to_owned()),
            Some(known) if known == id => {}
            Some(known) => self
                .mixed
                .push(format!("a trace of {known} has {}", span.line())),
        }
    }
}

/// Sends bursts until it is over. Returns how many requests were not answered.
fn burst_after_burst(
    port: u16,
    path: impl Fn(u64, &str) -> String,
    is_over: &AtomicBool,
) -> Result<u64> {
    let (mut turn, mut failures) = (0, 0);
    while !is_over.load(Ordering::Acquire) {
        let ids = suture_tests::scene::unique_ids(BURST);
        let paths: Vec<String> = ids.iter().map(|id| path(turn, id)).collect();
        failures += load::send(port, &paths, IN_FLIGHT)?.failures.len() as u64;
        turn += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(failures)
}

/// Begins requests and does not end them.
fn abort_again_and_again(port: u16, is_over: &AtomicBool) {
    use std::io::Write as _;
    let mut turn = 0_u64;
    while !is_over.load(Ordering::Acquire) {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let whole = turn.is_multiple_of(2);
            let id = suture_tests::scene::unique_id();
            let end = if whole { "\r\n" } else { "" };
            // The server may have closed: that is an abort, too.
            let _ = write!(
                stream,
                "GET /work/timer/{id} HTTP/1.1\r\nHost: a\r\nX-Half: yes\r\n{end}"
            );
            std::thread::sleep(Duration::from_millis(3));
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The rows with these names.
fn wanted<'a, R>(names: &[&str], all: &'a [R], name: impl Fn(&R) -> &str) -> Result<Vec<&'a R>> {
    let find = |wanted: &&str| {
        let found = all.iter().find(|row| name(row) == *wanted);
        found.with_context(|| format!("{wanted}: there is no such row"))
    };
    names.iter().map(find).collect()
}

/// Runs it; returns what is wrong.
///
/// # Errors
/// A program or the agent does not start or does not end.
pub fn run(minutes: u64) -> Result<Vec<String>> {
    let scene = Scene::open()?;
    let leaf = compiled::go_late(4)?;
    let mut stages: Vec<(&str, Stage, Vec<Shape>)> = Vec::new();
    for runtime in wanted(SERVERS, runtimes::ALL, |row| row.name)? {
        let started = (runtime.start)(&leaf).with_context(|| runtime.name.to_owned())?;
        match started {
            Started::Stage(stage) => {
                let shapes = runtime.floors.iter().map(|(shape, _)| *shape).collect();
                stages.push((runtime.name, stage, shapes));
            }
            Started::Skipped(why) => println!("{}: left out: {why}", runtime.name),
        }
    }
    // With the export queue that it has when nobody says more: this receiver is slower than the load, and what waits for it is no growth.
    let agent = scene.agent().start()?;
    let mut teams: Vec<(&Queue, Team)> = Vec::new();
    for queue in wanted(QUEUES, rows::ALL, |row| row.name)? {
        let team = Team::start(
            queue.server,
            queue.program,
            queue.workers,
            queue.at_once,
            &leaf,
        );
        teams.push((queue, team.with_context(|| queue.name.to_owned())?));
    }
    let (is_over, failures) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = |name: &str, ended: Result<u64>| {
        let failed = ended.unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            1
        });
        failures.fetch_add(failed, Ordering::AcqRel);
    };
    let outcome = std::thread::scope(|scope| {
        for (name, stage, shapes) in &stages {
            let (is_over, count) = (&is_over, &count);
            scope.spawn(move || {
                let path = |turn: u64, id: &str| {
                    let shape = shapes[turn as usize % shapes.len()];
                    stage.asked.path(shape, id)
                };
                count(name, burst_after_burst(stage.port, path, is_over));
            });
            scope.spawn(move || abort_again_and_again(stage.port, is_over));
        }
        for (queue, team) in &teams {
            let (is_over, count) = (&is_over, &count);
            scope.spawn(move || {
                let path = |turn: u64, id: &str| {
                    let again = queue.again.filter(|_| turn % 4 == 3);
                    format!(
                        "/put/{}/{id}",
                        again.map_or(queue.kind, |again| again.kind())
                    )
                };
                count(queue.name, burst_after_burst(team.shop.port, path, is_over));
            });
        }
        let watched = watch(&scene, &agent, Duration::from_secs(60 * minutes));
        is_over.store(true, Ordering::Release);
        watched
    });
    let (mut traces, mut found) = outcome;
    scene.receiver().settle(Duration::from_secs(2));
    let ended = agent.stop()?;
    for span in scene.receiver().take_spans() {
        traces.add(&span);
    }
    println!(
        "{} requests were not answered; the agent said:\n{}",
        failures.load(Ordering::Acquire),
        ended.stderr
    );
    if traces.largest > TRACE_MAX {
        found.push(format!(
            "a trace has {} spans, and no request has more than {TRACE_MAX}",
            traces.largest
        ));
    }
    found.extend(traces.mixed.iter().take(5).cloned());
    if traces.mixed.len() > 5 {
        found.push(format!("and {} more such spans", traces.mixed.len() - 5));
    }
    Ok(found)
}

/// Prints a line each minute until the time is over.
fn watch(scene: &Scene, agent: &Agent, time: Duration) -> (Traces, Vec<String>) {
    println!(
        "{:>7} {:>12} {:>10} {:>8} {:>6} {:>10}",
        "minute", "spans", "traces", "largest", "mixed", "agent MiB"
    );
    let (mut traces, mut found) = (Traces::default(), Vec::new());
    let begun = Instant::now();
    let (mut said, mut warm) = (0, None);
    while begun.elapsed() < time {
        std::thread::sleep(Duration::from_millis(500));
        for span in scene.receiver().take_spans() {
            traces.add(&span);
        }
        let minute = begun.elapsed().as_secs() / 60;
        if minute == said {
            continue;
        }
        said = minute;
        let resident = resident_bytes(agent.pid());
        println!(
            "{minute:>7} {:>12} {:>10} {:>8} {:>6} {:>10.1}",
            traces.spans,
            traces.all.len(),
            traces.largest,
            traces.mixed.len(),
            mib(resident)
        );
        if begun.elapsed() >= WARM {
            let first = *warm.get_or_insert(resident);
            if resident > first + GROWTH_MAX {
                found.push(format!(
                    "the agent has {:.1} MiB after {minute} minutes, and had {:.1} when it was warm",
                    mib(resident),
                    mib(first)
                ));
            }
        }
    }
    found.truncate(1);
    (traces, found)
}
