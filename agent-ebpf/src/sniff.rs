//! Recognises the first token of a message in the first bytes after a change of direction.
//!
//! In: up to `SNIFF_BYTES` bytes. Out: a [`Token`]. Always holds: it only guesses; user space parses the same bytes
//! and drops what the guess led to when it was wrong (DESIGN §10). `agent_protocol::sniff` is the reference.

use agent_common::{abi::protocol, limits::SNIFF_BYTES};

use crate::maps::Scratch;

/// What a message seems to begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Nothing known.
    None,
    /// An HTTP/1 request, or so short a piece that it may become one.
    Request,
    /// A FastCGI BEGIN_REQUEST record.
    FastCgiRequest,
    /// A final HTTP/1 response, or 101.
    Response,
    /// An HTTP/1 interim response (1xx).
    Interim,
    /// A FastCGI record that is sent in answer.
    FastCgiResponse,
}

impl Token {
    /// The token with this number.
    #[inline(always)]
    pub(crate) fn of(number: u8) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::FastCgiRequest,
            3 => Self::Response,
            4 => Self::Interim,
            5 => Self::FastCgiResponse,
            _ => Self::None,
        }
    }

    /// The wire protocol the token belongs to.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        match self {
            Self::None => protocol::UNKNOWN,
            Self::Request | Self::Response | Self::Interim => protocol::HTTP1,
            Self::FastCgiRequest | Self::FastCgiResponse => protocol::FASTCGI,
        }
    }
}

/// Recognises a token in what was captured of a call.
#[inline(always)]
pub(crate) fn payload_token(scratch: &Scratch, captured: u64) -> Token {
    // SAFETY: the payload is longer than what is looked at; bytes behind `captured` are old ones, which `token` does not
    // take for part of the message.
    let first = unsafe { &*scratch.payload.as_ptr().cast::<[u8; SNIFF_BYTES]>() };
    token(first, captured)
}

/// Recognises a token in the first `len` bytes.
#[inline(always)]
pub(crate) fn token(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len == 0 {
        return Token::None;
    }
    if bytes[0] == 1 {
        return fastcgi(bytes, len);
    }
    if bytes[0] == b'H' && bytes[1] == b'T' && len > 1 {
        return response(bytes, len);
    }
    request(bytes, len)
}

/// `HTTP/1.x SP 1xx` is interim, any other status final. "HTTP" cannot be a method: a slash follows.
#[inline(always)]
fn response(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len < 10 {
        return if bytes[2] == b'T' || len == 2 {
            Token::Response
        } else {
            Token::None
        };
    }
    let is_http1 = bytes[2] == b'T'
        && bytes[3] == b'P'
        && bytes[4] == b'/'
        && bytes[5] == b'1'
        && bytes[6] == b'.';
    if !is_http1 {
        return Token::None;
    }
    // 101 ends HTTP on this connection: user space gives it up, so no later bytes may look like a new exchange.
    if bytes[9] == b'1' {
        Token::Interim
    } else {
        Token::Response
    }
}

/// A method of upper-case letters, a space, and the first byte a request target can have.
#[inline(always)]
fn request(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    let mut letters = 0usize;
    // BOUND: SNIFF_BYTES - 2; methods of more letters are not recognised here.
    for index in 0..SNIFF_BYTES - 2 {
        if index as u64 >= len {
            break;
        }
        let byte = bytes[index];
        if byte.is_ascii_uppercase() || (byte == b'-' && index > 2) {
            letters += 1;
        } else {
            if byte != b' ' || letters < 3 {
                return Token::None;
            }
            if index as u64 + 1 >= len {
                return Token::Request;
            }
            let target = bytes[index + 1];
            let is_connect =
                bytes[0] == b'C' && bytes[1] == b'O' && bytes[2] == b'N' && letters == 7;
            let fits = target == b'/'
                || target == b'*'
                || target == b'h'
                || target == b'H'
                || (is_connect && (target.is_ascii_alphanumeric() || target == b'['));
            return if fits { Token::Request } else { Token::None };
        }
    }
    // Only letters so far: a head that arrives in small pieces.
    if letters as u64 == len && len < 8 {
        Token::Request
    } else {
        Token::None
    }
}

/// FastCGI 1.0 §3.3: version 1, then a type; BEGIN_REQUEST (1) has an 8-byte body, answers are END_REQUEST (3),
/// STDOUT (6) and STDERR (7).
#[inline(always)]
fn fastcgi(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len < 8 {
        return Token::None;
    }
    let body = u16::from_be_bytes([bytes[4], bytes[5]]);
    match bytes[1] {
        1 if body == 8 && bytes[7] == 0 => Token::FastCgiRequest,
        3 | 6 | 7 if bytes[7] == 0 => Token::FastCgiResponse,
        _ => Token::None,
    }
}
