//! Header lines: of requests, responses, CGI answers and trailers.
//!
//! In: their bytes, cut anywhere. Out: the bytes to write instead, and what the lines say about the body. Always
//! holds: names, colons and line ends stay; values stay by the rule of their name. Refuses: to keep a value whose name
//! is not known.

use agent_protocol::http1::framing::{Coding, Length};
use agent_protocol::http1::is_token_byte;

use super::text::{Rule, Uri, Word, X, header_rule, hidden_in_value};

/// Longest name that is kept; the rest of a longer one is masked.
const NAME_KEPT: usize = 64;

/// Whose lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
    Cgi,
    Trailer,
}

/// ```text
///   Start ──name byte──▶ Name ──':'──▶ Value ──LF──▶ Start ──space──▶ Value (folded)
///   Start ──CR──▶ Cr ──LF──▶ (over)      Start ──LF──▶ (over)      Name ──space──▶ Gap ──':'──▶ Value
///   Cr, first line folded ──▶ Junk ──LF──▶ Start
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Cr,
    Name,
    Gap,
    Value,
    Junk,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    of: Of,
    at: At,
    word: Word,
    rule: Rule,
    uri: Uri,
    /// There is a header that a folded line would continue.
    foldable: bool,
    /// Only blanks of the value were there.
    blank: bool,
    pub(super) length: Length,
    pub(super) coding: Coding,
}

impl Lines {
    pub(super) const fn new(of: Of) -> Self {
        Self {
            of,
            at: At::Start,
            word: Word::EMPTY,
            rule: Rule::Mask,
            uri: Uri::Start,
            foldable: false,
            blank: true,
            length: Length::Absent,
            coding: Coding::Absent,
        }
    }

    /// Takes the first byte of `ahead`. True: the empty line is over with it.
    pub(super) fn byte(&mut self, ahead: &[u8]) -> (u8, bool) {
        let Some(&byte) = ahead.first() else {
            return (X, false);
        };
        let (next, out) = match (self.at, byte) {
            (At::Start | At::Cr, b'\n') => {
                self.finish();
                self.at = At::Start;
                return (byte, true);
            }
            (At::Start, b'\r') => (At::Cr, byte),
            (At::Start, b' ' | b'\t') if self.foldable => (At::Value, self.value(ahead)),
            (At::Start, b' ' | b'\t') => (At::Junk, byte),
            (At::Start, _) => {
                self.finish();
                self.word = Word::EMPTY;
                (At::Name, self.name(byte))
            }
            (At::Cr, _) => (At::Junk, hidden_in_value(byte)),
            (At::Name | At::Gap, b':') => {
                // A space before the colon is allowed in responses only.
                if self.at == At::Gap && self.of == Of::Request {
                    self.word.spoil();
                }
                self.open();
                (At::Value, byte)
            }
            (At::Name | At::Gap, b'\n') => {
                self.foldable = false;
                (At::Start, byte)
            }
            (At::Name | At::Gap, b' ' | b'\t') => (At::Gap, byte),
            (At::Name, _) => (At::Name, self.name(byte)),
            (At::Gap, b'\r') => (At::Gap, byte),
            (At::Gap, _) => {
                self.word.spoil();
                (At::Name, self.name(byte))
            }
            (At::Value, b'\n') => (At::Start, byte),
            (At::Value, _) => (At::Value, self.value(ahead)),
            (At::Junk, b'\n') => (At::Start, byte),
            (At::Junk, _) => (At::Junk, hidden_in_value(byte)),
        };
        self.at = next;
        (out, false)
    }

    /// No more lines will be seen: the one that is open does not count.
    pub(super) fn cut(&mut self) {
        if self.at == At::Start {
            self.finish();
        }
    }

    fn name(&mut self, byte: u8) -> u8 {
        if byte == b'\r' {
            self.word.spoil();
            return byte;
        }
        if !is_token_byte(byte) {
            self.word.spoil();
            return b'?';
        }
        self.word.push(byte.to_ascii_lowercase());
        // The word does not grow beyond what is kept.
        if self.word.len() >= NAME_KEPT {
            X
        } else {
            byte
        }
    }

    /// A value begins.
    fn open(&mut self) {
        self.rule = match self.word.get() {
            Some(name) => match (self.of, header_rule(name)) {
                (Of::Trailer, Rule::Length | Rule::Coding) => Rule::Mask,
                (Of::Cgi, _) if name == b"status" => Rule::Keep,
                (_, rule) => rule,
            },
            None => Rule::Mask,
        };
        self.word = Word::EMPTY;
        self.uri = Uri::Start;
        self.foldable = true;
        self.blank = true;
    }

    fn value(&mut self, ahead: &[u8]) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        if self.blank && matches!(byte, b' ' | b'\t') {
            return byte;
        }
        self.blank = false;
        match self.rule {
            Rule::Keep => byte,
            Rule::Mask | Rule::Query => hidden_in_value(byte),
            Rule::Uri if byte == b'\r' => byte,
            Rule::Uri => self.uri.byte(ahead),
            Rule::Coding => {
                self.word.push(byte);
                byte
            }
            Rule::Length => {
                self.word.push(byte);
                if matches!(byte, b'0'..=b'9' | b',' | b' ' | b'\t' | b'\r') {
                    byte
                } else {
                    hidden_in_value(byte)
                }
            }
        }
    }

    /// The value is over: takes it into account.
    fn finish(&mut self) {
        let rule = std::mem::replace(&mut self.rule, Rule::Mask);
        self.foldable = false;
        match rule {
            Rule::Length => self.add_length(),
            Rule::Coding => self.add_coding(),
            Rule::Mask | Rule::Keep | Rule::Uri | Rule::Query => {}
        }
    }

    fn add_length(&mut self) {
        match self.word.get() {
            Some(value) => self.length.add(value),
            None => self.length = Length::Invalid,
        }
    }

    fn add_coding(&mut self) {
        match self.word.get() {
            Some(value) => self.coding.add(value),
            None => self.coding = Coding::Other,
        }
    }
}
