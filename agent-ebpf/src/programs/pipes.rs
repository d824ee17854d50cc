//! Pipes over which a program's processes hand jobs to each other (Celery's prefork pool).
//!
//! In: read(2) and write(2) of processes that user space named (`PIPED`), and of their children. Out: records like those of a broker's client;
//! what a process reads is its thread's context from then on. Always holds: attached only while such a program runs (`demand::PIPES`),
//! because every syscall of the host pays for it. Refuses: reads and writes of a few bytes, which are lengths and wake-ups.

use agent_common::{
    abi::{direction, op, protocol, segment_flag},
    limits::HEAD_CAPTURE_MAX,
};
use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use super::exit_result;
use crate::{
    flow::Call,
    ids::now,
    maps::{PIPED, scratch},
    messages,
    pending::AF_UNIX,
    scope::task_in_scope,
    segment::{Segment, fill, send},
    settings::setting,
    sniff::Token,
    user,
};

/// Fewest bytes that are told: a length comes before each message.
const LENGTH_MAX: i64 = 16;

/// read(fd, buf, count) returned.
#[tracepoint]
pub(crate) fn pipe_read(ctx: TracePointContext) -> u32 {
    let _ = moved(exit_result(&ctx), direction::RX, op::READ);
    0
}

/// write(fd, buf, count) returned.
#[tracepoint]
pub(crate) fn pipe_written(ctx: TracePointContext) -> u32 {
    let _ = moved(exit_result(&ctx), direction::TX, op::WRITE);
    0
}

#[inline(always)]
fn moved(moved: i64, way: u8, op: u8) -> Option<()> {
    if moved <= LENGTH_MAX {
        return None;
    }
    let task = task_in_scope()?;
    // SAFETY: one byte, only tested for presence.
    unsafe { PIPED.get(task.tgid()) }?;
    let [fd, buffer, ..] = task.registers().args();
    let key = task.pipe_of(fd)?;
    let scratch = &mut *scratch()?;
    let most = u64::from(setting!(message_bytes)).min(HEAD_CAPTURE_MAX as u64);
    let captured = user::capture(scratch, buffer, 0, (moved as u64).min(most));
    scratch.found.set(captured, Token::NONE, 0);
    // SAFETY: a Conn is integers and byte arrays, for which all zero is a value.
    unsafe { core::ptr::write_bytes(&raw mut scratch.conn, 0, 1) };
    // Its bytes have no positions.
    scratch.conn.family = AF_UNIX;
    scratch.conn.protocol = protocol::PIPE;
    let now = now();
    let call = Call {
        task,
        moved,
        op,
        dont_wait: false,
    };
    // (A read of a pipe waits.)
    if messages::ids(&mut scratch.conn, &call, way, 0) != 0 {
        scratch.found.add(segment_flag::EXCHANGE);
    }
    let segment = Segment {
        moved: moved as u32,
        pos: 0,
        enter_ns: now,
        now,
        way,
        op,
        flags: scratch.found.flags(),
    };
    fill(&mut scratch.record, &scratch.conn, &key, task, segment);
    send(scratch, buffer, 0);
    Some(())
}
