//! The bytes of a call, in the memory of the process that made it.
//!
//! In: a [`View`] (one buffer, or I/O vectors) and how many bytes moved. Out: first bytes, captured bytes, last bytes.
//! Always holds: memory is only read, and only up to what moved; absent pages are counted, never waited for (the
//! kernel has just copied these bytes, so they are nearly always resident).

use agent_common::{
    counters::Counter,
    limits::{
        ENDING_BYTES, HEAD_CAPTURE_MAX, IOVECS_MAX, SNIFF_BYTES, TAIL_BYTES, VECTOR_CAPTURE_MAX,
    },
};
use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_probe_read_user as read_user};

use crate::maps::{Scratch, count};

/// `struct iovec` of user space.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct IoVec {
    base: u64,
    len: u64,
}

/// Where a call's bytes are.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// The buffer, or the first `struct iovec`; 0 when the bytes cannot be seen (sendfile, splice).
    pub place: u64,
    /// Number of I/O vectors; 0 for one plain buffer.
    pub vectors: u64,
}

/// `struct user_msghdr` (include/linux/socket.h): msg_iov at 16, msg_iovlen at 24.
const MSGHDR_IOV: u64 = 16;
/// `sizeof(struct mmsghdr)` on 64-bit: a msghdr of 56 bytes, msg_len at 56, padding.
pub(crate) const MMSGHDR_SIZE: u64 = 64;
/// Offset of `mmsghdr.msg_len`.
const MMSGHDR_LEN: u64 = 56;

impl View {
    /// Bytes that cannot be seen. (Not two zeros: LLVM would make memset of them, see [`crate::ids::copy`].)
    #[inline(always)]
    pub(crate) fn unseen() -> Self {
        Self {
            place: core::hint::black_box(0),
            vectors: 0,
        }
    }

    /// One buffer.
    #[inline(always)]
    pub(crate) fn plain(place: u64) -> Self {
        Self { place, vectors: 0 }
    }

    /// I/O vectors.
    #[inline(always)]
    pub(crate) fn vectors(place: u64, vectors: u64) -> Self {
        // A count of zero would read as "plain buffer"; such a call moves nothing.
        if vectors == 0 {
            Self::unseen()
        } else {
            Self { place, vectors }
        }
    }

    /// The vectors of a message header.
    #[inline(always)]
    pub(crate) fn message(header: u64) -> Self {
        // SAFETY: the helper checks the address; msg_iov and msg_iovlen are adjacent.
        match unsafe { bpf_probe_read_user((header + MSGHDR_IOV) as *const IoVec) } {
            Ok(IoVec { base, len }) => Self::vectors(base, len),
            Err(_) => {
                count(Counter::UserFault, 1);
                Self::unseen()
            }
        }
    }

    /// `msg_len` of a `struct mmsghdr`: bytes its message moved.
    #[inline(always)]
    pub(crate) fn mmsg_len(header: u64) -> u32 {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user((header + MMSGHDR_LEN) as *const u32) }.unwrap_or(0)
    }
}

/// Reads vector `index`.
#[inline(always)]
fn vector(view: View, index: usize) -> IoVec {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user((view.place + index as u64 * 16) as *const IoVec) }
        .unwrap_or_default()
}

/// Reads the first bytes of `moved` into `scratch.sniff`; returns how many.
#[inline(never)]
pub(crate) fn first_bytes(scratch: &mut Scratch, place: u64, vectors: u64, moved: u64) -> u64 {
    scratch.cursor.set_from(place);
    scratch.cursor.set_len(moved);
    if vectors != 0 {
        scratch.cursor.set_from(0);
        // BOUND: 3 vectors; a first vector of fewer bytes than a token is rare, two such are not seen in practice.
        for index in 0..3usize {
            if index as u64 >= vectors {
                break;
            }
            let found = vector(View { place, vectors }, index);
            if found.len != 0 {
                scratch.cursor.set_from(found.base);
                scratch
                    .cursor
                    .set_len(if found.len < moved { found.len } else { moved });
                break;
            }
        }
    }
    let from = scratch.cursor.from();
    let mut size = scratch.cursor.len();
    if size > SNIFF_BYTES as u64 {
        size = SNIFF_BYTES as u64;
    }
    if from == 0 || size == 0 {
        return 0;
    }
    // SAFETY: `sniff` has SNIFF_BYTES bytes and size is at most that; the helper checks the source.
    if unsafe {
        read_user(
            scratch.sniff.as_mut_ptr().cast(),
            size as u32,
            from as *const _,
        )
    } != 0
    {
        count(Counter::UserFault, 1);
        return 0;
    }
    size
}

/// Reads up to `wanted` of the moved bytes into `scratch.payload`; returns how many are there.
#[inline(never)]
pub(crate) fn capture(scratch: &mut Scratch, place: u64, vectors: u64, wanted: u64) -> u64 {
    const MAX: u64 = HEAD_CAPTURE_MAX as u64;
    let wanted = if wanted > MAX { MAX } else { wanted };
    if place == 0 || wanted == 0 {
        return 0;
    }
    if vectors == 0 {
        // SAFETY: payload has more than MAX bytes and wanted is at most MAX; the helper checks the source.
        if unsafe {
            read_user(
                scratch.payload.as_mut_ptr().cast(),
                wanted as u32,
                place as *const _,
            )
        } != 0
        {
            count(Counter::UserFault, 1);
            return 0;
        }
        return wanted;
    }
    scratch.cursor.set_done(0);
    scratch.cursor.set_rest(wanted);
    // BOUND: IOVECS_MAX.
    for index in 0..IOVECS_MAX {
        if index as u64 >= vectors || scratch.cursor.rest() == 0 {
            break;
        }
        if capture_vector(scratch, vector(View { place, vectors }, index)) == 0 {
            break;
        }
    }
    if scratch.cursor.rest() != 0 && vectors > IOVECS_MAX as u64 {
        count(Counter::IovecsBeyond, 1);
    }
    scratch.cursor.done()
}

