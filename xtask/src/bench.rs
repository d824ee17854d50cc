//! `cargo xtask bench`: what the agent costs, by the program `suture-bench` of the crate `tests`.
//!
//! In: arguments of `suture-bench`. Out: its figures. Always holds: what measures and what is measured are release builds
//! of these sources.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;

use crate::{
    build, process,
    setup::{self, program},
};

/// Builds and runs it.
///
/// # Errors
/// A build failed, or the benchmark did.
pub fn run(args: &[OsString]) -> Result<()> {
    setup::packages(&[
        program("wrk", "wrk", "load on HTTP servers"),
        program("redis-benchmark", "redis-tools", "load on Redis"),
    ])?;
    // Kafka is among them.
    setup::accuracy_victims()?;
    measure("suture-bench", args)
}

/// Builds the agent and a measuring program of the crate `tests`, and runs that as root.
///
/// # Errors
/// A build failed, or the program did.
pub fn measure(name: &str, args: &[OsString]) -> Result<()> {
    let suture = build::all()?;
    let program = measuring(name)?;
    // `env`, because sudo drops the variables of its caller.
    let mut bench = process::as_root("env");
    let mut variable = OsString::from("SUTURE_BIN=");
    variable.push(&suture);
    bench.arg(variable);
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            let mut variable = OsString::from(format!("{name}="));
            variable.push(value);
            bench.arg(variable);
        }
    }
    process::run(bench.arg(program).args(args))
}

/// A measuring program of the crate `tests`, built.
///
/// # Errors
/// The build failed.
pub fn measuring(name: &str) -> Result<PathBuf> {
    process::run(process::cargo().args([
        "build",
        "--release",
        "--package",
        "suture-tests",
        "--bins",
    ]))?;
    Ok(process::target_dir().join("release").join(name))
}
