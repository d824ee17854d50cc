//! Which processes are traced.
//!
//! In: the current task, the settings, the SCOPE map. Out: yes or no. Always holds: the agent itself is never traced.

use crate::{maps::SCOPE, settings::setting, walk::Task};

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
    // SAFETY: one byte, only tested for presence.
    (setting!(scope_all) != 0 || unsafe { SCOPE.get(task.tgid()) }.is_some()).then_some(task)
}
