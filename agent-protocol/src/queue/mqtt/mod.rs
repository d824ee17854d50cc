//! MQTT 3.1.1 and 5 (and 3.1, which is read like 3.1.1).
//!
//! In: both directions of a client's connection, from CONNECT on. Out: [`Event`]s. The client's PUBLISH gives Sent; PUBACK, PUBCOMP or a
//! PUBREC that refuses gives Answered; the broker's PUBLISH gives Delivered, at QoS 2 with its PUBREL, which is when clients call back; the
//! client's PUBACK or PUBCOMP gives Settled. Always holds: what [`super`] says. Refuses: a connection met in its middle or with a hole where
//! a packet begins, as nothing in MQTT marks a beginning; topics under `$SYS`.
//!
//! A message is known by topic and body, which is weak: sensors say the same again and again. Packet ids are one connection's; user
//! properties and correlation data are lost on the way to an older client. So equal messages are told apart by a `traceparent` in MQTT 5's
//! user properties, or not at all. A retained message has no key: it may be older than an equal one.
//!
//! # What clients do (seen against mosquitto 2.0.11 with strace and in `tests/queue_peers`)
//!
//! - paho-mqtt 2.2.0 with `loop_start`: one network thread reads (a byte at a time, then the rest), calls back, and writes. `publish` in
//!   another thread puts the packet in a queue and wakes the network thread by a byte on a socket pair: the write is never the caller's.
//!   What a callback publishes is written by the network thread after the callback, and the ack of QoS 1 after that; with `manual_ack` the
//!   ack comes when the application says so. Without a loop thread `publish` writes at once. CONNECT is written by who calls `connect`.
//! - mqtt.js 5.16.0: an event loop. `publish` writes in the same turn (one `writev`, at `nextTick`). A read may carry several packets; their
//!   `message` events come one after another, and the ack follows each handler at once: it says nothing of the end of what is
//!   asynchronous. At QoS 2 the event comes with PUBREL.
//!
//! Neither settles QoS 0. A client that comes back to its session is given with DUP what it did not acknowledge, on a new connection.
use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, Input};
use packet::{Came, Packets};
use publish::connect;
use talk::Talk;

mod packet;
mod publish;
mod talk;

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    to_broker: Packets,
    to_client: Packets,
    talk: Talk,
    is_hopeless: bool,
}

impl Client {
    /// A connection from its beginning; one that was met in its middle is hopeless from the start.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        let packets = |way| Packets::new(way, limits.message_bytes);
        Self {
            to_broker: packets(Way::ToBroker),
            to_client: packets(Way::ToClient),
            talk: Talk::new(limits, keyer),
            is_hopeless: begin == Begin::Midstream,
        }
    }
}

impl Conversation for Client {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        let Self {
            to_broker,
            to_client,
            talk,
            is_hopeless,
        } = self;
        if *is_hopeless {
            return;
        }
        let packets = match way {
            Way::ToBroker => to_broker,
            Way::ToClient => to_client,
        };
        packets.push(input, &mut |came| match came {
            _ if *is_hopeless => {}
            Came::Packet(packet) => {
                if !talk.take(way, packet, out) {
                    *is_hopeless = true;
                    out(Event::Unparsed("no CONNECT"));
                }
            }
            Came::Broken(why) => {
                *is_hopeless = true;
                out(Event::Unparsed(why));
            }
        });
    }

    fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    fn held(&self) -> usize {
        self.to_broker.held() + self.to_client.held() + self.talk.held()
    }
}

/// A client's first bytes are MQTT's CONNECT. The rule:
///
/// - byte 0 is 0x10;
/// - then one to four bytes of length, all but the last with the high bit set;
/// - then `00 04 'M' 'Q' 'T' 'T'` and 4 or 5, or `00 06 'M' 'Q' 'I' 's' 'd' 'p'` and 3.
///
/// A broker's first and what comes later have no rule: two bytes of a PUBACK are anybody's.
#[must_use]
pub fn is_mqtt(first: &[u8]) -> bool {
    let Some(rest) = first.strip_prefix(&[0x10]) else {
        return false;
    };
    let more = rest
        .iter()
        .take(3)
        .take_while(|&&byte| byte & 0x80 != 0)
        .count();
    match rest.get(more..) {
        Some([last, name @ ..]) => last & 0x80 == 0 && connect(name).is_some(),
        _ => false,
    }
}
