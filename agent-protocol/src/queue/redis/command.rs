//! What a client's commands mean.
//!
//! In: arguments as they become complete, then the command. Out: events, and what its answer will mean. Always holds: arguments of commands
//! that mean nothing here are not kept, among them those of `AUTH` and `HELLO`; messages of one command are reported one by one, so that
//! their number is not bounded by memory. Refuses: nothing.
//! Source: <https://redis.io/docs/latest/commands/>, for Redis 7.

use super::frame::Frame;
use super::library::{self, Book};
use super::pending::{Expect, Keys, Place};
use super::state::{self, Out, Payload, State, short};
use crate::queue::{Event, KEYS_MAX, Sent, Settle};

/// Kinds of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// One answer that means nothing.
    Other,
    /// No answer of its own, or several: confirmations of subscriptions.
    Subscription,
    /// The connection is not a client's any more.
    Replica,
    /// The answers are not what they were.
    Unanswered,
    Multi,
    Exec,
    Discard,
    /// `key message …`
    Push,
    /// `channel message`
    Publish,
    /// `key [flags] score member …`
    AddScored,
    /// `key [options] id field value …`
    AddEntry,
    /// `key [count]`
    Pop,
    /// `key … timeout`
    BlockingPop,
    /// `source destination …`
    Move,
    /// `[timeout] numkeys key …`: how many arguments stand before.
    MultiPop(usize),
    PopScored,
    BlockingPopScored,
    MultiPopScored(usize),
    /// `… STREAMS key … id …`
    Read,
    /// The same with `GROUP group consumer` before.
    ReadGroup,
    /// `key group consumer …`
    Claim,
    /// `key group id …`
    Acknowledge,
    /// `key count element`
    RemoveFromList,
    Book(Book),
    /// `script numkeys key … argument …`
    Script,
}

/// The command of this name, and the name in lower case.
pub(super) fn verb(name: &[u8]) -> (Verb, &'static str) {
    let mut lower = [0; 16];
    let Some(lower) = lower.get_mut(..name.len()) else {
        return (Verb::Other, "");
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    match &*lower {
        b"lpush" => (Verb::Push, "lpush"),
        b"rpush" => (Verb::Push, "rpush"),
        b"lpushx" => (Verb::Push, "lpushx"),
        b"rpushx" => (Verb::Push, "rpushx"),
        b"publish" => (Verb::Publish, "publish"),
        b"spublish" => (Verb::Publish, "spublish"),
        b"zadd" => (Verb::AddScored, "zadd"),
        b"xadd" => (Verb::AddEntry, "xadd"),
        b"lpop" => (Verb::Pop, "lpop"),
        b"rpop" => (Verb::Pop, "rpop"),
        b"blpop" => (Verb::BlockingPop, "blpop"),
        b"brpop" => (Verb::BlockingPop, "brpop"),
        b"lmove" => (Verb::Move, "lmove"),
        b"blmove" => (Verb::Move, "blmove"),
        b"rpoplpush" => (Verb::Move, "rpoplpush"),
        b"brpoplpush" => (Verb::Move, "brpoplpush"),
        b"lmpop" => (Verb::MultiPop(0), "lmpop"),
        b"blmpop" => (Verb::MultiPop(1), "blmpop"),
        b"zpopmin" => (Verb::PopScored, "zpopmin"),
        b"zpopmax" => (Verb::PopScored, "zpopmax"),
        b"bzpopmin" => (Verb::BlockingPopScored, "bzpopmin"),
        b"bzpopmax" => (Verb::BlockingPopScored, "bzpopmax"),
        b"zmpop" => (Verb::MultiPopScored(0), "zmpop"),
        b"bzmpop" => (Verb::MultiPopScored(1), "bzmpop"),
        b"xread" => (Verb::Read, "xread"),
        b"xreadgroup" => (Verb::ReadGroup, "xreadgroup"),
        b"xclaim" => (Verb::Claim, "xclaim"),
        b"xautoclaim" => (Verb::Claim, "xautoclaim"),
        b"xack" | b"xackdel" => (Verb::Acknowledge, "xack"),
        b"lrem" => (Verb::RemoveFromList, "lrem"),
        b"multi" => (Verb::Multi, "multi"),
        b"exec" => (Verb::Exec, "exec"),
        b"discard" | b"reset" => (Verb::Discard, "discard"),
        b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe"
        | b"sunsubscribe" => (Verb::Subscription, "subscribe"),
        b"monitor" | b"sync" | b"psync" | b"replconf" => (Verb::Replica, "sync"),
        b"client" => (Verb::Unanswered, "client"),
        b"set" | b"setnx" => (Verb::Book(Book::Set(2)), "set"),
        b"setex" | b"psetex" => (Verb::Book(Book::Set(3)), "setex"),
        b"hset" | b"hmset" | b"hsetnx" => (Verb::Book(Book::HashSet), "hset"),
        b"hget" => (Verb::Book(Book::HashGet), "hget"),
        b"hdel" => (Verb::Book(Book::HashDelete), "hdel"),
        b"zrem" => (Verb::Book(Book::Remove), "zrem"),
        b"zrangebyscore" => (Verb::Book(Book::Range), "zrangebyscore"),
        b"eval" | b"eval_ro" => (Verb::Script, "eval"),
        b"evalsha" | b"evalsha_ro" => (Verb::Script, "evalsha"),
        b"fcall" | b"fcall_ro" => (Verb::Script, "fcall"),
        _ => (Verb::Other, ""),
    }
}

/// What is to be done with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Keep it.
    Keep,
    /// Keep nothing of what follows.
    Skip,
    /// It has been dealt with.
    Forget,
    /// It has no meaning, but its place has.
    Blank,
}

