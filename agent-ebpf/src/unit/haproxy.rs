//! haproxy: for whose connection its current task works.
//!
//! In: the current task and where haproxy keeps what (`agent/src/enrich/units/haproxy.rs`). Out: the address of the `struct connection` of the client
//! that it works for. Always holds: the function that runs is compared with the two that are known: `h1_io_cb`, which reads a
//! client's request and whose context begins with that connection, and `process_stream`, which connects to a server or sends on
//! a kept connection to it for one stream (gdb, 2.6.12). A stream knows its session, that its origin. Refuses: whatever
//! other tasks do (health checks, Lua, what a new connection sends when it is there: it was bound to the stream when it was made).
//!
//! `Runtime::offsets`: 0, how far `th_ctx` is below the thread pointer; 1, `thread_ctx.current`; 2, `task.process`; 3,
//! `task.context`; 4, `stream.sess`; 5, `session.origin`. `Runtime::addresses`: `process_stream`, `h1_io_cb`.

use agent_common::abi::Runtime;

use super::many::user_word;
use crate::walk::Task;

/// The connection of the client.
#[inline(always)]
pub(crate) fn running(task: Task, known: &Runtime) -> Option<u64> {
    let at =
        |base: u64, place: usize| user_word(base.wrapping_add(u64::from(known.offsets[place])));
    let thread = user_word(task.fsbase().wrapping_sub(u64::from(known.offsets[0])))?;
    // Null between two tasks, as it is for what epoll tells at once.
    let current = at(thread, 1)?;
    let function = at(current, 2)?;
    let context = at(current, 3)?;
    let client = if function == known.addresses[0] {
        at(at(context, 4)?, 5)?
    } else if function == known.addresses[1] {
        user_word(context)?
    } else {
        return None;
    };
    (client != 0).then_some(client)
}
