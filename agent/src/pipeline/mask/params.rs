//! Name-value pairs of PARAMS (FastCGI §3.4).
//!
//! In: contents of PARAMS records, cut anywhere. Out: the bytes to write instead. Always holds: lengths stay. Refuses:
//! to keep a value whose name is not known.

use super::text::{Rule, Uri, Word, X, param_rule};

/// ```text
///   Lengths ──both lengths──▶ Name ──all of it──▶ Value ──all of it──▶ Lengths
/// ```
#[derive(Clone, Copy, Debug)]
enum At {
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

const LENGTHS: At = At::Lengths {
    got: [0; 4],
    n: 0,
    name: None,
};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Params {
    at: At,
    word: Word,
    rule: Rule,
    uri: Uri,
}

impl Params {
    pub(super) const fn new() -> Self {
        Self {
            at: LENGTHS,
            word: Word::EMPTY,
            rule: Rule::Mask,
            uri: Uri::Start,
        }
    }

    /// Takes the first byte of `ahead`, which ends with the record's content.
    pub(super) fn byte(&mut self, ahead: &[u8]) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        let out = match &mut self.at {
            At::Lengths { got, n, name } => {
                if let Some(place) = got.get_mut(*n) {
                    *place = byte;
                }
                *n += 1;
                // One byte up to 127, else four whose first bit is not part of the number.
                let length = match (*got, *n) {
                    ([short @ 0..=0x7f, ..], _) => Some(u32::from(short)),
                    (long, 4..) => Some(u32::from_be_bytes(long) & 0x7fff_ffff),
                    _ => None,
                };
                if let Some(length) = length {
                    self.at = match *name {
                        None => At::Lengths {
                            got: [0; 4],
                            n: 0,
                            name: Some(length),
                        },
                        Some(name) => At::Name {
                            left: name,
                            value: length,
                        },
                    };
                }
                byte
            }
            At::Name { left, .. } => {
                *left -= 1;
                self.word.push(byte);
                let plain = byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
                // No name that counts is longer than the word.
                if plain && self.word.get().is_some() {
                    byte
                } else {
                    X
                }
            }
            At::Value { left } => {
                let own = ahead
                    .get(..ahead.len().min(*left as usize))
                    .unwrap_or_default();
                *left -= 1;
                match self.rule {
                    Rule::Keep => byte,
                    Rule::Uri | Rule::Query => self.uri.byte(own),
                    Rule::Mask | Rule::Length | Rule::Coding => X,
                }
            }
        };
        self.settle();
        out
    }

    /// Leaves states in which nothing is awaited any more.
    fn settle(&mut self) {
        if let At::Name { left: 0, value } = self.at {
            self.rule = self.word.get().map_or(Rule::Mask, param_rule);
            self.uri = if self.rule == Rule::Query {
                Uri::Name
            } else {
                Uri::Start
            };
            self.word = Word::EMPTY;
            self.at = At::Value { left: value };
        }
        if let At::Value { left: 0 } = self.at {
            self.at = LENGTHS;
        }
    }
}
