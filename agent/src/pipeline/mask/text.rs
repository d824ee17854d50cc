//! What becomes of single bytes: classes, names that are known to be harmless, request targets.
//!
//! In: a byte and what follows it in the same piece. Out: the byte that is written instead. Always holds: a byte that
//! a parser refuses in its place is replaced by another one that it refuses there, so that a masked head parses, or
//! fails to, as the original did. Refuses: to keep what may turn out to be a secret only in the next piece.

/// What stands for a byte.
pub(super) const X: u8 = b'x';
/// What stands for a control byte: no more allowed in a head than the original (RFC 9110 §5.5).
const CONTROL: u8 = 1;
/// Bytes looked at to find the end of a name or an authority; a longer one is masked.
const AHEAD: usize = 300;
/// Longest word that is compared with known ones.
const WORD: usize = 64;

/// Instead of a byte of a first line.
pub(super) const fn hidden_in_line(byte: u8) -> u8 {
    match byte {
        0..=b' ' | 0x7f => CONTROL,
        _ => X,
    }
}

/// Instead of a byte of a header's value.
pub(super) const fn hidden_in_value(byte: u8) -> u8 {
    match byte {
        b'\r' => b'\r',
        b'\t' => X,
        0..=0x1f | 0x7f => CONTROL,
        _ => X,
    }
}

/// Instead of a byte of which only the end of a chunked body can matter (`CR LF 0 CR LF CR LF`).
pub(super) const fn hidden_in_rest(byte: u8) -> u8 {
    match byte {
        b'0' | b'\r' | b'\n' => byte,
        _ => X,
    }
}

/// Instead of a piece in which a message's beginning was looked for and not found: nor will there be one now.
pub(super) fn hide_stray(piece: &mut [u8]) {
    let blank = piece.len() - piece.trim_ascii_start().len();
    if let Some(rest) = piece.get_mut(blank..) {
        rest.fill(X);
        if let Some(first) = rest.first_mut() {
            *first = b'?';
        }
    }
}

/// A short word, gathered byte by byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    bytes: [u8; WORD],
    len: u8,
    /// Too long, or broken by a byte that cannot be in it: equal to no known word.
    spoilt: bool,
}

impl Word {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; WORD],
        len: 0,
        spoilt: false,
    };

    pub(super) fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.spoilt = true,
        }
    }

    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// The word; `None` when it is spoilt.
    pub(super) fn get(&self) -> Option<&[u8]> {
        self.bytes
            .get(..usize::from(self.len))
            .filter(|_| !self.spoilt)
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Every byte is masked.
    Mask,
    /// Kept: it is needed for spans, or says nothing about anybody.
    Keep,
    /// A target: user part, query values and fragment are masked.
    Uri,
    /// A query.
    Query,
    /// `Content-Length`: digits are kept.
    Length,
    /// `Transfer-Encoding`.
    Coding,
}

/// The rule of a header, by its name in lower case.
pub(super) fn header_rule(name: &[u8]) -> Rule {
    match name {
        b"content-length" => Rule::Length,
        b"transfer-encoding" => Rule::Coding,
        b"location" => Rule::Uri,
        b"host"
        | b"content-type"
        | b"connection"
        | b"keep-alive"
        | b"upgrade"
        | b"expect"
        | b"user-agent"
        | b"traceparent"
        | b"tracestate"
        | b"baggage"
        | b"trailer"
        | b"te"
        | b"date"
        | b"server"
        | b"retry-after"
        | b"sec-websocket-version"
        | b"http2-settings"
        | b"x-request-id"
        | b"accept"
        | b"accept-charset"
        | b"accept-encoding"
        | b"accept-language"
        | b"accept-ranges" => Rule::Keep,
        _ => Rule::Mask,
    }
}

/// The rule of a FastCGI parameter (RFC 3875 §4.1).
pub(super) fn param_rule(name: &[u8]) -> Rule {
    match name {
        b"REQUEST_URI" | b"SCRIPT_NAME" | b"DOCUMENT_URI" | b"PATH_INFO" => Rule::Uri,
        b"QUERY_STRING" => Rule::Query,
        b"REQUEST_METHOD" | b"SERVER_PROTOCOL" | b"SERVER_NAME" | b"SERVER_PORT"
        | b"SERVER_ADDR" | b"REMOTE_ADDR" | b"REMOTE_PORT" | b"SCRIPT_FILENAME"
        | b"CONTENT_LENGTH" | b"CONTENT_TYPE" | b"HTTP_HOST" | b"HTTP_USER_AGENT"
        | b"HTTP_TRACEPARENT" | b"HTTP_TRACESTATE" | b"HTTP_BAGGAGE" | b"REQUEST_SCHEME"
        | b"HTTPS" | b"GATEWAY_INTERFACE" => Rule::Keep,
        _ => Rule::Mask,
    }
}

