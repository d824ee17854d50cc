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

/// Appends a message field whose content `write` appends.
///
/// The length comes before the content but is known after it: one byte is kept free (right for most attributes), and
/// the content moves up when the length needs more.
pub(super) fn message(buf: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    varint(buf, u64::from(field << 3 | 2));
    let at = buf.len();
    buf.push(0);
    write(buf);
    let len = buf.len() - at - 1;
    let (prefix, used) = varint_bytes(len as u64);
    let prefix = prefix.get(..used).unwrap_or(&prefix);
    if used == 1 {
        if let (Some(slot), Some(byte)) = (buf.get_mut(at), prefix.first()) {
            *slot = *byte;
        }
    } else {
        let extra = used - 1;
        let end = buf.len();
        buf.resize(end + extra, 0);
        buf.copy_within(at + 1..end, at + used);
        if let Some(slot) = buf.get_mut(at..at + used) {
            slot.copy_from_slice(prefix);
        }
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

#[cfg(test)]
mod tests {
    use super::{bytes, fixed32, fixed64, message, uint};
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
            encoding::encode_key(15, WireType::LengthDelimited, &mut expected);
            encoding::encode_varint(len as u64, &mut expected);
            expected.extend_from_slice(&content);
            assert!(seen == expected, "{len}");
        }
    }
}
