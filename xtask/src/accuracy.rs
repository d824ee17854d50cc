//! `cargo xtask accuracy`: how often a call has its true parent, by the program `suture-accuracy` of the crate `tests`.
//!
//! In: arguments of `suture-accuracy`. Out: its table. Always holds: exit code 1 when a parent was wrong, a span
//! missing or doubled, or a runtime fell below its floor.

use std::ffi::OsString;

use anyhow::Result;

use crate::{bench, setup};

/// Builds and runs it.
///
/// # Errors
/// A build failed, or a span was wrong or missing.
pub fn run(args: &[OsString]) -> Result<()> {
    setup::accuracy_victims()?;
    bench::measure("suture-accuracy", args)
}
