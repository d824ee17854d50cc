//! Requests.
//!
//! In: the direction of a connection that carries requests. Out: [`RequestEvent`]s. Always holds and refuses: see the
//! module `http1`.

use crate::http1::event::{
    BodyEnd, Method, Reason, RequestEvent, RequestHead, USER_AGENT_MAX, Version,
};
use crate::http1::framing::{Coding, Length, METHOD_MAX, Start};
use crate::http1::head::{self, RequestParts, join, text};
use crate::http1::machine::{Framing, Machine, NoHead, Shape, Side};
use crate::http1::target::Target;
use crate::stream::{Begin, Input, KEEP_VALUE_MAX, Limits};
use crate::tracecontext::{
    BAGGAGE_MAX, TRACESTATE_MAX, Traceparent, baggage_is_valid, tracestate_is_valid,
};

/// Most bytes kept of values that are short by nature (`Host`, `Upgrade`, `Content-Type`, `X-Forwarded-*`).
pub(crate) const SHORT_MAX: usize = 512;

/// Parser of the direction that carries requests.
#[derive(Clone, Debug)]
pub struct RequestParser {
    machine: Machine,
    limits: Limits,
}

impl RequestParser {
    /// A parser for a stream that is met at `begin`.
    pub fn new(begin: Begin, limits: Limits) -> Self {
        Self {
            machine: Machine::new(begin),
            limits,
        }
    }

    /// The next piece of the stream.
    pub fn push(&mut self, input: Input<'_>, out: &mut dyn FnMut(RequestEvent)) {
        let limit = self.limits.head_bytes;
        self.machine.push(
            input,
            limit,
            &mut Requests {
                limits: &self.limits,
                out,
            },
        );
    }

    /// The stream ended here (FIN, reset, close).
    pub fn end(&mut self, out: &mut dyn FnMut(RequestEvent)) {
        self.machine.end(&mut Requests {
            limits: &self.limits,
            out,
        });
    }

    /// The connection changed direction towards this one: a message boundary is likely here. A message whose rest is
    /// unknown ends; a parser that is out of step tries the next bytes.
    pub fn turn(&mut self, out: &mut dyn FnMut(RequestEvent)) {
        self.machine.turn(&mut Requests {
            limits: &self.limits,
            out,
        });
    }

    /// An upgrade or CONNECT was accepted: everything from here on is another protocol.
    pub fn become_opaque(&mut self) {
        self.machine.become_opaque();
    }

    /// A message has begun and not ended.
    pub fn in_message(&self) -> bool {
        self.machine.in_message()
    }

    /// No message was recognised at several turns in a row: this is not HTTP.
    pub fn is_hopeless(&self) -> bool {
        self.machine.is_hopeless()
    }

    /// Bytes of heap held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        self.machine.held_bytes()
    }

    /// Nothing more will come of this stream: another protocol, or ended.
    pub fn is_opaque(&self) -> bool {
        self.machine.is_opaque()
    }
}

struct Requests<'a> {
    limits: &'a Limits,
    out: &'a mut dyn FnMut(RequestEvent),
}

impl Side for Requests<'_> {
    fn start(&self, bytes: &[u8]) -> Start {
        let token = bytes
            .iter()
            .take_while(|&&byte| head::is_token_byte(byte))
            .count();
        if token > METHOD_MAX {
            return Start::No;
        }
        match bytes.get(token) {
            None => Start::Maybe,
            Some(b' ') if token > 0 => match bytes.iter().position(|&byte| byte == b'\n') {
                Some(at) if self.first_line(&bytes[..=at]).is_ok() => Start::Yes,
                Some(_) => Start::No,
                None => Start::Maybe,
            },
            Some(_) => Start::No,
        }
    }

    fn first_line(&self, line: &[u8]) -> Result<(), Reason> {
        match head::request(line, false, &mut |parts| parts.method.len() <= METHOD_MAX) {
            Ok(true) => Ok(()),
            _ if line.starts_with(b"PRI * HTTP/2.0") => Err(Reason::Http2),
            _ => Err(Reason::NotHttp),
        }
    }

    fn head(&mut self, bytes: &[u8], shape: Shape) -> Result<(usize, Framing), NoHead> {
        head::request(bytes, shape.quick, &mut |parts| {
            if parts.method.len() > METHOD_MAX {
                return Err(NoHead::Bad);
            }
            let len = parts.len;
            let (head, framing, why) = read(parts, self.limits, shape);
            // Handed on at once: a head is large, and each way back would move it.
            (self.out)(RequestEvent::Head(head));
            if let Some(why) = why {
                (self.out)(RequestEvent::Unparsed(why));
            }
            Ok((len, framing))
        })?
    }

    fn begin(&mut self) {
        (self.out)(RequestEvent::Begin);
    }

    fn end(&mut self, end: BodyEnd) {
        (self.out)(RequestEvent::End(end));
    }

    fn unparsed(&mut self, why: Reason) {
        (self.out)(RequestEvent::Unparsed(why));
    }
}

