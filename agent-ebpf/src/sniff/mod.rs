//! Recognises the first token of a message in the first bytes after a change of direction.
//!
//! In: up to `SNIFF_BYTES` bytes. Out: a [`Token`]. Always holds: it only guesses; user space parses the same bytes
//! and drops what the guess led to when it was wrong (DESIGN §10). `agent_protocol::sniff` is the reference.

mod broker;

pub(crate) use broker::broker;

use agent_common::{abi::protocol, limits::SNIFF_BYTES};

use crate::maps::Scratch;

/// What a message seems to begin with: a protocol (`abi::protocol`) and who says it. A number and not an enum, because each look at an
/// enum that went through memory is a branch for each of its values, and the verifier follows all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u8);

/// Bits of the protocol.
const PROTOCOL: u8 = 0x0f;
/// What clients say.
const CLIENT: u8 = 0x10;
/// What servers say.
const SERVER: u8 = 0x20;
/// What servers say before they answer.
const BEFORE: u8 = 0x40;
/// What either side may have said: which one, `ends` finds out.
const EITHER: u8 = 0x80;

impl Token {
    /// Nothing known.
    pub(crate) const NONE: Self = Self(0);
    /// An HTTP/1 request, or so short a piece that it may become one.
    pub(crate) const REQUEST: Self = Self(CLIENT | protocol::HTTP1);
    /// A FastCGI BEGIN_REQUEST record.
    pub(crate) const FASTCGI_REQUEST: Self = Self(CLIENT | protocol::FASTCGI);
    /// A final HTTP/1 response, or 101.
    pub(crate) const RESPONSE: Self = Self(SERVER | protocol::HTTP1);
    /// An HTTP/1 interim response (1xx).
    pub(crate) const INTERIM: Self = Self(SERVER | BEFORE | protocol::HTTP1);
    /// A FastCGI record that is sent in answer.
    pub(crate) const FASTCGI_RESPONSE: Self = Self(SERVER | protocol::FASTCGI);
    /// A RESP array of strings: a command, or an answer.
    pub(crate) const REDIS: Self = Self(EITHER | CLIENT | protocol::REDIS);
    /// AMQP: the protocol header, or a method that only clients call.
    pub(crate) const AMQP: Self = Self(CLIENT | protocol::AMQP);
    /// AMQP: a method that only brokers call.
    pub(crate) const AMQP_ANSWER: Self = Self(SERVER | protocol::AMQP);
    /// AMQP: the head of a frame, read alone, or what both call.
    pub(crate) const AMQP_EITHER: Self = Self(EITHER | CLIENT | protocol::AMQP);
    /// A Kafka request.
    pub(crate) const KAFKA: Self = Self(CLIENT | protocol::KAFKA);
    /// NATS: a word that only clients say.
    pub(crate) const NATS: Self = Self(CLIENT | protocol::NATS);
    /// NATS: a word that only servers say.
    pub(crate) const NATS_ANSWER: Self = Self(SERVER | protocol::NATS);
    /// NATS: the answer to a ping.
    pub(crate) const NATS_EITHER: Self = Self(EITHER | CLIENT | protocol::NATS);
    /// MQTT's CONNECT.
    pub(crate) const MQTT: Self = Self(CLIENT | protocol::MQTT);
    /// PostgreSQL: a startup message.
    pub(crate) const POSTGRES: Self = Self(CLIENT | protocol::POSTGRES);

    /// The token with this number.
    #[inline(always)]
    pub(crate) fn of(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    #[inline(always)]
    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// Whether there is one.
    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The wire protocol it belongs to.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        self.0 & PROTOCOL
    }

    /// Whether clients say it.
    #[inline(always)]
    pub(crate) fn is_of_a_client(self) -> bool {
        self.0 & CLIENT != 0
    }

    /// Whether either side may say it.
    #[inline(always)]
    pub(crate) fn is_of_either(self) -> bool {
        self.0 & EITHER != 0
    }

    /// Whether a request begins.
    #[inline(always)]
    pub(crate) fn is_request(self) -> bool {
        self.is_of_a_client() && self.protocol() <= protocol::FASTCGI
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
        return Token::NONE;
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
            Token::RESPONSE
        } else {
            Token::NONE
        };
    }
    let is_http1 = bytes[2] == b'T'
        && bytes[3] == b'P'
        && bytes[4] == b'/'
        && bytes[5] == b'1'
        && bytes[6] == b'.';
    if !is_http1 {
        return Token::NONE;
    }
    // 101 ends HTTP on this connection: user space gives it up, so no later bytes may look like a new exchange.
    if bytes[9] == b'1' {
        Token::INTERIM
    } else {
        Token::RESPONSE
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
                return Token::NONE;
            }
            if index as u64 + 1 >= len {
                return Token::REQUEST;
            }
            let target = bytes[index + 1];
            let is_connect =
                bytes[0] == b'C' && bytes[1] == b'O' && bytes[2] == b'N' && letters == 7;
            let fits = target == b'/'
                || target == b'*'
                || target == b'h'
                || target == b'H'
                || (is_connect && (target.is_ascii_alphanumeric() || target == b'['));
            return if fits { Token::REQUEST } else { Token::NONE };
        }
    }
    // Only letters so far: a head that arrives in small pieces. With an X first it is pika's waking of its own loop (see the reference).
    if letters as u64 == len && len < 8 && bytes[0] != b'X' {
        Token::REQUEST
    } else {
        Token::NONE
    }
}

/// FastCGI 1.0 §3.3: version 1, then a type; BEGIN_REQUEST (1) has an 8-byte body, answers are END_REQUEST (3),
/// STDOUT (6) and STDERR (7).
#[inline(always)]
fn fastcgi(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len < 8 {
        return Token::NONE;
    }
    let body = u16::from_be_bytes([bytes[4], bytes[5]]);
    match bytes[1] {
        1 if body == 8 && bytes[7] == 0 => Token::FASTCGI_REQUEST,
        3 | 6 | 7 if bytes[7] == 0 => Token::FASTCGI_RESPONSE,
        _ => Token::NONE,
    }
}
