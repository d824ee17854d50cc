//! How often a message, the work on it and what the work calls have their true parents: a row for each queue system and library.
//!
//! In: [`rows::ALL`], real brokers and libraries. Out: lines of the table, and complaints. Always holds: the id in the path of the request and in
//! those of the worker's calls is the truth; only exported spans are compared.

mod judge;
#[cfg(test)]
mod judge_tests;
mod lines;
pub mod rows;
mod stage;

use anyhow::{Context, Result};

use judge::Measured;
use rows::Queue;

/// What is asked for of each row.
pub struct Wanted {
    /// Jobs in flight.
    pub concurrency: Vec<usize>,
    /// Jobs for each number in flight, at least twice that number.
    pub requests: usize,
    /// Whether broker, shop and workers are older than the agent.
    pub older: bool,
}

/// The lines above all others.
pub fn head() -> String {
    lines::head()
}

/// Measures a row and prints it; returns what is wrong, each as a sentence.
///
/// # Errors
/// The agent or one of the programs does not start or does not end.
pub fn measure(queue: &Queue, wanted: &Wanted) -> Result<Vec<String>> {
    let session =
        stage::measure(queue, wanted).with_context(|| format!("measuring {}", queue.name))?;
    let mut found = Vec::new();
    for load in &session.loads {
        println!("{}", lines::line(queue, load));
        for example in load.measured.examples.iter().chain(load.failures.first()) {
            println!("    at {}: {example}", load.in_flight());
        }
        found.extend(complaints(queue, load));
    }
    println!("{}", lines::verdict(queue, &session.loads));
    if !found.is_empty() {
        println!(
            "    the agent said:\n      {}",
            session.stderr.trim().replace('\n', "\n      ")
        );
    }
    Ok(found)
}

fn complaints(queue: &Queue, load: &stage::Load) -> Vec<String> {
    let at = format!("{} at {}", queue.name, load.in_flight());
    let mut found = Vec::new();
    let Measured {
        puts,
        work,
        calls,
        links,
        ..
    } = &load.measured;
    for (what, score, floor) in [
        ("messages", puts, queue.floors.puts),
        ("deliveries", work, queue.floors.work),
        ("calls", calls, queue.floors.calls),
        ("retries", links, queue.floors.links),
    ] {
        // The first messages of all tell that there is a queue, and which threads there are: they may be unknown, never wrong.
        let defects = if load.is_first {
            score.wrong
        } else {
            score.defects()
        };
        if defects > 0 {
            found.push(format!("{at}: {defects} {what} wrong, missing or doubled"));
        }
        if !load.is_first && score.percent() < floor {
            found.push(format!(
                "{at}: {:.2} % of the {what} are right, and {floor} % have been before",
                score.percent()
            ));
        }
    }
    if load.measured.late > queue.floors.late && !load.is_first {
        found.push(format!("{at}: {} deliveries end late", load.measured.late));
    }
    if !load.failures.is_empty() {
        found.push(format!(
            "{at}: {} requests were not answered",
            load.failures.len()
        ));
    }
    found
}