/// Methods whose names are kept (IANA HTTP Method Registry). Any other token may be anything.
const METHODS: [&[u8]; 40] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"QUERY",
    b"PRI",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"COPY",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"ORDERPATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"VERSION-CONTROL",
];

/// Whether a method of the registry begins with this.
pub(super) fn may_be_method(word: &[u8]) -> bool {
    METHODS.iter().any(|method| method.starts_with(word))
}

/// ```text
///   Start ──'/', '*'──▶ Path ──'?'──▶ Name ──'='──▶ Value ──'&'──▶ Name
///     ├──h, H──▶ Scheme ──"http://", "https://"──▶ Authority ──'/'──▶ Path          (any but Start) ──'#'──▶ Hidden
///     └──other──▶ Hidden ◀──other── Scheme
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uri {
    Start,
    /// So many bytes of the scheme and its `://` were there; `tls`: it is `https`.
    Scheme {
        seen: u8,
        tls: bool,
    },
    Authority,
    Path,
    Name,
    Value,
    Hidden,
}

impl Uri {
    /// Takes the first byte of `ahead`; the bytes after it are what is known of the rest of the piece.
    pub(super) fn byte(&mut self, ahead: &[u8]) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        let ahead = ahead.get(..ahead.len().min(AHEAD)).unwrap_or_default();
        let (next, out) = match (*self, byte) {
            (Self::Start, b'/' | b'*') => (Self::Path, byte),
            (Self::Start, b'h' | b'H') => (
                Self::Scheme {
                    seen: 1,
                    tls: false,
                },
                byte,
            ),
            (Self::Start | Self::Hidden, _) => (Self::Hidden, hidden_in_line(byte)),
            (Self::Scheme { seen, tls }, _) => scheme(seen, tls, byte),
            (_, b'#') => (Self::Hidden, byte),
            (Self::Authority | Self::Path, b'?') => (Self::Name, byte),
            (Self::Authority, b'/') => (Self::Path, byte),
            // A user part shows itself only by the `@` after it.
            (Self::Authority, b'@') => (Self::Authority, byte),
            (Self::Authority, _) => {
                let end = ahead
                    .iter()
                    .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b' ' | b'\r' | b'\n'));
                let host = end.is_some_and(|end| !ahead.iter().take(end).any(|&b| b == b'@'));
                let out = if host { byte } else { hidden_in_line(byte) };
                (Self::Authority, out)
            }
            (Self::Path, _) => (Self::Path, byte),
            (Self::Name | Self::Value, b'&') => (Self::Name, byte),
            (Self::Name, b'=') => (Self::Value, byte),
            (Self::Name, _) => {
                // Without a value it may be a token on its own.
                let end = ahead
                    .iter()
                    .find(|byte| matches!(byte, b'=' | b'&' | b'#' | b' ' | b'\r' | b'\n'));
                let out = if end == Some(&b'=') {
                    byte
                } else {
                    hidden_in_line(byte)
                };
                (Self::Name, out)
            }
            (Self::Value, _) => (Self::Value, hidden_in_line(byte)),
        };
        *self = next;
        out
    }
}

/// One more byte of a scheme of which `seen` bytes were there.
fn scheme(seen: u8, tls: bool, byte: u8) -> (Uri, u8) {
    let at = usize::from(seen);
    let lower = byte.to_ascii_lowercase();
    // "http" and "https" part after four bytes.
    let tls = tls || (at == 4 && lower == b's');
    let whole: &[u8] = if tls { b"https://" } else { b"http://" };
    if whole.get(at) != Some(&lower) {
        return (Uri::Hidden, hidden_in_line(byte));
    }
    let next = if at + 1 == whole.len() {
        Uri::Authority
    } else {
        Uri::Scheme {
            seen: seen + 1,
            tls,
        }
    };
    (next, byte)
}