/// Captures one vector at the cursor. Returns 0 where the next one cannot follow.
#[inline(always)]
fn capture_vector(scratch: &mut Scratch, found: IoVec) -> u64 {
    let rest = scratch.cursor.rest();
    let mut size = if found.len < rest { found.len } else { rest };
    if size > VECTOR_CAPTURE_MAX as u64 {
        size = VECTOR_CAPTURE_MAX as u64;
    }
    let done = scratch.cursor.done();
    if size == 0 {
        return 1;
    }
    let at = done & (HEAD_CAPTURE_MAX as u64 - 1);
    // SAFETY: at < HEAD_CAPTURE_MAX and size <= VECTOR_CAPTURE_MAX, and payload has the sum of both.
    let to = unsafe { scratch.payload.as_mut_ptr().add(at as usize) };
    // SAFETY: as above; the helper checks the source.
    if unsafe { read_user(to.cast(), size as u32, found.base as *const _) } != 0 {
        count(Counter::UserFault, 1);
        return 0;
    }
    scratch.cursor.set_done(done + size);
    scratch.cursor.set_rest(rest - size);
    // When a vector is longer than what is captured of it, nothing behind it can follow.
    u64::from(size == found.len)
}

/// Puts the cursor to the end of the `moved` bytes, with the length of the buffer that they end in. Returns 0 where it cannot be told.
#[inline(never)]
fn find_end(scratch: &mut Scratch, place: u64, vectors: u64, moved: u64) -> u64 {
    scratch.cursor.set_from(place + moved);
    scratch.cursor.set_len(moved);
    if vectors != 0 {
        scratch.cursor.set_rest(moved);
        // BOUND: IOVECS_MAX.
        for index in 0..IOVECS_MAX {
            let rest = scratch.cursor.rest();
            if index as u64 >= vectors || rest == 0 {
                break;
            }
            let found = vector(View { place, vectors }, index);
            let here = if found.len < rest { found.len } else { rest };
            if here != 0 {
                scratch.cursor.set_from(found.base + here);
                scratch.cursor.set_len(here);
            }
            scratch.cursor.set_rest(rest - here);
        }
        if scratch.cursor.rest() != 0 {
            return 0;
        }
    }
    1
}

/// Reads the last of the `moved` bytes, at most `ENDING_BYTES`, behind the captured ones; returns how many are there. Where they
/// end in a shorter I/O vector, it is those in that vector.
#[inline(never)]
pub(crate) fn ending(scratch: &mut Scratch, place: u64, vectors: u64, moved: u64) -> u64 {
    if find_end(scratch, place, vectors, moved) == 0 {
        return 0;
    }
    let captured = scratch.found.captured();
    let from = scratch.cursor.from();
    let mut size = scratch.cursor.len();
    if size > moved.wrapping_sub(captured) {
        size = moved.wrapping_sub(captured);
    }
    if size > ENDING_BYTES as u64 {
        size = ENDING_BYTES as u64;
    }
    if size == 0 || captured + size > HEAD_CAPTURE_MAX as u64 {
        return 0;
    }
    let at = captured & (HEAD_CAPTURE_MAX as u64 - 1);
    // SAFETY: at < HEAD_CAPTURE_MAX and size <= ENDING_BYTES, which is less than what payload has beyond HEAD_CAPTURE_MAX.
    let to = unsafe { scratch.payload.as_mut_ptr().add(at as usize) };
    // SAFETY: as above; the helper checks the source.
    if unsafe { read_user(to.cast(), size as u32, (from - size) as *const _) } != 0 {
        count(Counter::UserFault, 1);
        return 0;
    }
    size
}

/// Reads the last up to 8 of the `moved` bytes, right-aligned, into the record's tail. Returns 1 if it could.
#[inline(never)]
pub(crate) fn tail(scratch: &mut Scratch, place: u64, vectors: u64, moved: u64) -> u64 {
    if place == 0 || moved == 0 || find_end(scratch, place, vectors, moved) == 0 {
        return 0;
    }
    let from = scratch.cursor.from();
    let mut size = scratch.cursor.len();
    if size > TAIL_BYTES as u64 {
        size = TAIL_BYTES as u64;
    }
    if size == 0 {
        return 0;
    }
    // Added, not subtracted: the verifier refuses a pointer that may have gone below its start. black_box keeps LLVM
    // from making a subtraction of it.
    let at = core::hint::black_box(TAIL_BYTES as u64 - size) & (TAIL_BYTES as u64 - 1);
    // SAFETY: at + size == TAIL_BYTES, the length of the array.
    let to = unsafe { scratch.record.tail.as_mut_ptr().add(at as usize) };
    // SAFETY: as above; the helper checks the source.
    u64::from(unsafe { read_user(to.cast(), size as u32, (from - size) as *const _) } == 0)
}