/// Keeps what is wanted of a head and tells the body's framing (RFC 9112 §6.3).
fn read(
    parts: RequestParts<'_, '_>,
    limits: &Limits,
    shape: Shape,
) -> (RequestHead, Framing, Option<Reason>) {
    let method = Method::new(parts.method);
    let mut head = RequestHead {
        version: Version::http1(parts.minor),
        head_bytes: parts.len as u64,
        complete: shape.complete,
        resynced: shape.resynced,
        ..RequestHead::new(Target::new(parts.target, method == Method::Connect), method)
    };
    let mut length = Length::Absent;
    let mut coding = Coding::Absent;
    for header in parts.headers {
        match known(header.name) {
            Some(Known::ContentLength) => length.add(header.value),
            Some(Known::TransferEncoding) => coding.add(header.value),
            Some(known) => head.keep(known, header.value),
            None => {}
        }
        keep_extra(&mut head.extra, limits, header.name, header.value);
    }
    head.check_lists();
    let (framing, why) = match (coding, length) {
        _ if head.method == Method::Connect => (Framing::NoBody, None),
        (Coding::Chunked, _) => (Framing::Chunked, None),
        (Coding::Other, _) => (Framing::Unknown, Some(Reason::TransferEncoding)),
        (Coding::Absent, Length::Absent) => (Framing::NoBody, None),
        (Coding::Absent, Length::Invalid) => (Framing::Unknown, Some(Reason::ContentLength)),
        (Coding::Absent, Length::Known(bytes)) => {
            head.content_length = Some(bytes);
            (
                Framing::Length {
                    bytes,
                    unsure: false,
                },
                None,
            )
        }
    };
    (head, framing, why)
}

/// Headers of requests this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Host,
    UserAgent,
    Traceparent,
    Tracestate,
    Baggage,
    ContentLength,
    ContentType,
    TransferEncoding,
    Expect,
    Upgrade,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
}

/// By length first: most headers are none of these and cost one comparison.
pub(crate) fn known(name: &str) -> Option<Known> {
    let is = |wanted: &str, known| name.eq_ignore_ascii_case(wanted).then_some(known);
    match name.len() {
        4 => is("host", Known::Host),
        6 => is("expect", Known::Expect),
        7 => is("baggage", Known::Baggage).or_else(|| is("upgrade", Known::Upgrade)),
        9 => is("forwarded", Known::Forwarded),
        10 => is("user-agent", Known::UserAgent).or_else(|| is("tracestate", Known::Tracestate)),
        11 => is("traceparent", Known::Traceparent),
        12 => is("content-type", Known::ContentType),
        14 => is("content-length", Known::ContentLength),
        15 => is("x-forwarded-for", Known::XForwardedFor),
        17 => is("transfer-encoding", Known::TransferEncoding)
            .or_else(|| is("x-forwarded-proto", Known::XForwardedProto)),
        _ => None,
    }
}

impl RequestHead {
    /// A head without headers.
    pub(crate) fn new(target: Target, method: Method) -> Self {
        Self {
            method,
            target,
            version: Version::Http11,
            host: None,
            user_agent: None,
            traceparent: Traceparent::Absent,
            tracestate: None,
            tracestate_invalid: false,
            baggage: None,
            baggage_invalid: false,
            content_length: None,
            content_type: None,
            expects_continue: false,
            upgrade: None,
            forwarded: None,
            x_forwarded_for: None,
            x_forwarded_proto: None,
            script: None,
            scheme: None,
            remote_addr: None,
            extra: Vec::new(),
            head_bytes: 0,
            complete: false,
            resynced: false,
        }
    }

    /// Takes one header into account, those of the framing excepted.
    pub(crate) fn keep(&mut self, known: Known, value: &[u8]) {
        let (place, max) = match known {
            Known::Host => (&mut self.host, SHORT_MAX),
            Known::UserAgent => (&mut self.user_agent, USER_AGENT_MAX),
            Known::ContentType => (&mut self.content_type, SHORT_MAX),
            Known::Upgrade => (&mut self.upgrade, SHORT_MAX),
            Known::Forwarded => (&mut self.forwarded, SHORT_MAX),
            Known::XForwardedFor => (&mut self.x_forwarded_for, SHORT_MAX),
            Known::XForwardedProto => (&mut self.x_forwarded_proto, SHORT_MAX),
            Known::Traceparent => return self.traceparent.add(value),
            Known::Tracestate => return join(&mut self.tracestate, value, TRACESTATE_MAX),
            Known::Baggage => return join(&mut self.baggage, value, BAGGAGE_MAX),
            Known::Expect => {
                self.expects_continue |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                return;
            }
            Known::ContentLength | Known::TransferEncoding => return,
        };
        if place.is_none() {
            *place = Some(text(value, max));
        }
    }

    /// Drops list headers that break their rules; `tracestate` counts only beside a valid `traceparent` (Trace
    /// Context §3.3).
    pub(crate) fn check_lists(&mut self) {
        if self
            .tracestate
            .as_ref()
            .is_some_and(|list| !tracestate_is_valid(list))
        {
            self.tracestate = None;
            self.tracestate_invalid = true;
        }
        if !matches!(self.traceparent, Traceparent::Valid(_)) {
            self.tracestate = None;
        }
        if self
            .baggage
            .as_ref()
            .is_some_and(|list| !baggage_is_valid(list))
        {
            self.baggage = None;
            self.baggage_invalid = true;
        }
    }
}

/// Keeps a header the caller named. Inlined, because most headers are told apart by their length.
#[inline]
pub(crate) fn keep_extra(
    extra: &mut Vec<(String, String)>,
    limits: &Limits,
    name: &str,
    value: &[u8],
) {
    if limits.may_keep(name)
        && extra.len() < crate::stream::KEEP_HEADERS_MAX
        && let Some(kept) = limits
            .keep_headers
            .iter()
            .find(|kept| kept.eq_ignore_ascii_case(name))
    {
        extra.push((kept.clone(), text(value, KEEP_VALUE_MAX)));
    }
}
