//! Responses: STDOUT with a CGI header, STDERR, END_REQUEST.
//!
//! In: what the application writes. Out: [`ResponseEvent`]s. Always holds: one response is followed at a time; the
//! CGI header is kept up to `Limits::head_bytes`. Refuses: answers to a second request in between.

use crate::fastcgi::cgi::{STATUS_LINE, cgi_head};
use crate::fastcgi::record::{END_REQUEST, Framer, Header, OutOfStep, STDERR, STDOUT, Sink};
use crate::http1::head;
use crate::http1::{BodyEnd, Ended, Reason, RequestMethod, ResponseEvent, ResponseHead};
use crate::stream::{Begin, Input, Limits};

/// ```text
///   None ──STDOUT, STDERR, END_REQUEST──▶ Head ──empty line──▶ Body ──END_REQUEST──▶ None
///   Head ──no head after all──▶ Skipped ──END_REQUEST──▶ None
///   Head ──END_REQUEST──▶ None          Head, Body ──a record header unseen or lost──▶ Rest ──turn, end──▶ None
/// ```
#[derive(Clone, Debug)]
enum Message {
    None,
    /// `cgi` holds a status line and the CGI header so far, `line` is the start of its current line.
    Head {
        cgi: Vec<u8>,
        line: usize,
    },
    Body {
        bytes: u64,
    },
    Rest {
        bytes: u64,
    },
    /// Its head could not be had, which was said.
    Skipped,
}

/// Parser of what a FastCGI application writes to a web server.
#[derive(Clone, Debug)]
pub struct ResponseParser {
    framer: Framer,
    limits: Limits,
    open: Open,
}

/// The open message.
#[derive(Clone, Debug)]
struct Open {
    message: Message,
    id: u16,
    record: Option<Header>,
    /// Body of END_REQUEST: appStatus (4 bytes), protocolStatus (1 byte).
    end: [u8; 5],
    end_len: usize,
    resynced: bool,
}

impl ResponseParser {
    /// A parser for a stream that is met at `begin`.
    pub fn new(begin: Begin, limits: Limits) -> Self {
        let open = Open {
            message: Message::None,
            id: 0,
            record: None,
            end: [0; 5],
            end_len: 0,
            resynced: false,
        };
        Self {
            framer: Framer::new(begin),
            limits,
            open,
        }
    }

    /// The next piece of the stream. `method` is called once for each head, before its event, as in `http1`; a
    /// FastCGI response's end does not depend on what it says.
    pub fn push(
        &mut self,
        input: Input<'_>,
        method: &mut dyn FnMut() -> Option<RequestMethod>,
        out: &mut dyn FnMut(ResponseEvent),
    ) {
        self.framer.push(
            input,
            &mut Responses {
                limits: &self.limits,
                open: &mut self.open,
                method,
                out,
            },
        );
    }

    /// The stream ended here.
    pub fn end(&mut self, out: &mut dyn FnMut(ResponseEvent)) {
        let mut sink = Responses {
            limits: &self.limits,
            open: &mut self.open,
            method: &mut || None,
            out,
        };
        match sink.open.message {
            Message::None | Message::Skipped => {}
            Message::Head { .. } => {
                if sink.deliver(false, Reason::FirstLineTruncated) {
                    sink.end(0, Ended::Truncated);
                }
            }
            Message::Body { bytes } => sink.end(bytes, Ended::Truncated),
            Message::Rest { bytes } => sink.end(bytes, Ended::Close),
        }
        self.open.message = Message::None;
        self.framer.end();
    }

    /// The connection changed direction towards this one, or the other direction shows that the open response must be
    /// over: a response whose rest is unknown ends; a parser that is out of step tries the next bytes.
    pub fn turn(&mut self, out: &mut dyn FnMut(ResponseEvent)) {
        if let Message::Rest { bytes } = self.open.message {
            let method = &mut || None;
            Responses {
                limits: &self.limits,
                open: &mut self.open,
                method,
                out,
            }
            .end(bytes, Ended::Turn);
        }
        self.framer.turn();
    }

    /// A response has begun and not ended.
    pub fn in_message(&self) -> bool {
        !matches!(self.open.message, Message::None | Message::Skipped)
    }

    /// Bytes of heap held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.open.message {
            Message::Head { cgi, .. } => cgi.capacity(),
            _ => 0,
        }
    }
}

struct Responses<'a> {
    limits: &'a Limits,
    open: &'a mut Open,
    method: &'a mut dyn FnMut() -> Option<RequestMethod>,
    out: &'a mut dyn FnMut(ResponseEvent),
}

