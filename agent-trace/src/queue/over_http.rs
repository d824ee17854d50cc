//! Messages that are put and taken by calls over HTTP.
//!
//! In: what such calls said. Out: puts are the calls' own exchanges, known by their messages' ids; deliveries are work as on any broker's connection.
//! Always holds: one exchange for a call, however many messages it put. Refuses: to keep a put as one whose queue was not read.

use std::sync::Arc;

use agent_common::abi::{SegmentRecord, SocketKey, direction, evidence, protocol, segment_flag};
use agent_protocol::queue::{Event, Sent};

use super::posts::Put;
use super::scope::Scope;
use super::units::UnitKey;
use super::{Lane, Moved, Parcel};
use crate::exchange::{Endpoints, Entry, Exchange, Ids, Outcome};
use crate::shared::Shared;
use crate::span::SpanId;

impl Lane {
    /// The lane of a client's connection over HTTP: what is said there is read elsewhere.
    pub(crate) fn over_http(socket: SocketKey) -> Self {
        Self {
            is_pulled: true,
            ..Self::without_talk(socket, protocol::SQS)
        }
    }

    /// A request said this, or an answer that was read brought it.
    pub(crate) fn hears(
        &mut self,
        record: &SegmentRecord,
        endpoints: Option<&Arc<Endpoints>>,
        events: &mut Vec<Event>,
        shared: &mut Shared,
    ) {
        let scope = Scope::of(self.protocol, endpoints.map(Arc::as_ref));
        for event in &mut *events {
            scope.apply(event);
        }
        let is_read = record.direction == direction::RX;
        let has_ids = record.flags & segment_flag::EXCHANGE != 0;
        let reader = UnitKey::of_thread(record);
        // A pool gives one connection to many threads: what came belongs to who read it, not to where it came.
        self.socket = SocketKey {
            sk: reader.process.start_ns,
            ino: u64::from(reader.process.tgid) << 32 | u64::from(reader.tid),
        };
        let moved = Moved {
            record,
            ids: Ids::of(&record.exchange).filter(|_| has_ids),
            unit: match has_ids.then_some(record.exchange.evidence) {
                Some(evidence::THREAD) => Some(reader),
                Some(evidence::GOROUTINE) => None,
                _ => Some(reader).filter(|_| !is_read),
            },
            endpoints,
            is_of_one: false,
        };
        if is_read {
            self.was_read(&moved, events, shared);
        } else {
            self.wrote(&moved, events, shared);
        }
    }
}

impl Shared {
    /// The unit that worked for `consumer` asks for more. (Threads say so themselves; of a goroutine only its context is known.)
    pub(crate) fn fetches_after(&mut self, consumer: SpanId, at_ns: u64) {
        self.graph.contexts().end(consumer, at_ns);
        self.end_work(consumer, Outcome::Complete, at_ns);
    }

    /// The call of `exchange` put these, and its server took them.
    pub(crate) fn has_put(&mut self, exchange: &mut Exchange, puts: Vec<Event>) {
        let (span, at_ns) = (exchange.ids.span, exchange.start_ktime_ns);
        let mut count = 0;
        for event in puts {
            let Event::Sent(sent) = event else { continue };
            count += 1;
            let early = self.work.posts.put(&Put {
                keys: &sent.message.keys,
                span,
                at_ns,
                job: None,
                is_fan_out: false,
            });
            if let Some(consumer) = early {
                self.graph.is_of_message(consumer, span);
                self.waited_since(consumer, at_ns);
            }
            self.puts_one(exchange, sent, count);
        }
        self.unit_puts(exchange);
    }

    fn puts_one(&mut self, exchange: &mut Exchange, sent: Sent, nth: usize) {
        let header = self.header(sent.message.traceparent);
        if let (Some(header), Entry::Entered(slot)) = (header, exchange.entry) {
            self.graph.says(slot, header);
        }
        let Some(parcel) = &mut exchange.message else {
            return;
        };
        parcel.batch = nth;
        parcel.body_bytes += sent.message.body_bytes;
        parcel.is_delayed |= sent.is_delayed;
        parcel.id = sent.message.id.filter(|_| nth == 1);
        parcel.tracestate = sent.message.tracestate;
    }

    /// The message of `consumer`, which was delivered before its put was answered, was put at `at_ns`.
    fn waited_since(&mut self, consumer: SpanId, at_ns: u64) {
        if let Some(open) = self.work.open.get_mut(&consumer) {
            let waited_ns = open.exchange.start_ktime_ns.saturating_sub(at_ns);
            if let Some(parcel) = &mut open.exchange.message {
                parcel.queue_ns = Some(waited_ns);
            }
        }
    }

    fn unit_puts(&mut self, exchange: &Exchange) {
        let is_of_a_thread = exchange.tid != 0;
        let unit = UnitKey {
            process: exchange.process,
            tid: exchange.tid,
        };
        self.unit_writes(Some(unit).filter(|_| is_of_a_thread));
    }

    /// The exchange is over: what its call said of its queue is all that is known of it.
    pub(crate) fn call_ends(&mut self, exchange: &mut Exchange, outcome: Outcome) {
        let has_succeeded = outcome == Outcome::Complete
            && exchange
                .response
                .as_ref()
                .is_some_and(|response| (200..300).contains(&response.status));
        // (What is under way when the agent stops is a worker that waits.)
        let says_nothing = has_succeeded || outcome == Outcome::Unfinished;
        if let (true, true, Entry::Entered(slot)) =
            (exchange.is_quiet, says_nothing, exchange.entry)
        {
            exchange.ignored = true;
            self.graph.leave_out(slot);
        }
        let Some(call) = exchange.call.take() else {
            return;
        };
        let Some(parcel) = &mut exchange.message else {
            return;
        };
        match call.queue() {
            Some(queue) => {
                parcel.destination = queue;
                parcel.url = call.url().map(without_secrets);
                if parcel.batch == 0 {
                    parcel.error = call.refused().map(ToOwned::to_owned);
                }
            }
            None => exchange.message = None,
        }
    }
}

/// A queue's URL as a span may say it: without user and query (semconv's rules for `url.full`).
fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else {
        return plain.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

impl Parcel {
    /// Of what a call puts, before more is known.
    pub(crate) fn of_call(protocol: u8, operation: &'static str) -> Self {
        Self {
            protocol,
            operation,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn urls_of_queues_lose_users_and_queries() {
        for (url, expect) in [
            (
                "http://sqs:9324/000000000000/mails",
                "http://sqs:9324/000000000000/mails",
            ),
            (
                "http://key:secret@sqs:9324/0/mails?token=t#x",
                "http://sqs:9324/0/mails",
            ),
            ("http://key:secret@sqs", "http://sqs"),
            ("/0/mails?token=t", "/0/mails"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), expect, "{url}");
        }
    }
}