/// The command that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) name: &'static str,
    operation: Option<u32>,
    /// `ZADD`: the next argument is a member.
    has_score: bool,
    /// Its key was read and has a meaning.
    has_key: bool,
}

impl Command {
    pub(super) fn new(name: &[u8]) -> Self {
        let (verb, name) = verb(name);
        Self {
            verb,
            name,
            operation: None,
            has_score: false,
            has_key: false,
        }
    }
}

impl State {
    /// An argument is complete; the first is the command's name.
    pub(super) fn argument(
        &mut self,
        command: &mut Command,
        frame: &Frame,
        (index, node): (u64, usize),
        out: Out<'_>,
    ) -> Then {
        let text = frame.text(node);
        match (command.verb, index) {
            (Verb::Other | Verb::Subscription | Verb::Replica, _) => Then::Skip,
            (_, 0) => Then::Keep,
            (Verb::Push | Verb::Publish | Verb::AddEntry | Verb::AddScored, 1)
                if library::is_internal(text) =>
            {
                command.verb = Verb::Other;
                Then::Skip
            }
            (Verb::Book(book), 1) if !library::is_book(book, text) => {
                command.verb = Verb::Other;
                Then::Skip
            }
            (_, 1) if command.verb != Verb::Script => {
                command.has_key = true;
                Then::Keep
            }
            (Verb::Script, 1) => Then::Blank,
            (Verb::Push, _) => {
                self.pushed(command, frame, node, out);
                Then::Forget
            }
            (Verb::AddScored, _) => {
                let is_flag = matches!(
                    text.to_ascii_lowercase().as_slice(),
                    b"nx" | b"xx" | b"gt" | b"lt" | b"ch" | b"incr"
                );
                if command.has_score {
                    self.scored(command, frame, node, out);
                    command.has_score = false;
                } else {
                    command.has_score = !is_flag;
                }
                Then::Forget
            }
            _ => Then::Keep,
        }
    }

    fn pushed(&mut self, command: &mut Command, frame: &Frame, node: usize, out: Out<'_>) {
        let (key, payload) = (frame.text(2), payload(frame, node));
        let operation = *command.operation.get_or_insert_with(|| self.operation());
        let envelope = library::envelope(key, payload);
        self.send(
            (operation, command.name),
            (key, payload),
            envelope,
            false,
            out,
        );
    }

