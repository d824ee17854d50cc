//! What frames of both directions mean together.
//!
//! In: [`Piece`]s of either direction. Out: [`Event`]s. Always holds: no list is longer than `Limits::in_flight`, contents in progress
//! no more than `CONTENTS_MAX`. Refuses: content without its method; numbers of confirms after frames were missed.

use std::collections::BTreeMap;

use super::content::{About, Content, is_temporary};
use super::frame::Piece;
use super::method::Method;
use crate::queue::{Event, Key, Keyer, Limits, Settle, Way, clip};

mod messages;
mod settled;

/// Messages of one direction that are incomplete at once, each on a channel of its own.
const CONTENTS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Channel {
    /// Number of the last message that the broker will answer; `None`: it answers none.
    confirms: Option<u64>,
    in_transaction: bool,
    last_put: Option<u32>,
    /// What an empty name of a queue means: the last that was declared.
    current_queue: Vec<u8>,
    /// consume with an empty tag, until the broker says which it made.
    consuming: Option<Subscription>,
    getting: Option<Subscription>,
    /// The client closes it, and ignores what still comes.
    is_closing: bool,
    /// Some delivery is not in `unsettled`.
    overflowed: bool,
    /// Channels are opened anew under old numbers, and count from one again.
    incarnation: u64,
}

#[derive(Clone, Debug)]
struct Subscription {
    queue: Vec<u8>,
    no_ack: bool,
}

#[derive(Clone, Copy, Debug)]
struct Awaited {
    operation: u32,
    /// By which it is known when it comes back.
    mark: Option<Key>,
}

#[derive(Debug)]
pub(super) struct Talk {
    keyer: Keyer,
    limits: Limits,
    channels: BTreeMap<u16, Channel>,
    contents: [BTreeMap<u16, Content>; 2],
    consumers: BTreeMap<(u16, Vec<u8>), Subscription>,
    awaited: BTreeMap<(u16, u64), Awaited>,
    /// Deliveries, and whether they are no message of a user's.
    unsettled: BTreeMap<(u16, u64), bool>,
    operations: u32,
    incarnations: u64,
}

