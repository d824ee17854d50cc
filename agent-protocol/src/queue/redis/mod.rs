//! Redis as a queue: RESP2 and RESP3 (Redis 2 to 8, Valkey, KeyDB, Dragonfly), and the libraries that keep jobs in it.
//!
//! In: both directions of one client's connection. Out: [`Event`]s. Always holds: what a connection says is told by commands, by the names
//! of keys and by envelopes, never by what the broker is; passwords (`AUTH`, `HELLO`) are not kept; what a library tells itself (events,
//! heartbeats, results, registries) gives no message. Refuses: `MONITOR` and replication; the connection is hopeless then.
//!
//! - A command's messages are [`Event::Sent`] with the command, in a transaction too; the answer comes later, for a transaction with
//!   `EXEC`'s. The id of a stream's entry is [`Event::Placed`] by the answer.
//! - After a hole, or met in its middle, a connection is out of step: answers are matched to commands again when one names a key that was
//!   asked for, or when commands and answers have alternated [`ALTERNATIONS`] times. Until then `unasked` knows what a worker was given by
//!   its shape, and a put's answer that stands alone ends it; of other puts nothing more is said ([`Event::Unanswered`]).
//!
//! How the libraries use it is written down in [`flows`].

mod asynq;
mod bullmq;
mod command;
pub mod flows;
mod frame;
mod library;
mod line;
mod msgpack;
mod pending;
mod reader;
mod reply;
mod scripts;
mod sniff;
mod state;
mod unasked;

pub use sniff::is_redis;

use command::{Command, Then, Verb};
use frame::{Kind, Piece, Step, Why, Writer};
use pending::Expect;
use reader::Reader;
use reply::Element;
use state::State;

use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, HOPELESS_TURNS, Input};

/// Turns in which each command had its answer, after which answers are trusted to belong to their commands.
pub const ALTERNATIONS: u8 = 4;
/// Answers that came before their commands and are remembered; more mean that the directions are out of step.
const EARLY_MAX: u32 = 64;

/// What is being read of the broker's.
#[derive(Clone, Debug)]
enum Replying {
    /// A message to a subscriber, or a confirmation.
    Push,
    Answer(Expect),
    /// Elements of `EXEC`'s answer so far.
    Transaction(Vec<(u64, Expect)>, u64),
}

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    state: State,
    commands: Reader,
    replies: Reader,
    command: Option<Command>,
    replying: Option<Replying>,
    last: Option<Way>,
    /// Answers whose commands have not been seen.
    early: u32,
    /// Out of step: clean alternations, and whether the one at hand is clean so far.
    alternations: u8,
    is_clean: bool,
    misses: u8,
    is_hopeless: bool,
}

