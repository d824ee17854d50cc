//! What the parsers say: events, heads, ends.
//!
//! Always holds: every string was on the wire (bytes that are not UTF-8 replaced by U+FFFD) and is bounded by
//! `Limits`.

use crate::http1::target::Target;
use crate::tracecontext::Traceparent;

/// One event of the direction that carries requests.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestEvent {
    /// The first byte of a message was seen in this push.
    Begin,
    /// The head, complete or as far as it could be seen.
    Head(RequestHead),
    /// The message ended.
    End(BodyEnd),
    /// Bytes that could not be understood: instead of a head, or about the rest of a message after its head.
    Unparsed(Reason),
}

/// One event of the direction that carries responses.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseEvent {
    /// The first byte of a message was seen in this push; interim responses have one of their own.
    Begin,
    /// An interim response (1xx except 101), complete: there is no `End` for it.
    Interim(u16),
    /// The head of a final response (or of a 101), complete or as far as it could be seen.
    Head(ResponseHead),
    /// The message ended.
    End(BodyEnd),
    /// Bytes that could not be understood: instead of a head, or about the rest of a message after its head.
    Unparsed(Reason),
}

/// Why something could not be understood. Every one is worth a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Instead of a head: the bytes are not of this protocol. Nothing more is looked at until the next turn.
    NotHttp,
    /// Instead of a head: the HTTP/2 connection preface (RFC 9113 §3.4).
    Http2,
    /// Instead of a head: the first line is longer than may be kept, or the rest of it was not captured.
    FirstLineCut,
    /// Instead of a head: the stream ended inside the first line.
    FirstLineTruncated,
    /// Instead of a head: the connection was met in the middle of a message.
    Midstream,
    /// Instead of a head: a message was to begin with bytes that were not captured.
    UnseenHead,
    /// Instead of a head: a message was to begin inside a hole.
    LostHead,
    /// After a head: `Content-Length` is not a number, or given several times with different values.
    ContentLength,
    /// After a head: a request's `Transfer-Encoding` does not end with `chunked` (RFC 9112 §6.3).
    TransferEncoding,
    /// After a head: the chunked body breaks RFC 9112 §7.1, or a FastCGI record its specification's §3.3.
    Chunk,
    /// After a head: a hole inside the body, of unknown size or over a chunk's border.
    LostBody,
    /// FastCGI, beside a message: a request multiplexed into it; only the first one is followed.
    Multiplexed,
    /// FastCGI, instead of a head: a role other than responder, or no `REQUEST_METHOD`.
    Unsupported,
    /// FastCGI, instead of a head: the request ended without a CGI header.
    NoHead,
    /// FastCGI, instead of a head: the application refused the request (`protocolStatus` is not 0).
    Refused,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 15] = [
        Self::NotHttp,
        Self::Http2,
        Self::FirstLineCut,
        Self::FirstLineTruncated,
        Self::Midstream,
        Self::UnseenHead,
        Self::LostHead,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::Chunk,
        Self::LostBody,
        Self::Multiplexed,
        Self::Unsupported,
        Self::NoHead,
        Self::Refused,
    ];

    /// It came after a `Head`, whose message goes on until a turn; the others stand instead of a head.
    pub const fn is_about_body(self) -> bool {
        matches!(
            self,
            Self::ContentLength | Self::TransferEncoding | Self::Chunk | Self::LostBody
        )
    }
}

/// The end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyEnd {
    /// Bytes of the body on the wire: without chunk framing where the framing was seen.
    pub body_bytes: u64,
    /// What told that it ended.
    pub how: Ended,
}

/// What told the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// `Content-Length`.
    Length,
    /// The last chunk.
    Chunked,
    /// FastCGI: an empty STDIN record, or END_REQUEST.
    Record,
    /// A message that has no body.
    NoBody,
    /// The stream ended, which is or may be this message's end (close-delimited, or its length is not known).
    Close,
    /// The next message began: the end itself was not seen.
    Turn,
    /// The stream ended inside the message.
    Truncated,
    /// Upgraded or a tunnel: the message ends with its head, the rest is another protocol.
    Opaque,
}

