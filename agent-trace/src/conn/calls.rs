//! Calls of a queue's server over HTTP (`X-Amz-Target`): their bodies are read beside their heads.
//!
//! In: heads of requests, captured pieces of bodies. Out: of a client's exchange that puts, a message; of answers that bring messages, work
//! ([`crate::queue`]). Always holds: a body is read from its first byte on, by stream position, or not at all; what a proxy passes on is
//! its client's. Refuses: bodies that were not captured (counted): such an exchange stays what it is over HTTP.

use agent_common::abi::{SegmentRecord, direction, protocol, role, segment_flag};
use agent_protocol::queue::sqs::{self, Action, Call};
use agent_protocol::queue::{Conversation, Event, Keyer, Way};
use agent_protocol::stream::Input;

use super::Conn;
use crate::counters::Counter;
use crate::exchange::{AF_UNIX, Exchange};
use crate::graph::{Origin, Side, Whose};
use crate::message::Request;
use crate::queue::{Lane, Parcel};
use crate::shared::Shared;
use crate::span::TraceId;
use crate::tracer::Command;

/// The header that names a call, in lower case.
pub(crate) const TARGET: &str = "x-amz-target";
/// Servers whose connections the kernel side was told of.
const SERVERS_MAX: usize = 1_024;

/// What the request's head says of a call; outer `None`: it is none of a queue's server.
pub(super) fn target_of(request: &Request) -> Option<Option<Action>> {
    let (_, value) = request.extra.iter().find(|(name, _)| name == TARGET)?;
    sqs::target(value)
}

/// A client's answer with ids: those are of the context that its unit has from this read on.
pub(super) fn is_read_with_context(record: &SegmentRecord) -> bool {
    record.direction == direction::RX
        && record.role == role::CLIENT
        && record.flags & segment_flag::EXCHANGE != 0
}

/// The exchange whose head was just read names a call of a queue's server.
pub(super) fn meets(
    exchange: &mut Exchange,
    action: Option<Action>,
    record: &SegmentRecord,
    shared: &mut Shared,
) {
    let is_passed_on = match exchange.side {
        Side::Server => {
            let span = exchange.ids.span;
            shared.work.at_servers.put(span, (), record.head.ktime_ns);
            true
        }
        Side::Client => {
            follow(exchange, shared);
            matches!(exchange.ids.origin, Origin::Kernel(parent, _)
                if shared.work.at_servers.has(&parent))
        }
    };
    let Some(action) = action else { return };
    exchange.is_quiet = !action.is_put();
    if is_passed_on {
        return;
    }
    if action.is_put() {
        exchange.message = Some(Box::new(Parcel::of_call(protocol::SQS, action.name())));
    } else if let Origin::Kernel(parent, _) = exchange.ids.origin
        && action == Action::Receive
    {
        // The unit asks for more: that is no part of what it had.
        let whose = shared.graph.contexts().resolve(parent);
        if whose != Whose::Itself {
            exchange.ids.origin = Origin::None;
            exchange.ids.trace = TraceId::default();
        }
        if let Whose::Of(consumer) = whose {
            shared.fetches_after(consumer, exchange.start_ktime_ns);
        }
    }
    let keyer = Keyer::new(shared.config.message_secret());
    exchange.call = Some(Box::new(Call::new(action, keyer)));
}

/// Has the kernel side give those a context who read answers of this server.
fn follow(exchange: &Exchange, shared: &mut Shared) {
    let Some(ends) = exchange.endpoints.as_deref() else {
        return;
    };
    let server = (ends.remote_addr, ends.remote_port);
    if ends.family != AF_UNIX && shared.servers.len() < SERVERS_MAX && shared.servers.insert(server)
    {
        let (address, port) = server;
        shared
            .commands
            .push_back(Command::FollowServer { address, port });
    }
}

/// Gives a piece of a body to the call. `rest` is what was captured of it, `len` how long it is.
fn tell(call: &mut Call, way: Way, rest: &[u8], len: usize, events: &mut Vec<Event>) {
    call.push(way, Input::Bytes(rest), &mut |event| events.push(event));
    if let Some(unseen) = len.checked_sub(rest.len()).filter(|unseen| *unseen > 0) {
        let unseen = Input::Unseen {
            len: unseen as u64,
            tail: &[],
        };
        call.push(way, unseen, &mut |event| events.push(event));
    }
}

