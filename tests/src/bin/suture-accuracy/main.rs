//! `suture-accuracy [RUNTIME…] [QUEUE…] [--shape S,S…] [--concurrency N,N…] [--requests N] [--soak MINUTES]`: how often a span has its true parent;
//! or, with `--soak`, whether anything grows under mixed traffic.
//!
//! In: a built agent (`SUTURE_BIN`), the victims. Out: a table on stdout, a line for each runtime and shape of calls: right,
//! root, wrong, missing, doubled for the calls' spans, the same for the spans of who answers them, and the evidence; then a line for each queue and
//! number of jobs in flight (`queues` names all of these, `runtimes` all others). Brokers, shops and workers start under the agent, with `--older` before it.
//! Always holds: the truth is the id in the path, and what is compared are the exported spans alone. Refuses: to end with
//! 0 when a span was wrong, missing or doubled, or a runtime has fallen below its floor.
#![allow(clippy::print_stdout, reason = "the table is this program's product")]

mod judge;
mod load;
mod queues;
mod runtimes;
mod score;
mod shape;
mod soak;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use queues::rows::Queue;
use runtimes::Runtime;
use shape::Shape;
use stage::{Row, Session};

/// Calls whose answer must be the call's child, in percent: both ends are on this host.
const ANSWERS_FLOOR: f64 = 100.0;

/// What is measured.
struct Wanted {
    runtimes: Vec<&'static Runtime>,
    queues: Vec<&'static Queue>,
    shapes: Vec<Shape>,
    /// None: what is usual there.
    concurrency: Option<Vec<usize>>,
    requests: Option<usize>,
    older: bool,
    soak: Option<u64>,
}

impl Wanted {
    fn concurrency(&self, usual: &[usize]) -> Vec<usize> {
        self.concurrency.clone().unwrap_or_else(|| usual.to_vec())
    }

    /// Adds the rows of this name.
    fn add(&mut self, word: &str) -> Result<()> {
        let (runtimes, queues) = (self.runtimes.len(), self.queues.len());
        let fits = |name: &str, all: &str| word == name || word == all;
        self.runtimes.extend(
            runtimes::ALL
                .iter()
                .filter(|row| fits(row.name, "runtimes")),
        );
        self.queues.extend(
            queues::rows::ALL
                .iter()
                .filter(|row| fits(row.name, "queues")),
        );
        if (runtimes, queues) == (self.runtimes.len(), self.queues.len()) {
            let runtimes = runtimes::ALL.iter().map(|row| row.name);
            let queues = queues::rows::ALL.iter().map(|row| row.name);
            let names: Vec<&str> = runtimes.chain(queues).collect();
            bail!(
                "{word}: unknown; allowed are --shape S,S…, --concurrency N,N…, --requests N, --older, --soak MINUTES, runtimes, queues, and {}",
                names.join(", ")
            );
        }
        Ok(())
    }
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
        queues: Vec::new(),
        shapes: shape::ALL.to_vec(),
        concurrency: None,
        requests: None,
        older: false,
        soak: None,
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
                let numbers = value()?
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>();
                let numbers = numbers
                    .context("--concurrency wants numbers with commas between, such as 1,8,64")?;
                wanted.concurrency = Some(numbers);
            }
            "--requests" => {
                let number = value()?.parse().context("--requests wants a number")?;
                wanted.requests = Some(number);
            }
            "--older" => wanted.older = true,
            "--soak" => {
                let minutes = value()?.parse().context("--soak wants minutes")?;
                wanted.soak = Some(minutes);
            }
            name => wanted.add(name)?,
        }
    }
    if wanted.runtimes.is_empty() && wanted.queues.is_empty() {
        wanted.add("runtimes")?;
        wanted.add("queues")?;
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
        let floor = runtime.floor(row.shape, row.concurrency);
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

fn print_session(
    runtime: &Runtime,
    wanted: &Wanted,
    concurrency: &[usize],
    rows: &[Row],
    stderr: &str,
) -> Vec<String> {
    for shape in &wanted.shapes {
        let of_shape: Vec<&Row> = rows.iter().filter(|row| row.shape == *shape).collect();
        if of_shape.is_empty() {
            continue;
        }
        println!("{}", table::line(runtime, *shape, &of_shape, concurrency));
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

/// Measures the runtimes; returns what is wrong, and what was not measured.
fn measure_runtimes(wanted: &Wanted) -> Result<(Vec<String>, Vec<&'static str>)> {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    if wanted.runtimes.is_empty() {
        return Ok((found, skipped));
    }
    let concurrency = wanted.concurrency(&[1, 8, 64, 256]);
    println!("{}", table::head(&concurrency));
    for runtime in &wanted.runtimes {
        let has = |shape: &&Shape| runtime.floors.iter().any(|(own, _)| own == *shape);
        let shapes: Vec<Shape> = wanted.shapes.iter().filter(has).copied().collect();
        if shapes.is_empty() {
            continue;
        }
        let plan = stage::Plan {
            shapes: &shapes,
            concurrency: &concurrency,
            requests: wanted.requests.unwrap_or(200),
        };
        match stage::measure(runtime, &plan)
            .with_context(|| format!("measuring {}", runtime.name))?
        {
            Session::Skipped(why) => {
                println!("{:<20} SKIPPED: {why}", runtime.name);
                skipped.push(runtime.name);
            }
            Session::Measured(rows, stderr) => {
                found.extend(print_session(runtime, wanted, &concurrency, &rows, &stderr));
            }
        }
    }
    Ok((found, skipped))
}

fn main() -> Result<ExitCode> {
    let wanted = wanted()?;
    if let Some(minutes) = wanted.soak {
        return Ok(verdict(&soak::run(minutes)?));
    }
    let (mut found, skipped) = measure_runtimes(&wanted)?;
    let of_queues = queues::Wanted {
        concurrency: wanted.concurrency(&[1, 8, 64]),
        requests: wanted.requests.unwrap_or(100),
        older: wanted.older,
    };
    if !wanted.queues.is_empty() {
        println!("{}", queues::head());
    }
    for queue in &wanted.queues {
        found.extend(queues::measure(queue, &of_queues)?);
    }
    if !skipped.is_empty() {
        println!("not measured on this machine: {}", skipped.join(", "));
    }
    Ok(verdict(&found))
}

fn verdict(found: &[String]) -> ExitCode {
    for complaint in found {
        println!("FAILED: {complaint}");
    }
    if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
