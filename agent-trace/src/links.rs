//! Links of an exchange's span: to the attempt before, to the request that had the same key first, and to messages for one of which it is.
//!
//! In: an exchange that is over, with its decision; they come in the order of their ends. Out: links, and the ordinal of
//! the repetition. Always holds: two attempts have everything in common that was said, and their parent; what they had to
//! say was seen whole. Refuses: links between calls of different parents, equal or not; between calls without a parent,
//! unless both carry the same `Idempotency-Key`.

use crate::attempts::{Attempt, Before, Chain};
use crate::exchange::{AF_UNIX, Exchange, Outcome, Wire};
use crate::graph::{Decision, Side};
use crate::keyed::{Keyed, is_hidden};
use crate::keys::First;
use crate::message::{Part, Request};
use crate::semconv as key;
use crate::shared::Shared;
use crate::span::{Link, Span, SpanId, TraceId, Value};

/// What a span says beside what its own bytes say.
#[derive(Debug, Default)]
pub(crate) struct Links {
    list: Vec<Link>,
    /// `http.request.resend_count`; 0: none.
    resends: u32,
}

impl Links {
    /// Puts it into the span.
    pub(crate) fn put(self, span: &mut Span) {
        if self.resends > 0 {
            let count = Value::Int(i64::from(self.resends));
            span.attributes
                .push((key::HTTP_REQUEST_RESEND_COUNT, count));
        }
        span.links = self.list;
    }

    fn link(&mut self, span: SpanId, trace: TraceId, evidence: &'static str) {
        if self.list.iter().any(|link| link.span_id == span) {
            return;
        }
        self.list.push(Link {
            trace_id: trace,
            span_id: span,
            attributes: vec![(key::SUTURE_LINK_EVIDENCE, Value::Str(evidence.into()))],
        });
    }
}

/// The links of an exchange whose span will be handed out. To be asked once for each, before its request is used up.
pub(crate) fn links(exchange: &Exchange, decision: Decision, shared: &mut Shared) -> Links {
    let mut links = Links::default();
    if decision.parent.is_none()
        && exchange.side == Side::Client
        && let Some(batch) = shared.batch_of(exchange.ids.origin, exchange.start_ktime_ns)
    {
        for consumer in batch.iter() {
            let trace = shared
                .graph
                .decided_trace(*consumer, shared.now_ns, &mut shared.counters);
            if let Some(trace) = trace {
                links.link(*consumer, trace, key::LINK_BATCH);
            }
        }
    }
    if let Some(parcel) = exchange.message.as_deref() {
        // Each attempt of a job is a span of its own; one over HTTP is put by a call that may have been tried before.
        if let Some(before) = parcel.before
            && let Some(trace) = shared.graph.trace_of(before)
        {
            links.link(before, trace, key::LINK_RETRY);
        }
        if exchange.wire == Wire::Broker {
            return links;
        }
    }
    if exchange.side == Side::Client {
        attempts(&mut links, exchange, decision, shared);
    }
    let span = First {
        span: exchange.ids.span,
        trace: decision.trace,
    };
    let firsts = shared.keys.note(
        span,
        decision.parent,
        exchange.start_ktime_ns,
        shared.now_ns,
        &mut shared.counters,
    );
    for first in firsts {
        links.link(first.span, first.trace, key::LINK_KEY);
    }
    links
}

/// Links a call to the attempt before it: the same call, or the connection that could not be made for it.
fn attempts(links: &mut Links, exchange: &Exchange, decision: Decision, shared: &mut Shared) {
    let failed = has_failed(exchange);
    if !failed && shared.attempts.is_empty() {
        return;
    }
    let attempt = Attempt {
        span: exchange.ids.span,
        trace: decision.trace,
        began_ns: exchange.start_ktime_ns,
        ended_ns: exchange.end_ktime_ns,
        failed,
    };
    let is_connect = matches!(exchange.outcome, Outcome::Connect(_));
    let secret = shared.config.secret;
    // An exchange on a connection that was there before repeats no failed attempt, and nothing after it does.
    let is_new = is_connect || exchange.connect_ktime_ns.is_some();
    let connect = connect_chain(secret, exchange, decision)
        .and_then(|chain| {
            let attempt = Attempt {
                began_ns: exchange.connect_ktime_ns.unwrap_or(attempt.began_ns),
                failed: is_connect,
                ..attempt
            };
            shared.attempts.note(chain, attempt, &mut shared.counters)
        })
        .filter(|_| is_new);
    let call = if is_connect {
        None
    } else {
        call_chain(shared, exchange, decision)
            .and_then(|chain| shared.attempts.note(chain, attempt, &mut shared.counters))
    };
    let nearest = connect
        .into_iter()
        .chain(call)
        .max_by_key(|before| before.ended_ns);
    if let Some(before) = nearest {
        links.link(before.span, before.trace, key::LINK_RETRY);
    }
    if !is_connect {
        let count = |before: Option<Before>| before.map_or(0, |before| before.count);
        links.resends = count(connect).saturating_add(count(call));
    }
}

