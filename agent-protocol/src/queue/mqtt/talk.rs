//! What packets of both directions mean together.
//!
//! In: [`Packet`]s of either end. Out: [`Event`]s. Always holds: no list is longer than `Limits::in_flight`. Refuses: everything before
//! CONNECT; topics of the broker's own (`$SYS`).

use std::collections::BTreeMap;

use super::packet::{Kind, Packet};
use super::publish::{Publish, answer, connect};
use crate::queue::{Delivered, Event, Keyer, Limits, Message, NAME_MAX, Sent, Settle, Way, clip};

#[derive(Debug)]
pub(super) struct Talk {
    keyer: Keyer,
    most: usize,
    /// CONNECT said so; `None`: it did not come.
    is_v5: Option<bool>,
    operations: u32,
    deliveries: u64,
    /// Operations by packet id.
    awaited: BTreeMap<u16, u32>,
    /// Deliveries by packet id.
    unsettled: BTreeMap<u16, u64>,
    /// QoS 2: the client has them, and is given them when the broker releases them.
    unreleased: BTreeMap<u16, Box<Delivered>>,
    /// Topics by alias, of either direction.
    aliases: [BTreeMap<u16, Vec<u8>>; 2],
}

impl Talk {
    pub(super) fn new(limits: Limits, keyer: Keyer) -> Self {
        Self {
            keyer,
            most: limits.in_flight,
            is_v5: None,
            operations: 0,
            deliveries: 0,
            awaited: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            unreleased: BTreeMap::new(),
            aliases: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    pub(super) fn held(&self) -> usize {
        let topics = self.aliases.iter().flat_map(BTreeMap::values).map(Vec::len);
        let unreleased = self.unreleased.values().map(|of| {
            let message = &of.message;
            let texts = [&message.id, &message.conversation, &message.tracestate];
            let texts = texts.into_iter().flatten().map(String::len);
            size_of::<Delivered>() + of.destination.len() + texts.sum::<usize>()
        });
        topics.sum::<usize>()
            + unreleased.sum::<usize>()
            + self.awaited.len()
            + self.unsettled.len()
    }

    /// Whether the packet can stand where it stands.
    pub(super) fn take(
        &mut self,
        way: Way,
        packet: Packet<'_>,
        out: &mut dyn FnMut(Event),
    ) -> bool {
        let is_connected = self.is_v5.is_some();
        match packet.kind {
            Kind::Connect => {
                self.is_v5 = connect(packet.first);
                return !is_connected && self.is_v5.is_some();
            }
            _ if !is_connected && way == Way::ToBroker => return false,
            Kind::Publish => self.publish(way, packet, out),
            Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
                if let Some((id, reason)) = answer(packet.first) {
                    match way {
                        Way::ToClient => self.answered(packet.kind, id, reason, out),
                        Way::ToBroker => self.settled(packet.kind, id, reason, out),
                    }
                }
            }
            Kind::Other => {}
        }
        true
    }

    fn publish(&mut self, way: Way, packet: Packet<'_>, out: &mut dyn FnMut(Event)) {
        let qos = packet.flags >> 1 & 3;
        let Some(is_v5) = self.is_v5 else {
            return;
        };
        let Some(of) = Publish::of(packet.first, packet.len, qos, is_v5) else {
            // It may have given an alias another topic.
            self.aliases[way as usize].clear();
            out(Event::Unparsed("a topic or properties that are cut"));
            return;
        };
        let Some(topic) = self.topic(way, &of) else {
            out(Event::Unparsed("an alias of no topic"));
            return;
        };
        if topic.starts_with(b"$SYS/") {
            return;
        }
        let mut message = Message {
            traceparent: of.traceparent,
            tracestate: of.tracestate.map(str::to_owned),
            conversation: of.correlation.and_then(printable),
            body_bytes: of.body_bytes,
            ..Message::default()
        };
        // What was retained may be old: an equal message of today is another one.
        if way == Way::ToBroker || packet.flags & 1 == 0 {
            let key = self.keyer.payload(&topic, of.body, of.body_bytes);
            message.keys.extend(key);
        }
        let destination = clip::name(&topic);
        match way {
            Way::ToBroker => {
                self.operations = self.operations.wrapping_add(1);
                let operation = self.operations;
                if let Some(id) = of.id
                    && (self.awaited.len() < self.most || self.awaited.contains_key(&id))
                {
                    self.awaited.insert(id, operation);
                }
                out(Event::Sent(Sent {
                    operation,
                    name: "publish",
                    destination,
                    is_unanswered: qos == 0,
                    message,
                    ..Sent::default()
                }));
            }
            Way::ToClient => {
                let mut delivered = Delivered {
                    delivery: 0,
                    name: "receive",
                    destination,
                    redelivered: packet.flags & 8 != 0,
                    message,
                    ..Delivered::default()
                };
                if let Some(id) = of.id
                    && (self.unsettled.len() + self.unreleased.len() < self.most
                        || self.unsettled.contains_key(&id))
                {
                    self.deliveries += 1;
                    delivered.delivery = self.deliveries;
                    if qos == 2 {
                        self.unreleased.insert(id, Box::new(delivered));
                        return;
                    }
                    self.unsettled.insert(id, self.deliveries);
                }
                out(Event::Delivered(delivered));
            }
        }
    }

    /// The topic, which an alias may stand for.
    fn topic(&mut self, way: Way, of: &Publish<'_>) -> Option<Vec<u8>> {
        let aliases = &mut self.aliases[way as usize];
        match (of.topic, of.alias) {
            ([], Some(alias)) => aliases.get(&alias).cloned(),
            ([], None) => None,
            (topic, alias) => {
                if let Some(alias) = alias {
                    // What it stood for before is over, also when the new topic is not kept.
                    aliases.remove(&alias);
                    if topic.len() <= NAME_MAX && aliases.len() < self.most {
                        aliases.insert(alias, topic.to_vec());
                    }
                }
                Some(topic.to_vec())
            }
        }
    }

    /// The broker answers a put, or releases a delivery.
    fn answered(&mut self, kind: Kind, id: u16, reason: u8, out: &mut dyn FnMut(Event)) {
        let failed = reason >= 0x80;
        match kind {
            Kind::PubRel => {
                if let Some(delivered) = self.unreleased.remove(&id) {
                    self.unsettled.insert(id, delivered.delivery);
                    out(Event::Delivered(*delivered));
                }
            }
            // It has the message, and the exchange goes on: PUBREL, PUBCOMP.
            Kind::PubRec if !failed => {}
            _ => {
                if let Some(operation) = self.awaited.remove(&id) {
                    let error = failed.then(|| format!("0x{reason:02x}"));
                    out(Event::Answered { operation, error });
                }
            }
        }
    }

    /// The client answers a delivery.
    fn settled(&mut self, kind: Kind, id: u16, reason: u8, out: &mut dyn FnMut(Event)) {
        let failed = reason >= 0x80;
        match kind {
            Kind::PubRec if failed => {
                if let Some(delivered) = self.unreleased.remove(&id) {
                    let delivery = delivered.delivery;
                    out(Event::Delivered(*delivered));
                    let how = Settle::Reject;
                    out(Event::Settled { delivery, how });
                }
            }
            Kind::PubRec | Kind::PubRel => {}
            _ => {
                if let Some(delivery) = self.unsettled.remove(&id) {
                    let how = if failed { Settle::Reject } else { Settle::Ack };
                    out(Event::Settled { delivery, how });
                }
            }
        }
    }
}

/// Correlation data is binary; what is no text is no name of a conversation.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control))
        .then(|| clip::some_name(bytes))
        .flatten()
}
