//! The parsers of all protocols behind one face.
//!
//! In: pieces of one direction. Out: HTTP message events, with what is kept of a request's head instead of all of it.
//! Always holds: a connection's two parsers speak the same protocol. Refuses: nothing of its own.

use agent_protocol::fastcgi;
use agent_protocol::http1::{
    self, BodyEnd, Reason, RequestEvent, RequestHead, RequestMethod, ResponseEvent,
};
use agent_protocol::stream::{Begin, Input, Limits};
use agent_protocol::tracecontext::Traceparent;

use crate::exchange::Wire;
use crate::message::{Request, Texts};

/// [`RequestEvent`] with what is kept of a head.
pub(crate) enum Heard {
    Begin,
    Head(Head),
    End(BodyEnd),
    Unparsed(Reason),
}

/// What is kept of a request's head, and what is looked at once.
pub(crate) struct Head {
    pub(crate) request: Request,
    pub(crate) texts: Texts,
    pub(crate) traceparent: Traceparent,
    pub(crate) head_bytes: u64,
    pub(crate) complete: bool,
}

/// Events of one push, and buffers for texts of the next ones.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) events: Vec<Heard>,
    spare: Vec<Texts>,
}

/// Buffers for texts that are kept: a push has rarely more than one head.
const SPARE_MAX: usize = 16;

impl Requests {
    fn take(&mut self, event: RequestEvent) {
        let heard = match event {
            RequestEvent::Begin => Heard::Begin,
            RequestEvent::Head(head) => Heard::Head(self.keep(head)),
            RequestEvent::End(end) => Heard::End(end),
            RequestEvent::Unparsed(reason) => Heard::Unparsed(reason),
        };
        self.events.push(heard);
    }

    fn keep(&mut self, head: RequestHead) -> Head {
        let mut texts = self.spare.pop().unwrap_or_default();
        let (traceparent, head_bytes, complete) =
            (head.traceparent, head.head_bytes, head.complete);
        Head {
            request: Request::keep(head, &mut texts),
            texts,
            traceparent,
            head_bytes,
            complete,
        }
    }

    /// Texts that are not needed any more.
    pub(crate) fn take_back(&mut self, texts: Texts) {
        if self.spare.len() < SPARE_MAX && !texts.is_large() {
            self.spare.push(texts);
        }
    }
}

/// Parser of the direction that carries requests.
pub(crate) enum RequestSide {
    Http1(http1::RequestParser),
    FastCgi(fastcgi::RequestParser),
}

/// Parser of the direction that carries responses.
pub(crate) enum ResponseSide {
    Http1(http1::ResponseParser),
    FastCgi(fastcgi::ResponseParser),
}

impl RequestSide {
    pub(crate) fn new(wire: Wire, begin: Begin, limits: &Limits) -> Self {
        match wire {
            // A broker's client has a lane and no parsers of these.
            Wire::Http1 | Wire::Broker => {
                Self::Http1(http1::RequestParser::new(begin, limits.clone()))
            }
            Wire::FastCgi => Self::FastCgi(fastcgi::RequestParser::new(begin, limits.clone())),
        }
    }

    pub(crate) fn push(&mut self, input: Input<'_>, out: &mut Requests) {
        match self {
            Self::Http1(parser) => parser.push(input, &mut |event| out.take(event)),
            Self::FastCgi(parser) => parser.push(input, &mut |event| out.take(event)),
        }
    }

    pub(crate) fn turn(&mut self, out: &mut Requests) {
        match self {
            Self::Http1(parser) => parser.turn(&mut |event| out.take(event)),
            Self::FastCgi(parser) => parser.turn(&mut |event| out.take(event)),
        }
    }

    pub(crate) fn end(&mut self, out: &mut Requests) {
        match self {
            Self::Http1(parser) => parser.end(&mut |event| out.take(event)),
            Self::FastCgi(parser) => parser.end(&mut |event| out.take(event)),
        }
    }

    pub(crate) fn in_message(&self) -> bool {
        match self {
            Self::Http1(parser) => parser.in_message(),
            Self::FastCgi(parser) => parser.in_message(),
        }
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        match self {
            Self::Http1(parser) => parser.is_hopeless(),
            Self::FastCgi(parser) => parser.is_hopeless(),
        }
    }
}

impl ResponseSide {
    pub(crate) fn new(wire: Wire, begin: Begin, limits: &Limits) -> Self {
        match wire {
            Wire::Http1 | Wire::Broker => {
                Self::Http1(http1::ResponseParser::new(begin, limits.clone()))
            }
            Wire::FastCgi => Self::FastCgi(fastcgi::ResponseParser::new(begin, limits.clone())),
        }
    }

    pub(crate) fn push(
        &mut self,
        input: Input<'_>,
        method: &mut dyn FnMut() -> Option<RequestMethod>,
        out: &mut Vec<ResponseEvent>,
    ) {
        match self {
            Self::Http1(parser) => parser.push(input, method, &mut |event| out.push(event)),
            Self::FastCgi(parser) => parser.push(input, method, &mut |event| out.push(event)),
        }
    }

    pub(crate) fn turn(&mut self, out: &mut Vec<ResponseEvent>) {
        match self {
            Self::Http1(parser) => parser.turn(&mut |event| out.push(event)),
            Self::FastCgi(parser) => parser.turn(&mut |event| out.push(event)),
        }
    }

    pub(crate) fn end(&mut self, out: &mut Vec<ResponseEvent>) {
        match self {
            Self::Http1(parser) => parser.end(&mut |event| out.push(event)),
            Self::FastCgi(parser) => parser.end(&mut |event| out.push(event)),
        }
    }

    pub(crate) fn in_message(&self) -> bool {
        match self {
            Self::Http1(parser) => parser.in_message(),
            Self::FastCgi(parser) => parser.in_message(),
        }
    }
}
