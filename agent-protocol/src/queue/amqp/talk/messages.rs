//! Messages from their method to the end of their body.
//!
//! In: publish, deliver and get-ok, and contents that are complete. Out: Sent, Delivered, Done, and the answer that a returned message is.
//! Always holds: what is awaited or unsettled is numbered when its method comes, whatever becomes of its body. Refuses: Celery's own talk.

use super::settled::{number, tag_of};
use super::{Awaited, Subscription, Talk};
use crate::queue::amqp::celery;
use crate::queue::amqp::content::{About, Content, destination, is_temporary};
use crate::queue::{Delivered, Event, Sent, System, Way, clip};

impl Talk {
    pub(super) fn publish(
        &mut self,
        id: u16,
        exchange: &[u8],
        routing_key: &[u8],
        is_mandatory: bool,
    ) {
        let is_internal = celery::is_internal(exchange, routing_key, b"");
        let operation = self.operations.wrapping_add(1);
        let limit = self.limits.in_flight;
        let Some(channel) = self.channel(id) else {
            return;
        };
        if !is_internal {
            channel.last_put = Some(operation);
        }
        let sequence = match &mut channel.confirms {
            Some(number) => {
                *number += 1;
                Some(*number)
            }
            None if channel.in_transaction => Some(u64::from(operation)),
            None => None,
        };
        self.operations = operation;
        // What is not answered may still come back.
        if (sequence.is_some() || is_mandatory) && !is_internal {
            while self.awaited.len() >= limit.max(1) {
                self.awaited.pop_first();
            }
            let at = (id, sequence.unwrap_or(u64::from(operation)));
            let mark = None;
            self.awaited.insert(at, Awaited { operation, mark });
        }
        let about = About::Put {
            operation,
            sequence,
            is_mandatory,
            is_internal,
        };
        self.begin(
            Way::ToBroker,
            id,
            Content::new(about, exchange, routing_key),
        );
    }

    pub(super) fn given(
        &mut self,
        id: u16,
        name: &'static str,
        tag: u64,
        redelivered: bool,
        (exchange, routing_key): (&[u8], &[u8]),
        to: Option<Subscription>,
    ) {
        let queue = to.as_ref().map(|to| &to.queue[..]).unwrap_or_default();
        let is_internal = celery::is_internal(exchange, routing_key, queue);
        let is_full = self.unsettled.len() >= self.limits.in_flight;
        let Some(channel) = self.channel(id) else {
            return;
        };
        let mut delivery = 0;
        if !to.as_ref().is_some_and(|to| to.no_ack) {
            delivery = number(id, channel.incarnation, tag);
            if is_full {
                channel.overflowed = true;
            } else {
                self.unsettled.insert((id, tag), is_internal);
            }
        }
        let about = About::Given {
            name,
            delivery,
            redelivered,
            queue: to.map(|to| to.queue).filter(|queue| !queue.is_empty()),
            is_internal,
        };
        self.begin(
            Way::ToClient,
            id,
            Content::new(about, exchange, routing_key),
        );
    }

    /// The end of a body.
    pub(super) fn complete(&mut self, id: u16, content: Content, out: &mut dyn FnMut(Event)) {
        match &content.about {
            About::Put {
                operation,
                sequence,
                is_mandatory,
                is_internal,
            } => {
                if *is_internal {
                    return;
                }
                let at = (id, sequence.unwrap_or(u64::from(*operation)));
                if let Some((task, ended)) = content.result() {
                    self.awaited.remove(&at);
                    let job = self.keyer.job(System::Celery, task);
                    if let Some(failed) = ended {
                        out(Event::Done { job, failed });
                    }
                    return;
                }
                if *is_mandatory && let Some(awaited) = self.awaited.get_mut(&at) {
                    awaited.mark = content.mark(&self.keyer);
                }
                let properties = content.properties.as_ref();
                let envelope = content.envelope();
                let is_later = envelope.as_ref().is_some_and(|of| of.is_later);
                // dramatiq's worker puts what waited for its time into the queue proper, by a connection that did not see it before.
                let is_dramatiq = envelope
                    .as_ref()
                    .is_some_and(|of| of.system == System::Dramatiq);
                let sent = Sent {
                    operation: *operation,
                    name: "publish",
                    destination: destination(&content.exchange, &content.routing_key),
                    is_delayed: is_later || properties.is_some_and(|of| of.is_delayed),
                    is_unanswered: sequence.is_none(),
                    is_temporary: content.exchange.is_empty() && is_temporary(&content.routing_key),
                    message: content.message(&self.keyer, envelope),
                    ..Sent::default()
                };
                out(if is_dramatiq && !is_later {
                    Event::Moved(sent)
                } else {
                    Event::Sent(sent)
                });
            }
            About::Back { text } => {
                let Some(mark) = content.mark(&self.keyer) else {
                    return;
                };
                let mut on_channel = self.awaited.range((id, 0)..=(id, u64::MAX));
                let at = on_channel.find(|(_, awaited)| awaited.mark == Some(mark));
                if let Some((&at, &Awaited { operation, .. })) = at {
                    self.awaited.remove(&at);
                    let error = Some(text.clone());
                    out(Event::Answered { operation, error });
                }
            }
            About::Given {
                name,
                delivery,
                redelivered,
                queue,
                is_internal,
            } => {
                if *is_internal || content.result().is_some() {
                    return;
                }
                let envelope = content.envelope();
                let is_dramatiq = envelope
                    .as_ref()
                    .is_some_and(|of| of.system == System::Dramatiq);
                if is_dramatiq && content.routing_key.ends_with(b".DQ") {
                    // Its worker holds it until its time, and works on it when it comes again.
                    if let Some(is_internal) = self.unsettled.get_mut(&(id, tag_of(*delivery))) {
                        *is_internal = true;
                    }
                    return;
                }
                let destination = match queue {
                    Some(queue) => clip::name(queue),
                    None => destination(&content.exchange, &content.routing_key),
                };
                out(Event::Delivered(Delivered {
                    delivery: *delivery,
                    name,
                    redelivered: *redelivered,
                    is_temporary: is_temporary(destination.as_bytes()),
                    destination,
                    message: content.message(&self.keyer, envelope),
                }));
            }
        }
    }
}
