//! A Rust file as rules see it: code without strings, comments apart, strings apart, and the paths it names.
//!
//! In: the text of a file. Out: [`Line`]s and paths. Always holds: a word in a comment or a string is never taken for
//! code; lines keep their numbers. It is a scanner, not a parser: enough for rules about words and paths.

/// One line of a file, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What the compiler reads, with the contents of strings removed.
    pub code: String,
    /// What stands in comments.
    pub comment: String,
    /// The string literals that begin here.
    pub strings: Vec<String>,
}

/// Where the scanner is.
///
/// ```text
/// Code --//--> LineComment --newline--> Code
/// Code --/*--> BlockComment(1) --/*--> (n+1) --*/--> (n-1) … --> Code
/// Code --"--> Text(None) --"--> Code          Code --r##"--> Text(Some(2)) --"##--> Code
/// ```
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    Text(Option<usize>),
}

/// Takes a file apart.
pub fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![];
    let mut line = Line::default();
    let mut text = String::new();
    let mut state = State::Code;
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let next = chars.get(i + 1).copied();
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(std::mem::take(&mut line));
            i += 1;
            continue;
        }
        match state {
            State::Code => match (c, next) {
                ('/', Some('/')) => {
                    state = State::LineComment;
                    i += 1;
                }
                ('/', Some('*')) => {
                    state = State::BlockComment(1);
                    i += 1;
                }
                ('"', _) => {
                    line.code.push('"');
                    state = State::Text(None);
                }
                ('r', Some('"' | '#')) if raw_hashes(&chars, i).is_some() => {
                    let hashes = raw_hashes(&chars, i).unwrap_or(0);
                    line.code.push('"');
                    state = State::Text(Some(hashes));
                    i += hashes + 1;
                }
                ('\'', _) => {
                    let end = char_literal_end(&chars, i);
                    if end == i {
                        line.code.push(c);
                    } else {
                        line.code.push_str("' '");
                        i = end;
                    }
                }
                _ => line.code.push(c),
            },
            State::LineComment => line.comment.push(c),
            State::BlockComment(depth) => match (c, next) {
                ('*', Some('/')) => {
                    state = if depth == 1 {
                        State::Code
                    } else {
                        State::BlockComment(depth - 1)
                    };
                    i += 1;
                }
                ('/', Some('*')) => {
                    state = State::BlockComment(depth + 1);
                    i += 1;
                }
                _ => line.comment.push(c),
            },
            State::Text(None) if c == '\\' => {
                text.push(c);
                if let Some(escaped) = next.filter(|c| *c != '\n') {
                    text.push(escaped);
                    i += 1;
                }
            }
            State::Text(hashes) => {
                let hashes = hashes.unwrap_or(0);
                let closes = c == '"'
                    && chars
                        .iter()
                        .skip(i + 1)
                        .take(hashes)
                        .filter(|c| **c == '#')
                        .count()
                        == hashes;
                if closes {
                    line.code.push('"');
                    line.strings.push(std::mem::take(&mut text));
                    i += hashes;
                    state = State::Code;
                } else {
                    text.push(c);
                }
            }
        }
        i += 1;
    }
    lines.push(line);
    lines
}

/// At `r`, `r#…` of a raw string: how many hashes; nothing if it is an identifier.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    // "br" and "cr" are raw strings too; any other letter before makes the r the end of a word.
    let before = at
        .checked_sub(1)
        .and_then(|i| chars.get(i))
        .copied()
        .unwrap_or(' ');
    let word_before = (before.is_alphanumeric() || before == '_') && before != 'b' && before != 'c';
    let hashes = chars.iter().skip(at + 1).take_while(|c| **c == '#').count();
    (!word_before && chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// At a quote: the place of the closing quote of a character; the same place if it is a lifetime.
fn char_literal_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let close = chars.iter().skip(at + 3).take(10).position(|c| *c == '\'');
        return close.map_or(at, |n| at + 3 + n);
    }
    if chars.get(at + 2) == Some(&'\'') {
        at + 2
    } else {
        at
    }
}

/// A path such as `std::net::TcpStream` and the line it begins in, counted from 1.
pub type NamedPath = (usize, String);

