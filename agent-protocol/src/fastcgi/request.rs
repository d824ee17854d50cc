//! Requests: BEGIN_REQUEST, PARAMS, STDIN.
//!
//! In: what the web server writes. Out: [`RequestEvent`]s. Always holds: one request is followed at a time. Refuses:
//! roles other than responder, requests multiplexed into an open one.

use crate::fastcgi::params::Params;
use crate::fastcgi::record::{
    ABORT_REQUEST, BEGIN_REQUEST, Framer, Header, OutOfStep, PARAMS, STDIN, Sink,
};
use crate::http1::{BodyEnd, Ended, Reason, RequestEvent};
use crate::stream::{Begin, HOPELESS_TURNS, Input, Limits};

/// FCGI_RESPONDER
const RESPONDER: u16 = 1;

/// ```text
///   None ──BEGIN_REQUEST──▶ Role ──responder──▶ Params ──empty PARAMS──▶ Stdin ──empty STDIN, ABORT_REQUEST──▶ None
///                            └──other role──▶ None
///   Params ──unseen or lost parameters──▶ Params, cut ──empty PARAMS──▶ Stdin
///   Params, Stdin ──a record header unseen or lost──▶ Rest ──turn, end, empty STDIN in a tail──▶ None
/// ```
#[derive(Clone, Debug)]
enum Message {
    None,
    /// In the body of BEGIN_REQUEST.
    Role {
        got: [u8; 2],
        n: usize,
    },
    /// `cut`: some of the parameters were not seen.
    Params {
        params: Box<Params>,
        cut: bool,
    },
    Stdin {
        bytes: u64,
    },
    Rest {
        bytes: u64,
    },
}

/// Parser of what a web server writes to a FastCGI application.
#[derive(Clone, Debug)]
pub struct RequestParser {
    framer: Framer,
    limits: Limits,
    open: Open,
}

/// The open message.
#[derive(Clone, Debug)]
struct Open {
    message: Message,
    /// Its request id.
    id: u16,
    /// The record being read.
    record: Option<Header>,
    resynced: bool,
    misses: u8,
}

impl RequestParser {
    /// A parser for a stream that is met at `begin`.
    pub fn new(begin: Begin, limits: Limits) -> Self {
        let open = Open {
            message: Message::None,
            id: 0,
            record: None,
            resynced: false,
            misses: 0,
        };
        Self {
            framer: Framer::new(begin),
            limits,
            open,
        }
    }

    /// The next piece of the stream. `Begin` comes when the first record's header is complete.
    pub fn push(&mut self, input: Input<'_>, out: &mut dyn FnMut(RequestEvent)) {
        self.framer.push(
            input,
            &mut Requests {
                limits: &self.limits,
                open: &mut self.open,
                out,
            },
        );
    }

    /// The stream ended here.
    pub fn end(&mut self, out: &mut dyn FnMut(RequestEvent)) {
        let mut sink = Requests {
            limits: &self.limits,
            open: &mut self.open,
            out,
        };
        match sink.open.message {
            Message::None => {}
            Message::Role { .. } => sink.unparsed(Reason::FirstLineTruncated),
            Message::Params { .. } => {
                sink.deliver_and_end(Ended::Truncated, Reason::FirstLineTruncated);
            }
            Message::Stdin { bytes } => sink.end(bytes, Ended::Truncated),
            Message::Rest { bytes } => sink.end(bytes, Ended::Close),
        }
        self.open.message = Message::None;
        self.framer.end();
    }

    /// The connection changed direction towards this one: a request whose rest is unknown ends; a parser that is out
    /// of step tries the next bytes.
    pub fn turn(&mut self, out: &mut dyn FnMut(RequestEvent)) {
        if let Message::Rest { bytes } = self.open.message {
            Requests {
                limits: &self.limits,
                open: &mut self.open,
                out,
            }
            .end(bytes, Ended::Turn);
        }
        self.framer.turn();
    }

    /// A request has begun and not ended.
    pub fn in_message(&self) -> bool {
        !matches!(self.open.message, Message::None)
    }

    /// No request was recognised at several turns in a row: this is not FastCGI.
    pub fn is_hopeless(&self) -> bool {
        self.open.misses >= HOPELESS_TURNS
    }

    /// Bytes of heap held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.open.message {
            Message::Params { params, .. } => params.held_bytes(),
            _ => 0,
        }
    }
}

struct Requests<'a> {
    limits: &'a Limits,
    open: &'a mut Open,
    out: &'a mut dyn FnMut(RequestEvent),
}

impl Requests<'_> {
    fn unparsed(&mut self, why: Reason) {
        (self.out)(RequestEvent::Unparsed(why));
    }

    fn end(&mut self, body_bytes: u64, how: Ended) {
        self.open.message = Message::None;
        (self.out)(RequestEvent::End(BodyEnd { body_bytes, how }));
    }

    /// Delivers the head from the parameters seen; if it cannot be one, says `otherwise`.
    fn deliver(&mut self, complete: bool, otherwise: Reason) -> bool {
        let Message::Params { params, .. } =
            std::mem::replace(&mut self.open.message, Message::None)
        else {
            return false;
        };
        let head = params.finish(complete, self.open.resynced);
        self.open.resynced = false;
        match head {
            Some(head) => {
                self.open.misses = 0;
                (self.out)(RequestEvent::Head(head));
                true
            }
            None => {
                self.unparsed(otherwise);
                false
            }
        }
    }

    /// The same, for a request of which nothing more comes.
    fn deliver_and_end(&mut self, how: Ended, otherwise: Reason) {
        if self.deliver(false, otherwise) {
            self.end(0, how);
        }
    }

    /// Closes whatever is open before a new request begins in its place.
    fn close(&mut self) {
        match self.open.message {
            Message::None => {}
            Message::Role { .. } => self.unparsed(Reason::Unsupported),
            Message::Params { .. } => {
                self.deliver_and_end(Ended::Turn, Reason::Unsupported);
            }
            Message::Stdin { bytes } | Message::Rest { bytes } => self.end(bytes, Ended::Turn),
        }
        self.open.message = Message::None;
    }
}

