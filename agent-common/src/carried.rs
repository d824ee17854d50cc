//! What the TCP option carries from the agent of a client to the agent of its server, and what a span id says of its context.
//!
//! In: a client exchange's ids, what is known of its context, the stream position of its request. Out: 28 bytes and back.
//! Always holds: the option names one byte of the stream, so that a copy of it on another segment (GSO copies options to all
//! segments that it makes of one buffer) says nothing. Refuses: lengths and identifiers that are not exactly ours.
//!
//! ```text
//!  byte  0     1     2      4               20                                 28
//!        253 | len | ExID | trace id (16) | 40 nonce, 7 tag, 1 sampled, 16 position bits |
//! ```
//! 28 bytes are what is left of the 40 beside timestamps, so the span id does not fit with the rest: it is the nonce mixed
//! with the trace id ([`span_of`]), of which 40 bits are enough to be unique in one trace. The position's low 16 bits name
//! the byte, because no buffer that carries the option is 64 KiB long.

use crate::abi::Words;

/// "RFC3692-style Experiment 1" (IANA, TCP Option Kind Numbers), shared by experiment identifiers (RFC 6994).
pub const KIND: u8 = 253;
/// This format's experiment identifier: "Su". Another format takes another one.
pub const EXID: [u8; 2] = *b"Su";
/// Bytes of the option on a segment with a request's first byte.
pub const OPTION_BYTES: usize = 28;
/// The same as words.
pub const OPTION_WORDS: usize = OPTION_BYTES / 4;
/// The option in SYN and SYN-ACK: this end would understand it.
pub const ANNOUNCEMENT: [u8; 4] = [KIND, 4, EXID[0], EXID[1]];
/// Bytes of a buffer from which on the position's low bits would not name one byte of it.
pub const BUFFER_MAX: u32 = 1 << 16;

/// Bits of the nonce.
const NONCE: u64 = (1 << 40) - 1;

/// What is known of an exchange's context. The kernel side makes them the low bits of each server span's id, so that they are
/// wherever the context is.
pub mod context {
    /// The trace id is the one under which the exchange's span will be exported: its head was read whole.
    pub const CERTAIN: u16 = 1;
    /// The trace is sampled.
    pub const SAMPLED: u16 = 2;
    /// Where the tag of a received `traceparent` begins ([`super::tag_of`]); 0: none was received.
    pub const TAG_SHIFT: u32 = 2;
    /// All bits.
    pub const BITS: u16 = 0x1ff;
}

/// What an option says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Trace.
    pub trace_id: Words,
    /// The client exchange's span.
    pub span_id: u64,
    /// The trace is sampled.
    pub sampled: bool,
    /// [`tag_of`] the `traceparent` that the client's process had received, or 0.
    pub tag: u8,
    /// Low bits of the stream position of the request's first byte.
    pub position: u16,
}

/// Both halves of a trace id in one word.
#[inline(always)]
const fn folded(trace_id: Words) -> u64 {
    trace_id[0] ^ trace_id[1].rotate_left(32)
}

/// A client's span id that fits into an option: of `random` 40 bits are used.
#[inline(always)]
#[must_use]
pub const fn span_of(trace_id: Words, random: u64) -> u64 {
    let span = folded(trace_id) ^ (random & NONCE);
    if span == 0 { 1 } else { span }
}

/// Seven bits, never 0, that tell one `traceparent` from another: a header that was passed on from one that the client made.
#[inline(always)]
#[must_use]
pub const fn tag_of(trace_id: Words, parent_id: u64) -> u8 {
    // Multiplicative hashing (Knuth): the upper bits depend on all lower ones.
    let mixed = (folded(trace_id) ^ parent_id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
    if mixed == 0 { 1 } else { mixed as u8 }
}

impl Carried {
    /// The option's bytes as words in memory order. None for a span id that [`span_of`] did not make.
    #[inline(always)]
    #[must_use]
    pub const fn encode(&self) -> Option<[u32; OPTION_WORDS]> {
        let nonce = self.span_id ^ folded(self.trace_id);
        if nonce > NONCE {
            return None;
        }
        let rest = (nonce << 24)
            | ((self.tag as u64 & 0x7f) << 17)
            | ((self.sampled as u64) << 16)
            | self.position as u64;
        let rest = rest.to_be();
        Some([
            head(OPTION_BYTES as u8),
            self.trace_id[0] as u32,
            (self.trace_id[0] >> 32) as u32,
            self.trace_id[1] as u32,
            (self.trace_id[1] >> 32) as u32,
            rest as u32,
            (rest >> 32) as u32,
        ])
    }

    /// What an option of ours says; none for another one, and for one without ids.
    #[inline(always)]
    #[must_use]
    pub const fn decode(words: &[u32; OPTION_WORDS]) -> Option<Self> {
        if words[0] != head(OPTION_BYTES as u8) {
            return None;
        }
        let trace_id = [pair(words[1], words[2]), pair(words[3], words[4])];
        let rest = pair(words[5], words[6]).to_be();
        let span_id = (rest >> 24) ^ folded(trace_id);
        if span_id == 0 || (trace_id[0] == 0 && trace_id[1] == 0) {
            return None;
        }
        Some(Self {
            trace_id,
            span_id,
            sampled: rest >> 16 & 1 == 1,
            tag: (rest >> 17 & 0x7f) as u8,
            position: rest as u16,
        })
    }

    /// The stream position that is meant, if it is in a segment of `len` bytes from `seq` on.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self, seq: u32, len: u32) -> Option<u32> {
        let distance = self.position.wrapping_sub(seq as u16) as u32;
        if distance < len {
            Some(seq.wrapping_add(distance))
        } else {
            None
        }
    }
}

