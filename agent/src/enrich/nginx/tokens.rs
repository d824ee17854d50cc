//! The syntax of nginx' configuration: directives, blocks, comments, quotes.
//!
//! In: the bytes of a file. Out: [`Token`]s that borrow from them. Always holds: words end where `ngx_conf_read_token`
//! (`src/core/ngx_conf_file.c`) ends them, nothing is allocated. Refuses: what that function refuses; the answer is then none.

/// One thing that stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Words up to `;` or `{`.
    Directive(Directive<'a>),
    /// `}`
    Close,
    /// The end of the file, between two directives.
    End,
}

/// A directive. Words are without their quotes, escapes are left as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directive<'a> {
    /// The first word.
    pub name: &'a [u8],
    /// The word after it.
    pub value: Option<&'a [u8]>,
    /// Number of all words.
    pub words: usize,
    /// It ended with `{`.
    pub opens: bool,
}

/// A file being read.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// What is not read yet.
    rest: &'a [u8],
}

/// What stands between words.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Tokens<'a> {
    /// Reads `text` from its beginning.
    pub fn new(text: &'a [u8]) -> Self {
        Tokens { rest: text }
    }

    /// The next one. None where nginx would refuse the file; after that and after [`Token::End`] nothing more is to be asked.
    pub fn read(&mut self) -> Option<Token<'a>> {
        let mut found: Option<Directive<'a>> = None;
        loop {
            let Some((first, after)) = self.rest.split_first() else {
                return found.is_none().then_some(Token::End);
            };
            match first {
                blank if is_blank(*blank) => self.rest = after,
                b'#' => {
                    let end = memchr::memchr(b'\n', after).unwrap_or(after.len());
                    self.rest = after.get(end..)?;
                }
                b';' | b'{' => {
                    self.rest = after;
                    let opens = *first == b'{';
                    return found
                        .map(|directive| Token::Directive(Directive { opens, ..directive }));
                }
                b'}' => {
                    self.rest = after;
                    return found.is_none().then_some(Token::Close);
                }
                _ => {
                    let word = self.word()?;
                    match &mut found {
                        Some(directive) => {
                            directive.value.get_or_insert(word);
                            directive.words += 1;
                        }
                        None => {
                            found = Some(Directive {
                                name: word,
                                value: None,
                                words: 1,
                                opens: false,
                            });
                        }
                    }
                }
            }
        }
    }

    /// The word that begins here.
    fn word(&mut self) -> Option<&'a [u8]> {
        match self.rest.split_first()? {
            (quote @ (b'"' | b'\''), after) => {
                let end = end_of_word(after, |byte, _| byte == *quote)?;
                let word = after.get(..end)?;
                self.rest = after.get(end + 1..)?;
                let next = *self.rest.first()?;
                // The bracket closes `if ($a = "b")`, and is a word of its own.
                (is_blank(next) || matches!(next, b';' | b'{' | b')')).then_some(word)
            }
            _ => {
                let end = end_of_word(self.rest, |byte, in_variable| {
                    // `${name}` is part of the word; a `}`, a `#` or a quote in the middle of one are too.
                    is_blank(byte) || byte == b';' || (byte == b'{' && !in_variable)
                })?;
                let (word, after) = self.rest.split_at_checked(end)?;
                self.rest = after;
                Some(word)
            }
        }
    }
}

/// Where the first byte stands that ends a word and has no backslash before it. `ends` is told whether it follows a `$`.
fn end_of_word(text: &[u8], ends: impl Fn(u8, bool) -> bool) -> Option<usize> {
    let (mut is_escaped, mut in_variable) = (false, false);
    text.iter().position(|byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        let is_end = ends(*byte, in_variable);
        is_escaped = *byte == b'\\';
        in_variable = *byte == b'$' || (in_variable && *byte == b'{');
        is_end
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Token, Tokens};

    /// Tokens in brief: `name value count` with `;` or `{`, `}`, and `!` where the file is refused.
    fn brief(text: &[u8]) -> String {
        let mut tokens = Tokens::new(text);
        let mut out = Vec::new();
        loop {
            match tokens.read() {
                Some(Token::End) => return out.join(" "),
                Some(Token::Close) => out.push("}".to_owned()),
                Some(Token::Directive(found)) => {
                    let word = |word: &[u8]| String::from_utf8(word.to_vec()).unwrap();
                    let value = found.value.map(word).unwrap_or_default();
                    let end = if found.opens { '{' } else { ';' };
                    out.push(format!("{}|{value}|{}{end}", word(found.name), found.words));
                }
                None => {
                    out.push("!".to_owned());
                    return out.join(" ");
                }
            }
        }
    }

    #[test]
    fn files_are_read_as_nginx_reads_them() {
        let check = |text: &str, expect: &str| assert_eq!(brief(text.as_bytes()), expect, "{text}");
        check("", "");
        check(" \n# proxy_pass x;\n", "");
        check("# no end of line", "");
        check("a;b c;d e f;", "a||1; b|c|2; d|e|3;");
        check("http{server{}}", "http||1{ server||1{ } }");
        check("a # b;\n c;", "a|c|2;");
        check("a b#c;", "a|b#c|2;"); // not at the beginning of a word
        check("a 'b; # {' \"c'd\";", "a|b; # {|3;");
        check(r#"a "b\"; c" d;"#, r#"a|b\"; c|3;"#);
        check(r"a b\;c d\ e;", r"a|b\;c|3;");
        check("'proxy_pass' b;", "proxy_pass|b|2;");
        check("a b'c d;", "a|b'c|3;"); // a quote in a word is a byte of it
        check("return 200 \"{\";", "return|200|3;");
        check("set $a ${b}c{ }", "set|$a|3{ }");
        check("location ~ \\.php$ { }", "location|~|3{ }");
        check("if ($a ~ \"b c\") { }", "if|($a|5{ }");
        check("a }", "!");
        check("a }b;", "!"); // nginx takes `}` at the beginning of a word for the end of a block
        check("a b}c;", "a|b}c|2;");
        check(";", "!");
        check("{", "!");
        check("a", "!");
        check("a b", "!");
        check("a 'b;", "!");
        check("a 'b'", "!");
        check("a 'b'c;", "!");
        check("a b\\", "!");
        check("a; b", "a||1; !");
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in any::<Vec<u8>>(), text in "[ab${}\"'\\\\;# \n]{0,40}") {
            for text in [&bytes[..], text.as_bytes()] {
                let mut tokens = Tokens::new(text);
                let mut left = text.len() + 1;
                while let Some(Token::Close | Token::Directive(_)) = tokens.read() {
                    left -= 1; // each took a byte
                }
                assert!(left > 0);
            }
        }
    }
}
