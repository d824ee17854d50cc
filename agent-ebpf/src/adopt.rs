//! The trace that a request's head names, known before the request's own calls are made.
//!
//! In: the captured first bytes of an HTTP/1 request. Out: what its `traceparent` says, or that it has none, or that this is
//! not certain. Always holds: user space parses the same bytes and has the last word about parents; what is found here only
//! decides under which trace id calls to other hosts go out. Refuses: heads that were not captured whole, a second
//! `traceparent`, versions other than 00: then nothing goes out, because a call under another trace id than its parent's would
//! be a trace torn in two.

use core::ffi::c_void;

use agent_common::{
    abi::{Conn, Words, evidence},
    carried::{context, tag_of},
    limits::ADOPT_BYTES,
};

use aya_ebpf::helpers::generated::bpf_loop;

use crate::{
    carry,
    ids::copy,
    maps::{SCRATCH, Scratch},
};

/// What was found, in map memory: on the stack the verifier's states would multiply (see `maps::Cursor`).
#[repr(C)]
pub(crate) struct Adopted {
    /// Where the line of the last `traceparent` begins.
    at: u32,
    /// Lines that begin like one.
    lines: u32,
    /// 1: the empty line that ends the head was found.
    is_whole: u32,
    flags: u32,
    /// Bytes to look at.
    captured: u32,
    /// 1: what should be a digit is none.
    wrong: u32,
    /// Where the first line ends.
    first: u32,
    /// Where the empty line begins.
    end: u32,
    /// Lines that begin like `content-length`, and where the last one's value begins.
    lengths: u32,
    length_at: u32,
    /// Lines that begin like `transfer-encoding`.
    codings: u32,
    zero: u32,
    trace_id: Words,
    parent_id: u64,
}

/// Line feeds, in each byte of a word.
const FEEDS: u64 = 0x0a0a_0a0a_0a0a_0a0a;
const LOWEST: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = 0x8080_8080_8080_8080;
/// `tracepar`, in memory order.
const NAME: u64 = u64::from_le_bytes(*b"tracepar");
/// Turns ASCII letters into lower case, and leaves a few other characters apart.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// A captured byte.
#[inline(always)]
fn byte(scratch: &Scratch, at: usize) -> u8 {
    // SAFETY: the mask keeps it inside of the payload, which is longer than ADOPT_BYTES.
    unsafe { core::ptr::read_volatile(scratch.payload.as_ptr().add(at & (2 * ADOPT_BYTES - 1))) }
}

const _: () = assert!(ADOPT_BYTES.is_power_of_two() && 2 * ADOPT_BYTES <= 16 * 1024);

/// A line begins at `at`: the end of the head, or perhaps `traceparent:`? Returns whether the head ends here. As few loads and
/// branches as can be: the verifier walks this once for each place where a line can begin.
#[inline(always)]
fn line<const FRAMED: bool>(scratch: &mut Scratch, at: usize) -> bool {
    let first = byte(scratch, at);
    // A carriage return alone begins no line of a head.
    if first == b'\n' || first == b'\r' {
        scratch.adopted.is_whole = 1;
        scratch.adopted.end = at as u32;
        return true;
    }
    if FRAMED {
        // Names that only look like these make the body's length uncertain, too.
        if first | 0x20 == b'c' && byte(scratch, at + 14) == b':' && byte(scratch, at + 7) == b'-' {
            scratch.adopted.lengths += 1;
            scratch.adopted.length_at = at as u32 + 15;
        }
        if first | 0x20 == b't' && byte(scratch, at + 8) == b'-' {
            scratch.adopted.codings += 1;
        }
    }
    if first | 0x20 == b't'
        && byte(scratch, at + 11) == b':'
        && byte(scratch, at + 8) | 0x20 == b'e'
    {
        scratch.adopted.at = at as u32;
        scratch.adopted.lines += 1;
    }
    false
}

