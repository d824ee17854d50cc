//! A finished span, ready to be exported: OpenTelemetry's data model with this project's evidence.

use std::borrow::Cow;

use agent_common::abi::ProcessKey;

/// 16 bytes, never all zero in a finished span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes, never all zero in a finished span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// OpenTelemetry SpanKind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Work inside one process.
    Internal,
    /// Serves a request.
    Server,
    /// Made a request.
    Client,
    /// Put a message.
    Producer,
    /// Processed a message.
    Consumer,
}

/// Why a span has the parent it has (`suture.parent.evidence`, DESIGN §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// No evidence: a root.
    None,
    /// `traceparent` in the request.
    Header,
    /// The client exchange of the peer socket on this host.
    Socket,
    /// The thread that serves the parent made this call.
    Thread,
    /// A proxy's event-loop turn (DESIGN §5 `reply`/turn rules).
    Turn,
    /// haproxy made this call for the client that asked.
    Session,
    /// The goroutine that serves the parent made this call.
    Goroutine,
    /// The virtual thread of a JVM that serves the parent made this call.
    VirtualThread,
    /// The contextvars Context in which the parent's request was read, or a copy of it, made this call.
    Context,
    /// The event loop had just read the reply to a call of the parent.
    Reply,
    /// The async resource that made this call was made under the parent.
    Async,
    /// The unit that made this call was made by one that served the parent.
    Spawn,
    /// The task of tokio's that serves the parent made this call, or handed it to the one that writes for it.
    Task,
    /// The peer's agent said so in a TCP option.
    Option,
    /// The parent put the message.
    Message,
    /// The parent is the one request of this process with the same id in its head.
    RequestId,
    /// The unit that said what became of the parent's message made this call.
    Settle,
    /// The parent is a command that a scheduler began: one of its processes made this call, for nobody else that is known.
    Tick,
}

impl Evidence {
    /// Whether an execution unit ties a call to the request that its own process serves.
    pub const fn is_of_a_unit(self) -> bool {
        match self {
            Self::None
            | Self::Header
            | Self::Socket
            | Self::Option
            | Self::Message
            | Self::Tick => false,
            Self::Thread
            | Self::Turn
            | Self::Goroutine
            | Self::VirtualThread
            | Self::Context
            | Self::Reply
            | Self::Async
            | Self::Spawn
            | Self::Task
            | Self::Session
            | Self::RequestId
            | Self::Settle => true,
        }
    }

    /// Whether it is what was made under a request that keeps this evidence when the request has been answered.
    pub const fn outlives_the_response(self) -> bool {
        matches!(self, Self::Context | Self::Reply | Self::Async)
    }

    /// The attribute's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header => "header",
            Self::Socket => "socket",
            Self::Thread => "thread",
            Self::Turn => "turn",
            Self::Goroutine => "goroutine",
            Self::VirtualThread => "virtual_thread",
            Self::Session => "session",
            Self::Context => "context",
            Self::Reply => "reply",
            Self::Async => "async",
            Self::Spawn => "spawn",
            Self::Task => "task",
            Self::Option => "option",
            Self::Message => "message",
            Self::RequestId => "request_id",
            Self::Settle => "settle",
            Self::Tick => "tick",
        }
    }
}

/// OpenTelemetry span status; `Ok` is never set by instrumentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Unset.
    #[default]
    Unset,
    /// Error, with a description that may be empty.
    Error(Cow<'static, str>),
}

/// Value of a span attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// string
    Str(Cow<'static, str>),
    /// int64
    Int(i64),
    /// bool
    Bool(bool),
    /// array of strings
    List(Vec<String>),
}

/// A span link.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// Attributes, with keys from `semconv`.
    pub attributes: Vec<(&'static str, Value)>,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Trace.
    pub trace_id: TraceId,
    /// This span.
    pub span_id: SpanId,
    /// Parent span, `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`, as received.
    pub trace_state: Option<String>,
    /// The parent is in another process (OTLP flags: has_is_remote + is_remote).
    pub parent_is_remote: bool,
    /// Why it has this parent.
    pub evidence: Evidence,
    /// Kind.
    pub kind: SpanKind,
    /// Low-cardinality name.
    pub name: String,
    /// ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// ns since the Unix epoch, not before `start_unix_ns`.
    pub end_unix_ns: u64,
    /// Status.
    pub status: Status,
    /// Attributes, with keys from `semconv`, each at most once; `suture.parent.evidence` is always among them.
    pub attributes: Vec<(&'static str, Value)>,
    /// Links.
    pub links: Vec<Link>,
    /// The process it belongs to: the key of its Resource.
    pub process: ProcessKey,
}
