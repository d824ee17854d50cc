//! What the findings mean, in plain words.
//!
//! In: [`Findings`]. Out: [`Report`], a row per thing Suture uses, and its text. Always holds: pure; a row that is not `ok` says what is
//! lost and what would turn it on; the report says "can run" exactly when no row is `missing`. Refuses: nothing.

use std::fmt;

use super::{findings::Findings, rows};

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Ok,
    /// It does not; Suture runs without it.
    Off,
    /// It does not, and Suture cannot run without it.
    Missing,
}

/// One thing Suture uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The thing.
    pub what: &'static str,
    /// Whether it works.
    pub state: State,
    /// Why, and what is lost without it.
    pub why: String,
    /// What would turn it on.
    pub fix: Option<String>,
}

/// All rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The line above the rows.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Report {
    /// True when nothing that is needed is missing.
    pub fn can_run(&self) -> bool {
        self.rows.iter().all(|row| row.state != State::Missing)
    }

    /// Exit status of `suture doctor`: 0 when Suture can run, 2 when not.
    pub fn exit_code(&self) -> u8 {
        if self.can_run() { 0 } else { 2 }
    }

    /// Judges the findings.
    pub fn of(findings: &Findings) -> Self {
        let rows = rows::all(findings);
        let title = format!(
            "Suture {} on {}: Linux {} ({})",
            env!("CARGO_PKG_VERSION"),
            findings.host,
            findings.release,
            findings.machine
        );
        Report { title, rows }
    }
}

/// Columns of the text.
const COLUMNS: usize = 100;
/// Columns before the reasons.
const INDENT: usize = 28;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for row in &self.rows {
            let state = match row.state {
                State::Ok => "ok",
                State::Off => "off",
                State::Missing => "missing",
            };
            write!(f, "  {state:<8} {:<17}", row.what)?;
            wrap(f, &row.why)?;
            if let Some(fix) = &row.fix {
                write!(f, "{:INDENT$}", "")?;
                wrap(f, &format!("to change it: {fix}"))?;
            }
        }
        let count = |state| self.rows.iter().filter(|row| row.state == state).count();
        match (count(State::Missing), count(State::Off)) {
            (0, 0) => writeln!(f, "\nSuture can run here, with everything on."),
            (0, off) => writeln!(
                f,
                "\nSuture can run here; {off} of the things above {} off.",
                if off == 1 { "is" } else { "are" }
            ),
            (missing, _) => writeln!(
                f,
                "\nSuture cannot run here: {missing} of the things above {} missing.",
                if missing == 1 { "is" } else { "are" }
            ),
        }
    }
}

/// Writes words from column INDENT on, in lines of COLUMNS.
fn wrap(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut column = INDENT;
    for (index, word) in text.split_whitespace().enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            write!(f, "\n{:INDENT$}", "")?;
            column = INDENT;
        } else if index > 0 {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        column += width;
    }
    f.write_str("\n")
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(super) mod tests;