/// Looks at one piece of the payload for the end of the head and the lines in question; returns 1 to stop. Called by
/// `bpf_loop` (5.17), so that the verifier walks one piece, not all of them (a million instructions were not enough).
unsafe extern "C" fn piece<const FRAMED: bool>(index: u64, slot: *mut c_void) -> i64 {
    // SAFETY: `walk` passes a word of its stack.
    let slot = unsafe { core::ptr::read_volatile(slot.cast::<u32>()) };
    let Some(place) = SCRATCH.get_ptr_mut(slot) else {
        return 1;
    };
    // SAFETY: `find` holds it for the time of the loop.
    let scratch = unsafe { &mut *place };
    let captured = scratch.adopted.captured as usize;
    let start = (index as usize & (PIECES - 1)) * PIECE;
    // BOUND: PIECE / 8.
    for word in 0..PIECE / 8 {
        let at = start + word * 8;
        if at >= captured {
            return 1;
        }
        // SAFETY: inside of the payload, which is longer than ADOPT_BYTES and begins at a multiple of 8 (asserted below).
        let word =
            unsafe { core::ptr::read_volatile(scratch.payload.as_ptr().add(at).cast::<u64>()) };
        let other = word ^ FEEDS;
        // The lowest mark is exact (Mycroft's test for a zero byte); one above it may be a vertical tab.
        let mut marks = other.wrapping_sub(LOWEST) & !other & HIGHEST;
        // BOUND: 2 lines that end in the same word, the last one and the empty one.
        for _ in 0..2 {
            if marks == 0 {
                break;
            }
            let lowest = marks & marks.wrapping_neg();
            // One in each byte up to the marked one.
            let upto = ((lowest.wrapping_sub(1) & LOWEST).wrapping_mul(LOWEST) >> 56) as usize;
            marks &= marks - 1;
            let feed = at + (upto.wrapping_sub(1) & 7);
            if byte(scratch, feed) != b'\n' {
                continue;
            }
            if FRAMED && scratch.adopted.first == 0 {
                scratch.adopted.first = feed as u32;
            }
            if feed + 1 >= captured || line::<FRAMED>(scratch, feed + 1) {
                return 1;
            }
        }
        if marks != 0 {
            // Not a head that anybody writes.
            return 1;
        }
    }
    0
}

/// Bytes that [`piece`] looks at.
const PIECE: usize = 64;
const PIECES: usize = ADOPT_BYTES / PIECE;

const _: () = assert!(core::mem::offset_of!(Scratch, payload) % 8 == 0);

/// The value of a lower-case hexadecimal digit; 16 for another character.
#[inline(always)]
fn digit(byte: u8) -> u64 {
    match byte {
        b'0'..=b'9' => u64::from(byte - b'0'),
        b'a'..=b'f' => u64::from(byte - b'a') + 10,
        _ => 16,
    }
}

/// `count` bytes written as hexadecimal digits from `at` on, as a word in memory order. A function of its own: the digits would
/// take 300 bytes of its caller's stack. What is no digit is marked.
#[inline(never)]
fn number(scratch: &mut Scratch, at: usize, count: u64) -> u64 {
    let mut word = 0;
    // BOUND: 8.
    for index in 0..8 {
        if index as u64 >= count {
            break;
        }
        let high = digit(byte(scratch, at + 2 * index));
        let low = digit(byte(scratch, at + 2 * index + 1));
        if high > 15 || low > 15 {
            scratch.adopted.wrong = 1;
        }
        word |= (high << 4 | low & 15) << (8 * index);
    }
    word
}