    /// A member of a sorted set is a message if a library would know it as one.
    fn scored(&mut self, command: &mut Command, frame: &Frame, node: usize, out: Out<'_>) {
        let (key, payload) = (frame.text(2), payload(frame, node));
        let Some(envelope) = library::envelope(key, payload) else {
            return;
        };
        if self.sidekiq_failed(key, &envelope, out) {
            return;
        }
        let operation = *command.operation.get_or_insert_with(|| self.operation());
        self.send(
            (operation, command.name),
            (key, payload),
            Some(envelope),
            true,
            out,
        );
    }

    /// A command is complete.
    pub(super) fn command(&mut self, command: &Command, frame: &Frame, out: Out<'_>) {
        let arg = |index: usize| frame.text(index + 1);
        let sent = command.operation.map_or(Expect::Nothing, Expect::Sent);
        let expect = match command.verb {
            Verb::Subscription => {
                self.is_subscriber = true;
                return;
            }
            Verb::Replica | Verb::Other => Expect::Nothing,
            Verb::Unanswered => {
                // `CLIENT REPLY OFF|SKIP`
                if arg(1).eq_ignore_ascii_case(b"reply") && !arg(2).eq_ignore_ascii_case(b"on") {
                    self.lose_step();
                    return;
                }
                Expect::Nothing
            }
            Verb::Multi => {
                self.pending.push(Expect::Nothing);
                self.transaction = Some((0, Vec::new()));
                return;
            }
            Verb::Exec => {
                let list = self.transaction.take().map_or(Vec::new(), |(_, list)| list);
                self.pending.push(if list.is_empty() {
                    Expect::Nothing
                } else {
                    Expect::Transaction(list)
                });
                return;
            }
            Verb::Discard => {
                self.transaction = None;
                self.pending.push(Expect::Nothing);
                return;
            }
            Verb::Push | Verb::AddScored => sent,
            Verb::Publish => self.published(command, frame, out),
            Verb::AddEntry => self.entry_added(command, frame, out),
            Verb::Pop | Verb::PopScored => {
                let (name, key) = (command.name, Box::from(short(arg(1))));
                if !library::is_internal(arg(1)) {
                    out(Event::Fetching);
                }
                if command.verb == Verb::Pop {
                    Expect::Messages {
                        name,
                        key,
                        kept_in: None,
                    }
                } else {
                    let (key, keys) = (Some(key), Keys::default());
                    Expect::Members { name, key, keys }
                }
            }
            Verb::Move => {
                out(Event::Fetching);
                Expect::Messages {
                    name: command.name,
                    key: short(arg(1)).into(),
                    kept_in: (!arg(2).starts_with(b"rq:")).then(|| short(arg(2)).into()),
                }
            }
            Verb::BlockingPop | Verb::BlockingPopScored => {
                // The last argument is the time-out.
                let keys = keys((2..frame.len().saturating_sub(1)).map(|at| frame.text(at)));
                self.fetch(command, keys, out)
            }
            Verb::MultiPop(before) | Verb::MultiPopScored(before) => {
                let count = number(arg(1 + before)).unwrap_or(0);
                let keys = keys((0..count).map_while(|at| frame.word(3 + before + at)));
                self.fetch(command, keys, out)
            }
            Verb::Read | Verb::ReadGroup => self.stream_read(command, frame, out),
            Verb::Claim => Expect::Entries {
                name: command.name,
                key: Some(short(arg(1)).into()),
                keys: Keys::default(),
                is_settled: true,
                redelivered: true,
            },
            Verb::Acknowledge => {
                for index in 4..frame.len() {
                    let place = self.keyer.place(&[short(arg(1)), frame.text(index)]);
                    self.settle(place, Settle::Ack, out);
                }
                Expect::Nothing
            }
            Verb::RemoveFromList => {
                let payload = payload(frame, 4);
                let key = self.keyer.payload(short(arg(1)), payload.seen, payload.len);
                if let Some(key) = key.filter(|key| self.is_unsettled(*key)) {
                    self.settle(key, Settle::Ack, out);
                }
                Expect::Nothing
            }
            Verb::Book(book) => self.book(book, frame, out),
            Verb::Script => self.script(command.name, frame, out),
        };
        self.expect(expect);
    }

