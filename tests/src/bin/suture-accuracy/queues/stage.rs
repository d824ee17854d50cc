//! One session of the agent with a broker, a shop and workers.
//!
//! In: a row. Out: what each load gave. Always holds: each load is whole (or nothing comes any more) before the
//! next begins, so that spans without names belong to the load in whose time they began; spans are read once, when the agent has ended.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use suture_tests::scene::unique_ids;
use suture_tests::victims::compiled;
use suture_tests::victims::teams::Team;
use suture_tests::{Kind, ReceivedSpan, Receiver, Scene};

use super::Wanted;
use super::judge::{Job, Measured, Session as Spans};
use super::rows::{Again, Queue};
use crate::load;

/// The first jobs of all, one at a time.
const FIRST: usize = 4;
/// Of so many jobs one fails once.
const FAILS_EVERY: usize = 4;
/// A load is waited for as long as its calls come, with pauses of at most:
const PAUSE: Duration = Duration::from_secs(4);

/// One load.
pub struct Load {
    /// Requests in flight.
    pub concurrency: usize,
    /// The first that a worker hears of after the agent has started.
    pub is_first: bool,
    /// Jobs that were put.
    pub jobs: usize,
    /// What was found.
    pub measured: Measured,
    /// Requests that the shop did not answer.
    pub failures: Vec<String>,
}

impl Load {
    /// Its name in a line.
    pub fn in_flight(&self) -> String {
        if self.is_first {
            "first".to_owned()
        } else {
            self.concurrency.to_string()
        }
    }
}

/// A session.
pub struct Session {
    /// In their order.
    pub loads: Vec<Load>,
    /// What the agent said when it ended.
    pub stderr: String,
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn jobs(queue: &Queue, count: usize) -> Vec<Job> {
    unique_ids(count)
        .into_iter()
        .enumerate()
        .map(|(nth, id)| {
            let again = queue.again.filter(|_| nth % FAILS_EVERY == FAILS_EVERY - 1);
            Job {
                id,
                kind: again.map_or(queue.kind, Again::kind),
                fails_once: again.is_some(),
                calls: queue.calls,
                is_put_again: again.is_some_and(|again| matches!(again, Again::PutAgain(_))),
            }
        })
        .collect()
}

/// Waits until all calls of these jobs came, or none came for a while.
fn wait(receiver: &Receiver, jobs: &[Job]) {
    let paths: HashSet<String> = jobs
        .iter()
        .flat_map(Job::steps)
        .map(|(path, _)| path)
        .collect();
    let (mut seen, mut found, mut since) = (0, 0, Instant::now());
    while since.elapsed() < PAUSE && found < paths.len() {
        std::thread::sleep(Duration::from_millis(50));
        // Each span is looked at once: other programs of the host make them, too.
        let more = receiver.look(|spans| {
            let new = spans.get(seen..).unwrap_or_default();
            seen = spans.len();
            let is_ours =
                |span: &&ReceivedSpan| span.kind == Kind::Client && paths.contains(span.path());
            new.iter().filter(is_ours).count()
        });
        if more > 0 {
            (found, since) = (found + more, Instant::now());
        }
    }
    // Ends of work that come after its last call.
    std::thread::sleep(Duration::from_millis(700));
}

/// Measures a row.
///
/// # Errors
/// A program or the agent does not start or does not end.
pub fn measure(queue: &Queue, wanted: &Wanted) -> Result<Session> {
    let scene = Scene::open()?;
    let leaf = compiled::go_late(4)?;
    let team = || {
        Team::start(
            queue.server,
            queue.program,
            queue.workers,
            queue.at_once,
            &leaf,
        )
    };
    let agent = || {
        scene
            .agent()
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "200000")
            .start()
    };
    let (team, agent) = if wanted.older {
        let team = team()?;
        (team, agent()?)
    } else {
        let agent = agent()?;
        (team()?, agent)
    };
    let mut loads = Vec::new();
    let plan =
        std::iter::once((FIRST, 1, true)).chain(wanted.concurrency.iter().map(|in_flight| {
            let requests = wanted.requests.min(queue.most).max(2 * in_flight);
            (requests, *in_flight, false)
        }));
    for (count, concurrency, is_first) in plan {
        let jobs = jobs(queue, count);
        let paths: Vec<String> = jobs
            .iter()
            .map(|job| format!("/put/{}/{}", job.kind, job.id))
            .collect();
        let begin = now_ns();
        let outcome = load::send(team.shop.port, &paths, concurrency)
            .with_context(|| format!("{concurrency} in flight"))?;
        wait(scene.receiver(), &jobs);
        loads.push((jobs, concurrency, is_first, begin..now_ns(), outcome));
    }
    let ended = agent.stop()?;
    let spans = scene.receiver().spans();
    if let Ok(path) = std::env::var("SUTURE_ACCURACY_SPANS") {
        let lines: Vec<String> = spans.iter().map(|span| span.line() + "\n").collect();
        std::fs::write(path, lines.concat())?;
    }
    let sorted = Spans::sort(&spans, team.broker.port);
    let loads = loads
        .into_iter()
        .map(|(jobs, concurrency, is_first, window, outcome)| Load {
            concurrency,
            is_first,
            jobs: jobs.len(),
            measured: sorted.judge(&window, &jobs),
            failures: outcome.failures,
        })
        .collect();
    let stderr = format!(
        "{}\n--- the workers ---\n{}",
        ended.stderr,
        tail(&team.log())
    );
    Ok(Session { loads, stderr })
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
