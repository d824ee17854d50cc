//! The checks of a chain of calls, span by span.
//!
//! In: received spans and what was really sent. Out: every complaint, not only the first. Always holds: a call is
//! found by the id in its path and a hop by its pids, so other traffic on the host is not looked at. Refuses: to
//! pass an empty list of calls.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::receiver::Receiver;
use crate::scene::scaled;
use crate::span::{Kind, ReceivedSpan, StatusCode, listing};
use crate::victims::{Serving, Victim};

/// One request that was really sent to `/work/ID`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id in the path.
    pub id: String,
    /// The process that sent it.
    pub client: u32,
    /// Nothing else was in flight meanwhile.
    pub alone: bool,
    /// Trace id and parent id of the `traceparent` it carried.
    pub traceparent: Option<([u8; 16], [u8; 8])>,
}

/// The path a hop is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/work/ID`
    Work,
    /// `/leaf/ID/0`
    Leaf,
}

/// A server on the way of a call.
#[derive(Clone, Debug)]
pub struct Hop {
    /// In messages.
    pub name: &'static str,
    /// Its processes.
    pub pids: Vec<u32>,
    /// Whether its calls must be children of what it serves.
    pub serving: Serving,
    /// What it is asked for.
    pub asked: Asked,
}

impl Hop {
    /// The hop a victim is.
    pub fn of(victim: &Victim, asked: Asked) -> Self {
        Self {
            name: victim.name,
            pids: victim.pids(),
            serving: victim.serving,
            asked,
        }
    }

    fn path(&self, call: &Call) -> String {
        match self.asked {
            Asked::Work => format!("/work/{}", call.id),
            Asked::Leaf => format!("/leaf/{}/0", call.id),
        }
    }
}

/// Complaints about spans.
#[derive(Default)]
pub struct Complaints(Vec<String>);

impl Complaints {
    /// Adds one unless `holds`.
    pub fn unless(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.0.push(complaint());
        }
    }

    /// Requires equality.
    pub fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        span: &ReceivedSpan,
        got: T,
        expect: T,
    ) {
        if got != expect {
            self.0.push(format!(
                "{what} is {got:?}, expected {expect:?}, in {}",
                span.line()
            ));
        }
    }

    /// The one span that `matches`.
    pub fn only<'a>(
        &mut self,
        what: &str,
        spans: &'a [ReceivedSpan],
        matches: impl Fn(&ReceivedSpan) -> bool,
    ) -> Option<&'a ReceivedSpan> {
        let found: Vec<&ReceivedSpan> = spans.iter().filter(|span| matches(span)).collect();
        if found.len() != 1 {
            self.0.push(format!(
                "{what}: {} spans instead of 1: {}",
                found.len(),
                listing(found.iter().copied())
            ));
        }
        found.first().copied()
    }

    /// Ok when there is none.
    ///
    /// # Errors
    /// The first 25 of them, and `context`.
    pub fn verdict(self, context: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let shown = self.0.len().min(25);
        bail!(
            "{context}: {} complaints (first {shown}):\n- {}",
            self.0.len(),
            self.0[..shown].join("\n- ")
        )
    }
}

/// True when the span belongs to one of the processes.
pub fn of_process(span: &ReceivedSpan, pids: &[u32]) -> bool {
    span.resource_int("process.pid")
        .is_some_and(|pid| pids.iter().any(|own| i64::from(*own) == pid))
}

/// Waits for `per_call` spans of every id, lets the stream settle, and returns all spans that name one of the ids.
pub fn collect(receiver: &Receiver, ids: &[&str], per_call: usize) -> Vec<ReceivedSpan> {
    let named = |span: &ReceivedSpan| ids.iter().any(|id| span.path().contains(id));
    // A missing span is reported by the check, which says which one; here it only ends the waiting.
    let _ = receiver.wait_until(
        |spans| spans.iter().filter(|span| named(span)).count() >= per_call * ids.len(),
        Duration::from_secs(8),
    );
    receiver
        .settle_of(named, Duration::from_millis(600))
        .into_iter()
        .filter(named)
        .collect()
}

