//! Fields of a JSON object: those at its top whose values are strings (RFC 8259).
//!
//! In: the first bytes of a body, perhaps not all. Out: names and values as they are written. Always holds: one pass, nothing is
//! allocated; what is not whole is not told. Refuses: anything but an object; names and values with escapes.

/// Tells each field at the top of the object that begins `bytes`.
pub(crate) fn strings<'a>(bytes: &'a [u8], mut tell: impl FnMut(&'a [u8], &'a [u8])) {
    let mut rest = Rest(bytes);
    if !rest.next_is(b'{') {
        return;
    }
    loop {
        let Some(name) = rest.string() else { return };
        if !rest.next_is(b':') {
            return;
        }
        rest.blank();
        if rest.0.first() == Some(&b'"') {
            let Some(value) = rest.string() else { return };
            if !name.contains(&b'\\') && !value.contains(&b'\\') {
                tell(name, value);
            }
        } else if rest.skip_value().is_none() {
            return;
        }
        if !rest.next_is(b',') {
            return;
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn blank(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes this byte if it is the next one that is not blank.
    fn next_is(&mut self, byte: u8) -> bool {
        self.blank();
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A string, without its quotes; `None`: there is none, or not all of it.
    fn string(&mut self) -> Option<&'a [u8]> {
        if !self.next_is(b'"') {
            return None;
        }
        let text = self.0;
        let mut escaped = false;
        let end = text.iter().position(|&byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        self.0 = text.get(end + 1..)?;
        text.get(..end)
    }

    /// A value that is no string; `None`: not all of it is there.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        loop {
            match *self.0.first()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.0 = self.0.get(1..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Bodies in, fields out.

    use proptest::prelude::proptest;

    use super::strings;

    proptest! {
        #[test]
        fn any_bytes_are_taken(body in "[{}\\[\\]\",:\\\\a ]{0,40}") {
            strings(body.as_bytes(), |name, value| {
                assert!(name.len() + value.len() + 5 < body.len());
            });
        }
    }

    #[test]
    fn top_level_strings_are_told() {
        for (body, expected) in [
            (r#"{"id":"a-1"}"#, &["id=a-1"][..]),
            (
                " { \"n\" : 1 , \"id\" : \"a-1\" ,\n\"x\":\"y\"}",
                &["id=a-1", "x=y"],
            ),
            (
                r#"{"in":{"id":"no","l":["}",{"a":"]"}]},"t":true,"id":"yes"}"#,
                &["id=yes"],
            ),
            (r#"{"id":"cut"#, &[]),
            (r#"{"a":"whole","id":"#, &["a=whole"]),
            (r#"{"a":"q\"uote","id":"b"}"#, &["id=b"]),
            (r#"{"a":"back\\","id":"b"}"#, &["id=b"]),
            (r#"["id","a"]"#, &[]),
            (r#"id=a-1"#, &[]),
            (r#"{"id" "a"}"#, &[]),
            ("", &[]),
            ("{", &[]),
            ("xxxxxxxxxx", &[]),
        ] {
            let mut found = Vec::new();
            strings(body.as_bytes(), |name, value| {
                found.push(format!(
                    "{}={}",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value)
                ));
            });
            assert_eq!(found, expected, "{body}");
            for end in 0..body.len() {
                let mut part = 0;
                strings(&body.as_bytes()[..end], |_, _| part += 1);
                assert!(part <= expected.len(), "{body} up to {end}");
            }
        }
    }
}
