//! `cargo xtask VERB`: everything one does with this repository, one file per verb.
//!
//! In: a verb and its arguments. Out: the verb's work; exit code 1 and a sentence when it failed. Always holds: a verb
//! installs what it needs and says so; a second run finds it there.

mod accuracy;
mod bench;
mod bless;
mod build;
mod check;
mod counts;
mod demo;
mod deny;
mod dist;
mod fuzz;
mod process;
mod record;
mod run;
mod setup;
mod stall;
mod test;
mod tidy;
mod toolchain;
mod vm_test;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Suture")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build everything and trace this host: `suture run` with the given arguments
    Run {
        /// Arguments of `suture run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Trace a small shop of real programs under a little load
    Demo {
        /// End by itself after so many seconds
        #[arg(long)]
        seconds: Option<u64>,
        /// Arguments of `suture run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build the BPF programs and the daemon
    Build,
    /// Formatting, lints, licences, documentation, and the repository's own rules
    Check,
    /// Run the tests: all on this machine, or those whose names contain FILTER
    Test {
        /// Part of a test's name
        filter: Vec<String>,
    },
    /// Run the tests that need a kernel under Debian's 6.1 and 6.12 in QEMU
    VmTest(vm_test::Options),
    /// How often a call has its true parent, for each runtime and number of requests in flight
    Accuracy {
        /// Arguments of `suture-accuracy`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure what the agent costs
    Bench {
        /// Arguments of `suture-bench`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Whether programs stall where headers are written into their requests
    Stall(stall::Options),
    /// Fuzz the parsers
    Fuzz {
        /// One target; all without it
        target: Option<String>,
        /// How long each
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Make the golden recordings anew
    Record {
        /// Scenes; all without it
        names: Vec<String>,
    },
    /// Take what the golden recordings replay to as what is expected
    Bless {
        /// Recordings; all without it
        names: Vec<String>,
    },
    /// Make a release archive
    Dist,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run { args } => run::run(&args),
        Verb::Demo { seconds, args } => demo::run(seconds, &args),
        Verb::Build => build::all().map(|suture| eprintln!("xtask: built {}", suture.display())),
        Verb::Check => check::run(),
        Verb::Test { filter } => test::run(&filter),
        Verb::VmTest(options) => vm_test::run(&options),
        Verb::Accuracy { args } => accuracy::run(&args),
        Verb::Bench { args } => bench::run(&args),
        Verb::Stall(options) => stall::run(&options),
        Verb::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Verb::Record { names } => record::run(&names),
        Verb::Bless { names } => bless::run(&names),
        Verb::Dist => dist::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why:#}");
            ExitCode::FAILURE
        }
    }
}
