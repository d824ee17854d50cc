//! Responses.
//!
//! In: the direction of a connection that carries responses, and which request each one answers. Out:
//! [`ResponseEvent`]s. Always holds and refuses: see the module `http1`.

use crate::http1::event::{BodyEnd, Reason, RequestMethod, ResponseEvent, ResponseHead, Version};
use crate::http1::framing::{Coding, Length, Start, response_start};
use crate::http1::head::{self, ResponseParts, text};
use crate::http1::machine::{Framing, Machine, NoHead, Shape, Side};
use crate::http1::request::keep_extra;
use crate::stream::{Begin, Input, Limits};

/// Most bytes kept of `Upgrade`.
const UPGRADE_MAX: usize = 512;

/// Parser of the direction that carries responses.
#[derive(Clone, Debug)]
pub struct ResponseParser {
    machine: Machine,
    limits: Limits,
}

impl ResponseParser {
    /// A parser for a stream that is met at `begin`.
    pub fn new(begin: Begin, limits: Limits) -> Self {
        Self {
            machine: Machine::new(begin),
            limits,
        }
    }

    /// The next piece of the stream. `method` is called once for each final head, before its event, to learn which
    /// request it answers; `None`: not known.
    pub fn push(
        &mut self,
        input: Input<'_>,
        method: &mut dyn FnMut() -> Option<RequestMethod>,
        out: &mut dyn FnMut(ResponseEvent),
    ) {
        let limit = self.limits.head_bytes;
        self.machine.push(
            input,
            limit,
            &mut Responses {
                limits: &self.limits,
                method,
                out,
            },
        );
    }

    /// The stream ended here (FIN, reset, close).
    pub fn end(&mut self, out: &mut dyn FnMut(ResponseEvent)) {
        self.machine.end(&mut Responses {
            limits: &self.limits,
            method: &mut || None,
            out,
        });
    }

    /// The connection changed direction towards this one, or the other direction shows that the open response must
    /// be over: a message whose rest is unknown ends; a parser that is out of step tries the next bytes. A body that
    /// lasts until the stream ends goes on unless the next bytes are a new head.
    pub fn turn(&mut self, out: &mut dyn FnMut(ResponseEvent)) {
        self.machine.turn(&mut Responses {
            limits: &self.limits,
            method: &mut || None,
            out,
        });
    }

    /// A message has begun and not ended.
    pub fn in_message(&self) -> bool {
        self.machine.in_message()
    }

    /// Bytes of heap held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        self.machine.held_bytes()
    }
}

struct Responses<'a> {
    limits: &'a Limits,
    method: &'a mut dyn FnMut() -> Option<RequestMethod>,
    out: &'a mut dyn FnMut(ResponseEvent),
}

impl Side for Responses<'_> {
    fn start(&self, bytes: &[u8]) -> Start {
        response_start(bytes)
    }

    fn first_line(&self, line: &[u8]) -> Result<(), Reason> {
        match head::response(line, false, &mut |parts| parts.status >= 100) {
            Ok(true) => Ok(()),
            _ => Err(Reason::NotHttp),
        }
    }

    fn head(&mut self, bytes: &[u8], shape: Shape) -> Result<(usize, Framing), NoHead> {
        head::response(bytes, shape.quick, &mut |parts| {
            let (len, status) = (parts.len, parts.status);
            match status {
                0..=99 => Err(NoHead::Bad),
                100 | 102..=199 => {
                    (self.out)(ResponseEvent::Interim(status));
                    Ok((len, Framing::Interim))
                }
                _ => {
                    let (head, framing, why) = read(parts, (self.method)(), self.limits, shape);
                    (self.out)(ResponseEvent::Head(head));
                    if let Some(why) = why {
                        (self.out)(ResponseEvent::Unparsed(why));
                    }
                    Ok((len, framing))
                }
            }
        })?
    }

    fn begin(&mut self) {
        (self.out)(ResponseEvent::Begin);
    }

    fn end(&mut self, end: BodyEnd) {
        (self.out)(ResponseEvent::End(end));
    }

    fn unparsed(&mut self, why: Reason) {
        (self.out)(ResponseEvent::Unparsed(why));
    }
}

/// Keeps what is wanted of a head and tells the body's framing (RFC 9112 §6.3).
fn read(
    parts: ResponseParts<'_, '_>,
    method: Option<RequestMethod>,
    limits: &Limits,
    shape: Shape,
) -> (ResponseHead, Framing, Option<Reason>) {
    let mut head = ResponseHead {
        status: parts.status,
        version: Version::http1(parts.minor),
        content_length: None,
        upgrade: None,
        extra: Vec::new(),
        head_bytes: parts.len as u64,
        complete: shape.complete,
        resynced: shape.resynced,
    };
    let mut length = Length::Absent;
    let mut coding = Coding::Absent;
    for header in parts.headers {
        match header.name.len() {
            7 if header.name.eq_ignore_ascii_case("upgrade") && head.upgrade.is_none() => {
                head.upgrade = Some(text(header.value, UPGRADE_MAX));
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => length.add(header.value),
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => coding.add(header.value),
            _ => {}
        }
        keep_extra(&mut head.extra, limits, header.name, header.value);
    }
    if let (Coding::Absent, Length::Known(bytes)) = (coding, length) {
        head.content_length = Some(bytes);
    }
    let (framing, why) = match (coding, length) {
        _ if head.status == 101 => (Framing::Opaque, None),
        _ if method == Some(RequestMethod::Connect) && head.status < 300 => (Framing::Opaque, None),
        _ if method == Some(RequestMethod::Head) || matches!(head.status, 204 | 304) => {
            (Framing::NoBody, None)
        }
        (Coding::Chunked, _) => (Framing::Chunked, None),
        (Coding::Other, _) | (Coding::Absent, Length::Absent) => (Framing::Close, None),
        (Coding::Absent, Length::Invalid) => (Framing::Unknown, Some(Reason::ContentLength)),
        (Coding::Absent, Length::Known(bytes)) => (
            Framing::Length {
                bytes,
                unsure: method.is_none(),
            },
            None,
        ),
    };
    (head, framing, why)
}
