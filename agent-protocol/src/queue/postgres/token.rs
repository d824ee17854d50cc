//! SQL's tokens, as far as telling statements apart needs them.
//!
//! In: the text of a query (PostgreSQL 15, §4.1 of its manual), or its beginning. Out: [`Token`]s that borrow from it. Always holds: one
//! pass; what is inside of strings and comments is never taken for SQL. Refuses: nothing; a text that ends within a token ends there.

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name, as it stands there.
    Word(&'a [u8]),
    /// A name in double quotes, without them.
    Quoted(&'a [u8]),
    /// A string's content; doubled quotes and escapes are not undone.
    Text(&'a [u8]),
    Number(&'a [u8]),
    /// `$1` is 1.
    Param(u16),
    /// A character of its own; of operators the first characters one by one.
    Mark(u8),
}

impl Token<'_> {
    /// It is this keyword; `word` in upper case.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Reads tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(sql: &'a [u8]) -> Self {
        Self { rest: sql }
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    fn first(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self
            .rest
            .iter()
            .position(|&byte| !is_part(byte))
            .unwrap_or(self.rest.len());
        let (first, rest) = self.rest.split_at(len);
        self.rest = rest;
        first
    }

    /// White space and comments. Comments in `/* */` nest.
    fn skip_blank(&mut self) {
        loop {
            match self.rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => self.skip(1),
                [b'-', b'-', ..] => {
                    self.first(|byte| byte != b'\n');
                }
                [b'/', b'*', ..] => {
                    let mut depth = 0_usize;
                    loop {
                        match self.rest {
                            [] => return,
                            [b'/', b'*', ..] => {
                                depth += 1;
                                self.skip(2);
                            }
                            [b'*', b'/', ..] => {
                                depth -= 1;
                                self.skip(2);
                                if depth == 0 {
                                    break;
                                }
                            }
                            _ => self.skip(1),
                        }
                    }
                }
                _ => return,
            }
        }
    }

    /// After an opening quote: what is before the closing one.
    fn quoted(&mut self, quote: u8, has_escapes: bool) -> &'a [u8] {
        let all = self.rest;
        let mut at = 0;
        while let Some(&byte) = all.get(at) {
            at += match byte {
                b'\\' if has_escapes => 2,
                _ if byte != quote => 1,
                _ if all.get(at + 1) == Some(&quote) => 2,
                _ => {
                    self.rest = &all[at + 1..];
                    return &all[..at];
                }
            };
        }
        self.rest = &[];
        all
    }

    /// After `$`: a parameter's number, or a string up to the same tag.
    fn dollar(&mut self) -> Token<'a> {
        let digits = self.first(|byte| byte.is_ascii_digit());
        if !digits.is_empty() {
            let number = digits.iter().fold(0_u16, |sum, digit| {
                sum.saturating_mul(10)
                    .saturating_add(u16::from(digit - b'0'))
            });
            return Token::Param(number);
        }
        let before = self.rest;
        let tag = self.first(is_word_byte);
        if self.rest.first() != Some(&b'$') {
            self.rest = before;
            return Token::Mark(b'$');
        }
        self.skip(1);
        let text = self.rest;
        loop {
            self.first(|byte| byte != b'$');
            let inner = text.len() - self.rest.len();
            if self.rest.is_empty() {
                return Token::Text(text);
            }
            self.skip(1);
            let is_end = self.rest.starts_with(tag) && self.rest.get(tag.len()) == Some(&b'$');
            if is_end {
                self.skip(tag.len() + 1);
                return Token::Text(&text[..inner]);
            }
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let &first = self.rest.first()?;
        match first {
            b'0'..=b'9' => {
                Some(Token::Number(self.first(|byte| {
                    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_'
                })))
            }
            b'\'' => {
                self.skip(1);
                Some(Token::Text(self.quoted(b'\'', false)))
            }
            b'"' => {
                self.skip(1);
                Some(Token::Quoted(self.quoted(b'"', false)))
            }
            b'$' => {
                self.skip(1);
                Some(self.dollar())
            }
            _ if is_word_byte(first) => {
                let word = self.first(|byte| is_word_byte(byte) || byte == b'$');
                match (word, self.rest.first()) {
                    (b"e" | b"E", Some(b'\'')) => {
                        self.skip(1);
                        Some(Token::Text(self.quoted(b'\'', true)))
                    }
                    (b"b" | b"B" | b"x" | b"X" | b"n" | b"N", Some(b'\'')) => {
                        self.skip(1);
                        Some(Token::Text(self.quoted(b'\'', false)))
                    }
                    _ => Some(Token::Word(word)),
                }
            }
            _ => {
                self.skip(1);
                Some(Token::Mark(first))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Token::{Mark, Number, Param, Quoted, Text, Word};
    use super::Tokens;

    #[test]
    fn strings_comments_and_names_are_told_apart() {
        for (sql, expected) in [
            (
                &b"SELECT $12, 'it''s' -- $3\n;"[..],
                vec![
                    Word(b"SELECT"),
                    Param(12),
                    Mark(b','),
                    Text(b"it''s"),
                    Mark(b';'),
                ],
            ),
            (
                b"/* a /* b */ SKIP */ \"a \"\" b\".c::int8",
                vec![
                    Quoted(b"a \"\" b"),
                    Mark(b'.'),
                    Word(b"c"),
                    Mark(b':'),
                    Mark(b':'),
                    Word(b"int8"),
                ],
            ),
            (
                b"E'a\\' SKIP' e1 N'x'",
                vec![Text(b"a\\' SKIP"), Word(b"e1"), Text(b"x")],
            ),
            (
                b"$$a $1 $b$ c$$ $t$ $$ $t$ $x",
                vec![Text(b"a $1 $b$ c"), Text(b" $$ "), Mark(b'$'), Word(b"x")],
            ),
            (
                b"'\\' 1.5e3 $99999999",
                vec![Text(b"\\"), Number(b"1.5e3"), Param(u16::MAX)],
            ),
            (
                "größe=1".as_bytes(),
                vec![Word("größe".as_bytes()), Mark(b'='), Number(b"1")],
            ),
            (b"'open", vec![Text(b"open")]),
            (b"$a$open$", vec![Text(b"open$")]),
            (b"/* open", vec![]),
            (b"E'\\", vec![Text(b"\\")]),
        ] {
            let tokens: Vec<_> = Tokens::new(sql).collect();
            assert_eq!(tokens, expected, "{:?}", sql.escape_ascii().to_string());
        }
    }
}
