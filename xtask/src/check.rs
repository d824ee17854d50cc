//! `cargo xtask check`: what can be said about the sources without running them.
//!
//! In: the sources. Out: an error that names every check that failed. Always holds: one failed check does not hide the
//! others; what could not be checked is said.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    build::{self, OBJECT_VARIABLE},
    deny, process,
    setup::{self, program},
    tidy,
    toolchain::{self, BpfToolchain},
};

type Check = fn() -> Result<()>;

/// Runs all checks.
///
/// # Errors
/// One of them failed.
pub fn run() -> Result<()> {
    setup::packages(&[program("git", "git", "listing the repository's files")])?;
    // The daemon's crate does not compile without the object.
    build::bpf()?;
    let checks: &[(&str, Check)] = &[
        ("fmt", fmt),
        ("tidy", tidy::run),
        ("deny", deny::run),
        ("clippy", clippy),
        ("clippy for BPF", clippy_bpf),
        ("rustdoc", rustdoc),
    ];
    let mut failed = vec![];
    for (name, check) in checks {
        let begun = Instant::now();
        match check() {
            Ok(()) => eprintln!("xtask: {name}: ok ({:.1} s)", begun.elapsed().as_secs_f64()),
            Err(why) => {
                eprintln!("xtask: {name}: {why:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

fn fmt() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut clippy = process::cargo();
    clippy.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--all-targets",
    ]);
    process::run(
        clippy
            .args(["--", "-D", "warnings"])
            .env(OBJECT_VARIABLE, toolchain::bpf_object()),
    )
}

fn clippy_bpf() -> Result<()> {
    let mut clippy = BpfToolchain::ready()?.clippy()?;
    process::run(clippy.args(["--quiet", "--", "-D", "warnings"]))
}

fn rustdoc() -> Result<()> {
    let mut doc = process::cargo();
    doc.args([
        "doc",
        "--quiet",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--no-deps",
    ]);
    process::run(
        doc.env("RUSTDOCFLAGS", "-D warnings")
            .env(OBJECT_VARIABLE, toolchain::bpf_object()),
    )
}
