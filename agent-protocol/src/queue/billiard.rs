//! What Celery's main process and its forked children say over their pipes (billiard 4, `billiard/pool.py`): pickles of tuples whose first
//! element says what they are.
//!
//! In: the first bytes of a message. Out: [`Said`]. Always holds: nothing is unpickled: two opcodes and a job's id are looked for. Refuses:
//! everything else.
//!
//! Seen with strace (Celery 5.7, billiard 4.2): the parent writes a length and then, in one write, `(TASK, (job, None, fast_trace_task,
//! (name, id, …)))`; the child reads it in one read. The child answers `(ACK, …)` before it works and `(READY, …)` when it is done: the length
//! and a short answer in one write, a long one in a write of its own (`Connection._send_bytes`, 16 KiB).

/// Numbers of `billiard/pool.py`.
const READY: u8 = 1;
const TASK: u8 = 2;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Work on the job with this id.
    Task(&'a [u8]),
    /// The work is done.
    Ready,
    /// Something else.
    Other,
}

/// Reads a message's first bytes.
#[must_use]
pub fn said(bytes: &[u8]) -> Said<'_> {
    match number(bytes) {
        Some(TASK) => uuid(bytes).map_or(Said::Other, Said::Task),
        Some(READY) => Said::Ready,
        _ => Said::Other,
    }
}

/// The small number a pickle of a tuple begins with: perhaps a length, PROTO (0x80), perhaps FRAME (0x95), BININT1 (`K`); before Python 3.8
/// MARK (`(`) first.
fn number(bytes: &[u8]) -> Option<u8> {
    let ([0x80, _, rest @ ..] | [0, 0, _, _, 0x80, _, rest @ ..]) = bytes else {
        return None;
    };
    let rest = match rest {
        [0x95, _, _, _, _, _, _, _, _, rest @ ..] => rest,
        rest => rest,
    };
    match rest {
        [b'(', b'K', number, ..] | [b'K', number, ..] => Some(*number),
        _ => None,
    }
}

/// The first UUID in the text: a task's id stands before those of its parents.
fn uuid(bytes: &[u8]) -> Option<&[u8]> {
    const LEN: usize = 36;
    bytes.windows(LEN).find(|window| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Said, said};

    #[test]
    fn messages_are_told_by_their_number_and_a_task_by_its_id() {
        let id = b"7511e1a3-cd4b-4938-96d2-4ffb01e9213e";
        let task = [
            &b"\x80\x05\x95\xca\x03\0\0\0\0\0\0K\x02(K\0N\x8c\x10celery.app.trace\x94\x8c\x0ffast_trace_task\x94\x93\x94(\x8c\rtasks.welcome\x94\x8c$"[..],
            &id[..],
            b"\x94}\x94(\x8c\x07root_id\x94\x8c$00000000-0000-4000-8000-000000000000",
        ]
        .concat();
        for (bytes, expected) in [
            (&task[..], Said::Task(&id[..])),
            (
                b"\x80\x05\x95\x20\0\0\0\0\0\0\0K\x01(K\0N\x89N\x87",
                Said::Ready,
            ),
            (
                b"\0\0\0/\x80\x04\x95\x24\0\0\0\0\0\0\0K\x01(K\x01N\x89K\0\x8c\x04None",
                Said::Ready,
            ),
            (b"\x80\x05\x95\x20\0\0\0\0\0\0\0K\0(K\0NG", Said::Other),
            (
                b"\0\0\0#\x80\x04\x95\x18\0\0\0\0\0\0\0K\0(K\x01NG@",
                Said::Other,
            ),
            (b"\x80\x02(K\x01(K\x05", Said::Ready),
            (b"\x80\x05\x95", Said::Other),
            (b"", Said::Other),
            (b"hello", Said::Other),
        ] {
            assert_eq!(said(bytes), expected, "{bytes:?}");
        }
    }
}
