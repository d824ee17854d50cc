//! The programs of one runtime at work, and one session of the agent with them.
//!
//! In: a row of `runtimes` and a plan. Out: what each shape and number in flight gave. Always holds: all requests of a
//! runtime are sent while one agent runs, then the spans are read once, when no more come.

use std::time::Duration;

use anyhow::{Context, Result};
use suture_tests::Scene;
use suture_tests::scene::unique_ids;
use suture_tests::victims::nginx::PhpFpm;
use suture_tests::victims::{Victim, compiled};

use crate::judge::{Measured, Spans};
use crate::load;
use crate::runtimes::{Runtime, Started};
use crate::shape::{Call, Shape};

/// What the program that is measured is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/work/SHAPE/ID`: it makes the shape's calls.
    Work,
    /// `/leaf/ID/0`: a proxy, which asks the same of who stands behind it.
    Leaf,
}

impl Asked {
    /// The path, with its query.
    pub fn path(self, shape: Shape, id: &str) -> String {
        match (self, shape) {
            (Self::Work, _) => format!("/work/{}/{id}", shape.name()),
            (Self::Leaf, Shape::Fail) => format!("/leaf/{id}/0?fail=500"),
            (Self::Leaf, _) => format!("/leaf/{id}/0"),
        }
    }

    /// The calls for one request.
    pub fn calls(self, shape: Shape) -> &'static [Call] {
        match self {
            Self::Work => shape.calls(),
            Self::Leaf => &[Call::Answered],
        }
    }
}

/// Programs at work.
pub struct Stage {
    /// Where requests are sent.
    pub port: u16,
    /// What for.
    pub asked: Asked,
    /// The program that is measured, unless that is php-fpm.
    pub caller: Victim,
    /// php-fpm, which is behind the caller and is measured in its place.
    pub fpm: Option<PhpFpm>,
    /// A request that is not judged goes before all others.
    pub is_asked_ahead: bool,
}

impl Stage {
    /// A program that makes calls for `/work/SHAPE/ID`.
    pub fn work(caller: Victim) -> Self {
        Self {
            port: caller.port,
            asked: Asked::Work,
            caller,
            fpm: None,
            is_asked_ahead: false,
        }
    }

    /// A proxy in front of the leaf.
    pub fn proxy(caller: Victim) -> Self {
        Self {
            asked: Asked::Leaf,
            ..Self::work(caller)
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.fpm
            .as_ref()
            .map_or_else(|| self.caller.pids(), |fpm| fpm.hop().pids)
    }
}

/// One measurement.
pub struct Row {
    /// Shape.
    pub shape: Shape,
    /// Requests in flight.
    pub concurrency: usize,
    /// What was found.
    pub measured: Measured,
    /// Requests that the program did not answer; their calls are not judged.
    pub failures: Vec<String>,
}

/// What a session gave.
pub enum Session {
    /// It cannot be measured on this machine, and why.
    Skipped(String),
    /// Rows, and what the agent said when it ended.
    Measured(Vec<Row>, String),
}

/// What is measured of a runtime.
pub struct Plan<'a> {
    /// Shapes, of those the runtime has.
    pub shapes: &'a [Shape],
    /// Requests in flight.
    pub concurrency: &'a [usize],
    /// Requests for each shape and number in flight, at least twice that number.
    pub requests: usize,
}

/// Measures a runtime.
///
/// # Errors
/// A victim or the agent does not start or does not end.
pub fn measure(runtime: &Runtime, plan: &Plan<'_>) -> Result<Session> {
    let scene = Scene::open()?;
    let leaf = compiled::go_late(4)?;
    let stage = match (runtime.start)(&leaf)? {
        Started::Stage(stage) => stage,
        Started::Skipped(why) => return Ok(Session::Skipped(why)),
    };
    // The queue of a batch processor holds 2,048 spans when nobody says more: a burst here has more.
    let agent = scene
        .agent()
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "200000")
        .start()?;
    if stage.is_asked_ahead {
        /// Longer than the agent takes to hear what the kernel's side asks for.
        const HEARD: Duration = Duration::from_millis(500);
        load::send(stage.port, &["/".to_owned()], 1)?;
        std::thread::sleep(HEARD);
    }
    let mut caller = stage.pids();
    let mut loads = Vec::new();
    for shape in plan.shapes {
        for concurrency in plan.concurrency {
            let concurrency = (*concurrency).min(runtime.most);
            let ids = unique_ids(plan.requests.max(2 * concurrency));
            let paths: Vec<String> = ids.iter().map(|id| stage.asked.path(*shape, id)).collect();
            let outcome = load::send(stage.port, &paths, concurrency)
                .with_context(|| format!("{} with {concurrency} in flight", runtime.name))?;
            loads.push((*shape, concurrency, ids, outcome));
        }
    }
    // Longer than a call waits for its own end in the agent (`connect` for 300 ms, a parent for 200 ms).
    scene.receiver().settle(Duration::from_millis(1500));
    caller.extend(stage.pids());
    let ended = agent.stop()?;
    let spans = scene.receiver().spans();
    let sorted = Spans::sort(&spans, &caller, &leaf.pids());
    let rows = loads
        .into_iter()
        .map(|(shape, concurrency, ids, outcome)| Row {
            shape,
            concurrency,
            measured: sorted.judge(
                stage.asked,
                shape,
                outcome.answered.iter().map(|place| ids[*place].as_str()),
            ),
            failures: outcome.failures,
        })
        .collect();
    Ok(Session::Measured(rows, ended.stderr))
}
