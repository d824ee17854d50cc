//! `suture`: see `suture --help`.
//!
//! In: the command line. Out: an exit code: 0 done, 1 something failed on the way, 2 it could not begin (the sentence on
//! stderr says why and what to do).

use std::process::ExitCode;

use agent::{
    cli::{Cli, RunArgs, Verb},
    config::Config,
    doctor, run,
};
use clap::Parser;

/// Could not begin.
const CANNOT_BEGIN: u8 = 2;

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    agent::log::start();
    match verb {
        Verb::Run(args) => with_config(&args, |config| run::run(config, None)),
        Verb::Record(args) => {
            with_config(&args.as_run(), |config| run::run(config, Some(&args.file)))
        }
        Verb::Replay(args) => with_config(&args.as_run(), |config| {
            run::replay_file(config, &args.file)
        }),
        Verb::Doctor => {
            let report = doctor::examine();
            print_report(&report.to_string());
            ExitCode::from(report.exit_code())
        }
    }
}

#[allow(clippy::print_stdout, reason = "the report is the verb's output")]
fn print_report(text: &str) {
    print!("{text}");
}

fn with_config(args: &RunArgs, verb: impl FnOnce(&Config) -> anyhow::Result<()>) -> ExitCode {
    let done = Config::load(args)
        .map_err(anyhow::Error::from)
        .and_then(|config| verb(&config));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("suture: {error:#}");
            ExitCode::from(CANNOT_BEGIN)
        }
    }
}
