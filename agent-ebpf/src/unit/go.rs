//! Goroutines.
//!
//! In: the current task. Out: the address of its `g`. Always holds: a syscall of Go code is made on the goroutine's own thread,
//! with `g` in thread-local storage (cmd/compile's ABI, "current goroutine": R14, and TLS at fs:-8 on linux/amd64; seen with
//! gdb on Go 1.26). Refuses: nothing.
//!
//! `Runtime::offsets[0]`: where `g` is, as the distance below the thread pointer.

use agent_common::abi::Runtime;

use super::many::user_word;
use crate::walk::Task;

/// The running goroutine.
#[inline(always)]
pub(crate) fn running(task: Task, known: &Runtime) -> Option<u64> {
    let below = u64::from(known.offsets[0]);
    user_word(task.fsbase().wrapping_sub(below)).filter(|g| *g != 0)
}
