//! Amazon SQS' calls over HTTP (AWS JSON 1.0), as every server with this interface takes them.
//!
//! In: of one HTTP exchange that names such a call in `X-Amz-Target`, the bytes of both bodies. Out: events: what the call put, once the answer
//! says which ids the messages have; what it was given; what it settled. Always holds: as for all conversations; a message's body is
//! never held, whatever its length. Refuses: the older protocol with XML, and bodies with missing bytes: what was whole before those is told.
//!
//! ```text
//!   SendMessage(Batch)                    {QueueUrl, MessageBody | Entries}        {MessageId} | {Successful [{Id, MessageId}], Failed}  Sent
//!   ReceiveMessage                        {QueueUrl}                               {Messages [{MessageId, ReceiptHandle, …}]}            Delivered
//!   DeleteMessage(Batch)                  {QueueUrl, ReceiptHandle | Entries}                                                            SettledKey
//!   ChangeMessageVisibility(Batch) to 0   {QueueUrl, ReceiptHandle | Entries}                                                            SettledKey
//! ```
//! A `MessageId` is the same each time the message is delivered; a receipt handle is that of one delivery.

mod field;
mod json;
mod said;
mod xray;

use self::json::Scan;
use self::said::{Entry, Said};
use super::job::name_of;
use super::{Conversation, Delivered, Event, Keyer, Message, Sent, Settle, Way};
use crate::http1::body::{Chunk, Step};
use crate::stream::Input;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `SendMessage`
    Send,
    /// `SendMessageBatch`
    SendBatch,
    /// `ReceiveMessage`
    Receive,
    /// `DeleteMessage`
    Delete,
    /// `DeleteMessageBatch`
    DeleteBatch,
    /// `ChangeMessageVisibility`
    Visibility,
    /// `ChangeMessageVisibilityBatch`
    VisibilityBatch,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Send,
        Self::SendBatch,
        Self::Receive,
        Self::Delete,
        Self::DeleteBatch,
        Self::Visibility,
        Self::VisibilityBatch,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "SendMessage",
            Self::SendBatch => "SendMessageBatch",
            Self::Receive => "ReceiveMessage",
            Self::Delete => "DeleteMessage",
            Self::DeleteBatch => "DeleteMessageBatch",
            Self::Visibility => "ChangeMessageVisibility",
            Self::VisibilityBatch => "ChangeMessageVisibilityBatch",
        }
    }

    /// It puts messages.
    #[must_use]
    pub const fn is_put(self) -> bool {
        matches!(self, Self::Send | Self::SendBatch)
    }
}

/// Whether a value of `X-Amz-Target` names SQS, and which of these calls.
#[must_use]
pub fn target(value: &str) -> Option<Option<Action>> {
    let name = value.strip_prefix("AmazonSQS.")?;
    Some(Action::ALL.into_iter().find(|action| action.name() == name))
}

/// How an answer's bytes lie on the wire.
#[derive(Clone, Debug)]
enum Framing {
    Unknown,
    Plain,
    Chunked(Chunk),
}

/// One direction's body.
#[derive(Clone, Debug, Default)]
struct Half {
    scan: Scan,
    said: Said,
    /// It was over, or will not go on, and that was told.
    is_told: bool,
}

impl Half {
    fn push(&mut self, bytes: &[u8]) {
        self.scan.push(bytes, &mut self.said);
    }

    /// It is over for the first time.
    fn is_newly_over(&mut self) -> bool {
        self.scan.is_over() && !std::mem::replace(&mut self.is_told, true)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Call {
    action: Action,
    keyer: Keyer,
    request: Half,
    answer: Half,
    framing: Framing,
}

impl Call {
    /// A call whose bodies are to come.
    #[must_use]
    pub fn new(action: Action, keyer: Keyer) -> Self {
        Self {
            action,
            keyer,
            request: Half::default(),
            answer: Half::default(),
            framing: Framing::Unknown,
        }
    }

    /// What it does.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The queue's name, once it was said.
    #[must_use]
    pub fn queue(&self) -> Option<String> {
        self.request
            .said
            .queue()
            .map(|name| name_of(name.as_bytes()))
    }

    /// The queue's URL, once it was said.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.request.said.url.as_deref()
    }

    /// Why messages of a batch were refused, if some were.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.answer.said.failed.as_deref()
    }

