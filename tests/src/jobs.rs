//! The checks of jobs: request, message, work, and the calls that the work makes.
//!
//! In: received spans, and which jobs were put by which requests. Out: a [`Tally`] and every complaint. Always holds: the path of a call says
//! which request put the job that made it; nothing else is trusted. Refuses: to pass when nothing was put.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::time::Duration;

use anyhow::Result;

use crate::check::{Complaints, of_process, unique};
use crate::receiver::Receiver;
use crate::span::{Kind, ReceivedSpan, StatusCode, Value, listing};
use crate::victims::Victim;
use crate::victims::jobs::Crew;

/// What one kind of job does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The word in `/put/KIND/ID`.
    pub kind: &'static str,
    /// Messages that are put for it, by whom: -1 for the request, N for the work on the Nth delivery.
    pub puts: &'static [i8],
    /// Which put each delivery is of.
    pub deliveries: &'static [u8],
    /// The delivery under which each call `/leaf/ID/N` belongs.
    pub calls: &'static [u8],
    /// Each delivery but the first is linked to the one before.
    pub again: bool,
}

/// Two calls.
pub const WORK: Plan = Plan {
    kind: "work",
    puts: &[-1],
    deliveries: &[0],
    calls: &[0, 0],
    again: false,
};
/// A call, a failure; another attempt with another call.
pub const RETRY: Plan = Plan {
    kind: "retry",
    puts: &[-1, 0],
    deliveries: &[0, 1],
    calls: &[0, 1],
    again: true,
};
/// A job with a call, which puts the next one.
pub const CHAIN: Plan = Plan {
    kind: "chain",
    puts: &[-1, 0],
    deliveries: &[0, 1],
    calls: &[0, 1],
    again: false,
};

/// What calls of a job must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Children of their job.
    Under,
    /// That, or roots.
    UnderOrRoot,
}

/// How many calls are whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of the delivery that made it, in the trace of the request that put the job.
    pub right: usize,
    /// Nobody's.
    pub root: usize,
    /// Another's.
    pub wrong: usize,
    /// Not seen, or more than once.
    pub missing: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.root += other.root;
        self.wrong += other.wrong;
        self.missing += other.missing;
    }
}

/// A job that was asked for.
pub struct Asked {
    /// In the path.
    pub id: String,
    /// What it does.
    pub plan: Plan,
}

/// Whether the span is a message's, at this Redis. (A put that Redis refused is none: asynq's and BullMQ's first script is not known there.)
pub fn is_message(span: &ReceivedSpan, port: u16) -> bool {
    let is_refused = span.kind == Kind::Producer && span.status == StatusCode::Error;
    matches!(span.kind, Kind::Producer | Kind::Consumer)
        && !is_refused
        && span.int("server.port") == Some(i64::from(port))
}

/// Waits for the messages' spans and those of the calls, lets the stream settle, returns all of both and of the requests.
pub fn collect(
    receiver: &Receiver,
    port: u16,
    asked: &[Asked],
    within: Duration,
) -> Vec<ReceivedSpan> {
    let messages: usize = asked
        .iter()
        .map(|job| job.plan.puts.len() + job.plan.deliveries.len())
        .sum();
    let calls: usize = asked.iter().map(|job| job.plan.calls.len()).sum();
    let ids: HashSet<&str> = asked.iter().map(|job| job.id.as_str()).collect();
    let named = |span: &ReceivedSpan| span.path().split('/').any(|part| ids.contains(part));
    let is_ours = |span: &ReceivedSpan| named(span) || is_message(span, port);
    // What is missing is reported by the check.
    let _ = receiver.wait_until(
        |spans| {
            spans.iter().filter(|span| is_message(span, port)).count() >= messages
                && spans.iter().filter(|span| named(span)).count() >= 2 * (calls + asked.len())
        },
        within,
    );
    receiver
        .settle_of(is_ours, Duration::from_millis(800))
        .into_iter()
        .filter(is_ours)
        .collect()
}

/// Checks every job, and that there is no message beside theirs.
///
/// # Errors
/// All complaints.
pub fn check(
    what: &str,
    crew: &Crew,
    leaf: &Victim,
    spans: &[ReceivedSpan],
    asked: &[Asked],
    must: Calls,
) -> Result<Tally> {
    let mut complaints = Complaints::default();
    complaints.unless(!asked.is_empty(), || "nothing was put".to_owned());
    let mut tally = Tally::default();
    for job in asked {
        check_job(&mut complaints, &mut tally, crew, spans, job);
    }
    let total = |kind: Kind| {
        spans
            .iter()
            .filter(|span| span.kind == kind && is_message(span, crew.port))
            .count()
    };
    let puts: usize = asked.iter().map(|job| job.plan.puts.len()).sum();
    let deliveries: usize = asked.iter().map(|job| job.plan.deliveries.len()).sum();
    complaints.unless(
        (total(Kind::Producer), total(Kind::Consumer)) == (puts, deliveries),
        || {
            format!(
                "{} PRODUCER and {} CONSUMER spans instead of {puts} and {deliveries}",
                total(Kind::Producer),
                total(Kind::Consumer)
            )
        },
    );
    for span in spans {
        complaints.unless(!of_process(span, &crew.redis.running.pids()), || {
            format!("of the broker: {}", span.line())
        });
    }
    complaints.unless(tally.wrong == 0 && tally.missing == 0, || {
        format!("{tally:?}")
    });
    // The first calls of a worker can come before the hooks are attached that its evidence needs.
    let early = 1.max((tally.right + tally.root) / 50);
    complaints.unless(must == Calls::UnderOrRoot || tally.root <= early, || {
        format!("{tally:?}")
    });
    served(&mut complaints, leaf, spans);
    unique(&mut complaints, spans);
    complaints.verdict(what)?;
    Ok(tally)
}