/// Reads the line that begins at `at` (W3C Trace Context §3.2): `traceparent: 00-<trace id>-<parent id>-<flags>`.
#[inline(always)]
fn parse(scratch: &mut Scratch, at: u32) -> Option<()> {
    let at = at as usize & (ADOPT_BYTES - 1);
    let mut name = 0;
    // BOUND: 8.
    for index in 0..8 {
        name |= u64::from(byte(scratch, at + index)) << (8 * index);
    }
    let ends = [
        byte(scratch, at + 8) | 0x20,
        byte(scratch, at + 9) | 0x20,
        byte(scratch, at + 10) | 0x20,
    ];
    if name | LOWER != NAME || ends != *b"ent" {
        return None;
    }
    let mut at = at + 12;
    // BOUND: 2 blanks before the value; more are left to user space.
    for _ in 0..2 {
        if byte(scratch, at) == b' ' || byte(scratch, at) == b'\t' {
            at += 1;
        }
    }
    let dashes = [
        byte(scratch, at),
        byte(scratch, at + 1),
        byte(scratch, at + 2),
        byte(scratch, at + 35),
        byte(scratch, at + 52),
    ];
    let after = byte(scratch, at + 55);
    if dashes != *b"00---" || (after != b'\r' && after != b'\n') {
        return None;
    }
    scratch.adopted.wrong = 0;
    let trace_id = [number(scratch, at + 3, 8), number(scratch, at + 19, 8)];
    let parent_id = number(scratch, at + 36, 8);
    let flags = number(scratch, at + 53, 1);
    if scratch.adopted.wrong != 0 || (trace_id[0] == 0 && trace_id[1] == 0) || parent_id == 0 {
        return None;
    }
    copy(&mut scratch.adopted.trace_id, &trace_id);
    scratch.adopted.parent_id = parent_id;
    scratch.adopted.flags = flags as u32;
    Some(())
}

/// The head is whole and has no `traceparent`.
const NO_TRACE: u64 = 0;
/// The head is whole and has one, which was read.
const ONE_TRACE: u64 = 1;
/// Neither is known.
const UNSURE: u64 = 2;

/// Walks over the lines of the head in the first `captured` bytes of the payload.
#[inline(always)]
fn walk<const FRAMED: bool>(scratch: &mut Scratch, captured: u64) {
    let mut slot = scratch.slot;
    let adopted = &raw mut scratch.adopted;
    // SAFETY: fields of a map value. Volatile, because `piece` finds it by itself: the compiler does not know that the loop
    // reads and writes it.
    unsafe {
        core::ptr::write_volatile(&raw mut (*adopted).lines, 0);
        core::ptr::write_volatile(&raw mut (*adopted).is_whole, 0);
        core::ptr::write_volatile(&raw mut (*adopted).captured, captured as u32);
        if FRAMED {
            core::ptr::write_volatile(&raw mut (*adopted).first, 0);
            core::ptr::write_volatile(&raw mut (*adopted).lengths, 0);
            core::ptr::write_volatile(&raw mut (*adopted).codings, 0);
        }
    }
    // SAFETY: the kernel calls `piece` with an index under PIECES and the address of `slot`. BOUND: PIECES.
    unsafe {
        bpf_loop(
            PIECES as u32,
            piece::<FRAMED> as *mut c_void,
            (&raw mut slot).cast(),
            0,
        )
    };
}

/// Looks for a trace in the first `captured` bytes of the payload.
#[inline(always)]
fn find(scratch: &mut Scratch, captured: u64) -> u64 {
    walk::<false>(scratch, captured);
    let adopted = &raw mut scratch.adopted;
    // SAFETY: as above.
    let (is_whole, lines, at) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*adopted).is_whole),
            core::ptr::read_volatile(&raw const (*adopted).lines),
            core::ptr::read_volatile(&raw const (*adopted).at),
        )
    };
    match (is_whole, lines) {
        (1, 0) => NO_TRACE,
        (1, 1) if parse(scratch, at).is_some() => ONE_TRACE,
        _ => UNSURE,
    }
}

/// A server began to read an HTTP/1 request whose first `captured` bytes are in the payload. `conn` has its context as it is if
/// the head names no other one.
#[inline(never)]
pub(crate) fn head(scratch: &mut Scratch, conn: &mut Conn, captured: u64) -> u64 {
    match find(scratch, captured) {
        NO_TRACE => return 0,
        ONE_TRACE => {}
        _ => {
            conn.context = 0;
            return 0;
        }
    }
    let found = &scratch.adopted;
    let trace_id = found.trace_id;
    if conn.evidence == evidence::OPTION && conn.trace_id != trace_id {
        // The client's process made a header of its own: it wins, and the option's span is in another trace.
        conn.evidence = evidence::NONE;
        conn.parent_span_id = 0;
    }
    copy(&mut conn.trace_id, &trace_id);
    let sampled = carry::sampled(&trace_id, Some(found.flags & 1 != 0));
    let tag = u16::from(tag_of(trace_id, found.parent_id));
    conn.context = context::CERTAIN | sampled | (tag << context::TAG_SHIFT);
    1
}

