//! W3C Trace Context (level 1 and 2) and W3C Baggage, as far as a reader needs them.
//!
//! In: header values as they were on the wire. Out: ids, or why a value is ignored. Always holds: nothing that the
//! specification calls invalid is ever taken for a parent. Refuses: everything over the limits, whole.
//! Sources: <https://www.w3.org/TR/trace-context-2/> §3.2 (traceparent), §3.3 (tracestate);
//! <https://www.w3.org/TR/baggage/> §3.2-3.3.

/// Most bytes of a joined `tracestate` (Trace Context §3.3.1.5: at least 512 are to be propagated).
pub const TRACESTATE_MAX: usize = 512;
/// Most members of a `tracestate` (§3.3.1.1).
pub const TRACESTATE_MEMBERS_MAX: usize = 32;
/// Most bytes of a joined `baggage` (Baggage §3.3.2).
pub const BAGGAGE_MAX: usize = 8192;
/// Most members of a `baggage` (Baggage §3.3.2: at least 64 are to be propagated; readers commonly stop at 180).
pub const BAGGAGE_MEMBERS_MAX: usize = 180;

/// Length of a version 00 `traceparent`: 2 + 1 + 32 + 1 + 16 + 1 + 2.
const TRACEPARENT_LEN: usize = 55;

/// A valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Version of the format, 0 today, never 0xff.
    pub version: u8,
    /// Trace id, never all zero.
    pub trace_id: [u8; 16],
    /// Span id of the sender, never all zero.
    pub parent_id: [u8; 8],
    /// trace-flags; bit 0 is `sampled`, bit 1 (level 2) `random`.
    pub flags: u8,
}

impl TraceContext {
    /// The sender recorded the trace, or would have.
    pub const fn sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Why a `traceparent` is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// Shorter than 55 bytes; or version 00 and not exactly 55; or a later version with no `-` after its 55th byte.
    Length,
    /// Version ff.
    Version,
    /// Something else than lower-case hex, or a `-` that is not where it must be.
    Character,
    /// The trace id is all zero.
    ZeroTraceId,
    /// The parent id is all zero.
    ZeroParentId,
    /// More than one `traceparent` header.
    Several,
}

/// What a request said in `traceparent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traceparent {
    /// No such header was seen.
    #[default]
    Absent,
    /// Exactly one, and valid.
    Valid(TraceContext),
    /// Ignored, and why.
    Invalid(Invalid),
}

impl Traceparent {
    /// Takes one more header of that name into account.
    pub(crate) fn add(&mut self, value: &[u8]) {
        *self = match self {
            Self::Absent => match parse(value) {
                Ok(context) => Self::Valid(context),
                Err(why) => Self::Invalid(why),
            },
            Self::Valid(_) | Self::Invalid(_) => Self::Invalid(Invalid::Several),
        };
    }
}

/// Reads one `traceparent` value (spaces around it are not part of a value).
///
/// # Errors
/// [`Invalid`] says which rule of Trace Context §3.2.2 it breaks.
pub fn parse(value: &[u8]) -> Result<TraceContext, Invalid> {
    let value = value.trim_ascii();
    let Some((fixed, rest)) = value.split_first_chunk::<TRACEPARENT_LEN>() else {
        return Err(Invalid::Length);
    };
    let [version] = hex::<1>(&fixed[0..2])?;
    if version == 0xff {
        return Err(Invalid::Version);
    }
    if version == 0 && !rest.is_empty() || rest.first().is_some_and(|&byte| byte != b'-') {
        return Err(Invalid::Length);
    }
    if fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
        return Err(Invalid::Character);
    }
    let trace_id = hex::<16>(&fixed[3..35])?;
    let parent_id = hex::<8>(&fixed[36..52])?;
    let [flags] = hex::<1>(&fixed[53..55])?;
    if trace_id == [0; 16] {
        return Err(Invalid::ZeroTraceId);
    }
    if parent_id == [0; 8] {
        return Err(Invalid::ZeroParentId);
    }
    Ok(TraceContext {
        version,
        trace_id,
        parent_id,
        flags,
    })
}

/// `2 * N` lower-case hex digits to bytes.
fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], Invalid> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return Err(Invalid::Length);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, Invalid> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Invalid::Character),
    }
}

/// Whether a joined `tracestate` keeps to §3.3: at most 512 bytes and 32 members, keys and values well formed, no
/// key twice. Empty members are allowed.
pub fn tracestate_is_valid(value: &str) -> bool {
    if value.len() > TRACESTATE_MAX {
        return false;
    }
    let mut keys = [""; TRACESTATE_MEMBERS_MAX];
    let members = value
        .split(',')
        .map(trim_ows)
        .filter(|member| !member.is_empty());
    for (at, member) in members.enumerate() {
        let Some((key, text)) = member.split_once('=') else {
            return false;
        };
        if at == TRACESTATE_MEMBERS_MAX || !is_tracestate_key(key) || !is_tracestate_value(text) {
            return false;
        }
        if keys[..at].contains(&key) {
            return false;
        }
        keys[at] = key;
    }
    true
}

/// Level 2 §3.3.1.3.1: 1 to 256 characters, the first a lower-case letter or digit, then also `_-*/@`. Level 1's
/// `tenant@system` keys are among these.
fn is_tracestate_key(key: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = key.as_bytes();
    bytes.len() <= 256
        && bytes.first().is_some_and(word)
        && bytes
            .iter()
            .all(|byte| word(byte) || b"_-*/@".contains(byte))
}

/// §3.3.1.3.2: 1 to 256 printable ASCII characters without `,` and `=`; spaces at the end are not part of it.
fn is_tracestate_value(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=')
}

/// Whether a joined `baggage` keeps to Baggage §3.2-3.3: at most 8192 bytes, members `token=value` with properties.
pub fn baggage_is_valid(value: &str) -> bool {
    value.len() <= BAGGAGE_MAX
        && value.split(',').count() <= BAGGAGE_MEMBERS_MAX
        && value.split(',').map(trim_ows).all(|member| {
            let mut parts = member.split(';').map(trim_ows);
            let first = parts.next().and_then(|part| part.split_once('='));
            first.is_some_and(|(key, text)| {
                is_token(trim_ows(key)) && is_baggage_value(trim_ows(text))
            }) && parts.all(|property| match property.split_once('=') {
                Some((key, text)) => is_token(trim_ows(key)) && is_baggage_value(trim_ows(text)),
                None => is_token(property),
            })
        })
}

fn trim_ows(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(crate::http1::is_token_byte)
}

/// Baggage §3.2.1: baggage-octet.
fn is_baggage_value(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e))
}