/// HTTP version of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2, between the client and a web server that speaks FastCGI to the application (`SERVER_PROTOCOL`).
    Http2,
    /// HTTP/3, the same way.
    Http3,
}

impl Version {
    /// HTTP/1 with this minor version.
    pub(crate) const fn http1(minor: u8) -> Self {
        if minor == 0 {
            Self::Http10
        } else {
            Self::Http11
        }
    }

    /// The value of `network.protocol.version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }
}

/// Method of a request; those of RFC 9110, PATCH (RFC 5789) and QUERY are known to the semantic conventions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// QUERY
    Query,
    /// Any other token, as it was (methods are case-sensitive).
    Other(String),
}

impl Method {
    /// From a token.
    pub fn new(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            "QUERY" => Self::Query,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Query => "QUERY",
            Self::Other(token) => token,
        }
    }
}

/// What a response's framing needs to know of the request it answers (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestMethod {
    /// HEAD: the response has no body.
    Head,
    /// CONNECT: a 2xx response turns the connection into a tunnel.
    Connect,
    /// Any other.
    Other,
}

impl From<&Method> for RequestMethod {
    fn from(method: &Method) -> Self {
        match method {
            Method::Head => Self::Head,
            Method::Connect => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// A request's head.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Request target.
    pub target: Target,
    /// Version.
    pub version: Version,
    /// `Host`, the first one.
    pub host: Option<String>,
    /// `User-Agent`, at most [`USER_AGENT_MAX`] bytes.
    pub user_agent: Option<String>,
    /// `traceparent`.
    pub traceparent: Traceparent,
    /// `tracestate`, several headers joined with commas; only where it is valid.
    pub tracestate: Option<String>,
    /// A `tracestate` was there and is ignored: it breaks the rules or the limits.
    pub tracestate_invalid: bool,
    /// `baggage`, several headers joined with commas; only where it is valid.
    pub baggage: Option<String>,
    /// A `baggage` was there and is ignored.
    pub baggage_invalid: bool,
    /// `Content-Length`, where it decides the body's length.
    pub content_length: Option<u64>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// `Upgrade`.
    pub upgrade: Option<String>,
    /// `Forwarded` (RFC 7239), the first one.
    pub forwarded: Option<String>,
    /// `X-Forwarded-For`, the first one.
    pub x_forwarded_for: Option<String>,
    /// `X-Forwarded-Proto`, the first one.
    pub x_forwarded_proto: Option<String>,
    /// FastCGI: `SCRIPT_NAME`.
    pub script: Option<String>,
    /// FastCGI: `REQUEST_SCHEME`, else from `HTTPS`.
    pub scheme: Option<String>,
    /// FastCGI: `REMOTE_ADDR`, the client the web server sees.
    pub remote_addr: Option<String>,
    /// Headers named in `Limits::keep_headers`, in wire order: (name in lower case, value).
    pub extra: Vec<(String, String)>,
    /// Bytes of the head on the wire, as far as seen.
    pub head_bytes: u64,
    /// False: the end of the head was not seen; only whole lines before the cut count.
    pub complete: bool,
    /// Its beginning was found by looking for one, after a hole or in the middle of a connection.
    pub resynced: bool,
}

/// Most bytes kept of a `User-Agent`.
pub const USER_AGENT_MAX: usize = 1024;

/// A response's head.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseHead {
    /// Status code, 101 or 200 to 999.
    pub status: u16,
    /// Version.
    pub version: Version,
    /// `Content-Length`, also where there is no body (HEAD, 304).
    pub content_length: Option<u64>,
    /// `Upgrade`.
    pub upgrade: Option<String>,
    /// Headers named in `Limits::keep_headers`, in wire order: (name in lower case, value).
    pub extra: Vec<(String, String)>,
    /// Bytes of the head on the wire, as far as seen.
    pub head_bytes: u64,
    /// False: the end of the head was not seen; only whole lines before the cut count.
    pub complete: bool,
    /// Its beginning was found by looking for one, after a hole or in the middle of a connection.
    pub resynced: bool,
}
