//! The command line: verbs and their options.
//!
//! In: the process's arguments. Out: a [`Cli`]. Always holds: a misspelt option ends the program with exit code 2 and
//! clap's sentence. Refuses: to know what the options do; that is `config` and `run`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{PrintFormat, exe_glob};

/// Traces every HTTP service on this host, without touching it.
#[derive(Clone, Debug, Parser)]
#[command(name = "suture", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the program does.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Attach to the running kernel and trace until SIGINT or SIGTERM
    Run(RunArgs),
    /// Say what this kernel and these privileges allow, what is off, why, and what would turn it on
    Doctor,
    /// Write what the kernel reports to FILE (mode 0600, secrets masked), for `suture replay`
    Record(RecordArgs),
    /// Make the traces of a recording; needs no privileges
    Replay(ReplayArgs),
}

/// `suture run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// OpenTelemetry backend, for example http://127.0.0.1:4317; stands above OTEL_EXPORTER_OTLP_ENDPOINT
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// What stdout shows; without it: tree when no endpoint is configured, else none
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub print: Option<PrintFormat>,
    /// Which processes and ports are traced.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Show the BPF programs' own log on stderr
    #[arg(long)]
    pub bpf_log: bool,
}

/// Options that narrow what is traced.
#[derive(Clone, Debug, Default, Args)]
pub struct ScopeArgs {
    /// Trace only these processes and their later children
    #[arg(long, value_name = "N", num_args = 1.., action = clap::ArgAction::Append, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// Trace only executables that match: a file name (`python3*`) or, with a slash, a whole path
    #[arg(long, value_name = "GLOB", num_args = 1.., action = clap::ArgAction::Append, value_parser = exe_glob)]
    pub exe: Vec<String>,
    /// Trace only connections with one of these TCP ports, on either side
    #[arg(long, value_name = "N", num_args = 1.., action = clap::ArgAction::Append, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
}

/// `suture record`.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// The recording; must not exist yet
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which processes and ports are recorded.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Show the BPF programs' own log on stderr
    #[arg(long)]
    pub bpf_log: bool,
}

/// `suture replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A file written by `suture record`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What stdout shows
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "tree")]
    pub print: PrintFormat,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl RecordArgs {
    /// The settings these options mean, as `suture run` would have them.
    #[must_use]
    pub fn as_run(&self) -> RunArgs {
        RunArgs {
            config: self.config.clone(),
            print: Some(PrintFormat::None),
            scope: self.scope.clone(),
            bpf_log: self.bpf_log,
            ..RunArgs::default()
        }
    }
}

impl ReplayArgs {
    /// The settings these options mean, as `suture run` would have them.
    #[must_use]
    pub fn as_run(&self) -> RunArgs {
        RunArgs {
            config: self.config.clone(),
            print: Some(self.print),
            ..RunArgs::default()
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed parse is a failed test"
)]
mod tests {
    use super::{Cli, Verb};
    use crate::config::PrintFormat;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_may_be_repeated_or_follow_one_another() {
        let cli = Cli::try_parse_from([
            "suture", "run", "--pid", "1", "2", "--pid", "3", "--print", "json",
        ])
        .unwrap();
        let Verb::Run(args) = cli.verb else {
            panic!("not run")
        };
        assert_eq!(args.scope.pid, [1, 2, 3]);
        assert_eq!(args.print, Some(PrintFormat::Json));
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            &["suture"] as &[&str],
            &["suture", "run", "--print", "xml"],
            &["suture", "run", "--port", "0"],
            &["suture", "run", "--port", "65536"],
            &["suture", "run", "--pid", "x"],
            &["suture", "run", "--exe", "["],
            &["suture", "run", "--portz", "1"],
            &["suture", "replay"],
            &["suture", "dance"],
        ] {
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
