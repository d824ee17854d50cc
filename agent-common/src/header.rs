//! The one header that is written into requests: `traceparent` as W3C Trace Context §3.2 has it.
//!
//! In: the ids of a client exchange. Out: its bytes, as words. Always holds: [`HEADER_BYTES`] of them, whatever the ids are.
//! Refuses: nothing.
//!
//! ```text
//!  byte  0                16                48  49          65  66      68
//!        traceparent: 00- | trace id, 32 hex | - | span, 16 hex | - | flags | CR LF
//! ```

/// Bytes of the line, with its end.
pub const HEADER_BYTES: usize = 70;
/// What it begins with.
pub const BEGIN: [u8; 16] = *b"traceparent: 00-";
/// Where the trace id's digits stand.
pub const TRACE_AT: usize = 16;
/// Where the span id's digits stand, behind a dash.
pub const SPAN_AT: usize = 49;
/// Where the flags' digits stand, behind a dash.
pub const FLAGS_AT: usize = 66;

/// Four bytes as eight lower-case hexadecimal digits, both in memory order.
#[inline(always)]
#[must_use]
pub const fn digits(bytes: u32) -> u64 {
    // Each byte to its place of two, then each half to a byte of its own, the upper one first.
    let wide = bytes as u64;
    let wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
    let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (wide >> 4 & 0x000f_000f_000f_000f) | (wide & 0x000f_000f_000f_000f) << 8;
    // 1 in each byte above 9: letters stand 39 behind where digits would go on.
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    halves + 0x3030_3030_3030_3030 + letters * 39
}

const _: () = assert!(cfg!(target_endian = "little"));

#[cfg(test)]
mod tests {
    use super::{BEGIN, FLAGS_AT, HEADER_BYTES, SPAN_AT, TRACE_AT, digits};

    #[test]
    fn digits_stand_as_they_are_read() {
        for (bytes, text) in [
            ([0x01, 0x23, 0x45, 0x67], b"01234567"),
            ([0x89, 0xab, 0xcd, 0xef], b"89abcdef"),
            ([0x00, 0xff, 0x0a, 0xf0], b"00ff0af0"),
        ] {
            assert_eq!(digits(u32::from_ne_bytes(bytes)).to_ne_bytes(), *text);
        }
    }

    #[test]
    fn the_places_are_those_of_the_line() {
        let line = b"traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n";
        assert_eq!(line.len(), HEADER_BYTES);
        assert_eq!(line[..TRACE_AT], BEGIN);
        assert_eq!(line[SPAN_AT - 1], b'-');
        assert_eq!(&line[FLAGS_AT..], b"01\r\n");
    }
}
