//! Protobuf's wire format, as far as OTLP needs it (protobuf.dev, "Encoding").
//!
//! In: field numbers and values. Out: bytes appended to a buffer. Always holds: one pass, no allocation but the
//! buffer's own growth. Refuses: nothing; the caller knows the message's fields.

/// Appends a base-128 varint.
pub(super) fn varint(buf: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buf.push(value as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

/// Appends a varint field.
pub(super) fn uint(buf: &mut Vec<u8>, field: u32, value: u64) {
    varint(buf, u64::from(field << 3));
    varint(buf, value);
}

/// Appends a fixed64 field.
pub(super) fn fixed64(buf: &mut Vec<u8>, field: u32, value: u64) {
    varint(buf, u64::from(field << 3 | 1));
    buf.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed32 field.
pub(super) fn fixed32(buf: &mut Vec<u8>, field: u32, value: u32) {
    varint(buf, u64::from(field << 3 | 5));
    buf.extend_from_slice(&value.to_le_bytes());
}

/// Appends a bytes or string field.
pub(super) fn bytes(buf: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(buf, u64::from(field << 3 | 2));
    varint(buf, value.len() as u64);
    buf.extend_from_slice(value);
}

/// Appends a message field whose content `write` appends; most such contents are shorter than 128 bytes.
///
/// The length comes before the content but is known after it: as many bytes as it will probably need are kept free,
/// and the content moves when it needs others.
pub(super) fn message(buf: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    message_with(buf, field, 1, write);
}

/// The same for contents that have some hundred bytes.
pub(super) fn long_message(buf: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    message_with(buf, field, 2, write);
}

fn message_with(buf: &mut Vec<u8>, field: u32, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
    varint(buf, u64::from(field << 3 | 2));
    let at = buf.len();
    buf.resize(at + expected, 0);
    write(buf);
    let end = buf.len();
    let (prefix, used) = varint_bytes((end - at - expected) as u64);
    if used > expected {
        buf.resize(end + used - expected, 0);
    }
    if used != expected {
        buf.copy_within(at + expected..end, at + used);
        buf.truncate(end + used - expected);
    }
    if let (Some(slot), Some(prefix)) = (buf.get_mut(at..at + used), prefix.get(..used)) {
        slot.copy_from_slice(prefix);
    }
}

/// A varint and how many of its bytes count.
fn varint_bytes(mut value: u64) -> ([u8; 10], usize) {
    let mut out = [0_u8; 10];
    let mut used = 0;
    for slot in &mut out {
        used += 1;
        if value < 0x80 {
            *slot = value as u8;
            break;
        }
        *slot = value as u8 | 0x80;
        value >>= 7;
    }
    (out, used)
}

/// Appends a message of a key (field 1) and a value (field 2) that is a message of one string (field 1): an attribute.
pub(super) fn key_and_text(buf: &mut Vec<u8>, field: u32, key: &str, text: &str) {
    let value = 2 + text.len();
    let content = 2 + key.len() + 2 + value;
    if field < 16 && content < 0x80 {
        // Each length and each field's head is one byte.
        buf.extend_from_slice(&[
            (field << 3 | 2) as u8,
            content as u8,
            1 << 3 | 2,
            key.len() as u8,
        ]);
        buf.extend_from_slice(key.as_bytes());
        buf.extend_from_slice(&[2 << 3 | 2, value as u8, 1 << 3 | 2, text.len() as u8]);
        buf.extend_from_slice(text.as_bytes());
        return;
    }
    message(buf, field, |buf| {
        bytes(buf, 1, key.as_bytes());
        message(buf, 2, |buf| bytes(buf, 1, text.as_bytes()));
    });
}

/// The same with a value that is a message of one varint, in field `kind`.
pub(super) fn key_and_number(buf: &mut Vec<u8>, field: u32, key: &str, kind: u32, number: u64) {
    let (digits, used) = varint_bytes(number);
    let content = 2 + key.len() + 3 + used;
    if field < 16 && kind < 16 && content < 0x80 {
        buf.extend_from_slice(&[
            (field << 3 | 2) as u8,
            content as u8,
            1 << 3 | 2,
            key.len() as u8,
        ]);
        buf.extend_from_slice(key.as_bytes());
        buf.extend_from_slice(&[2 << 3 | 2, used as u8 + 1, (kind << 3) as u8]);
        buf.extend_from_slice(digits.get(..used).unwrap_or(&digits));
        return;
    }
    message(buf, field, |buf| {
        bytes(buf, 1, key.as_bytes());
        message(buf, 2, |buf| uint(buf, kind, number));
    });
}

#[cfg(test)]
mod tests {
    use super::{
        bytes, fixed32, fixed64, key_and_number, key_and_text, long_message, message, uint,
    };
    use prost::encoding::{self, WireType};

    #[test]
    fn fields_are_what_prost_writes() {
        let check = |write: &dyn Fn(&mut Vec<u8>), expect: &dyn Fn(&mut Vec<u8>)| {
            let (mut seen, mut expected) = (vec![1, 2, 3], vec![1, 2, 3]);
            write(&mut seen);
            expect(&mut expected);
            assert_eq!(seen, expected);
        };
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            check(&|buf| uint(buf, 16, value), &|buf| {
                encoding::uint64::encode(16, &value, buf)
            });
            check(&|buf| fixed64(buf, 7, value), &|buf| {
                encoding::fixed64::encode(7, &value, buf)
            });
            let short = value as u32;
            check(&|buf| fixed32(buf, 16, short), &|buf| {
                encoding::fixed32::encode(16, &short, buf)
            });
        }
        check(&|buf| bytes(buf, 5, b"abc"), &|buf| {
            encoding::string::encode(5, &"abc".to_owned(), buf)
        });
    }

    #[test]
    fn messages_of_any_length_have_the_shortest_prefix() {
        for len in [
            0, 1, 126, 127, 128, 129, 16_382, 16_383, 16_384, 16_385, 2_097_151, 2_097_152,
        ] {
            let content: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let (mut seen, mut expected) = (vec![9], vec![9]);
            message(&mut seen, 15, |buf| buf.extend_from_slice(&content));
            long_message(&mut seen, 15, |buf| buf.extend_from_slice(&content));
            for _ in 0..2 {
                encoding::encode_key(15, WireType::LengthDelimited, &mut expected);
                encoding::encode_varint(len as u64, &mut expected);
                expected.extend_from_slice(&content);
            }
            assert!(seen == expected, "{len}");
        }
    }

    #[test]
    fn attributes_are_messages_of_a_key_and_a_value_however_long() {
        for (field, key_len, value_len) in [
            (9, 1, 0),
            (9, 20, 99),
            (9, 20, 101),
            (9, 20, 102),
            (9, 20, 103),
            (9, 20, 127),
            (9, 20, 128),
            (9, 121, 0),
            (9, 200, 20_000),
            (16, 2, 2),
        ] {
            let (key, text) = ("k".repeat(key_len), "v".repeat(value_len));
            let (mut seen, mut expected) = (vec![9], vec![9]);
            key_and_text(&mut seen, field, &key, &text);
            message(&mut expected, field, |buf| {
                bytes(buf, 1, key.as_bytes());
                message(buf, 2, |buf| bytes(buf, 1, text.as_bytes()));
            });
            for number in [0, 1, 127, 128, 1 << 40, u64::MAX] {
                key_and_number(&mut seen, field, &key, 3, number);
                message(&mut expected, field, |buf| {
                    bytes(buf, 1, key.as_bytes());
                    message(buf, 2, |buf| uint(buf, 3, number));
                });
            }
            assert!(seen == expected, "{field} {key_len} {value_len}");
        }
    }
}
