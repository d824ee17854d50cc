//! A span as the receiver got it, flat, with its Resource.
//!
//! In: OTLP's `ResourceSpans`. Out: [`ReceivedSpan`]s. Always holds: nothing of a span that a scenario may check is
//! dropped; an id of a wrong length is kept as it came, so that a check can complain about it.

use std::collections::BTreeMap;
use std::fmt;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// string
    Str(String),
    /// int64
    Int(i64),
    /// bool
    Bool(bool),
    /// double
    Double(f64),
    /// array
    List(Vec<Value>),
    /// Absent, or a kind that spans of HTTP never have.
    Other,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => write!(f, "{text}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Double(number) => write!(f, "{number}"),
            Self::List(values) => write!(f, "{values:?}"),
            Self::Other => write!(f, "(absent)"),
        }
    }
}

/// SpanKind as it stood on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SPAN_KIND_INTERNAL (1)
    Internal,
    /// SPAN_KIND_SERVER (2)
    Server,
    /// SPAN_KIND_CLIENT (3)
    Client,
    /// SPAN_KIND_PRODUCER (4)
    Producer,
    /// SPAN_KIND_CONSUMER (5)
    Consumer,
    /// Anything else
    Unspecified,
}

/// Status code as it stood on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusCode {
    /// STATUS_CODE_UNSET (0)
    Unset,
    /// STATUS_CODE_OK (1)
    Ok,
    /// STATUS_CODE_ERROR (2)
    Error,
}

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// One received span.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// Trace id, 16 bytes.
    pub trace_id: Vec<u8>,
    /// Span id, 8 bytes.
    pub span_id: Vec<u8>,
    /// Parent span id; `None` when it was empty.
    pub parent: Option<Vec<u8>>,
    /// `tracestate`.
    pub trace_state: String,
    /// OTLP flags: W3C flags in the low byte, 0x100 has_is_remote, 0x200 is_remote.
    pub flags: u32,
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// ns since the Unix epoch.
    pub start: u64,
    /// ns since the Unix epoch.
    pub end: u64,
    /// Status code.
    pub status: StatusCode,
    /// Status message.
    pub status_message: String,
    /// Attributes of the span.
    pub attributes: Attributes,
    /// Keys that occurred more than once among the span's attributes: always a defect.
    pub repeated_keys: Vec<String>,
    /// Attributes of its Resource.
    pub resource: Attributes,
    /// Links.
    pub links: Vec<ReceivedLink>,
}

/// A link of a received span.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedLink {
    /// Trace id of the other span.
    pub trace_id: Vec<u8>,
    /// The other span.
    pub span_id: Vec<u8>,
    /// Attributes.
    pub attributes: Attributes,
}

impl ReceivedSpan {
    /// The attribute, or [`Value::Other`].
    pub fn attr(&self, key: &str) -> Value {
        self.attributes.get(key).cloned().unwrap_or(Value::Other)
    }

    /// A string attribute; empty when it is absent or of another type.
    pub fn text(&self, key: &str) -> &str {
        text_of(&self.attributes, key)
    }

    /// An int attribute.
    pub fn int(&self, key: &str) -> Option<i64> {
        int_of(&self.attributes, key)
    }

    /// A string attribute of the Resource; empty when absent.
    pub fn resource_text(&self, key: &str) -> &str {
        text_of(&self.resource, key)
    }

    /// An int attribute of the Resource.
    pub fn resource_int(&self, key: &str) -> Option<i64> {
        int_of(&self.resource, key)
    }

    /// The request's path: `url.path`, or the path in `url.full` (CLIENT spans). Never with a query.
    pub fn path(&self) -> &str {
        let own = self.text("url.path");
        if !own.is_empty() {
            return own;
        }
        let full = self.text("url.full");
        let after_scheme = full.split_once("://").map_or(full, |(_, rest)| rest);
        let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
        path.split(['?', '#']).next().unwrap_or("")
    }

    /// `http.response.status_code`
    pub fn status_code(&self) -> Option<i64> {
        self.int("http.response.status_code")
    }

    /// `suture.parent.evidence`
    pub fn evidence(&self) -> &str {
        self.text("suture.parent.evidence")
    }

    /// Duration in ns; 0 when `end` is before `start`.
    pub fn duration_ns(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// One line for a failed check.
    pub fn line(&self) -> String {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        format!(
            "{:?} {:?} path={} service={} pid={:?} status={:?}/{:?} trace={} id={} parent={} evidence={} {:.3} ms {:?}",
            self.kind,
            self.name,
            self.path(),
            self.resource_text("service.name"),
            self.resource_int("process.pid"),
            self.status_code(),
            self.status,
            hex(&self.trace_id),
            hex(&self.span_id),
            self.parent.as_deref().map_or("-".to_owned(), hex),
            self.evidence(),
            self.duration_ns() as f64 / 1e6,
            self.attributes,
        )
    }
}

fn text_of<'a>(attributes: &'a Attributes, key: &str) -> &'a str {
    match attributes.get(key) {
        Some(Value::Str(text)) => text,
        _ => "",
    }
}

fn int_of(attributes: &Attributes, key: &str) -> Option<i64> {
    match attributes.get(key) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// All spans as lines, for the message of a failed check; at most 6 of them.
pub fn listing<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> String {
    let lines: Vec<String> = spans.into_iter().map(ReceivedSpan::line).collect();
    if lines.is_empty() {
        return "no span".to_owned();
    }
    let shown = lines.len().min(6);
    format!(
        "{} spans (first {shown}):\n  {}",
        lines.len(),
        lines[..shown].join("\n  ")
    )
}
