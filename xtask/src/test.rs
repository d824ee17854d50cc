//! `cargo xtask test`: everything that can be proven on this machine.
//!
//! In: the sources. Out: counts, and an error if a test failed or did not run. Always holds: the daemon under test is
//! the one of these sources; where there is no root, the tests that need a kernel run in a virtual machine.

use anyhow::Result;

use crate::{
    build::{self, OBJECT_VARIABLE},
    counts::{self, Counts},
    process, setup, toolchain,
    vm_test::{self, Options},
};

/// Tests with this word in their names load BPF programs and need root.
pub const KERNEL: &str = "kernel_";

/// Builds, then runs the tests whose names contain `filter` (empty: all).
///
/// # Errors
/// A build or a test failed, or something that is needed could not be installed.
pub fn run(filter: &[String]) -> Result<()> {
    setup::victims()?;
    let suture = build::all()?;
    let root = process::is_root();
    let mut sum = Counts::default();

    let mut host = process::cargo();
    host.args([
        "test",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--exclude",
        "suture-tests",
        "--no-fail-fast",
        "--",
    ]);
    host.args(filter)
        .env(OBJECT_VARIABLE, toolchain::bpf_object());
    if !root {
        host.args(["--skip", KERNEL]);
    }
    sum += counts::run(&mut host)?.counts;

    sum += counts::run_twice(|names| {
        let mut scenarios = process::cargo();
        scenarios.args(["test", "--package", "suture-tests", "--no-fail-fast"]);
        if !root {
            scenarios.args(["--lib", "--test", "golden"]);
        }
        scenarios.arg("--").env("SUTURE_BIN", &suture);
        if names.is_empty() {
            scenarios.args(filter);
        } else {
            scenarios.arg("--exact").args(names);
        }
        counts::run(&mut scenarios)
    })?;
    if !root {
        eprintln!(
            "xtask: this is not root, so the tests that need a kernel run in a virtual machine"
        );
        sum += vm_test::counted(&Options::default())?;
    }
    sum.conclude("test")
}
