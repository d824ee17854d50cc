//! `cargo xtask VERB`: everything one does with this repository, one file per verb.
//!
//! In: a verb and its arguments. Out: the verb's work; exit code 1 and a sentence when it failed. Always holds: a verb
//! installs what it needs and says so; a second run finds it there.

mod build;
mod process;
mod run;
mod setup;
mod toolchain;

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
    /// Build the BPF programs and the daemon
    Build,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run { args } => run::run(&args),
        Verb::Build => build::all().map(|suture| eprintln!("xtask: built {}", suture.display())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why:#}");
            ExitCode::FAILURE
        }
    }
}