/// Whether a caller may try again what ended like this.
fn has_failed(exchange: &Exchange) -> bool {
    match exchange.outcome {
        Outcome::Failed(_) | Outcome::Connect(_) => true,
        Outcome::Complete => exchange
            .response
            .as_ref()
            .is_some_and(|response| is_worth_another_try(response.status)),
        // How these ended is not known.
        Outcome::Open | Outcome::Unseen | Outcome::Unfinished => false,
    }
}

/// Statuses (RFC 9110 §15, RFC 6585) after which the very same call is made again: with credentials, later, or
/// elsewhere. Not redirections, whose target is another one.
const fn is_worth_another_try(status: u16) -> bool {
    matches!(status, 401 | 407 | 408 | 425 | 429 | 500..=599)
}

/// The parent, where the caller's execution unit names it: one that a header names may have been passed on, and be that of
/// many requests.
fn parent(decision: Decision) -> Option<SpanId> {
    decision.parent.filter(|_| decision.evidence.is_of_a_unit())
}

/// Attempts to reach one address for one parent.
fn connect_chain(secret: u64, exchange: &Exchange, decision: Decision) -> Option<Chain> {
    let parent = parent(decision)?;
    let mut hash = Keyed::new(secret, b'a');
    of_parent(&mut hash, exchange, decision.trace, parent);
    of_peer(&mut hash, exchange)?;
    Some(Chain(hash.finish()))
}

fn of_parent(hash: &mut Keyed, exchange: &Exchange, trace: TraceId, parent: SpanId) {
    hash.number(exchange.process.start_ns);
    hash.number(u64::from(exchange.process.tgid));
    hash.bytes(&trace.0);
    hash.bytes(&parent.0);
}

/// The address that was called; `None` for unix sockets, whose names are not known.
fn of_peer(hash: &mut Keyed, exchange: &Exchange) -> Option<()> {
    let ends = exchange
        .endpoints
        .as_deref()
        .filter(|ends| ends.family != AF_UNIX)?;
    hash.bytes(&ends.remote_addr);
    hash.number(u64::from(ends.remote_port));
    Some(())
}

/// Attempts at one call; `None` when not enough is known of it to be sure.
fn call_chain(shared: &Shared, exchange: &Exchange, decision: Decision) -> Option<Chain> {
    let request = exchange
        .request
        .as_ref()
        .filter(|request| request.complete)?;
    let idempotency = shared
        .keys
        .of(exchange.ids.span)
        .map_or(0, |carried| carried.idempotency);
    let mut hash = Keyed::new(shared.config.secret, b'c');
    match parent(decision) {
        Some(parent) => of_parent(&mut hash, exchange, decision.trace, parent),
        None if idempotency == 0 => return None,
        None => of_parent(&mut hash, exchange, TraceId::default(), SpanId::default()),
    }
    hash.number(idempotency);
    hash.number(match exchange.wire {
        Wire::Http1 => 1,
        Wire::FastCgi => 2,
        Wire::Broker => return None,
    });
    hash.bytes(request.method.as_bytes());
    hash.bytes(
        exchange
            .texts
            .get(Part::Method)
            .unwrap_or_default()
            .as_bytes(),
    );
    match exchange.texts.get(Part::Authority) {
        // A proxy's next upstream has another address and the same name.
        Some(authority) => hash.bytes(authority.as_bytes()),
        None => of_peer(&mut hash, exchange)?,
    }
    hash.bytes(exchange.texts.get(Part::Path)?.as_bytes());
    match exchange.texts.get(Part::Query) {
        Some(query) if has_hidden_value(query) => return None,
        Some(query) => hash.bytes(query.as_bytes()),
        None => {}
    }
    let body = body(request, exchange);
    match (body, idempotency) {
        (Some(body), _) => hash.number(body),
        // The key says that it is the same, whatever was seen of it.
        (None, 1..) => {}
        (None, 0) => return None,
    }
    Some(Chain(hash.finish()))
}

/// Hash of the request's body, 0 where there is none; `None` when not all of it was seen.
fn body(request: &Request, exchange: &Exchange) -> Option<u64> {
    let is_empty =
        exchange.request_body == Some(0) && request.content_length.is_none_or(|bytes| bytes == 0);
    if is_empty {
        return Some(0);
    }
    exchange.request_body?;
    exchange.body.whole()
}

fn has_hidden_value(query: &str) -> bool {
    query.split('&').any(|pair| {
        is_hidden(
            pair.split_once('=')
                .map_or(pair, |(_, value)| value)
                .as_bytes(),
        )
    })
}
