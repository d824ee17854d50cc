//! Name-value pairs of PARAMS (FastCGI §3.4), read as they come.
//!
//! In: the contents of PARAMS records, cut anywhere. Out: a [`RequestHead`]. Always holds: only what is wanted is
//! kept, each value up to its limit and all of them up to `Limits::head_bytes`, whatever length they claim. Refuses: a request without `REQUEST_METHOD`.

use crate::http1::framing::METHOD_MAX;
use crate::http1::head::text;
use crate::http1::request::{Known, SHORT_MAX, keep_extra, known};
use crate::http1::{Method, RequestHead, Target, Version};
use crate::stream::{KEEP_VALUE_MAX, Limits};
use crate::tracecontext::BAGGAGE_MAX;

/// Longest parameter name that can be wanted.
const NAME_MAX: usize = 128;

/// ```text
///   Lengths ──both lengths──▶ Name ──all of it──▶ Value ──all of it──▶ Lengths
/// ```
#[derive(Clone, Debug)]
enum State {
    /// `got` holds the bytes of the length that is being read; `name` is the first length once known.
    Lengths {
        got: [u8; 4],
        n: usize,
        name: Option<u32>,
    },
    Name {
        left: u32,
        value: u32,
    },
    Value {
        left: u32,
    },
}

const LENGTHS: State = State::Lengths {
    got: [0; 4],
    n: 0,
    name: None,
};

/// Parameters of one request.
#[derive(Clone, Debug)]
pub(super) struct Params {
    state: State,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Most bytes kept of the current value; 0: not wanted.
    keep: usize,
    /// Bytes of values that may still be kept in all.
    budget: usize,
    /// A value that was wanted whole did not fit.
    cut: bool,
    seen: u64,
    method: Option<Method>,
    uri: Option<String>,
    script: Option<String>,
    path_info: Option<String>,
    query: Option<String>,
    version: Version,
    head: RequestHead,
}

