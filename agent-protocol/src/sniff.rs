//! Recognises a protocol by the first bytes after a change of direction: the reference of what the BPF programs do
//! in the kernel (`agent-ebpf/src/sniff.rs`), written for reading rather than for the verifier.
//!
//! In: up to [`SNIFF_BYTES`] bytes; more are not looked at. Out: a [`Token`]. Always holds: it only guesses from the
//! beginning; the parsers decide. Refuses: nothing.

/// Bytes that are looked at.
pub const SNIFF_BYTES: usize = 24;

/// Wire protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// FastCGI.
    FastCgi,
}

/// What a message seems to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// An HTTP/1 request, or so short a piece that it may become one.
    Request,
    /// A FastCGI BEGIN_REQUEST record.
    FastCgiRequest,
    /// A final HTTP/1 response.
    Response,
    /// An HTTP/1 interim response (1xx).
    Interim,
    /// A FastCGI record that is sent in answer.
    FastCgiResponse,
}

impl Token {
    /// The protocol it belongs to.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Request | Self::Response | Self::Interim => Protocol::Http1,
            Self::FastCgiRequest | Self::FastCgiResponse => Protocol::FastCgi,
        }
    }
}

/// The protocol of a message that begins with these bytes.
pub fn protocol_of(first_bytes: &[u8]) -> Option<Protocol> {
    token_of(first_bytes).map(Token::protocol)
}

/// What a message that begins with these bytes is.
pub fn token_of(first_bytes: &[u8]) -> Option<Token> {
    let bytes = &first_bytes[..first_bytes.len().min(SNIFF_BYTES)];
    match bytes {
        [] => None,
        [1, ..] => fastcgi(bytes),
        // No method begins with these letters and is followed by a slash.
        [b'H', b'T', ..] => response(bytes),
        _ => request(bytes).then_some(Token::Request),
    }
}

/// `HTTP/1.x SP 1` is interim, any other status final; less than ten bytes count when they may become a response.
fn response(bytes: &[u8]) -> Option<Token> {
    match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, _, b'1', ..] => Some(Token::Interim),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, _, _, ..] => Some(Token::Response),
        [b'H', b'T'] => Some(Token::Response),
        [b'H', b'T', b'T', ..] if bytes.len() < 10 => Some(Token::Response),
        _ => None,
    }
}

/// A method of at least three upper-case letters (`-` after the third, as in `VERSION-CONTROL`), a space
/// and the first byte a request target can have. Up to seven letters alone may become one, but not with an `X` first: no registered
/// method begins so, and pika 1.4 wakes its own loop by an `X` on a TCP connection to itself (seen with strace), on the thread that serves a request.
fn request(bytes: &[u8]) -> bool {
    let is_method =
        |(index, byte): &(usize, &u8)| byte.is_ascii_uppercase() || **byte == b'-' && *index > 2;
    let letters = bytes[..bytes.len().min(SNIFF_BYTES - 2)]
        .iter()
        .enumerate()
        .take_while(is_method)
        .count();
    match &bytes[letters..] {
        [] => letters < 8 && bytes[0] != b'X',
        [b' '] => (3..SNIFF_BYTES - 2).contains(&letters),
        [b' ', target, ..] if (3..SNIFF_BYTES - 2).contains(&letters) => match target {
            b'/' | b'*' | b'h' | b'H' => true,
            b'[' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                letters == 7 && bytes.starts_with(b"CON")
            }
            _ => false,
        },
        _ => false,
    }
}

/// FastCGI 1.0 §3.3: version 1, a type, a reserved byte that is 0; BEGIN_REQUEST (1) has a content of 8 bytes, answers
/// are END_REQUEST (3), STDOUT (6) and STDERR (7).
fn fastcgi(bytes: &[u8]) -> Option<Token> {
    match bytes {
        [1, 1, _, _, 0, 8, _, 0, ..] => Some(Token::FastCgiRequest),
        [1, 3 | 6 | 7, _, _, _, _, _, 0, ..] => Some(Token::FastCgiResponse),
        _ => None,
    }
}
