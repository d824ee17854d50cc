//! Whether bytes are the beginning of AMQP.
//!
//! In: first bytes, and who wrote them. Out: what they are. Always holds: more bytes never make `No` something else. Refuses: frames of
//! content, whose beginning says too little.

use super::method::is_known;
use crate::queue::Way;

/// What a client says first.
pub(super) const GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Last byte of each frame.
pub(super) const END: u8 = 0xce;
/// Bytes before a payload.
pub(super) const HEAD: usize = 7;
/// Largest method by which a stream is recognised in its middle.
const PROBE_MAX: u32 = 4096;

/// Of a frame whose first seven bytes are there.
pub(super) fn channel_and_size(head: &[u8]) -> Option<(u16, u32)> {
    match *head {
        [_, c1, c0, s3, s2, s1, s0, ..] => Some((
            u16::from_be_bytes([c1, c0]),
            u32::from_be_bytes([s3, s2, s1, s0]),
        )),
        _ => None,
    }
}

/// What bytes at a possible beginning are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plausible {
    No,
    SoFar,
    Greeting,
    Frame,
}

pub(super) fn plausible(bytes: &[u8], way: Way, keep: usize) -> Plausible {
    if let [b'A', ..] = bytes
        && way == Way::ToBroker
    {
        return match bytes {
            _ if bytes.starts_with(GREETING) => Plausible::Greeting,
            _ if GREETING.starts_with(bytes) => Plausible::SoFar,
            _ => Plausible::No,
        };
    }
    if !matches!(bytes, [1 | 8, ..]) {
        return Plausible::No;
    }
    let Some((channel, size)) = channel_and_size(bytes) else {
        return Plausible::SoFar;
    };
    let heartbeat = bytes[0] == 8;
    if heartbeat && (channel, size) != (0, 0)
        || !heartbeat && !(4..=PROBE_MAX).contains(&size)
        || size as usize > keep
    {
        return Plausible::No;
    }
    if let [_, _, _, _, _, _, _, class1, class0, method1, method0, ..] = *bytes
        && !heartbeat
        && !is_known(
            u16::from_be_bytes([class1, class0]),
            u16::from_be_bytes([method1, method0]),
            channel,
            way,
        )
    {
        return Plausible::No;
    }
    match bytes.get(HEAD + size as usize) {
        None => Plausible::SoFar,
        Some(&END) => Plausible::Frame,
        Some(_) => Plausible::No,
    }
}