    fn fetch(&mut self, command: &Command, (keys, first): (Keys, bool), out: Out<'_>) -> Expect {
        if first {
            out(Event::Fetching);
        }
        let name = command.name;
        match command.verb {
            Verb::BlockingPop | Verb::MultiPop(_) => Expect::Keyed { name, keys },
            _ => Expect::Members {
                name,
                key: None,
                keys,
            },
        }
    }

    fn published(&mut self, command: &Command, frame: &Frame, out: Out<'_>) -> Expect {
        let (channel, payload) = (frame.text(2), payload(frame, 3));
        let operation = self.operation();
        let envelope = library::envelope(channel, payload);
        self.send(
            (operation, command.name),
            (channel, payload),
            envelope,
            false,
            out,
        );
        Expect::Sent(operation)
    }

    fn entry_added(&mut self, command: &Command, frame: &Frame, out: Out<'_>) -> Expect {
        let key = short(frame.text(2));
        let mut at = 3;
        // `[NOMKSTREAM] [KEEPREF|DELREF|ACKED] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id`
        loop {
            let word = frame.text(at).to_ascii_lowercase();
            at += match word.as_slice() {
                b"nomkstream" | b"keepref" | b"delref" | b"acked" => 1,
                b"limit" => 2,
                b"maxlen" | b"minid" if matches!(frame.text(at + 1), b"=" | b"~") => 3,
                b"maxlen" | b"minid" => 2,
                _ => break,
            };
        }
        let id = frame.text(at);
        let fields = (at + 1..frame.len()).step_by(2).map(|field| {
            let value = payload(frame, field + 1);
            (frame.text(field), value.seen, value.len)
        });
        let mut message = state::entry(&self.keyer, key, fields);
        if !id.contains(&b'*') && !id.is_empty() {
            message.keys.push(self.keyer.place(&[key, id]));
            message.keys.sort_by_key(|key| key.kind);
            message.keys.truncate(KEYS_MAX);
        }
        let operation = self.operation();
        let sent = Sent {
            operation,
            name: command.name,
            destination: library::destination(key, None),
            is_delayed: false,
            message,
            ..Sent::default()
        };
        self.sent(sent, out);
        let place = Place::Stream(key.into());
        Expect::Placed { operation, place }
    }

    fn stream_read(&mut self, command: &Command, frame: &Frame, out: Out<'_>) -> Expect {
        let words = |at: &usize| frame.text(*at).eq_ignore_ascii_case(b"streams");
        let Some(streams) = (2..frame.len()).find(words) else {
            return Expect::Nothing;
        };
        let count = (frame.len() - streams - 1) / 2;
        let (keys, is_ours) = keys((streams + 1..=streams + count).map(|at| frame.text(at)));
        if is_ours {
            out(Event::Fetching);
        }
        // An id instead of `>` asks for what this consumer was given before.
        let is_again = (streams + count + 1..frame.len()).any(|at| frame.text(at) != b">");
        let is_group = command.verb == Verb::ReadGroup;
        let has_no_ack = (2..streams).any(|at| frame.text(at).eq_ignore_ascii_case(b"noack"));
        Expect::Entries {
            name: command.name,
            key: None,
            keys,
            is_settled: is_group && !has_no_ack,
            redelivered: is_group && is_again,
        }
    }
}

/// The keys, and whether one of them is not a library's own.
fn keys<'a>(texts: impl Iterator<Item = &'a [u8]>) -> (Keys, bool) {
    let (mut keys, mut is_ours) = (Keys::default(), false);
    for text in texts {
        keys.add(short(text));
        is_ours |= !library::is_internal(text);
    }
    (keys, is_ours)
}

pub(super) fn payload(frame: &Frame, node: usize) -> Payload<'_> {
    Payload {
        seen: frame.text(node),
        len: frame.node(node).map_or(0, |node| node.len),
    }
}

/// A small number.
pub(super) fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
