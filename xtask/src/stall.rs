//! `cargo xtask stall`: whether programs stall or fail where headers are written into their requests, by the program `suture-stall` of the
//! crate `tests`.
//!
//! In: where (this kernel, or Debian's in QEMU, one after the other), and arguments of `suture-stall`. Out: its tables. Always holds: an error
//! where one client is worse off with the carrier on. Refuses: nothing.

use std::{ffi::OsString, path::Path};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum as _};

use crate::{
    bench, build, process, setup,
    vm_test::{self, Kernel},
};

/// Where, and how.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// In QEMU under this kernel; without it, on this machine
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Arguments of `suture-stall`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// What suits emulation on two processors, which is some 20 times slower; the arguments that the user gives win.
const EMULATED: &[(&str, &str)] = &[
    ("--rounds", "1"),
    ("--seconds", "40"),
    ("--connections", "2"),
    ("--at-once", "2"),
    ("--stall", "15"),
];

/// Does it.
///
/// # Errors
/// A build or a machine failed, or a client is worse off.
pub fn run(options: &Options) -> Result<()> {
    setup::victims()?;
    let Some(kernel) = options.kernel else {
        return bench::measure("suture-stall", &options.args);
    };
    vm_test::machine()?;
    let suture = build::all()?;
    let program = bench::measuring("suture-stall")?;
    let script = script(&program, &options.args);
    let mut failed = vec![];
    // One after the other: two of them would make each other wait.
    for (kernel, image) in vm_test::images(kernel)? {
        let mut vm = vm_test::under(&image, WAY, &suture, &script);
        vm.env("VM_TIMEOUT", "3600");
        if let Err(why) = process::run(&mut vm) {
            eprintln!("xtask: {why:#}");
            failed.push(
                kernel
                    .to_possible_value()
                    .map_or_else(String::new, |value| value.get_name().to_owned()),
            );
        }
    }
    if !failed.is_empty() {
        bail!(
            "clients stall or fail, or it could not be tried, under {}",
            failed.join(", ")
        );
    }
    Ok(())
}

/// How bytes are seen: the way that these kernels are used in, and whose programs load soonest.
const WAY: &str = "functions";

/// The command line inside.
fn script(program: &Path, args: &[OsString]) -> String {
    // Without the carrier no agent: each start of one is minutes of the verifier's work there.
    let given = |name: &str| args.iter().any(|arg| arg == name);
    let mut words = vec![program.display().to_string()];
    if !given("--alone") {
        words.push("--alone".to_owned());
    }
    for (name, value) in EMULATED {
        if !given(name) {
            words.extend([(*name).to_owned(), (*value).to_owned()]);
        }
    }
    words.extend(
        args.iter()
            .map(|arg| format!("'{}'", arg.to_string_lossy())),
    );
    words.join(" ")
}