impl Params {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            state: LENGTHS,
            name: Vec::new(),
            value: Vec::new(),
            keep: 0,
            budget: limits.head_bytes,
            cut: false,
            seen: 0,
            method: None,
            uri: None,
            script: None,
            path_info: None,
            query: None,
            version: Version::Http11,
            head: RequestHead::new(Target::new("", false), Method::Get),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8], limits: &Limits) {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        let mut bytes = bytes;
        while let Some((&first, after)) = bytes.split_first() {
            match &mut self.state {
                State::Lengths { got, n, name } => {
                    got[*n] = first;
                    *n += 1;
                    bytes = after;
                    // One byte up to 127, else four whose first bit is not part of the number.
                    let length = match (got[0], *n) {
                        (0..=0x7f, _) => u32::from(got[0]),
                        (_, 4) => u32::from_be_bytes(*got) & 0x7fff_ffff,
                        _ => continue,
                    };
                    match *name {
                        None => {
                            self.state = State::Lengths {
                                got: [0; 4],
                                n: 0,
                                name: Some(length),
                            }
                        }
                        Some(left) => {
                            self.state = State::Name {
                                left,
                                value: length,
                            }
                        }
                    }
                    self.settle(limits);
                }
                State::Name { left, .. } => {
                    let part = bytes.len().min(*left as usize);
                    *left -= part as u32;
                    let room = (NAME_MAX + 1).saturating_sub(self.name.len());
                    self.name.extend_from_slice(&bytes[..part.min(room)]);
                    bytes = &bytes[part..];
                    self.settle(limits);
                }
                State::Value { left } => {
                    let part = bytes.len().min(*left as usize);
                    *left -= part as u32;
                    let room = self.keep.saturating_sub(self.value.len());
                    self.value.extend_from_slice(&bytes[..part.min(room)]);
                    bytes = &bytes[part..];
                    self.settle(limits);
                }
            }
        }
    }

    /// Leaves states in which nothing is awaited any more.
    fn settle(&mut self, limits: &Limits) {
        if let State::Name { left: 0, value } = self.state {
            let wanted = wanted(&self.name, limits);
            self.keep = wanted.min(self.budget);
            self.cut |= wanted > 0 && value as usize > self.budget;
            self.state = State::Value { left: value };
        }
        if let State::Value { left: 0 } = self.state {
            if self.keep > 0 {
                self.keep_pair(limits);
                self.budget = self.budget.saturating_sub(self.value.len());
            }
            self.name.clear();
            self.value.clear();
            self.state = LENGTHS;
        }
    }

    fn keep_pair(&mut self, limits: &Limits) {
        let value = self.value.as_slice();
        let once = |place: &mut Option<String>| {
            if place.is_none() {
                *place = Some(text(value, value.len()));
            }
        };
        match self.name.as_slice() {
            b"REQUEST_METHOD" => {
                self.method
                    .get_or_insert_with(|| Method::new(&text(value, METHOD_MAX)));
            }
            b"REQUEST_URI" => once(&mut self.uri),
            b"SCRIPT_NAME" => once(&mut self.script),
            b"PATH_INFO" => once(&mut self.path_info),
            b"QUERY_STRING" => once(&mut self.query),
            b"REQUEST_SCHEME" => self.head.scheme = Some(text(value, value.len())),
            b"HTTPS" if value.eq_ignore_ascii_case(b"on") || value == b"1" => {
                self.head.scheme.get_or_insert_with(|| "https".to_owned());
            }
            b"REMOTE_ADDR" => once(&mut self.head.remote_addr),
            b"CONTENT_TYPE" if !value.is_empty() => once(&mut self.head.content_type),
            b"CONTENT_LENGTH" => {
                let number = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                self.head.content_length = self.head.content_length.or(number);
            }
            b"SERVER_PROTOCOL" => {
                self.version = match value {
                    b"HTTP/1.0" => Version::Http10,
                    b"HTTP/2.0" | b"HTTP/2" => Version::Http2,
                    b"HTTP/3.0" | b"HTTP/3" => Version::Http3,
                    _ => Version::Http11,
                };
            }
            _ => {
                if let Some(name) = header_name(&self.name) {
                    if let Some(known) = known(&name) {
                        self.head.keep(known, value);
                    }
                    keep_extra(&mut self.head.extra, limits, &name, value);
                }
            }
        }
    }

    /// Bytes of heap held for names and values.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held_bytes(&self) -> usize {
        let head = &self.head;
        let kept = [
            &self.uri,
            &self.script,
            &self.path_info,
            &self.query,
            &head.host,
            &head.user_agent,
            &head.tracestate,
            &head.baggage,
            &head.content_type,
            &head.upgrade,
            &head.forwarded,
            &head.x_forwarded_for,
            &head.x_forwarded_proto,
            &head.scheme,
            &head.remote_addr,
        ];
        let kept: usize = kept
            .iter()
            .map(|text| text.as_ref().map_or(0, String::capacity))
            .sum();
        self.name.capacity() + self.value.capacity() + kept
    }

    /// The head from the parameters seen so far; `None` without a method.
    pub(super) fn finish(self, complete: bool, resynced: bool) -> Option<RequestHead> {
        let method = self.method?;
        let raw = self.uri.unwrap_or_else(|| {
            let mut raw = self.script.clone().unwrap_or_default();
            raw.push_str(self.path_info.as_deref().unwrap_or(""));
            if let Some(query) = self.query.filter(|query| !query.is_empty()) {
                raw.push('?');
                raw.push_str(&query);
            }
            raw
        });
        let mut head = RequestHead {
            method,
            target: Target::new(&raw, false),
            version: self.version,
            script: self.script,
            head_bytes: self.seen,
            complete: complete && !self.cut,
            resynced,
            ..self.head
        };
        head.check_lists();
        Some(head)
    }
}

/// Most bytes of the value that are of use; 0: none.
fn wanted(name: &[u8], limits: &Limits) -> usize {
    match name {
        b"REQUEST_URI" | b"SCRIPT_NAME" | b"PATH_INFO" | b"QUERY_STRING" => limits.head_bytes,
        b"REQUEST_METHOD" => METHOD_MAX,
        b"REQUEST_SCHEME" | b"HTTPS" | b"REMOTE_ADDR" | b"CONTENT_TYPE" | b"CONTENT_LENGTH"
        | b"SERVER_PROTOCOL" => SHORT_MAX,
        _ => match header_name(name) {
            Some(name) => match known(&name) {
                // One more than is allowed, so that too long can be told.
                Some(Known::Tracestate | Known::Baggage) => BAGGAGE_MAX + 1,
                Some(_) => 2 * SHORT_MAX,
                None if limits.keep_headers.contains(&name) => KEEP_VALUE_MAX,
                None => 0,
            },
            None => 0,
        },
    }
}

/// `HTTP_USER_AGENT` to `user-agent` (RFC 3875 §4.1.18).
fn header_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix("HTTP_")?;
    (name.len() <= NAME_MAX).then(|| name.to_ascii_lowercase().replace('_', "-"))
}
