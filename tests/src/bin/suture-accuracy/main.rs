//! `suture-accuracy [RUNTIME…] [--concurrency N,N…] [--requests N]`: how often a call has its true parent.
//!
//! In: a built agent (`SUTURE_BIN`), the victims. Out: a table on stdout, for each runtime and number of requests in
//! flight: right, root, wrong, missing for the calls' spans, the same for the spans of who answers them, and the evidence.
//! Always holds: the truth is the id in the path, and what is compared are the exported spans alone. Refuses: to end with
//! 0 when a span was wrong, missing or doubled.
#![allow(clippy::print_stdout, reason = "the table is this program's product")]

mod ruler;
mod runtimes;

use anyhow::{Context, Result, bail};

use ruler::Score;

/// What is measured.
struct Plan {
    runtimes: Vec<String>,
    concurrency: Vec<usize>,
    requests: usize,
}

fn plan() -> Result<Plan> {
    let mut plan = Plan {
        runtimes: Vec::new(),
        concurrency: vec![1, 8, 64, 256],
        requests: 400,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} wants a value"))
        };
        match word.as_str() {
            "--concurrency" => {
                plan.concurrency = value()?
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .context("--concurrency wants numbers with commas between, such as 1,8,64")?;
            }
            "--requests" => {
                plan.requests = value()?.parse().context("--requests wants a number")?
            }
            name if runtimes::NAMES.contains(&name) => plan.runtimes.push(word),
            _ => bail!(
                "{word}: unknown; allowed are --concurrency N,N…, --requests N, and the runtimes {}",
                runtimes::NAMES.join(", ")
            ),
        }
    }
    if plan.runtimes.is_empty() {
        plan.runtimes = runtimes::NAMES
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
    }
    Ok(plan)
}

fn main() -> Result<()> {
    let plan = plan()?;
    println!(
        "{:<22} {:>4} | {:>6} {:>6} {:>5} {:>7} | {:>6} {:>6} {:>5} {:>7} | evidence of the calls",
        "runtime", "in f", "right", "root", "wrong", "missing", "right", "root", "wrong", "missing"
    );
    let mut failed = Score::default();
    for name in &plan.runtimes {
        for concurrency in &plan.concurrency {
            let requests = plan.requests.max(2 * concurrency);
            let measured = ruler::measure(name, *concurrency, requests)
                .with_context(|| format!("{name} with {concurrency} in flight"))?;
            println!("{name:<22} {concurrency:>4} | {measured}");
            for example in &measured.examples {
                println!("    {example}");
            }
            failed.add(&measured.calls);
            failed.add(&measured.answers);
        }
    }
    if failed.wrong + failed.missing > 0 {
        bail!(
            "{} wrong, {} missing; both must be 0",
            failed.wrong,
            failed.missing
        );
    }
    Ok(())
}
