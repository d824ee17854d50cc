//! `suture-accuracy [RUNTIME…] [--shape S,S…] [--concurrency N,N…] [--requests N]`: how often a call has its true parent.
//!
//! In: a built agent (`SUTURE_BIN`), the victims. Out: a table on stdout, a line for each runtime and shape of calls: right,
//! root, wrong, missing, doubled for the calls' spans, the same for the spans of who answers them, and the evidence.
//! Always holds: the truth is the id in the path, and what is compared are the exported spans alone. Refuses: to end with
//! 0 when a span was wrong, missing or doubled, or a runtime has fallen below its floor.
#![allow(clippy::print_stdout, reason = "the table is this program's product")]

mod judge;
mod load;
mod runtimes;
mod shape;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use runtimes::Runtime;
use shape::Shape;
use stage::{Row, Session};

/// Calls whose answer must be the call's child, in percent: both ends are on this host.
const ANSWERS_FLOOR: f64 = 100.0;

/// What is measured.
struct Wanted {
    runtimes: Vec<&'static Runtime>,
    shapes: Vec<Shape>,
    concurrency: Vec<usize>,
    requests: usize,
}

fn shape_named(name: &str) -> Result<Shape> {
    let found = shape::ALL.iter().find(|shape| shape.name() == name);
    found.copied().with_context(|| {
        let names: Vec<&str> = shape::ALL.iter().map(|shape| shape.name()).collect();
        format!("{name}: no shape of calls; there are {}", names.join(", "))
    })
}

fn wanted() -> Result<Wanted> {
    let mut wanted = Wanted {
        runtimes: Vec::new(),
        shapes: shape::ALL.to_vec(),
        concurrency: vec![1, 8, 64, 256],
        requests: 200,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} wants a value"))
        };
        match word.as_str() {
            "--shape" => {
                wanted.shapes = value()?
                    .split(',')
                    .map(shape_named)
                    .collect::<Result<_>>()?;
            }
            "--concurrency" => {
                wanted.concurrency = value()?
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .context("--concurrency wants numbers with commas between, such as 1,8,64")?;
            }
            "--requests" => {
                wanted.requests = value()?.parse().context("--requests wants a number")?;
            }
            name => match runtimes::ALL.iter().find(|runtime| runtime.name == name) {
                Some(runtime) => wanted.runtimes.push(runtime),
                None => {
                    let names: Vec<&str> =
                        runtimes::ALL.iter().map(|runtime| runtime.name).collect();
                    bail!(
                        "{word}: unknown; allowed are --shape S,S…, --concurrency N,N…, --requests N, and the runtimes {}",
                        names.join(", ")
                    )
                }
            },
        }
    }
    if wanted.runtimes.is_empty() {
        wanted.runtimes = runtimes::ALL.iter().collect();
    }
    Ok(wanted)
}

/// What is wrong with these rows, each as a sentence.
fn complaints(runtime: &Runtime, rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows {
        let at = format!(
            "{} {} at {}",
            runtime.name,
            row.shape.name(),
            row.concurrency
        );
        let (calls, answers) = (&row.measured.calls, &row.measured.answers);
        let defects = calls.defects() + answers.defects();
        if defects > 0 {
            found.push(format!("{at}: {defects} wrong, missing or doubled"));
        }
        let floor = runtime
            .floors
            .iter()
            .find(|(shape, _)| *shape == row.shape)
            .map_or(0.0, |(_, floor)| *floor);
        if calls.percent() < floor {
            found.push(format!(
                "{at}: {:.2} % of the calls are right, and {floor} % have been before",
                calls.percent()
            ));
        }
        if answers.percent() < ANSWERS_FLOOR {
            found.push(format!(
                "{at}: {:.2} % of the answers are their call's child instead of {ANSWERS_FLOOR} %",
                answers.percent()
            ));
        }
        // Some servers refuse connections beyond their backlog; but what is measured must be most of what is said.
        if row.failures.len() * 2 > calls.right + calls.root {
            found.push(format!(
                "{at}: {} requests were not answered, the first: {}",
                row.failures.len(),
                row.failures[0]
            ));
        }
    }
    found
}

fn print_session(runtime: &Runtime, wanted: &Wanted, rows: &[Row], stderr: &str) -> Vec<String> {
    for shape in &wanted.shapes {
        let of_shape: Vec<&Row> = rows.iter().filter(|row| row.shape == *shape).collect();
        if of_shape.is_empty() {
            continue;
        }
        println!(
            "{}",
            table::line(runtime, *shape, &of_shape, &wanted.concurrency)
        );
        for row in of_shape {
            for example in row.measured.examples.iter().chain(row.failures.first()) {
                println!("    at {}: {example}", row.concurrency);
            }
        }
    }
    println!("{}", table::verdict(runtime, rows));
    let found = complaints(runtime, rows);
    if !found.is_empty() {
        println!(
            "    the agent said:\n      {}",
            stderr.trim().replace('\n', "\n      ")
        );
    }
    found
}

fn main() -> Result<ExitCode> {
    let wanted = wanted()?;
    println!("{}", table::head(&wanted.concurrency));
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for runtime in &wanted.runtimes {
        let has = |shape: &&Shape| runtime.floors.iter().any(|(own, _)| own == *shape);
        let shapes: Vec<Shape> = wanted.shapes.iter().filter(has).copied().collect();
        if shapes.is_empty() {
            continue;
        }
        let plan = stage::Plan {
            shapes: &shapes,
            concurrency: &wanted.concurrency,
            requests: wanted.requests,
        };
        match stage::measure(runtime, &plan)
            .with_context(|| format!("measuring {}", runtime.name))?
        {
            Session::Skipped(why) => {
                println!("{:<20} SKIPPED: {why}", runtime.name);
                skipped.push(runtime.name);
            }
            Session::Measured(rows, stderr) => {
                found.extend(print_session(runtime, &wanted, &rows, &stderr));
            }
        }
    }
    if !skipped.is_empty() {
        println!("not measured on this machine: {}", skipped.join(", "));
    }
    for complaint in &found {
        println!("FAILED: {complaint}");
    }
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
