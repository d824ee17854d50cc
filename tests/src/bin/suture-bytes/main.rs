//! `suture-bytes [--requests N] [--connections C] [--seed S] [--polls 1]`: says N mixed requests and other protocols over the loopback, and compares
//! each byte that arrives with what was sent, the one header aside.
//!
//! In: the numbers. Out: how many headers were written; code 1 and the first difference where there is one. Always holds: the same seed says
//! the same bytes. Refuses: other words.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use suture_tests::exact::{self, Client};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("suture-bytes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the figures are what it is for")]
fn run() -> Result<()> {
    let (mut requests, mut connections, mut seed) = (20_000, 8, 1);
    let mut client = Client::Blocks;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words
            .next()
            .with_context(|| format!("{word} takes a number"))?
            .parse::<u64>()?;
        match word.as_str() {
            "--requests" => requests = number as usize,
            "--connections" => connections = number as usize,
            "--seed" => seed = number,
            "--polls" if number == 1 => client = Client::Polls,
            "--polls" => client = Client::Blocks,
            other => {
                bail!("unknown word {other}; allowed: --requests, --connections, --seed, --polls")
            }
        }
    }
    let counts = exact::run(client, requests, connections, seed)?;
    println!("{counts:?}");
    Ok(())
}
