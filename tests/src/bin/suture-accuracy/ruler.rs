//! One measurement: requests in flight, spans read back, each call's parent compared with the path it was made for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use suture_tests::check::of_process;
use suture_tests::client::get_all;
use suture_tests::scene::unique_ids;
use suture_tests::{Kind, ReceivedSpan, Scene};

use crate::runtimes::{self, Stage};

/// Examples of what is wrong that are shown.
const EXAMPLES: usize = 4;

/// How many parents are what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// The span of the very request.
    pub right: usize,
    /// None.
    pub root: usize,
    /// Another request's, or the span is there twice.
    pub wrong: usize,
    /// The span itself is missing.
    pub missing: usize,
}

impl Score {
    /// Adds up.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.root += other.root;
        self.wrong += other.wrong;
        self.missing += other.missing;
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            root,
            wrong,
            missing,
        } = self;
        write!(f, "{right:>6} {root:>6} {wrong:>5} {missing:>7}")
    }
}

/// What one measurement found.
pub struct Measured {
    /// The CLIENT spans of the program that is measured: whose child is the call?
    pub calls: Score,
    /// The SERVER spans of who answers: whose child is the answer?
    pub answers: Score,
    /// Evidence of the calls.
    pub evidence: BTreeMap<String, usize>,
    /// Some of what is wrong.
    pub examples: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} |", self.calls, self.answers)?;
        for (evidence, count) in &self.evidence {
            write!(f, " {evidence} {count}")?;
        }
        Ok(())
    }
}

/// Measures the runtime `name`.
///
/// # Errors
/// A victim or the agent does not start, or a request fails.
pub fn measure(name: &str, concurrency: usize, requests: usize) -> Result<Measured> {
    let scene = Scene::open()?;
    let stage = runtimes::start(name)?;
    let agent = scene.agent().start()?;
    let ids = unique_ids(requests);
    let paths: Vec<String> = ids.iter().map(|id| format!("/work/{id}")).collect();
    get_all(stage.front_port, &paths, concurrency)?;
    let spans_of_a_request = 3;
    // What does not come is counted as missing.
    let _ = scene.receiver().wait_until(
        |spans| {
            let own = spans.iter().filter(|span| stage.is_ours(span)).count();
            own >= spans_of_a_request * requests
        },
        Duration::from_secs(10),
    );
    let spans = scene.receiver().settle(Duration::from_millis(800));
    agent.stop()?;
    Ok(compare(&stage, &ids, &spans))
}

/// The spans of one path.
#[derive(Default)]
struct Seen<'a> {
    served: Vec<&'a ReceivedSpan>,
    calling: Vec<&'a ReceivedSpan>,
    answered: Vec<&'a ReceivedSpan>,
}

fn compare(stage: &Stage, ids: &[String], spans: &[ReceivedSpan]) -> Measured {
    let mut seen: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for span in spans {
        let Some(id) = span.path().split('/').nth(2) else {
            continue;
        };
        let entry = seen.entry(id).or_default();
        match span.kind {
            Kind::Server if of_process(span, &stage.caller) => entry.served.push(span),
            Kind::Client if of_process(span, &stage.caller) => entry.calling.push(span),
            Kind::Server if of_process(span, &stage.answerer) => entry.answered.push(span),
            _ => {}
        }
    }
    let mut measured = Measured {
        calls: Score::default(),
        answers: Score::default(),
        evidence: BTreeMap::new(),
        examples: Vec::new(),
    };
    let nothing = Seen::default();
    for id in ids {
        let found = seen.get(id.as_str()).unwrap_or(&nothing);
        for call in &found.calling {
            *measured
                .evidence
                .entry(call.evidence().to_owned())
                .or_default() += 1;
        }
        let examples = &mut measured.examples;
        judge(
            &mut measured.calls,
            examples,
            &found.served,
            &found.calling,
            id,
        );
        judge(
            &mut measured.answers,
            examples,
            &found.calling,
            &found.answered,
            id,
        );
    }
    measured
}

/// The one span of `children` must be the child of the one of `parents`.
fn judge(
    score: &mut Score,
    examples: &mut Vec<String>,
    parents: &[&ReceivedSpan],
    children: &[&ReceivedSpan],
    id: &str,
) {
    let what = match (parents, children) {
        ([], _) | (_, []) => {
            score.missing += 1;
            "missing"
        }
        ([parent], [child]) if child.parent.is_none() => {
            let _ = parent;
            score.root += 1;
            return;
        }
        ([parent], [child])
            if child.parent.as_ref() == Some(&parent.span_id)
                && child.trace_id == parent.trace_id =>
        {
            score.right += 1;
            return;
        }
        ([_], [_]) => {
            score.wrong += 1;
            "wrong parent"
        }
        _ => {
            score.wrong += 1;
            "doubled"
        }
    };
    if examples.len() < EXAMPLES {
        let lines: Vec<String> = parents
            .iter()
            .chain(children)
            .map(|span| span.line())
            .collect();
        examples.push(format!("{what} at {id}: {}", lines.join(" / ")));
    }
}
