//! What this kernel and these privileges allow: `suture doctor`, and the checks before `suture run`.
//!
//! In: the running machine. Out: [`Report`], [`PreflightError`], [`InstanceLock`]. Always holds: facts (`gather`) are apart from judgement
//! (`report`, `preflight`), so that every judgement is tested with made-up machines. Refuses: to change the host, but for mounting
//! tracefs before a run.

pub mod findings;
pub mod gather;
mod hooks;
pub mod instance;
pub mod preflight;
pub mod report;
pub mod rows;

use std::path::Path;

pub use instance::{InstanceLock, LockError};
pub use preflight::{PreflightError, preflight};
pub use report::Report;

/// Examines this machine: what `suture doctor` prints (`to_string`) and exits with (`exit_code`).
pub fn examine() -> Report {
    Report::of(&gather::thorough())
}

/// Takes the lock that keeps a second instance out, until it is dropped.
///
/// # Errors
/// [`LockError`], naming the other instance's pid.
pub fn instance_lock() -> Result<InstanceLock, LockError> {
    instance::lock(Path::new(instance::LOCK_FILE))
}