/// Checks caller -> hop -> hop … for every call: exactly one CLIENT and one SERVER span at each edge, right parents,
/// evidence, attributes, times.
///
/// # Errors
/// All complaints.
pub fn check_chain(spans: &[ReceivedSpan], calls: &[Call], hops: &[Hop]) -> Result<()> {
    let mut complaints = Complaints::default();
    complaints.unless(!calls.is_empty() && !hops.is_empty(), || {
        "nothing was called: nothing is checked".to_owned()
    });
    for call in calls {
        check_call(&mut complaints, spans, call, hops);
    }
    for span in spans {
        well_formed(&mut complaints, span);
        complaints.equal("status code", span, span.status_code(), Some(200));
        complaints.equal("method", span, span.text("http.request.method"), "GET");
    }
    unique(&mut complaints, spans);
    let names: Vec<&str> = hops.iter().map(|hop| hop.name).collect();
    complaints.verdict(&names.join(" -> "))
}

fn check_call(complaints: &mut Complaints, spans: &[ReceivedSpan], call: &Call, hops: &[Hop]) {
    let total = spans
        .iter()
        .filter(|span| span.path().contains(&call.id))
        .count();
    complaints.unless(total == 2 * hops.len(), || {
        format!(
            "{total} spans name {}, expected {}",
            call.id,
            2 * hops.len()
        )
    });
    let mut before: Option<(&ReceivedSpan, &Hop)> = None;
    for (at, hop) in hops.iter().enumerate() {
        let path = hop.path(call);
        let caller_pids = before.map_or(vec![call.client], |(_, earlier)| earlier.pids.clone());
        let caller_name = before.map_or("the caller", |(_, earlier)| earlier.name);
        let calling = complaints.only(
            &format!("CLIENT span of {path} in {caller_name}"),
            spans,
            |span| {
                span.kind == Kind::Client && span.path() == path && of_process(span, &caller_pids)
            },
        );
        let served = complaints.only(
            &format!("SERVER span of {path} in {}", hop.name),
            spans,
            |span| span.kind == Kind::Server && span.path() == path && of_process(span, &hop.pids),
        );
        if let (Some(calling), Some(served)) = (calling, served) {
            joined(
                complaints,
                calling,
                served,
                call.traceparent.filter(|_| at == 0),
            );
        }
        if let (Some(calling), Some((earlier_served, earlier))) = (calling, before) {
            called_while_serving(
                complaints,
                earlier_served,
                calling,
                earlier.serving,
                call.alone,
            );
        }
        let Some(served) = served else { return };
        before = Some((served, hop));
    }
}

/// A SERVER span is the child of the CLIENT span of the same request, or of the `traceparent` it carried.
pub fn joined(
    complaints: &mut Complaints,
    client: &ReceivedSpan,
    server: &ReceivedSpan,
    traceparent: Option<([u8; 16], [u8; 8])>,
) {
    let (trace, parent, evidence) = match traceparent {
        Some((trace, parent)) => (trace.to_vec(), parent.to_vec(), "header"),
        None => (client.trace_id.clone(), client.span_id.clone(), "socket"),
    };
    complaints.equal("parent", server, server.parent.clone(), Some(parent));
    complaints.equal("trace id", server, server.trace_id.clone(), trace);
    complaints.equal("evidence", server, server.evidence(), evidence);
    // Both ends time the same bytes; syscall exits on two CPUs may be seen a scheduling delay apart.
    let slack = scaled(Duration::from_millis(50)).as_nanos() as u64;
    complaints.unless(server.start + slack >= client.start, || {
        format!(
            "served {} ms before it was asked: {}",
            (client.start - server.start) / 1_000_000,
            server.line()
        )
    });
    complaints.unless(server.end <= client.end + slack, || {
        format!(
            "served {} ms longer than its client saw: {}",
            (server.end - client.end) / 1_000_000,
            server.line()
        )
    });
}

