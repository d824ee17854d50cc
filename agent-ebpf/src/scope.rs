//! Which processes are traced.
//!
//! In: the current task, the settings, the SCOPE map. Out: yes or no. Always holds: the agent itself is never traced; an answer that
//! this CPU remembers is from after the last change of the scope.

use agent_common::abi::demand;

use crate::{
    ids::now,
    maps::{DEMANDS, SCOPE, scoped},
    settings::setting,
    walk::Task,
};

/// Whether the task is the agent's.
#[inline(always)]
pub(crate) fn is_self(task: Task) -> bool {
    task.tgid() == setting!(self_tgid)
}

/// The current task, if its process is traced at all.
#[inline(always)]
pub(crate) fn task_in_scope() -> Option<Task> {
    let task = Task::current();
    if is_self(task) {
        return None;
    }
    (setting!(scope_all) != 0 || is_in_scope(task.tgid())).then_some(task)
}

/// What a CPU remembers: process (22 bits at most: PID_MAX_LIMIT, include/linux/threads.h), answer, and the low bits of when the scope
/// had changed. One word, so that a program that comes between leaves a whole answer.
#[inline(always)]
fn remembered(tgid: u32, changed: u64, is_in: bool) -> u64 {
    (changed << 23) | (u64::from(is_in) << 22) | u64::from(tgid)
}

/// Whether a process is in the scope, where that is not every process. One process makes many calls on a CPU before another does, and
/// for a process outside this is all that a call costs.
#[inline(always)]
fn is_in_scope(tgid: u32) -> bool {
    let changed = change_of(demand::SCOPED).wrapping_add(change_of(demand::SCOPED_BY_KERNEL));
    let Some(place) = scoped(tgid) else {
        return false;
    };
    // SAFETY: a word of an initialised map value.
    let last = unsafe { core::ptr::read_volatile(place) };
    let is_in = remembered(tgid, changed, true);
    if last == is_in {
        return true;
    }
    let is_out = remembered(tgid, changed, false);
    if last == is_out {
        return false;
    }
    // SAFETY: one byte, only tested for presence.
    let found = unsafe { SCOPE.get(tgid) }.is_some();
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(place, if found { is_in } else { is_out }) };
    found
}

/// How often user space changed the scope, or when a program did.
#[inline(always)]
fn change_of(slot: u32) -> u64 {
    DEMANDS.get_ptr(slot).map_or(0, |place| {
        // SAFETY: a word of a map value; volatile, because others write it.
        unsafe { core::ptr::read_volatile(place) }
    })
}

/// A program changed the scope: what CPUs remember is void. The time, not a count: two programs at once leave a value that never was
/// there before.
#[inline(always)]
pub(crate) fn change() {
    if let Some(place) = DEMANDS.get_ptr_mut(demand::SCOPED_BY_KERNEL) {
        // SAFETY: a word of a map value; volatile, because others read it.
        unsafe { core::ptr::write_volatile(place, now()) };
    }
}
