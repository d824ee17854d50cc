//! As much of MessagePack as BullMQ's arguments need.
//!
//! In: packed bytes, which may be cut. Out: values one by one. Always holds: no recursion; what is skipped is bounded by the bytes that are
//! there. Refuses: extension types; they end the text.
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

/// A value, or the head of one that has others in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Text(&'a [u8]),
    /// Not negative; a fraction is dropped.
    Number(u64),
    /// So many values follow.
    Array(u64),
    /// So many pairs follow.
    Map(u64),
    /// Nil, booleans, negative numbers.
    Other,
}

/// The value at the beginning, and what follows its head.
pub(super) fn head(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let sized = |width: usize| number(rest, width);
    Some(match first {
        0x00..=0x7f => (Item::Number(u64::from(first)), rest),
        0x80..=0x8f => (Item::Map(u64::from(first & 15)), rest),
        0x90..=0x9f => (Item::Array(u64::from(first & 15)), rest),
        0xa0..=0xbf => text(rest, u64::from(first & 31))?,
        0xc0..=0xc3 | 0xe0..=0xff => (Item::Other, rest),
        0xc4 | 0xd9 => sized(1).and_then(|(len, rest)| text(rest, len))?,
        0xc5 | 0xda => sized(2).and_then(|(len, rest)| text(rest, len))?,
        0xc6 | 0xdb => sized(4).and_then(|(len, rest)| text(rest, len))?,
        0xca => {
            let (bits, rest) = sized(4)?;
            (float(f64::from(f32::from_bits(bits as u32))), rest)
        }
        0xcb => {
            let (bits, rest) = sized(8)?;
            (float(f64::from_bits(bits)), rest)
        }
        0xcc..=0xcf => {
            let (value, rest) = sized(1 << (first - 0xcc))?;
            (Item::Number(value), rest)
        }
        0xd0..=0xd3 => {
            let width = 1 << (first - 0xd0);
            let (value, rest) = sized(width)?;
            let is_negative = value >> (8 * width - 1) != 0;
            let item = if is_negative {
                Item::Other
            } else {
                Item::Number(value)
            };
            (item, rest)
        }
        0xdc => sized(2).map(|(count, rest)| (Item::Array(count), rest))?,
        0xdd => sized(4).map(|(count, rest)| (Item::Array(count), rest))?,
        0xde => sized(2).map(|(count, rest)| (Item::Map(count), rest))?,
        0xdf => sized(4).map(|(count, rest)| (Item::Map(count), rest))?,
        _ => return None,
    })
}

/// The members of a map, as far as they are there; of values with others in them only the head.
pub(super) fn members(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Item<'_>)> {
    let (mut left, mut rest) = match head(bytes) {
        Some((Item::Map(count), rest)) => (count, rest),
        _ => (0, &[][..]),
    };
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (Item::Text(key), after) = head(rest)? else {
            return None;
        };
        let (value, _) = head(after)?;
        rest = skip(after)?;
        Some((key, value))
    })
}

/// What follows the value at the beginning.
fn skip(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut left = 1_u64;
    while left > 0 {
        let (item, rest) = head(bytes)?;
        bytes = rest;
        left = left - 1
            + match item {
                Item::Array(count) => count,
                Item::Map(count) => 2 * count,
                _ => 0,
            };
    }
    Some(bytes)
}

fn number(bytes: &[u8], width: usize) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(width)?;
    let value = digits
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

fn text(bytes: &[u8], len: u64) -> Option<(Item<'_>, &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    Some((Item::Text(text), rest))
}

fn float(value: f64) -> Item<'static> {
    if value >= 0.0 {
        Item::Number(value as u64)
    } else {
        Item::Other
    }
}
