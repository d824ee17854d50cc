//! The parsers of all protocols behind one face.
//!
//! In: pieces of one direction. Out: HTTP message events. Always holds: a connection's two parsers speak the same
//! protocol. Refuses: nothing of its own.

use agent_protocol::fastcgi;
use agent_protocol::http1::{self, RequestEvent, RequestMethod, ResponseEvent};
use agent_protocol::stream::{Begin, Input, Limits};

use crate::exchange::Wire;

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
            Wire::Http1 => Self::Http1(http1::RequestParser::new(begin, limits.clone())),
            Wire::FastCgi => Self::FastCgi(fastcgi::RequestParser::new(begin, limits.clone())),
        }
    }

    pub(crate) fn push(&mut self, input: Input<'_>, out: &mut Vec<RequestEvent>) {
        match self {
            Self::Http1(parser) => parser.push(input, &mut |event| out.push(event)),
            Self::FastCgi(parser) => parser.push(input, &mut |event| out.push(event)),
        }
    }

    pub(crate) fn turn(&mut self, out: &mut Vec<RequestEvent>) {
        match self {
            Self::Http1(parser) => parser.turn(&mut |event| out.push(event)),
            Self::FastCgi(parser) => parser.turn(&mut |event| out.push(event)),
        }
    }

    pub(crate) fn end(&mut self, out: &mut Vec<RequestEvent>) {
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
            Wire::Http1 => Self::Http1(http1::ResponseParser::new(begin, limits.clone())),
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