/// Every path of two or more segments in the code; `use` trees are written out.
pub fn paths(lines: &[Line]) -> Vec<NamedPath> {
    let tokens = tokens(lines);
    let mut found = vec![];
    let mut i = 0;
    while let Some((line, token)) = tokens.get(i) {
        if token == "use" {
            i = use_tree(&tokens, i + 1, "", &mut found);
        } else if is_word(token) {
            let mut path = token.clone();
            while tokens.get(i + 1).is_some_and(|t| t.1 == "::")
                && tokens.get(i + 2).is_some_and(|t| is_word(&t.1))
            {
                path = format!("{path}::{}", tokens[i + 2].1);
                i += 2;
            }
            if path.contains("::") {
                found.push((*line, path));
            }
            i += 1;
        } else {
            i += 1;
        }
    }
    found
}

/// Reads the tree of a `use` from `at` on; gives the place after it.
fn use_tree(
    tokens: &[NamedPath],
    mut at: usize,
    prefix: &str,
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut path = prefix.to_owned();
    let join = |path: &str, word: &str| {
        if path.is_empty() {
            word.to_owned()
        } else {
            format!("{path}::{word}")
        }
    };
    let mut nested = false;
    while let Some((line, token)) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                nested = true;
                at += 1;
                while tokens.get(at).is_some_and(|t| t.1 != "}" && t.1 != ";") {
                    at = use_tree(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|t| t.1 == ",") {
                        at += 1;
                    }
                }
            }
            "as" => at += 1,
            "," | "}" | ";" => {
                if !nested && !path.is_empty() {
                    found.push((*line, path));
                }
                return at;
            }
            "::" => {}
            word => path = join(&path, word),
        }
        at += 1;
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs, each with its line.
fn tokens(lines: &[Line]) -> Vec<NamedPath> {
    let mut tokens = vec![];
    for (index, line) in lines.iter().enumerate() {
        let mut chars = line.code.chars().peekable();
        while let Some(c) = chars.next() {
            let mut token = String::from(c);
            if c.is_alphanumeric() || c == '_' {
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    token.push(c);
                }
            } else if c == ':' && chars.next_if_eq(&':').is_some() {
                token.push(':');
            } else if c.is_whitespace() {
                continue;
            }
            tokens.push((index + 1, token));
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may panic"
    )]
    use super::{lines, paths};

    #[test]
    fn comments_and_strings_are_not_code() {
        let check = |input: &str, code: &str, comment: &str, strings: &[&str]| {
            let first = lines(input).into_iter().next().unwrap();
            assert_eq!(
                (first.code.as_str(), first.comment.as_str()),
                (code, comment),
                "{input}"
            );
            assert_eq!(first.strings, strings, "{input}");
        };
        check("let a = 1; // todo!()", "let a = 1; ", " todo!()", &[]);
        check(
            "f(\"// no \\\" comment\");",
            "f(\"\");",
            "",
            &["// no \\\" comment"],
        );
        check(
            "f(r#\"a \"quoted\" word\"#);",
            "f(\"\");",
            "",
            &["a \"quoted\" word"],
        );
        check("a /* b /* c */ d */ e", "a  e", " b  c  d ", &[]);
        check(
            "let q = '\"'; let l: &'a str;",
            "let q = ' '; let l: &'a str;",
            "",
            &[],
        );
        check("let n = '\\n'; var\"\"", "let n = ' '; var\"\"", "", &[""]);
    }

    #[test]
    fn paths_are_written_out() {
        let check = |input: &str, expect: &[&str]| {
            let found: Vec<String> = paths(&lines(input))
                .into_iter()
                .map(|(_, path)| path)
                .collect();
            assert_eq!(found, expect, "{input}");
        };
        check("use std::net::TcpStream;", &["std::net::TcpStream"]);
        check(
            "use std::{fs, io::{self, Read}};",
            &["std::fs", "std::io::self", "std::io::Read"],
        );
        check(
            "use aya::Ebpf as E;\nlet x = tokio::spawn(f);",
            &["aya::Ebpf", "tokio::spawn"],
        );
        check("// use aya::Ebpf;\nlet a = \"tokio::spawn\";", &[]);
        check("use tokio;", &["tokio"]);
    }
}