impl Responses<'_> {
    fn unparsed(&mut self, why: Reason) {
        (self.out)(ResponseEvent::Unparsed(why));
    }

    fn end(&mut self, body_bytes: u64, how: Ended) {
        self.open.message = Message::None;
        (self.out)(ResponseEvent::End(BodyEnd { body_bytes, how }));
    }

    /// Delivers the head from the whole lines seen; if there are none, says `otherwise`.
    fn deliver(&mut self, complete: bool, otherwise: Reason) -> bool {
        let Message::Head { cgi, line } = std::mem::replace(&mut self.open.message, Message::None)
        else {
            return false;
        };
        let resynced = std::mem::take(&mut self.open.resynced);
        let head = if line > STATUS_LINE.len() {
            cgi_head(&cgi[..line], self.limits)
        } else {
            None
        };
        match head {
            Some(head) => {
                (self.method)();
                (self.out)(ResponseEvent::Head(ResponseHead {
                    complete,
                    resynced,
                    ..head
                }));
                true
            }
            None => {
                self.unparsed(otherwise);
                false
            }
        }
    }

    /// The same in the middle of a response: it goes on as `then`, or is skipped up to its end.
    fn deliver_then(&mut self, complete: bool, otherwise: Reason, then: Message) {
        let delivered = self.deliver(complete, otherwise);
        self.open.message = if delivered { then } else { Message::Skipped };
    }

    fn open_message(&mut self, id: u16) {
        self.open.id = id;
        self.open.message = Message::Head {
            cgi: STATUS_LINE.to_vec(),
            line: STATUS_LINE.len(),
        };
        (self.out)(ResponseEvent::Begin);
    }

    /// Takes bytes of STDOUT that belong to the CGI header; the rest is body.
    fn header_bytes(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while let Message::Head { cgi, line } = &mut self.open.message {
            let room = (STATUS_LINE.len() + self.limits.head_bytes).saturating_sub(cgi.len());
            let window = &bytes[..bytes.len().min(room)];
            let end = window
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| at + 1);
            let part = end.unwrap_or(window.len());
            cgi.extend_from_slice(&window[..part]);
            bytes = &bytes[part..];
            if end.is_none() {
                if room > part {
                    return;
                }
                self.deliver_then(false, Reason::FirstLineCut, Message::Body { bytes: 0 });
                break;
            }
            let blank = matches!(&cgi[*line..], b"\n" | b"\r\n");
            *line = cgi.len();
            if blank {
                self.deliver_then(true, Reason::NoHead, Message::Body { bytes: 0 });
                break;
            }
        }
        if let Message::Body { bytes: seen } = &mut self.open.message {
            *seen = seen.saturating_add(bytes.len() as u64);
        }
    }

    /// END_REQUEST was read.
    fn end_request(&mut self) {
        let refused = self.open.end_len == 5 && self.open.end[4] != 0;
        let why = if refused {
            Reason::Refused
        } else {
            Reason::NoHead
        };
        match self.open.message {
            Message::None | Message::Skipped => {}
            Message::Head { .. } => {
                if self.deliver(false, why) {
                    self.end(0, Ended::Record);
                }
            }
            Message::Body { bytes } | Message::Rest { bytes } => self.end(bytes, Ended::Record),
        }
        self.open.message = Message::None;
    }
}

impl Sink for Responses<'_> {
    /// STDOUT at the start of a CGI header, or END_REQUEST.
    fn starts(&self, bytes: &[u8]) -> bool {
        Header::at(bytes).is_some_and(|header| {
            let text = bytes.get(8..).unwrap_or(&[]);
            let name = text
                .iter()
                .take_while(|&&byte| head::is_token_byte(byte))
                .count();
            header.id != 0
                && match header.kind {
                    STDOUT => name > 1 && text.get(name) == Some(&b':'),
                    END_REQUEST => header.len == 8,
                    _ => false,
                }
        })
    }

    fn resynced(&mut self) {
        if let Message::Rest { bytes } = self.open.message {
            self.end(bytes, Ended::Turn);
        }
        self.open.resynced = true;
    }

    fn record(&mut self, header: Header) {
        self.open.record = None;
        if header.id == 0 || !matches!(header.kind, STDOUT | STDERR | END_REQUEST) {
            return;
        }
        match self.open.message {
            Message::None => self.open_message(header.id),
            Message::Skipped if header.id != self.open.id => self.open_message(header.id),
            _ if header.id != self.open.id => {
                if header.kind == END_REQUEST {
                    self.unparsed(Reason::Multiplexed);
                }
                return;
            }
            _ => {}
        }
        self.open.end_len = 0;
        self.open.record = Some(header);
    }

    fn content(&mut self, bytes: &[u8]) {
        match self.open.record.map(|record| record.kind) {
            Some(STDOUT) => match &mut self.open.message {
                Message::Head { .. } => self.header_bytes(bytes),
                Message::Body { bytes: seen } => *seen = seen.saturating_add(bytes.len() as u64),
                _ => {}
            },
            Some(END_REQUEST) => {
                let at = self.open.end_len;
                let part = bytes.len().min(self.open.end.len() - at);
                self.open.end[at..at + part].copy_from_slice(&bytes[..part]);
                self.open.end_len += part;
            }
            _ => {}
        }
    }

    fn hidden(&mut self, n: u64) {
        if self.open.record.is_some_and(|record| record.kind == STDOUT) && n > 0 {
            match &mut self.open.message {
                Message::Head { .. } => {
                    self.deliver_then(false, Reason::UnseenHead, Message::Body { bytes: n });
                }
                Message::Body { bytes } => *bytes = bytes.saturating_add(n),
                _ => {}
            }
        }
    }

    fn record_end(&mut self) {
        if self
            .open
            .record
            .take()
            .is_some_and(|record| record.kind == END_REQUEST)
        {
            self.end_request();
        }
    }

    fn out_of_step(&mut self, why: OutOfStep) {
        self.open.record = None;
        match self.open.message {
            Message::None => {
                self.unparsed(why.instead_of_head());
            }
            Message::Head { .. } => {
                if self.deliver(false, why.instead_of_head()) {
                    self.open.message = Message::Rest { bytes: 0 };
                }
            }
            Message::Body { bytes } => {
                self.open.message = Message::Rest { bytes };
                if let Some(why) = why.in_body() {
                    self.unparsed(why);
                }
            }
            Message::Rest { .. } => {}
            Message::Skipped => self.open.message = Message::None,
        }
    }

    /// END_REQUEST ends with a status that is mostly zeros, which is no mark: the end is known at a turn or the
    /// stream's end.
    fn stray(&mut self, n: u64, _tail: &[u8]) -> bool {
        if let Message::Rest { bytes } = &mut self.open.message {
            *bytes = bytes.saturating_add(n);
        }
        false
    }
}