impl Talk {
    pub(super) fn new(limits: Limits, keyer: Keyer) -> Self {
        Self {
            keyer,
            limits,
            channels: BTreeMap::new(),
            contents: [BTreeMap::new(), BTreeMap::new()],
            consumers: BTreeMap::new(),
            awaited: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            operations: 0,
            incarnations: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        let contents = self.contents.iter().flat_map(BTreeMap::values);
        let names = self
            .consumers
            .iter()
            .map(|((_, tag), to)| tag.len() + to.queue.len());
        let queues = self.channels.values().map(|channel| {
            let waiting = [&channel.consuming, &channel.getting];
            let waiting = waiting.into_iter().flatten().map(|to| to.queue.len());
            channel.current_queue.len() + waiting.sum::<usize>()
        });
        contents.map(Content::held).sum::<usize>()
            + names.sum::<usize>()
            + queues.sum::<usize>()
            + self.channels.len()
            + self.consumers.len()
            + self.awaited.len()
            + self.unsettled.len()
    }

    pub(super) fn take(&mut self, way: Way, piece: Piece<'_>, out: &mut dyn FnMut(Event)) {
        let keep = self.limits.message_bytes;
        let contents = &mut self.contents[way as usize];
        let (channel, fits) = match piece {
            Piece::Method {
                channel,
                payload,
                whole,
            } => {
                let is_new = contents.remove(&channel).is_none();
                self.method(way, channel, payload, whole, out);
                (channel, is_new)
            }
            Piece::Header {
                channel,
                payload,
                whole,
            } => {
                let content = contents.get_mut(&channel);
                (channel, content.is_none_or(|of| of.header(payload, whole)))
            }
            Piece::Body { channel, bytes } => {
                let content = contents.get_mut(&channel);
                (channel, content.is_none_or(|of| of.body(bytes, keep)))
            }
            Piece::Hole { channel, len } => {
                let content = contents.get_mut(&channel);
                (channel, content.is_none_or(|of| of.hole(len)))
            }
            Piece::BodyEnd { channel } => (channel, true),
            Piece::Broken(why) => {
                self.broken(way);
                out(Event::Unparsed(why));
                return;
            }
        };
        if !fits {
            self.contents[way as usize].remove(&channel);
            out(Event::Unparsed("content that does not fit"));
        }
        let is_end = matches!(piece, Piece::Header { .. } | Piece::BodyEnd { .. });
        let contents = &mut self.contents[way as usize];
        if is_end
            && contents.get(&channel).is_some_and(Content::is_complete)
            && let Some(content) = contents.remove(&channel)
        {
            self.complete(channel, content, out);
        }
    }

    /// Frames of one direction are missing.
    fn broken(&mut self, way: Way) {
        self.contents[way as usize].clear();
        if way == Way::ToBroker {
            // Puts may be among them: which number the broker means is not known any more.
            self.awaited.clear();
            for channel in self.channels.values_mut() {
                channel.confirms = None;
                channel.in_transaction = false;
            }
        }
    }

    fn channel(&mut self, id: u16) -> Option<&mut Channel> {
        if !self.channels.contains_key(&id) {
            if self.channels.len() >= self.limits.in_flight {
                return None;
            }
            let incarnation = self.incarnations;
            self.channels.insert(
                id,
                Channel {
                    incarnation,
                    ..Channel::default()
                },
            );
        }
        self.channels.get_mut(&id)
    }

    fn begin(&mut self, way: Way, channel: u16, content: Content) {
        let contents = &mut self.contents[way as usize];
        if contents.len() < CONTENTS_MAX {
            contents.insert(channel, content);
        }
    }

    fn method(
        &mut self,
        way: Way,
        id: u16,
        payload: &[u8],
        whole: bool,
        out: &mut dyn FnMut(Event),
    ) {
        let method = Method::of(payload);
        let Some(channel) = self.channel(id) else {
            return;
        };
        let (Some(method), true) = (method, whole) else {
            if Method::is_publish(payload) {
                // It has a number, though nothing else is known of it.
                channel.confirms = channel.confirms.map(|number| number + 1);
            } else if !whole && payload.len() < 4 {
                self.broken(way);
            }
            return;
        };
        match way {
            Way::ToBroker => self.asked(id, method, out),
            Way::ToClient => self.answered(id, method, out),
        }
    }

    fn asked(&mut self, id: u16, method: Method<'_>, out: &mut dyn FnMut(Event)) {
        let limit = self.limits.in_flight;
        let Some(channel) = self.channel(id) else {
            return;
        };
        let subscription = |queue: &[u8], no_ack| Subscription {
            queue: match queue {
                [] => channel.current_queue.clone(),
                _ => queue.to_vec(),
            },
            no_ack,
        };
        match method {
            Method::Publish {
                exchange,
                routing_key,
                mandatory,
            } => self.publish(id, exchange, routing_key, mandatory),
            Method::Consume { queue, tag, no_ack } => {
                let to = subscription(queue, no_ack);
                if tag.is_empty() {
                    channel.consuming = Some(to);
                } else if self.consumers.len() < limit {
                    self.consumers.insert((id, tag.to_vec()), to);
                }
            }
            Method::Cancel { tag } => drop(self.consumers.remove(&(id, tag.to_vec()))),
            Method::Get { queue, no_ack } => {
                let to = subscription(queue, no_ack);
                // Who looks for an answer is still at work.
                if !is_temporary(&to.queue) {
                    out(Event::Fetching);
                }
                channel.getting = Some(to);
            }
            Method::Ack { tag, multiple } => self.settle(id, tag, multiple, Settle::Ack, out),
            Method::Nack {
                tag,
                multiple,
                requeue,
            } => {
                let how = if requeue {
                    Settle::Requeue
                } else {
                    Settle::Reject
                };
                self.settle(id, tag, multiple, how, out);
            }
            Method::Recover => self.settle(id, 0, true, Settle::Requeue, out),
            Method::ConfirmSelect if channel.confirms.is_none() => {
                channel.confirms = Some(0);
                self.awaited.retain(|(of, _), _| *of != id);
            }
            Method::TxSelect => channel.in_transaction = true,
            Method::Open => drop(self.channels.remove(&id)),
            Method::Close { of_connection, .. } => {
                for id in self.of(of_connection, id) {
                    self.settle(id, 0, true, Settle::Requeue, out);
                    self.forget(id);
                    if let Some(channel) = self.channel(id) {
                        channel.is_closing = true;
                    }
                }
            }
            Method::CloseOk { .. } => self.forget(id),
            _ => {}
        }
    }

    fn answered(&mut self, id: u16, method: Method<'_>, out: &mut dyn FnMut(Event)) {
        let limit = self.limits.in_flight;
        let Some(channel) = self.channel(id) else {
            return;
        };
        match method {
            Method::Deliver { .. } | Method::GetOk { .. } if channel.is_closing => {}
            Method::Deliver {
                consumer,
                tag,
                redelivered,
                exchange,
                routing_key,
            } => {
                let to = self.consumers.get(&(id, consumer.to_vec())).cloned();
                let names = (exchange, routing_key);
                self.given(id, "deliver", tag, redelivered, names, to);
            }
            Method::GetOk {
                tag,
                redelivered,
                exchange,
                routing_key,
            } => {
                let to = channel.getting.take();
                let names = (exchange, routing_key);
                self.given(id, "get", tag, redelivered, names, to);
            }
            Method::Return {
                text,
                exchange,
                routing_key,
            } => {
                let text = word(text, 312);
                let content = Content::new(About::Back { text }, exchange, routing_key);
                self.begin(Way::ToClient, id, content);
            }
            Method::DeclareOk { queue } => channel.current_queue = queue.to_vec(),
            Method::ConsumeOk { tag } => {
                let to = channel.consuming.take();
                if let Some(to) = to
                    && self.consumers.len() < limit
                {
                    self.consumers.entry((id, tag.to_vec())).or_insert(to);
                }
            }
            Method::Cancel { tag } => drop(self.consumers.remove(&(id, tag.to_vec()))),
            Method::Ack { tag, multiple } => self.confirm(id, tag, multiple, None, out),
            Method::Nack { tag, multiple, .. } => {
                self.confirm(id, tag, multiple, Some("NACK"), out);
            }
            Method::TxCommitOk => self.confirm(id, 0, true, None, out),
            Method::TxRollbackOk => self.confirm(id, 0, true, Some("ROLLBACK"), out),
            Method::Close {
                of_connection,
                code,
                text,
                by_publish,
            } => {
                let error = word(text, code);
                for id in self.of(of_connection, id) {
                    self.closed(id, &error, by_publish, out);
                }
            }
            Method::CloseOk { .. } => self.forget(id),
            _ => {}
        }
    }

    /// Channels that a close means.
    fn of(&self, of_connection: bool, id: u16) -> Vec<u16> {
        if of_connection {
            self.channels.keys().copied().collect()
        } else {
            vec![id]
        }
    }
}

/// The broker's word in `NOT_FOUND - no exchange 'x' in vhost '/'`, or its number.
fn word(text: &[u8], code: u16) -> String {
    let end = text.windows(3).position(|three| three == b" - ");
    match &text[..end.unwrap_or(text.len())] {
        word @ [_, ..] if word.len() <= 32 => clip::name(word),
        _ => code.to_string(),
    }
}