impl Client {
    /// At the beginning of a connection or in its middle.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        let is_boundary = begin == Begin::Boundary;
        Self {
            state: State::new(keyer, limits.in_flight, is_boundary),
            commands: Reader::new(Writer::Client, limits.message_bytes, is_boundary),
            replies: Reader::new(Writer::Broker, limits.message_bytes, is_boundary),
            command: None,
            replying: None,
            last: None,
            early: 0,
            alternations: 0,
            is_clean: false,
            misses: 0,
            is_hopeless: false,
        }
    }

    fn begin_piece(&mut self, way: Way, first: &[u8]) {
        let turned = self.last.is_some_and(|last| last != way);
        self.last = Some(way);
        let has_missed = match way {
            Way::ToBroker => {
                if turned && !self.state.is_aligned {
                    self.alternate();
                }
                self.commands.begin_piece(turned, first)
            }
            Way::ToClient => self.replies.begin_piece(turned, first),
        };
        if has_missed {
            self.missed(way, Why::NotRedis);
        }
    }

    /// Out of step, the client writes after the broker did: were that all answers?
    fn alternate(&mut self) {
        let is_clean = std::mem::replace(&mut self.is_clean, true)
            && self.state.pending.is_empty()
            && self.commands.is_between()
            && self.replies.is_between();
        self.alternations = if is_clean { self.alternations + 1 } else { 0 };
        self.state.await_nothing();
        self.state.is_aligned = self.alternations >= ALTERNATIONS;
    }

    fn out_of_step(&mut self) {
        self.state.lose_step();
        self.early = 0;
        self.alternations = 0;
        self.is_clean = false;
    }

    fn read(&mut self, way: Way, mut piece: Piece<'_>, out: &mut dyn FnMut(Event)) {
        self.state.tell(out);
        loop {
            let step = match way {
                Way::ToBroker => self.commands.read(&mut piece, false),
                Way::ToClient => {
                    let means_nothing = self.state.is_aligned
                        && self.replies.is_between()
                        && !self.state.is_subscriber
                        && self.state.pending.is_nothing_next();
                    self.replies.read(&mut piece, means_nothing)
                }
            };
            let Some(step) = step else {
                return;
            };
            match (step, way) {
                (Step::Astray(why, because), _) => {
                    out(Event::Unparsed(why));
                    self.missed(way, because);
                }
                (Step::StillAstray(because), _) => self.missed(way, because),
                (_, Way::ToBroker) => self.command_step(step, out),
                (_, Way::ToClient) => self.reply_step(step, out),
            }
            self.state.tell(out);
            if self.is_hopeless {
                return;
            }
        }
    }

    fn missed(&mut self, way: Way, because: Why) {
        match way {
            Way::ToBroker => self.command = None,
            Way::ToClient => self.replying = None,
        }
        self.out_of_step();
        // A hole says nothing about what the bytes are.
        self.misses += u8::from(because == Why::NotRedis);
        self.is_hopeless |= self.misses >= HOPELESS_TURNS;
    }

    fn command_step(&mut self, step: Step, out: &mut dyn FnMut(Event)) {
        match step {
            Step::Part { index, node, .. } => {
                let Some(node) = node else {
                    return;
                };
                let command = self.command.get_or_insert_with(|| {
                    Command::new(self.commands.frame.word(node).unwrap_or(b""))
                });
                let frame = &self.commands.frame;
                match self.state.argument(command, frame, (index, node), out) {
                    Then::Keep => {}
                    Then::Skip => self.commands.skip_rest(),
                    Then::Forget => self.commands.frame.truncate(node),
                    Then::Blank => self.commands.frame.blank(node),
                }
            }
            Step::Whole => {
                self.misses = 0;
                let mut command = self.command.take().or_else(|| self.inline(out));
                // `*0` is no command, and not answered.
                let Some(command) = command.as_mut() else {
                    return;
                };
                self.is_hopeless |= command.verb == Verb::Replica;
                if self.early > 0 && !matches!(command.verb, Verb::Subscription) {
                    // Its answer came before it.
                    self.early -= 1;
                    self.state.await_nothing();
                    self.state.command(command, &self.commands.frame, out);
                    self.state.await_nothing();
                } else {
                    self.state.command(command, &self.commands.frame, out);
                }
            }
            Step::Astray(..) | Step::StillAstray(_) => {}
        }
    }

    /// A command that came as a line: all its arguments at once.
    fn inline(&mut self, out: &mut dyn FnMut(Event)) -> Option<Command> {
        let frame = &self.commands.frame;
        let mut command = Command::new(frame.word(1)?);
        for node in 1..frame.len() {
            let at = (node as u64 - 1, node);
            if self.state.argument(&mut command, frame, at, out) == Then::Skip {
                break;
            }
        }
        Some(command)
    }

    fn reply_step(&mut self, step: Step, out: &mut dyn FnMut(Event)) {
        if self.replying.is_none() {
            self.replying = Some(self.begin_reply());
        }
        let frame = &self.replies.frame;
        match (step, &mut self.replying) {
            (Step::Part { depth, index, node }, Some(Replying::Answer(expect))) => {
                let Some(node) = node else {
                    return;
                };
                let root = 0;
                let at = Element {
                    depth,
                    index,
                    node,
                    root,
                };
                if self.state.element(expect, frame, at, out) {
                    self.replies.frame.truncate(node);
                }
            }
            (Step::Part { depth, index, node }, Some(Replying::Transaction(list, place))) => {
                let expect = list.iter().find(|(at, _)| at == place);
                if depth == 1 {
                    *place += 1;
                }
                let Some(node) = node else {
                    return;
                };
                let is_done = match expect {
                    Some((_, expect)) if depth == 1 => {
                        self.state.answer(expect, frame, node, out);
                        true
                    }
                    Some((_, expect)) => {
                        // The answer within `EXEC`'s is the first node of it: what came before has been forgotten.
                        let at = Element {
                            depth: depth - 1,
                            index,
                            node,
                            root: 1,
                        };
                        self.state.element(expect, frame, at, out)
                    }
                    None => depth == 1,
                };
                if is_done {
                    self.replies.frame.truncate(node);
                }
            }
            (Step::Whole, _) => {
                self.misses = 0;
                // The only answer since the only command is its end. Where more is made of an answer, that must be proved.
                let is_alone =
                    self.is_clean && self.state.pending.is_empty() && self.commands.is_between();
                let was_aligned = self.state.is_aligned;
                match self.replying.take() {
                    Some(Replying::Answer(expect)) if !was_aligned => {
                        let error = self.state.error(frame, 0);
                        self.state.answer(&expect, frame, 0, out);
                        if !self.state.is_aligned {
                            self.state.unasked(frame, 0, out);
                        }
                        match expect.operation() {
                            Some(operation) if is_alone => {
                                out(Event::Answered { operation, error });
                            }
                            Some(operation) => self.state.unanswered.push(operation),
                            None => {}
                        }
                    }
                    Some(Replying::Push) => self.state.pushed_to_client(frame, 0, out),
                    Some(Replying::Answer(expect)) => self.state.answer(&expect, frame, 0, out),
                    Some(Replying::Transaction(list, _)) => {
                        if !was_aligned {
                            let operations = list.iter().filter_map(|(_, it)| it.operation());
                            self.state.unanswered.extend(operations);
                        }
                        self.state.answer(&Expect::Transaction(list), frame, 0, out);
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// What the value that begins is: the node of it is there, and of an array in RESP2 the first element.
    fn begin_reply(&mut self) -> Replying {
        let frame = &self.replies.frame;
        let kind = frame.node(0).map_or(Kind::Null, |node| node.kind);
        let is_confirmed = |word: &[u8]| {
            matches!(
                word,
                b"message"
                    | b"pmessage"
                    | b"smessage"
                    | b"subscribe"
                    | b"psubscribe"
                    | b"ssubscribe"
                    | b"unsubscribe"
                    | b"punsubscribe"
                    | b"sunsubscribe"
            )
        };
        let may_push =
            self.state.is_subscriber || !self.state.is_aligned && self.state.pending.is_empty();
        if kind == Kind::Push || kind == Kind::Array && may_push && is_confirmed(frame.text(1)) {
            return Replying::Push;
        }
        match self.state.pending.pop() {
            Some(Expect::Transaction(list)) if kind == Kind::Array => {
                Replying::Transaction(list, 0)
            }
            Some(expect) => Replying::Answer(expect),
            None => {
                self.is_clean = false;
                if self.state.is_aligned {
                    self.early += 1;
                    if self.early > EARLY_MAX {
                        self.out_of_step();
                    }
                }
                Replying::Answer(Expect::Nothing)
            }
        }
    }

    fn take(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        match input {
            Input::Bytes([]) => {}
            Input::Bytes(bytes) => {
                self.begin_piece(way, bytes);
                self.read(way, Piece::Seen(bytes), out);
            }
            Input::Unseen { len, .. } | Input::Lost { len: Some(len) } => {
                self.begin_piece(way, b"");
                self.read(way, Piece::Unseen(len), out);
            }
            Input::Lost { len: None } => {
                let reader = match way {
                    Way::ToBroker => &mut self.commands,
                    Way::ToClient => &mut self.replies,
                };
                let step = reader.lost();
                self.missed(way, Why::Hole);
                if let Some(Step::Astray(why, _)) = step {
                    out(Event::Unparsed(why));
                }
            }
        }
    }
}

impl Conversation for Client {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        if self.is_hopeless {
            return;
        }
        self.take(way, input, out);
        self.state.tell(out);
    }
    fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    fn held(&self) -> usize {
        let replying = match &self.replying {
            Some(Replying::Answer(expect)) => expect.held(),
            Some(Replying::Transaction(list, _)) => {
                list.iter().map(|(_, expect)| expect.held() + 96).sum()
            }
            Some(Replying::Push) | None => 0,
        };
        self.state.held() + self.commands.held() + self.replies.held() + replying
    }
}