    /// Whether the answer was read to its end.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answer.scan.is_over()
    }

    /// The answer has no more bytes: tells what was whole of one that was not seen to its end.
    pub fn end(&mut self, out: &mut dyn FnMut(Event)) {
        if !std::mem::replace(&mut self.answer.is_told, true) {
            self.tell_answer(out);
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        if let (Framing::Unknown, Some(first)) = (&self.framing, bytes.first()) {
            // A chunk's size begins with a digit, an object does not.
            self.framing = if first.is_ascii_hexdigit() {
                Framing::Chunked(Chunk::FIRST)
            } else {
                Framing::Plain
            };
        }
        match &mut self.framing {
            Framing::Unknown => {}
            Framing::Plain => self.answer.push(bytes),
            Framing::Chunked(chunk) => {
                let answer = &mut self.answer;
                let step = chunk.take(bytes, &mut 0, &mut |piece| answer.push(piece));
                if let Step::Broken { .. } = step {
                    answer.scan.lose();
                }
            }
        }
    }

    fn tell_request(&mut self, out: &mut dyn FnMut(Event)) {
        let said = &self.request.said;
        let is_release = match self.action {
            Action::Delete | Action::DeleteBatch => false,
            Action::Visibility | Action::VisibilityBatch => true,
            Action::Send | Action::SendBatch | Action::Receive => return,
        };
        for entry in said.whole().chain([&said.top]) {
            // Another time than none only keeps the message for longer.
            if is_release && entry.visibility != Some(0) {
                continue;
            }
            if let Some(receipt) = &entry.receipt {
                out(Event::SettledKey {
                    key: self.keyer.message_id(&[b"sqs", receipt]),
                    how: if is_release {
                        Settle::Requeue
                    } else {
                        Settle::Ack
                    },
                });
            }
        }
    }

    fn tell_answer(&mut self, out: &mut dyn FnMut(Event)) {
        let Some(destination) = self.queue() else {
            return;
        };
        let said = &self.answer.said;
        match self.action {
            Action::Send => {
                if let Some(id) = &said.top.message_id {
                    out(Event::Sent(self.sent(
                        &destination,
                        &self.request.said.top,
                        id,
                    )));
                }
            }
            Action::SendBatch => {
                for entry in said.whole() {
                    let of_request = self.request.said.entries.iter();
                    let mut put = of_request.filter(|put| put.id == entry.id && put.is_whole);
                    let put = put.next().cloned().unwrap_or_default();
                    if let Some(id) = &entry.message_id {
                        out(Event::Sent(self.sent(&destination, &put, id)));
                    }
                }
            }
            Action::Receive => {
                for entry in said.whole() {
                    if let Some(delivered) = self.delivered(&destination, entry) {
                        out(Event::Delivered(delivered));
                    }
                }
            }
            Action::Delete | Action::DeleteBatch | Action::Visibility | Action::VisibilityBatch => {
            }
        }
    }

    fn sent(&self, destination: &str, put: &Entry, id: &str) -> Sent {
        Sent {
            name: self.action.name(),
            destination: destination.to_owned(),
            is_delayed: put.is_delayed,
            message: self.message(put, id),
            ..Sent::default()
        }
    }

    fn delivered(&self, destination: &str, entry: &Entry) -> Option<Delivered> {
        let mut message = self.message(entry, entry.message_id.as_deref()?);
        message.retries = entry.receives.map(|receives| receives.saturating_sub(1));
        let receipt = entry.receipt.as_deref()?;
        message.keys.push(self.keyer.message_id(&[b"sqs", receipt]));
        Some(Delivered {
            name: self.action.name(),
            destination: destination.to_owned(),
            redelivered: message.retries.is_some_and(|retries| retries > 0),
            message,
            ..Delivered::default()
        })
    }

    fn message(&self, entry: &Entry, id: &str) -> Message {
        let (traceparent, tracestate) = entry.context();
        Message {
            keys: vec![self.keyer.kept(&[b"sqs", id.as_bytes()])],
            traceparent,
            tracestate,
            id: Some(id.to_owned()),
            body_bytes: entry.body_bytes,
            ..Message::default()
        }
    }
}

impl Conversation for Call {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Unseen { len: 0, .. } | Input::Lost { len: Some(0) } => return,
            Input::Unseen { .. } | Input::Lost { .. } => {
                match way {
                    Way::ToBroker => self.request.scan.lose(),
                    Way::ToClient => self.answer.scan.lose(),
                }
                return;
            }
        };
        match way {
            Way::ToBroker => {
                self.request.push(bytes);
                if self.request.is_newly_over() {
                    self.tell_request(out);
                }
            }
            Way::ToClient => {
                self.answer(bytes);
                if self.answer.is_newly_over() {
                    self.tell_answer(out);
                }
            }
        }
    }

    fn is_hopeless(&self) -> bool {
        self.request.scan.is_broken() && self.request.said.url.is_none()
    }

    fn held(&self) -> usize {
        let each = [&self.request, &self.answer].map(|half| half.scan.held() + half.said.held());
        each.iter().sum()
    }
}