/// A CLIENT span made while serving: the child of `served`; loops, and proxies with much in flight: that or a root.
pub fn called_while_serving(
    complaints: &mut Complaints,
    served: &ReceivedSpan,
    calling: &ReceivedSpan,
    serving: Serving,
    alone: bool,
) {
    let right =
        calling.parent.as_ref() == Some(&served.span_id) && calling.trace_id == served.trace_id;
    let root = calling.parent.is_none();
    match serving {
        Serving::Thread => {
            complaints.unless(right, || {
                format!(
                    "this call must be the child of {}: {}",
                    served.line(),
                    calling.line()
                )
            });
            complaints.equal("evidence", calling, calling.evidence(), "thread");
        }
        Serving::Proxy if alone => {
            complaints.unless(right, || {
                format!(
                    "alone in flight, so this call must be the child of {}: {}",
                    served.line(),
                    calling.line()
                )
            });
            complaints.equal("evidence", calling, calling.evidence(), "turn");
        }
        Serving::Loop | Serving::Proxy => complaints.unless(right || root, || {
            format!(
                "WRONG PARENT: this call must be a root or the child of {}: {}",
                served.line(),
                calling.line()
            )
        }),
    }
    if root {
        complaints.equal("evidence", calling, calling.evidence(), "none");
    }
}

/// What holds for every HTTP span.
pub fn well_formed(complaints: &mut Complaints, span: &ReceivedSpan) {
    complaints.equal("length of the trace id", span, span.trace_id.len(), 16);
    complaints.equal("length of the span id", span, span.span_id.len(), 8);
    complaints.unless(span.trace_id.iter().any(|byte| *byte != 0), || {
        format!("a zero trace id: {}", span.line())
    });
    complaints.unless(span.start > 0 && span.end >= span.start, || {
        format!("times out of order: {}", span.line())
    });
    complaints.unless(span.repeated_keys.is_empty(), || {
        format!("keys twice: {:?} {}", span.repeated_keys, span.line())
    });
    let method = span.text("http.request.method");
    complaints.unless(!method.is_empty(), || {
        format!("no http.request.method: {}", span.line())
    });
    let named_by = if method == "_OTHER" { "HTTP" } else { method };
    complaints.unless(
        span.name == named_by || span.name.starts_with(&format!("{named_by} /")),
        || {
            format!(
                "the name must be `{named_by}` or `{named_by} /…`: {}",
                span.line()
            )
        },
    );
    let has_id = span
        .path()
        .split('/')
        .any(|part| part.len() >= 16 && span.name.contains(part));
    complaints.unless(!has_id, || {
        format!("the name has an id of its path: {}", span.line())
    });
    let keys: &[&str] = match span.kind {
        Kind::Server => &["url.path", "url.scheme", "suture.parent.evidence"],
        _ => &[
            "url.full",
            "server.address",
            "server.port",
            "suture.parent.evidence",
        ],
    };
    for key in keys {
        complaints.unless(span.attributes.contains_key(*key), || {
            format!("no {key}: {}", span.line())
        });
    }
    for key in ["service.name", "process.pid", "host.name"] {
        complaints.unless(span.resource.contains_key(key), || {
            format!(
                "the Resource has no {key}: {:?} {}",
                span.resource,
                span.line()
            )
        });
    }
    let evidence_needed = span.parent.is_some();
    complaints.unless((span.evidence() != "none") == evidence_needed, || {
        format!("evidence and parent disagree: {}", span.line())
    });
    let code = span.status_code();
    let error = match span.kind {
        Kind::Server => code.is_none_or(|code| code >= 500),
        _ => code.is_none_or(|code| code >= 400),
    };
    let expect = if error {
        StatusCode::Error
    } else {
        StatusCode::Unset
    };
    complaints.equal("status", span, span.status, expect);
    complaints.unless(!error || !span.text("error.type").is_empty(), || {
        format!("no error.type: {}", span.line())
    });
}

/// No span id occurs twice.
pub fn unique(complaints: &mut Complaints, spans: &[ReceivedSpan]) {
    let mut seen: HashMap<&[u8], &ReceivedSpan> = HashMap::new();
    for span in spans {
        if let Some(first) = seen.insert(&span.span_id, span) {
            complaints.unless(false, || {
                format!("one span id twice: {} and {}", first.line(), span.line())
            });
        }
    }
}
