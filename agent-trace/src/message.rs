//! What is kept of a request's and a response's head until their span is made.
//!
//! In: heads as the parsers read them. Out: what a span says of them. Always holds: an exchange that waits has one
//! buffer for all its texts, because at full load some ten thousand of them wait at once. Refuses: everything of a head
//! that no span shows.

use agent_protocol::http1::{
    Method, RequestHead, RequestMethod, ResponseHead, TargetForm, Version,
};

use crate::ahead;
use crate::semconv as key;

/// Texts of a request, in the order they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    /// Path of the target; empty where the target is an authority.
    Path,
    /// Query of the target.
    Query,
    /// Host and port the request names, without a user: of the target, else of `Host`.
    Authority,
    UserAgent,
    /// The method as sent, when it is not a known one.
    Method,
    /// FastCGI: `SCRIPT_NAME`.
    Script,
    /// FastCGI: `REMOTE_ADDR`.
    RemoteAddr,
    TraceState,
}

/// Largest buffer that is used again, bytes.
const KEPT_BYTES_MAX: usize = 1_024;
/// Number of parts.
const PARTS: usize = Part::TraceState as usize + 1;

/// Texts one after the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    buffer: String,
    /// Where each part ends.
    ends: [u32; PARTS],
    /// Bit per part: it was there, even if empty.
    present: u8,
}

impl Texts {
    /// The part, if there was one.
    pub(crate) fn get(&self, part: Part) -> Option<&str> {
        let index = part as usize;
        if self.present & (1 << index) == 0 {
            return None;
        }
        let end_of = |index: usize| self.ends.get(index).map_or(0, |end| *end as usize);
        let start = if index == 0 { 0 } else { end_of(index - 1) };
        self.buffer.get(start..end_of(index))
    }

    /// They are needed soon.
    pub(crate) fn fetch(&self) {
        ahead::fetch(self.buffer.as_ptr(), self.buffer.len());
    }

    /// Forgets all parts and keeps the buffer.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.present = 0;
    }

    /// Replaces all parts.
    fn set(&mut self, parts: [Option<&str>; PARTS]) {
        self.clear();
        for (index, (text, end)) in parts.into_iter().zip(&mut self.ends).enumerate() {
            if let Some(text) = text {
                self.buffer.push_str(text);
                self.present |= 1 << index;
            }
            *end = self.buffer.len() as u32;
        }
    }

    /// Its buffer is not worth to be kept.
    pub(crate) fn is_large(&self) -> bool {
        self.buffer.capacity() > KEPT_BYTES_MAX
    }
}

/// What is kept of a request's head beside its [`Texts`].
#[derive(Debug)]
pub(crate) struct Request {
    /// The value of `http.request.method`.
    pub(crate) method: &'static str,
    /// What its response's framing depends on.
    pub(crate) asks: RequestMethod,
    /// The target is an authority (CONNECT).
    pub(crate) is_tunnel: bool,
    /// FastCGI: the web server was spoken to over TLS.
    pub(crate) is_https: bool,
    pub(crate) version: Version,
    pub(crate) content_length: Option<u64>,
    /// The end of the head was seen.
    pub(crate) complete: bool,
    /// Headers the user listed: (name in lower case, value).
    pub(crate) extra: Vec<(String, String)>,
}

impl Request {
    /// What is kept of `head`; its texts go to `texts`.
    pub(crate) fn keep(head: RequestHead, texts: &mut Texts) -> Self {
        let method = method_name(&head.method);
        let original = match &head.method {
            Method::Other(original) => Some(original.as_str()),
            _ => None,
        };
        texts.set([
            Some(head.target.path()),
            head.target.query(),
            authority(&head),
            head.user_agent.as_deref(),
            original,
            head.script.as_deref(),
            head.remote_addr.as_deref(),
            head.tracestate.as_deref(),
        ]);
        Self {
            method,
            asks: RequestMethod::from(&head.method),
            is_tunnel: head.target.form() == TargetForm::Authority,
            is_https: head.scheme.as_deref() == Some("https"),
            version: head.version,
            content_length: head.content_length,
            complete: head.complete,
            extra: head.extra,
        }
    }
}

/// What is kept of a response's head.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// `Content-Length` said how long it is.
    pub(crate) has_length: bool,
    /// Headers the user listed: (name in lower case, value).
    pub(crate) extra: Vec<(String, String)>,
}

impl From<ResponseHead> for Response {
    fn from(head: ResponseHead) -> Self {
        Self {
            status: head.status,
            has_length: head.content_length.is_some(),
            extra: head.extra,
        }
    }
}

/// The authority the request names: of its target, else of `Host`.
fn authority(head: &RequestHead) -> Option<&str> {
    head.target
        .authority()
        .or(head.host.as_deref())
        .map(|text| match text.bytes().rposition(|byte| byte == b'@') {
            Some(at) => text.get(at + 1..).unwrap_or_default(),
            None => text,
        })
        .filter(|text| !text.is_empty())
}

/// The value of `http.request.method`.
fn method_name(method: &Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Query => "QUERY",
        Method::Other(_) => key::METHOD_OTHER,
    }
}