impl Sink for Requests<'_> {
    /// A BEGIN_REQUEST of the responder role.
    fn starts(&self, bytes: &[u8]) -> bool {
        Header::at(bytes)
            .is_some_and(|header| header.kind == BEGIN_REQUEST && header.len == 8 && header.id != 0)
            && bytes.get(8..10) == Some(&RESPONDER.to_be_bytes())
    }

    fn resynced(&mut self) {
        self.close();
        self.open.resynced = true;
    }

    fn record(&mut self, header: Header) {
        self.open.record = None;
        if header.id == 0 {
            return;
        }
        let is_open = !matches!(self.open.message, Message::None);
        if header.kind == BEGIN_REQUEST {
            if is_open && header.id != self.open.id {
                self.unparsed(Reason::Multiplexed);
                return;
            }
            self.close();
            self.open.id = header.id;
            self.open.message = Message::Role { got: [0; 2], n: 0 };
            (self.out)(RequestEvent::Begin);
        } else if !is_open || header.id != self.open.id {
            return;
        }
        self.open.record = Some(header);
    }

    fn content(&mut self, bytes: &[u8]) {
        let Some(record) = self.open.record else {
            return;
        };
        match (&mut self.open.message, record.kind) {
            (Message::Role { got, n }, BEGIN_REQUEST) => {
                let part = bytes.len().min(got.len() - *n);
                got[*n..*n + part].copy_from_slice(&bytes[..part]);
                *n += part;
            }
            (Message::Params { params, cut: false }, PARAMS) => params.take(bytes, self.limits),
            (Message::Stdin { bytes: seen }, STDIN) => {
                *seen = seen.saturating_add(bytes.len() as u64)
            }
            _ => {}
        }
    }

    fn hidden(&mut self, n: u64) {
        let Some(record) = self.open.record else {
            return;
        };
        match (&mut self.open.message, record.kind) {
            // Names and lengths after the gap cannot be told apart.
            (Message::Params { cut, .. }, PARAMS) => *cut = *cut || n > 0,
            (Message::Stdin { bytes }, STDIN) => *bytes = bytes.saturating_add(n),
            _ => {}
        }
    }

    fn record_end(&mut self) {
        let Some(record) = self.open.record.take() else {
            return;
        };
        match (&self.open.message, record.kind, record.len) {
            (Message::Role { got, n: 2 }, BEGIN_REQUEST, _)
                if u16::from_be_bytes(*got) == RESPONDER =>
            {
                self.open.message = Message::Params {
                    params: Box::new(Params::new(self.limits)),
                    cut: false,
                };
            }
            (Message::Role { .. }, BEGIN_REQUEST, _) => {
                self.open.message = Message::None;
                self.unparsed(Reason::Unsupported);
            }
            (Message::Params { cut, .. }, PARAMS, 0) => {
                let complete = !cut;
                let otherwise = if complete {
                    Reason::Unsupported
                } else {
                    Reason::UnseenHead
                };
                if self.deliver(complete, otherwise) {
                    self.open.message = Message::Stdin { bytes: 0 };
                }
            }
            (Message::Stdin { bytes: 0 }, STDIN, 0) => self.end(0, Ended::NoBody),
            (Message::Stdin { bytes }, STDIN, 0) => {
                let bytes = *bytes;
                self.end(bytes, Ended::Record);
            }
            (Message::Params { .. }, ABORT_REQUEST, _) => {
                self.deliver_and_end(Ended::Truncated, Reason::FirstLineTruncated);
            }
            (Message::Stdin { bytes }, ABORT_REQUEST, _) => {
                let bytes = *bytes;
                self.end(bytes, Ended::Truncated);
            }
            _ => {}
        }
    }

    fn out_of_step(&mut self, why: OutOfStep) {
        self.open.record = None;
        match self.open.message {
            Message::None | Message::Role { .. } => {
                self.open.message = Message::None;
                self.unparsed(why.instead_of_head());
                if why == OutOfStep::NotRecord {
                    self.open.misses = self.open.misses.saturating_add(1);
                }
            }
            Message::Params { .. } => {
                if self.deliver(false, why.instead_of_head()) {
                    self.open.message = Message::Rest { bytes: 0 };
                }
            }
            Message::Stdin { bytes } => {
                self.open.message = Message::Rest { bytes };
                if let Some(why) = why.in_body() {
                    self.unparsed(why);
                }
            }
            Message::Rest { .. } => {}
        }
    }

    /// The last record of a request is an empty STDIN, eight bytes: just what is kept of an unseen piece.
    fn stray(&mut self, n: u64, tail: &[u8]) -> bool {
        let Message::Rest { bytes } = &mut self.open.message else {
            return false;
        };
        *bytes = bytes.saturating_add(n);
        let seen = *bytes;
        let [id1, id0] = self.open.id.to_be_bytes();
        let is_end = tail.last_chunk() == Some(&[1, STDIN, id1, id0, 0, 0, 0, 0]);
        if is_end {
            self.end(seen, Ended::Record);
        }
        is_end
    }
}