/// Kind, length and identifier as a word in memory order.
#[inline(always)]
#[must_use]
pub const fn head(len: u8) -> u32 {
    u32::from_ne_bytes([KIND, len, EXID[0], EXID[1]])
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

// Words are split and joined low half first.
const _: () = assert!(cfg!(target_endian = "little"));

#[cfg(test)]
mod tests {
    use super::{Carried, OPTION_WORDS, head, span_of, tag_of};

    const TRACE: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn carried(position: u16) -> Carried {
        Carried {
            trace_id: TRACE,
            span_id: span_of(TRACE, 0xdead_beef_cafe_f00d),
            sampled: true,
            tag: tag_of(TRACE, 7),
            position,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for sampled in [false, true] {
            for tag in [0, 1, 127] {
                for position in [0, 1, 0x8000, u16::MAX] {
                    let said = Carried {
                        sampled,
                        tag,
                        ..carried(position)
                    };
                    let words = said.encode();
                    assert_eq!(words.as_ref().and_then(Carried::decode), Some(said));
                }
            }
        }
    }

    #[test]
    fn the_trace_id_stands_in_the_bytes_as_on_the_wire() {
        let words = carried(0x1234).encode().unwrap_or_default();
        let bytes: [u8; 28] = core::array::from_fn(|at| words[at / 4].to_ne_bytes()[at % 4]);
        assert_eq!(bytes[..4], [253, 28, b'S', b'u']);
        let trace: [u8; 16] = core::array::from_fn(|at| TRACE[at / 8].to_ne_bytes()[at % 8]);
        assert_eq!(bytes[4..20], trace);
        assert_eq!(bytes[26..], [0x12, 0x34]);
    }

    #[test]
    fn foreign_options_and_foreign_span_ids_are_refused() {
        let words = carried(9).encode().unwrap_or_default();
        for (what, at, value) in [
            ("length", 0, head(24)),
            ("identifier", 0, u32::from_ne_bytes([253, 28, 1, 2])),
            ("kind", 0, u32::from_ne_bytes([254, 28, b'S', b'u'])),
        ] {
            let mut changed = words;
            changed[at] = value;
            assert_eq!(Carried::decode(&changed), None, "{what}");
        }
        assert_eq!(
            Carried::decode(&[head(28), 0, 0, 0, 0, 1, 1]),
            None,
            "no trace"
        );
        let foreign = Carried {
            span_id: !carried(0).span_id,
            ..carried(0)
        };
        assert_eq!(foreign.encode(), None::<[u32; OPTION_WORDS]>);
    }

    #[test]
    fn an_option_belongs_to_one_byte_of_the_buffer_it_was_copied_over() {
        const MSS: u32 = 1_408;
        for start in [0_u32, 1, 65_535, u32::MAX - 3_000] {
            for request_at in [0_u32, 1, 1_407, 1_408, 40_000] {
                let option = carried(start.wrapping_add(request_at) as u16);
                // A buffer of 45 segments, each with a copy; merged again in any way.
                for first in 0..45_u32 {
                    for count in 1..=(45 - first) {
                        let from = first * MSS;
                        let len = count * MSS;
                        let place = option.place(start.wrapping_add(from), len);
                        let is_inside = (from..from + len).contains(&request_at);
                        let right = is_inside.then(|| start.wrapping_add(request_at));
                        assert_eq!(place, right, "{start} {request_at} {first}+{count}");
                    }
                }
            }
        }
    }

    #[test]
    fn tags_are_never_the_one_that_means_none() {
        for parent in 0..10_000 {
            assert!((1..128).contains(&tag_of(TRACE, parent)));
        }
    }
}