/// The request's body goes on with these bytes. To be asked before the body itself takes them.
pub(super) fn take_request(
    exchange: &mut Exchange,
    pos: u32,
    payload: &[u8],
    len: u32,
    events: &mut Vec<Event>,
) {
    let Some(call) = &mut exchange.call else {
        return;
    };
    let Some(skip) = exchange.body.skip(pos).filter(|skip| *skip <= len) else {
        call.push(Way::ToBroker, Input::Lost { len: None }, &mut |_| {});
        return;
    };
    let rest = payload.get(skip as usize..).unwrap_or_default();
    tell(call, Way::ToBroker, rest, (len - skip) as usize, events);
}

impl Conn {
    /// The lane of messages that come over HTTP.
    fn lane_over_http(&mut self) -> &mut Lane {
        let socket = self.socket;
        self.lane
            .get_or_insert_with(|| Box::new(Lane::over_http(socket)))
    }

    /// What a request said of messages. `fetches`: it asks for some.
    pub(super) fn said(
        &mut self,
        fetches: bool,
        mut events: Vec<Event>,
        record: &SegmentRecord,
        shared: &mut Shared,
    ) {
        if fetches {
            events.insert(0, Event::Fetching);
        }
        if !events.is_empty() {
            let ends = self.endpoints.clone();
            self.lane_over_http()
                .hears(record, ends.as_ref(), &mut events, shared);
        }
    }

    /// Bytes of the open answer: those of `record`, whose head is over at `answer_pos`.
    pub(super) fn take_answer(&mut self, record: &SegmentRecord, payload: &[u8]) {
        let Some(next) = self.answer_pos else { return };
        let Some(call) = self
            .open
            .front_mut()
            .and_then(|exchange| exchange.call.as_deref_mut())
        else {
            return;
        };
        let skip = next.wrapping_sub(record.pos);
        if skip > record.len {
            call.push(Way::ToClient, Input::Lost { len: None }, &mut |_| {});
            self.answer_pos = None;
            return;
        }
        let rest = payload.get(skip as usize..).unwrap_or_default();
        let len = (record.len - skip) as usize;
        tell(call, Way::ToClient, rest, len, &mut self.heard);
        self.answer_pos = Some(record.pos.wrapping_add(record.len));
    }

    /// The exchange is answered: what it put is known by its messages' ids, and what it brought is to be worked on. `is_read`: the segment
    /// that is looked at has its end. If not, that read was not recorded: whose the messages are is not known, and they are not told.
    pub(super) fn call_is_over(
        &mut self,
        exchange: &mut Exchange,
        is_read: bool,
        shared: &mut Shared,
    ) {
        self.answer_pos = None;
        let Some(call) = &mut exchange.call else {
            return;
        };
        let succeeded = exchange
            .response
            .as_ref()
            .is_some_and(|response| (200..300).contains(&response.status));
        let is_understood = call.is_answered() && call.queue().is_some();
        let mut puts = Vec::new();
        let heard = &mut self.heard;
        call.end(&mut |event| match event {
            Event::Sent(_) => puts.push(event),
            _ if is_read => heard.push(event),
            _ => {}
        });
        match call.action() {
            Action::Send | Action::SendBatch => {
                puts.extend(heard.extract_if(.., |event| matches!(event, Event::Sent(_))));
                if succeeded && !is_understood {
                    shared.counters.one(Counter::CallUnread);
                }
                shared.has_put(exchange, puts);
            }
            Action::Receive if succeeded && !is_understood => {
                shared.counters.one(Counter::CallUnread)
            }
            Action::Receive if succeeded && is_read && heard.is_empty() => {
                shared.counters.one(Counter::ReceivedNothing);
            }
            _ => {}
        }
    }

    /// An answer's piece was read: what it brought, and the context that its reader has from now on.
    pub(super) fn was_read(&mut self, record: &SegmentRecord, shared: &mut Shared) {
        let mut events = std::mem::take(&mut self.heard);
        if events.is_empty() && !is_read_with_context(record) {
            return;
        }
        if !is_read_with_context(record) {
            let brought = events
                .iter()
                .filter(|event| matches!(event, Event::Delivered(_)));
            let without = brought.count() as u64;
            shared.counters.add(Counter::MessageWithoutUnit, without);
        }
        let ends = self.endpoints.clone();
        self.lane_over_http()
            .hears(record, ends.as_ref(), &mut events, shared);
    }
}
