//! The table that is printed.
//!
//! In: rows of one runtime. Out: a line for each shape, and one verdict. Always holds: a line's last words say what did not
//! go as asked (requests that were not answered, fewer in flight than asked for).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::runtimes::{Runtime, Target};
use crate::score::Score;
use crate::shape::Shape;
use crate::stage::Row;

/// The two lines above all others.
pub fn head(concurrency: &[usize]) -> String {
    let columns: String = concurrency.iter().fold(String::new(), |mut line, count| {
        let _ = write!(line, " {count:>6}");
        line
    });
    format!(
        "{:<20} {:<10}  calls with the right parent, in %,       | calls                          | answers of the leaf            |\n\
         {:<20} {:<10} {columns} in flight{:pad$} |  right   root wrong miss doubl |  right   root wrong miss doubl | evidence",
        "runtime",
        "shape",
        "",
        "",
        "",
        pad = 30_usize.saturating_sub(7 * concurrency.len()),
    )
}

fn score(score: &Score) -> String {
    format!(
        "{:>6} {:>6} {:>5} {:>4} {:>5}",
        score.right, score.root, score.wrong, score.missing, score.doubled
    )
}

/// The line of one shape. `asked` are the numbers in flight that were asked for.
pub fn line(runtime: &Runtime, shape: Shape, rows: &[&Row], asked: &[usize]) -> String {
    let (mut calls, mut answers) = (Score::default(), Score::default());
    let mut evidence: BTreeMap<&str, usize> = BTreeMap::new();
    let mut line = format!("{:<20} {:<10} ", runtime.name, shape.name());
    for row in rows {
        let _ = write!(line, " {:>6.2}", row.measured.calls.percent());
        calls += row.measured.calls;
        answers += row.measured.answers;
        for (name, count) in &row.measured.evidence {
            *evidence.entry(name).or_default() += count;
        }
    }
    let pad = 40_usize.saturating_sub(7 * rows.len());
    let _ = write!(
        line,
        "{:pad$} | {} | {} |",
        "",
        score(&calls),
        score(&answers)
    );
    for (name, count) in evidence {
        let _ = write!(line, " {name} {count}");
    }
    for (row, asked) in rows.iter().zip(asked) {
        if row.concurrency < *asked {
            let _ = write!(line, "; {} instead of {asked} in flight", row.concurrency);
        }
        if !row.failures.is_empty() {
            let _ = write!(
                line,
                "; {} requests not answered at {}",
                row.failures.len(),
                row.concurrency
            );
        }
    }
    line
}

/// What the runtime was to reach, and what it did.
pub fn verdict(runtime: &Runtime, rows: &[Row]) -> String {
    let mut calls = Score::default();
    for row in rows {
        calls += row.measured.calls;
    }
    let target = match runtime.target {
        Target::Percent(percent) if calls.percent() >= percent => {
            format!("target {percent} %: reached")
        }
        Target::Percent(percent) => format!("target {percent} %: MISSED"),
        Target::Evidence => "target: as far as evidence goes".to_owned(),
    };
    format!(
        "{:<20} = {:.2} % right, {} roots, {} wrong ({target})",
        runtime.name,
        calls.percent(),
        calls.root,
        calls.wrong
    )
}
