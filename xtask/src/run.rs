//! `cargo xtask run`: builds, then becomes `suture run` with the given arguments, through sudo where this is not root.
//!
//! In: arguments of `suture run`. Out: the daemon, in the foreground, in this process's place.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Error, Result};

use crate::{build, process};

/// Does it; returns only when it failed.
///
/// # Errors
/// The build failed, or the daemon could not be started.
pub fn run(args: &[OsString]) -> Result<()> {
    let suture = build::all()?;
    if !process::is_root() {
        eprintln!("xtask: sudo, because loading BPF programs needs root");
    }
    let mut suture = process::as_root(suture);
    suture.arg("run").args(args);
    let why = suture.exec();
    Err(Error::new(why).context(format!("cannot start `{}`", process::shown(&suture))))
}
