//! `suture-stall [--header on|force] [--alone] [--rounds N] [--seconds N] [--connections N] [--at-once N] [--stall N] [CLIENT…]`: whether
//! programs whose requests are given headers wait longer than they did, or fail.
//!
//! In: a built agent (`SUTURE_BIN`), nginx, and the clients under `tests/victims/stall`. Out: a table on stdout, for each client: requests, failures,
//! the longest wait and stalls, with the carrier off and on, in turn; what the agent and `suture doctor` say of this
//! kernel. Always holds: exit code 1 when a client stalled or failed more often with the carrier on. Refuses: to judge a run in which no
//! header was written. `force` keeps all sockets in the map whatever the kernel: so it is shown which kernels and clients the test finds broken.
#![allow(clippy::print_stdout, reason = "the table is this program's product")]

mod clients;
mod load;
mod servers;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use suture_tests::AgentCommand;
use suture_tests::agent::{suture, suture_output};
use suture_tests::process::Folder;

use clients::{CLIENTS, Client};
use load::{Load, Waits};
use servers::Servers;

/// How the carrier is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Header {
    /// As users have it.
    On,
    /// With all sockets in the map for good.
    Force,
}

#[derive(Parser)]
#[command(about = "Whether programs stall or fail where headers are written into their requests")]
struct Cli {
    /// How the carrier is on, where it is on
    #[arg(long, value_enum, default_value_t = Header::On)]
    header: Header,
    /// Where the carrier is off there is no agent at all
    #[arg(long)]
    alone: bool,
    /// Runs with the carrier off and on
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Connections of each client
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// Clients that run at the same time
    #[arg(long, default_value_t = CLIENTS.len(), value_parser = at_least_one)]
    at_once: usize,
    /// Seconds from which on a request is a stall; after four times as many it has failed
    #[arg(long, default_value_t = 5)]
    stall: u32,
    /// Only clients whose names contain one of these
    only: Vec<String>,
}

fn at_least_one(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A client without and with the carrier, over all rounds.
struct Row {
    client: &'static Client,
    off: Waits,
    on: Waits,
}

impl Row {
    fn is_worse(&self) -> bool {
        self.on.failures > self.off.failures
            || self.on.stalls > self.off.stalls
            || self.on.requests == 0
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(worse) => {
            eprintln!("suture-stall: {worse} clients stall or fail more often with the carrier on");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("suture-stall: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many clients are worse off.
fn run(cli: &Cli) -> Result<usize> {
    let load = Load {
        seconds: cli.seconds,
        patience: cli.stall * 4,
        stall: cli.stall,
        connections: cli.connections,
        at_once: cli.at_once,
    };
    let is_wanted = |client: &&Client| {
        cli.only.is_empty()
            || cli
                .only
                .iter()
                .any(|part| client.name.contains(part.as_str()))
    };
    let mut rows: Vec<Row> = CLIENTS
        .iter()
        .filter(is_wanted)
        .map(|client| Row {
            client,
            off: Waits::default(),
            on: Waits::default(),
        })
        .collect();
    ensure!(!rows.is_empty(), "no client is named so");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Linux {}; doctor: {}", release.trim(), doctor()?);
    let on = match cli.header {
        Header::On => "on",
        Header::Force => "force",
    };
    let clients: Vec<&Client> = rows.iter().map(|row| row.client).collect();
    for round in 1..=cli.rounds {
        for header in ["off", on] {
            let (waits, said) = if header == "off" && cli.alone {
                let servers = Servers::start()?;
                (load.run(&clients, &servers)?, "no agent".to_owned())
            } else {
                side(header, &clients, &load)?
            };
            eprintln!("suture-stall: round {round}, {header}: {said}");
            for (row, waits) in rows.iter_mut().zip(waits) {
                let side = if header == "off" {
                    &mut row.off
                } else {
                    &mut row.on
                };
                side.add(waits);
            }
        }
    }
    print(&rows, cli, on);
    Ok(rows.iter().filter(|row| row.is_worse()).count())
}

/// The clients beside an agent with this `propagation.header`; and what the agent said of it.
fn side(header: &str, clients: &[&Client], load: &Load) -> Result<(Vec<Waits>, String)> {
    let folder = Folder::new()?;
    let hooks = std::env::var("SUTURE_TEST_HOOKS")
        .map(|way| format!("hooks = \"{way}\"\n"))
        .unwrap_or_default();
    // Clients and servers are on one host: with the pair of sockets they find each other, and nothing is written. Queues are none of this test's
    // concern, and their programs take long to load under emulation.
    let text = format!(
        "[propagation]\nheader = \"{header}\"\nsocket_pair = \"off\"\n[capture]\nqueues = \"off\"\n{hooks}"
    );
    let agent = AgentCommand::plain(&["run", "--print", "none"])
        .configured(&folder, &text)?
        .start()?;
    // Under the agent, or the carrier would leave a proxy's kept connections alone.
    let servers = Servers::start()?;
    let waits = load.run(clients, &servers)?;
    drop(servers);
    let stderr = agent.stop()?.stderr;
    let written = written(&stderr);
    ensure!(
        header == "off" || written > 0,
        "the agent wrote no header; it said:\n{stderr}"
    );
    let which = if stderr.contains("the first request of a connection only") {
        ", into first requests only"
    } else {
        ""
    };
    Ok((waits, format!("{written} headers written{which}")))
}

/// The count of `header_written` in the agent's summary.
fn written(stderr: &str) -> u64 {
    stderr
        .lines()
        .find(|line| line.contains("reason=header_written}"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// The verdict of `suture doctor`.
fn doctor() -> Result<String> {
    let told = suture_output(&mut suture(&["doctor"])?)?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains("header injection"));
    let first = lines
        .next()
        .with_context(|| format!("suture doctor says nothing of headers:\n{text}"))?;
    // A row goes on in lines that begin where its text did.
    let more = lines.take_while(|line| line.starts_with("          "));
    let words: Vec<&str> = std::iter::once(first)
        .chain(more)
        .flat_map(str::split_whitespace)
        .collect();
    Ok(words.join(" "))
}

fn print(rows: &[Row], cli: &Cli, on: &str) {
    println!(
        "{} rounds of {} s, {} clients at once, {} connections a client; a stall takes {} s",
        cli.rounds,
        cli.seconds,
        cli.at_once.min(rows.len()),
        cli.connections,
        cli.stall
    );
    let off = if cli.alone { "no agent" } else { "header off" };
    let heading = format!(
        "{:>9} {:>8} {:>9} {:>6}",
        "requests", "failures", "longest s", "stalls"
    );
    println!("{:<23}{off:<37}header {on}", "");
    println!("{:<22} {heading}  {heading}", "client");
    for row in rows {
        let mark = if row.is_worse() { "  worse" } else { "" };
        println!("{:<22} {}  {}{mark}", row.client.name, row.off, row.on);
    }
}