/// What the leaf served is the call's.
fn served(complaints: &mut Complaints, leaf: &Victim, spans: &[ReceivedSpan]) {
    let pids = leaf.pids();
    for span in spans
        .iter()
        .filter(|span| span.kind == Kind::Server && of_process(span, &pids))
    {
        let call = spans
            .iter()
            .find(|call| Some(&call.span_id) == span.parent.as_ref());
        complaints.unless(call.is_some_and(|call| call.path() == span.path()), || {
            format!("not its call's: {}", span.line())
        });
    }
}

fn check_job(
    complaints: &mut Complaints,
    tally: &mut Tally,
    crew: &Crew,
    spans: &[ReceivedSpan],
    job: &Asked,
) {
    let path = format!("/put/{}/{}", job.plan.kind, job.id);
    let served = complaints.only(&format!("SERVER span of {path}"), spans, |span| {
        span.kind == Kind::Server && span.path() == path
    });
    let Some(served) = served else {
        tally.missing += job.plan.calls.len();
        return;
    };
    let of_trace = |kind: Kind| {
        let mut found: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(|span| {
                span.kind == kind && span.trace_id == served.trace_id && is_message(span, crew.port)
            })
            .collect();
        found.sort_by_key(|span| span.start);
        found
    };
    let (puts, deliveries) = (of_trace(Kind::Producer), of_trace(Kind::Consumer));
    complaints.unless(
        puts.len() == job.plan.puts.len() && deliveries.len() == job.plan.deliveries.len(),
        || {
            format!(
                "{path} has {} puts and {} deliveries instead of {} and {}: {}",
                puts.len(),
                deliveries.len(),
                job.plan.puts.len(),
                job.plan.deliveries.len(),
                listing(puts.iter().chain(&deliveries).copied())
            )
        },
    );
    for (put, by) in puts.iter().zip(job.plan.puts) {
        let by = match usize::try_from(*by) {
            Ok(nth) => deliveries.get(nth).copied(),
            Err(_) => Some(served),
        };
        complaints.equal(
            "parent of a put",
            put,
            put.parent.clone(),
            by.map(|by| by.span_id.clone()),
        );
    }
    for (nth, (delivery, of)) in deliveries.iter().zip(job.plan.deliveries).enumerate() {
        let put = puts.get(usize::from(*of)).map(|put| put.span_id.clone());
        complaints.equal("parent of work", delivery, delivery.parent.clone(), put);
        complaints.equal("evidence of work", delivery, delivery.evidence(), "message");
        let is_last = nth + 1 == deliveries.len();
        let status = if job.plan.again && !is_last {
            StatusCode::Error
        } else {
            StatusCode::Unset
        };
        complaints.equal("status of work", delivery, delivery.status, status);
        let before = (job.plan.again && nth > 0).then(|| deliveries[nth - 1].span_id.clone());
        let links: Vec<_> = delivery
            .links
            .iter()
            .map(|link| link.span_id.clone())
            .collect();
        complaints.equal(
            "links of work",
            delivery,
            links,
            before.into_iter().collect(),
        );
        if job.plan.again {
            let number = (nth > 0).then_some(Value::Int(nth as i64));
            complaints.equal(
                "retries of work",
                delivery,
                delivery.attributes.get("suture.messaging.retries").cloned(),
                number,
            );
        }
    }
    for (step, of) in job.plan.calls.iter().enumerate() {
        let path = format!("/leaf/{}/{step}", job.id);
        let Some(call) = complaints.only(&format!("CLIENT span of {path}"), spans, |span| {
            span.kind == Kind::Client && span.path() == path
        }) else {
            tally.missing += 1;
            continue;
        };
        let delivery = deliveries.get(usize::from(*of));
        if is_of_an_unjoined(call, &job.id, spans) {
            tally.root += 1;
        } else if delivery.is_some_and(|delivery| {
            call.parent.as_ref() == Some(&delivery.span_id) && call.trace_id == delivery.trace_id
        }) {
            tally.right += 1;
        } else {
            tally.wrong += 1;
            complaints.unless(false, || format!("WRONG PARENT: {}", call.line()));
        }
    }
}

/// Nobody's, or of work that is nobody's and makes no other job's calls.
fn is_of_an_unjoined(call: &ReceivedSpan, id: &str, spans: &[ReceivedSpan]) -> bool {
    let Some(parent) = &call.parent else {
        return true;
    };
    spans
        .iter()
        .any(|work| &work.span_id == parent && work.kind == Kind::Consumer && work.parent.is_none())
        && spans
            .iter()
            .filter(|other| other.kind == Kind::Client && other.parent.as_ref() == Some(parent))
            .all(|other| other.path().contains(id))
}