/// [`byte`] at a place that the compiler may know to be inside already: it would leave the mask out, and the verifier does not know.
#[inline(always)]
fn checked(scratch: &Scratch, at: usize) -> u8 {
    byte(scratch, core::hint::black_box(at))
}

/// What [`request`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The head does not end in what was captured.
    Cut,
    /// No request of HTTP/1.0 or 1.1 whose lines end as they should.
    Other,
    /// A whole head that has a `traceparent`, or a line that looks like one.
    Traced,
    /// A whole head without one.
    Plain,
}

/// The length of a body whose end is not known.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// A client's HTTP/1 request whose first `captured` bytes are in the payload: what it is. Where its first line ends, where its head
/// ends and how long its body is are [`first_line`], [`head_bytes`] and [`body_bytes`] then.
#[inline(never)]
pub(crate) fn request(scratch: &mut Scratch, captured: u64) -> u64 {
    walk::<true>(scratch, captured);
    let adopted = &raw const scratch.adopted;
    // SAFETY: as in `walk`.
    let (is_whole, lines, first, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*adopted).is_whole),
            core::ptr::read_volatile(&raw const (*adopted).lines),
            core::ptr::read_volatile(&raw const (*adopted).first) as usize,
            core::ptr::read_volatile(&raw const (*adopted).end) as usize,
        )
    };
    if is_whole == 0 || end as u64 + 2 > captured {
        return Request::Cut as u64;
    }
    let at = first.wrapping_sub(10);
    // ` HTTP/1.0\r` or ` HTTP/1.1\r`, and an empty line of both characters.
    let mut version = 0;
    // BOUND: 8.
    for index in 0..8 {
        version |= u64::from(checked(scratch, at + index)) << (8 * index);
    }
    let digit = checked(scratch, first.wrapping_sub(2));
    let fits = first > 14
        && version == u64::from_le_bytes(*b" HTTP/1.")
        && (digit == b'0' || digit == b'1')
        && checked(scratch, first.wrapping_sub(1)) == b'\r'
        && checked(scratch, end) == b'\r'
        && checked(scratch, end + 1) == b'\n';
    if !fits {
        return Request::Other as u64;
    }
    if lines != 0 {
        return Request::Traced as u64;
    }
    Request::Plain as u64
}

/// Where the bytes behind the first line begin.
#[inline(always)]
pub(crate) fn first_line(scratch: &Scratch) -> u32 {
    // SAFETY: as in `walk`.
    unsafe { core::ptr::read_volatile(&raw const scratch.adopted.first) + 1 }
}

/// Bytes of the head, with its empty line.
#[inline(always)]
pub(crate) fn head_bytes(scratch: &Scratch) -> u32 {
    // SAFETY: as in `walk`.
    unsafe { core::ptr::read_volatile(&raw const scratch.adopted.end) + 2 }
}

/// Bytes of the body as the head says it; [`UNKNOWN`] where its end is not told by a number alone.
#[inline(never)]
pub(crate) fn body_bytes(scratch: &mut Scratch) -> u64 {
    let adopted = &raw const scratch.adopted;
    // SAFETY: as in `walk`.
    let (lengths, codings, mut at) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*adopted).lengths),
            core::ptr::read_volatile(&raw const (*adopted).codings),
            core::ptr::read_volatile(&raw const (*adopted).length_at) as usize,
        )
    };
    if codings != 0 || lengths > 1 {
        return UNKNOWN;
    }
    if lengths == 0 {
        return 0;
    }
    if checked(scratch, at) == b' ' {
        at += 1;
    }
    let mut number = 0;
    // BOUND: 10 digits, and what ends them.
    for index in 0..11 {
        let byte = checked(scratch, at + index);
        if byte == b'\r' && index > 0 {
            return number;
        }
        if !byte.is_ascii_digit() {
            return UNKNOWN;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    UNKNOWN
}
