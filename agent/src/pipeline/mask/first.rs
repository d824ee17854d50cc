//! First lines: of requests and of responses (RFC 9112 §3, §4).
//!
//! In: their bytes, cut anywhere. Out: the bytes to write instead, the method or status. Always holds: a line that
//! agent-protocol takes for a first line is taken for one, before and after masking, and no other. Refuses: to keep a
//! method that is not registered, or the target of one that the kernel side would not take for a method.

use agent_protocol::http1::framing::{METHOD_MAX, Start};
use agent_protocol::http1::is_token_byte;

use super::text::{Uri, Word, X, hidden_in_line, may_be_method};
use super::turns::Asked;

/// Versions that are kept; the last one is the preface of HTTP/2.
const VERSIONS: [&[u8]; 3] = [b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"];
/// Length of each of them.
const VERSION_LEN: usize = 8;

/// ```text
///   request:   Method ──SP──▶ Target ──SP──▶ Version ──LF──▶ (Head)
///   response:  Version ──SP──▶ Status ──SP──▶ Reason ──LF──▶ (Head)
///   Method, Version of a response ──what cannot be there──▶ Dead      any other ──what cannot be there──▶ Bad ──LF──▶ Dead
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Method,
    Target { uri: Uri, empty: bool },
    Version { cr: bool },
    Status { digits: u8 },
    Reason { cr: bool },
    Bad,
    Dead,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct First {
    of_request: bool,
    at: At,
    word: Word,
    asked: Asked,
    status: u16,
}

impl First {
    pub(super) const fn new(of_request: bool) -> Self {
        Self {
            of_request,
            at: if of_request {
                At::Method
            } else {
                At::Version { cr: false }
            },
            word: Word::EMPTY,
            asked: Asked::Other,
            status: 0,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.at == At::Dead
    }

    pub(super) const fn asked(&self) -> Asked {
        self.asked
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Takes the first byte of `ahead`. After a LF the line is over, and valid unless it is dead.
    pub(super) fn byte(&mut self, ahead: &[u8]) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        if byte == b'\n' {
            if !self.is_whole() {
                self.at = At::Dead;
            }
            return byte;
        }
        let (next, out) = match self.at {
            At::Method => self.method(byte),
            At::Target { empty: true, .. } if byte == b' ' => (self.at, byte),
            At::Target { .. } if byte == b' ' => {
                self.word = Word::EMPTY;
                (At::Version { cr: false }, byte)
            }
            At::Target { .. } if byte <= b' ' || byte == 0x7f => (At::Bad, hidden_in_line(byte)),
            At::Target { mut uri, .. } => {
                let out = uri.byte(ahead);
                (At::Target { uri, empty: false }, out)
            }
            At::Version { cr } => self.version(byte, cr),
            At::Status { digits } => self.digit(byte, digits),
            At::Reason { cr: true } => (At::Bad, hidden_in_line(byte)),
            At::Reason { cr: false } => match byte {
                b'\r' => (At::Reason { cr: true }, byte),
                b' ' => (self.at, byte),
                b'\t' => (self.at, b' '),
                0..=0x1f | 0x7f => (At::Bad, hidden_in_line(byte)),
                _ => (self.at, X),
            },
            At::Bad | At::Dead => (self.at, hidden_in_line(byte)),
        };
        self.at = next;
        out
    }

    /// All that a first line needs was there.
    fn is_whole(&self) -> bool {
        match self.at {
            At::Version { .. } => {
                self.of_request
                    && self.word.get().is_some_and(|word| {
                        word.len() == VERSION_LEN && word.starts_with(b"HTTP/1.")
                    })
            }
            At::Status { digits } => digits == 3 && self.status >= 100,
            At::Reason { .. } => self.status >= 100,
            At::Method | At::Target { .. } | At::Bad | At::Dead => false,
        }
    }

    fn method(&mut self, byte: u8) -> (At, u8) {
        let word = self.word.get().unwrap_or_default();
        if byte == b' ' && !word.is_empty() {
            self.asked = match word {
                b"HEAD" => Asked::Head,
                b"CONNECT" => Asked::Connect,
                _ => Asked::Other,
            };
            let uri = match self.asked {
                // Its target is an authority.
                Asked::Connect => Uri::Authority,
                _ if is_plain(word) => Uri::Start,
                _ => Uri::Hidden,
            };
            return (At::Target { uri, empty: true }, byte);
        }
        if !is_token_byte(byte) || word.len() >= METHOD_MAX {
            return (At::Dead, b'?');
        }
        self.word.push(byte);
        let known = self.word.get().is_some_and(may_be_method);
        (At::Method, if known { byte } else { X })
    }

    fn version(&mut self, byte: u8, cr: bool) -> (At, u8) {
        let word = self.word.get().unwrap_or_default();
        let whole = word.len() == VERSION_LEN;
        match byte {
            _ if cr => return (At::Bad, hidden_in_line(byte)),
            b' ' if self.of_request && word.is_empty() => return (self.at, byte),
            b' ' if !self.of_request && whole => {
                return (At::Status { digits: 0 }, byte);
            }
            b'\r' if self.of_request && whole => return (At::Version { cr: true }, byte),
            _ if whole => return (At::Bad, hidden_in_line(byte)),
            _ => {}
        }
        self.word.push(byte);
        let word = self.word.get().unwrap_or_default();
        if VERSIONS.iter().any(|version| version.starts_with(word)) {
            // A response of another version is none from its first line on.
            if self.of_request || b"HTTP/1.".starts_with(word) || word.starts_with(b"HTTP/1.") {
                return (At::Version { cr: false }, byte);
            }
        }
        let prefix = self.of_request || word.len() == VERSION_LEN;
        (
            if prefix { At::Bad } else { At::Dead },
            hidden_in_line(byte),
        )
    }

    fn digit(&mut self, byte: u8, digits: u8) -> (At, u8) {
        match (byte, digits) {
            (b' ', 0) => (self.at, byte),
            (b'0'..=b'9', 0..=2) => {
                self.status = self.status * 10 + u16::from(byte - b'0');
                (At::Status { digits: digits + 1 }, byte)
            }
            (b' ', 3) => (At::Reason { cr: false }, byte),
            (b'\r', 3) => (At::Reason { cr: true }, byte),
            _ => (At::Bad, hidden_in_line(byte)),
        }
    }
}

/// What the kernel side takes for a method: upper-case letters, at least three, and dashes.
fn is_plain(word: &[u8]) -> bool {
    word.len() >= 3
        && word
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
}

/// Whether a request can begin with these bytes, as agent-protocol decides it.
pub(super) fn request_starts(bytes: &[u8]) -> Start {
    let token = bytes
        .iter()
        .take_while(|&&byte| is_token_byte(byte))
        .count();
    if token > METHOD_MAX {
        return Start::No;
    }
    match bytes.get(token) {
        None => Start::Maybe,
        Some(b' ') if token > 0 => {
            let mut first = First::new(true);
            for (at, &byte) in bytes.iter().enumerate() {
                first.byte(bytes.get(at..).unwrap_or_default());
                match byte {
                    _ if first.is_dead() => return Start::No,
                    b'\n' => return Start::Yes,
                    _ => {}
                }
            }
            Start::Maybe
        }
        Some(_) => Start::No,
    }
}
