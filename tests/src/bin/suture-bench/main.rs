//! `suture-bench [syscalls] [load] [runtimes] [queues] [memory] [--rounds N] [--seconds N] [--minutes-of-load N]`: the published figures.
//!
//! In: a built agent (`SUTURE_BIN`), wrk, nginx, the Go victim, Redis, Kafka. Out: a table on stdout, medians of paired rounds with
//! and without the agent, in turn. Always holds: both sides of a pair run the same program for the same time on the
//! same machine within seconds. Refuses: to print a figure for a part that did not run.
#![allow(clippy::print_stdout, reason = "the table is this program's product")]

mod load;
mod memory;
mod queues;
mod runtimes;
mod syscalls;

use anyhow::{Context, Result, bail};
use suture_tests::process::Folder;
use suture_tests::{Agent, AgentCommand};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs of runs.
    pub rounds: usize,
    /// Seconds of wrk per run.
    pub seconds: u32,
    /// Seconds of wrk for the memory figure after the first 100 thousand requests.
    pub memory_seconds: u32,
}

/// The middle value; the mean of both middle ones when their number is even. NaN when there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// The agent with this configuration, if one is wanted; the file is in `folder`.
///
/// # Errors
/// When it does not start.
pub fn agent_with(config: Option<&str>, folder: &Folder) -> Result<Option<Agent>> {
    let started = config.map(|text| {
        let agent = AgentCommand::plain(&["run", "--print", "none"]);
        agent.configured(folder, text)?.start()
    });
    started.transpose()
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores, {}, Linux {}",
        model.trim_start_matches([' ', '\t', ':']),
        release.trim()
    )
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "worker") {
        return syscalls::worker(&arguments[1..]);
    }
    let mut plan = Plan {
        rounds: 5,
        seconds: 5,
        memory_seconds: 60,
    };
    let mut parts = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || -> Result<u32> {
            let value = words
                .next()
                .with_context(|| format!("{word} wants a number"))?;
            value
                .parse()
                .with_context(|| format!("{word} {value}: not a number"))
        };
        match word.as_str() {
            "syscalls" | "load" | "runtimes" | "queues" | "memory" => parts.push(word.as_str()),
            "--rounds" => plan.rounds = number()? as usize,
            "--seconds" => plan.seconds = number()?,
            "--memory-seconds" => plan.memory_seconds = number()?,
            _ => bail!(
                "{word}: unknown; allowed are syscalls, load, runtimes, queues, memory, --rounds N, --seconds N, --memory-seconds N"
            ),
        }
    }
    if parts.is_empty() {
        parts = vec!["syscalls", "load", "runtimes", "queues", "memory"];
    }
    println!("machine: {}; {} rounds; medians", machine(), plan.rounds);
    for part in parts {
        match part {
            "syscalls" => syscalls::run(plan)?,
            "load" => load::run(plan)?,
            "runtimes" => runtimes::run(plan)?,
            "queues" => queues::run(plan)?,
            _ => memory::run(plan)?,
        }
    }
    Ok(())
}
