//! Members of a JSON object that may be cut anywhere.
//!
//! In: the object's text, or its beginning. Out: its members in order, each with the text of its value and whether all of it is there.
//! Always holds: one pass without recursion and without room of its own; what is no JSON ends the list. Refuses: to say that the whole
//! text is well formed; only what is taken from it is decoded, by `serde_json`.

use crate::queue::NAME_MAX;

/// A value's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    /// From its first to its last byte, as far as they are there.
    pub(crate) raw: &'a [u8],
    /// All of it is there.
    pub(crate) is_whole: bool,
}

impl<'a> Value<'a> {
    /// A string that is there wholly, decoded, and cut at [`NAME_MAX`] bytes.
    pub(crate) fn text(&self) -> Option<String> {
        // Longer ones are no names: they are not decoded only to be cut.
        if !self.is_whole || self.raw.first() != Some(&b'"') || self.raw.len() > 16 * NAME_MAX {
            return None;
        }
        let text: String = serde_json::from_slice(self.raw).ok()?;
        Some(crate::queue::job::cut(text))
    }

    /// A string without escapes, as it stands.
    pub(crate) fn plain(&self) -> Option<&'a [u8]> {
        let inner = self.raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        (self.is_whole && !inner.contains(&b'\\')).then_some(inner)
    }

    /// A number that is not negative and has no fraction.
    pub(crate) fn number(&self) -> Option<u64> {
        if !self.is_whole {
            return None;
        }
        std::str::from_utf8(self.raw).ok()?.parse().ok()
    }

    /// It is there wholly and says something: not `null`, `false`, an empty string.
    pub(crate) fn is_something(&self) -> bool {
        self.is_whole && !matches!(self.raw, b"null" | b"false" | b"\"\"")
    }

    /// The members of an object.
    pub(crate) fn members(&self) -> Members<'a> {
        members(self.raw)
    }
}

/// Members of the object that `text` begins with, none if it begins with something else.
pub(crate) fn members(text: &[u8]) -> Members<'_> {
    let text = text.trim_ascii_start();
    Members {
        rest: text.strip_prefix(b"{").unwrap_or(&[]),
    }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, after) = split_string(self.rest.trim_ascii_start())?;
        let after = after
            .trim_ascii_start()
            .strip_prefix(b":")?
            .trim_ascii_start();
        let (value, after) = split_value(after)?;
        let after = after.trim_ascii_start();
        self.rest = after.strip_prefix(b",").unwrap_or(&[]);
        Some((key, value))
    }
}

/// Elements of the array that `text` begins with.
pub(crate) fn first_element(text: &[u8]) -> Option<Value<'_>> {
    let inner = text.trim_ascii_start().strip_prefix(b"[")?;
    Some(split_value(inner.trim_ascii_start())?.0)
}

/// A string at the beginning: what stands between its quotes, and what follows it.
fn split_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let end = string_end(inner)?;
    Some((inner.get(..end)?, inner.get(end + 1..)?))
}

/// Where the closing quote is.
fn string_end(inner: &[u8]) -> Option<usize> {
    let mut bytes = inner.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// A value at the beginning, and what follows it.
fn split_value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let len = match text.first()? {
        b'"' => string_end(text.get(1..)?).map(|end| end + 2),
        b'{' | b'[' => nested_end(text),
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace()),
    };
    let value = Value {
        raw: text.get(..len.unwrap_or(text.len()))?,
        is_whole: len.is_some(),
    };
    Some((value, text.get(len.unwrap_or(text.len())..)?))
}

/// Length of the object or array at the beginning.
fn nested_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => at += string_end(text.get(at + 1..)?)? + 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_are_found_also_where_the_text_is_cut() {
        let text = br#" {"a" : {"b": [1, "}\"", {}]}, "c\"d":"x\u0041", "e":12,"f":null } tail"#;
        let read = |text: &[u8]| {
            members(text)
                .map(|(key, value)| {
                    let key = String::from_utf8_lossy(key).into_owned();
                    (
                        key,
                        String::from_utf8_lossy(value.raw).into_owned(),
                        value.is_whole,
                    )
                })
                .collect::<Vec<_>>()
        };
        let whole = read(text);
        let raws: Vec<_> = whole.iter().map(|(_, raw, _)| raw.as_str()).collect();
        assert_eq!(
            raws,
            [r#"{"b": [1, "}\"", {}]}"#, r#""x\u0041""#, "12", "null"]
        );
        assert!(whole.iter().all(|(_, _, is_whole)| *is_whole));
        for end in 0..text.len() {
            for (at, member) in read(&text[..end]).into_iter().enumerate() {
                assert!(!member.2 || member == whole[at], "{end}");
            }
        }
        let values: Vec<_> = members(text).map(|(_, value)| value).collect();
        assert_eq!(values[1].text().as_deref(), Some("xA"));
        assert_eq!(
            (values[2].number(), values[3].is_something()),
            (Some(12), false)
        );
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in [
            &b""[..],
            b"[1]",
            b"\"a\"",
            b"{",
            b"{a:1}",
            b"{\"a\"}",
            b"{\"a\":",
        ] {
            assert_eq!(members(text).count(), 0, "{}", text.escape_ascii());
        }
    }
}
