//! Which processes are traced.
//!
//! In: the current process, the settings, the SCOPE map. Out: yes or no. Always holds: the agent itself is never traced.

use crate::{maps::SCOPE, settings::setting, walk::tgid};

/// Whether the current process is the agent.
#[inline(always)]
pub(crate) fn is_self() -> bool {
    tgid() == setting!(self_tgid)
}

/// Whether the current process is traced at all.
#[inline(always)]
pub(crate) fn in_scope() -> bool {
    let tgid = tgid();
    if tgid == setting!(self_tgid) {
        return false;
    }
    // SAFETY: one byte, only tested for presence.
    setting!(scope_all) != 0 || unsafe { SCOPE.get(tgid) }.is_some()
}
