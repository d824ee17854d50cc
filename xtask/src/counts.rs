//! Runs test programs and counts what they say.
//!
//! In: a command whose stdout has libtest's result lines. Out: [`Counts`], and what failed. Always holds: every line is passed on as it
//! comes; a program that fails without naming a failed test counts as one failure. Refuses: to forgive a test that saw anything but that
//! something was late.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read, Write, stdout},
    ops::AddAssign,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// How many tests passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Marked `#[ignore]`: did not run.
    pub ignored: u64,
    /// Of those that passed: only when they were run a second time.
    pub unsteady: u64,
}

/// A test that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name, as `--exact` takes it.
    pub name: String,
    /// What it printed.
    pub text: String,
}

/// What tests say of programs, and spans, that were waited for in vain (`suture_tests`' agent, process and receiver).
const LATE: [&str; 4] = [
    "was not ready within",
    "did not end within",
    "did not open",
    "did not come in",
];

impl Failure {
    /// Whether a second run may tell a busy machine from a defect: something did not come in time. A span that came and is not as it should be,
    /// or came twice, is a defect once and for all. (Complaints are a list; one about a span that is not there ends so.)
    #[must_use]
    pub fn may_run_again(&self) -> bool {
        let mut complaints = self.text.lines().filter(|line| line.starts_with("- "));
        match complaints.next() {
            Some(first) => std::iter::once(first)
                .chain(complaints)
                .all(|complaint| complaint.ends_with(": no span")),
            None => LATE.iter().any(|late| self.text.contains(late)),
        }
    }
}

/// What test programs said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The counts.
    pub counts: Counts,
    /// What failed, as far as a test program named it.
    pub failures: Vec<Failure>,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.unsteady += other.unsteady;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} did not run", self.ignored)?;
        }
        if self.unsteady > 0 {
            write!(f, ", {} passed only the second time", self.unsteady)?;
        }
        Ok(())
    }
}

impl Counts {
    /// The last word of a verb that tests: prints the counts.
    ///
    /// # Errors
    /// Something failed or did not run, or nothing ran at all.
    pub fn conclude(self, verb: &str) -> Result<()> {
        // A closed pipe leaves nobody to tell.
        let _ = writeln!(stdout(), "xtask {verb}: {self}");
        self.verdict(verb)
    }

    fn verdict(self, verb: &str) -> Result<()> {
        if self.failed > 0 || self.ignored > 0 {
            bail!("{verb}: {self}");
        }
        if self.passed == 0 {
            bail!("{verb}: no test ran");
        }
        Ok(())
    }
}

/// The counts of a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<Counts> {
    let (_, counts) = line
        .trim_start()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    let mut sum = Counts::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match what {
            "passed" => sum.passed = number,
            "failed" => sum.failed = number,
            "ignored" => sum.ignored = number,
            _ => {}
        }
    }
    Some(sum)
}

/// Failures in libtest's output, line by line.
///
/// ```text
///   OUTSIDE ──`---- NAME stdout ----`──> OF(name) ──the same with another name──> OF(name)
///      ^───────────────`failures:`────────────┘
/// ```
#[derive(Default)]
struct Failures {
    found: Vec<Failure>,
    is_inside: bool,
}

impl Failures {
    fn line(&mut self, line: &str) {
        let named = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = named {
            self.is_inside = true;
            self.found.push(Failure {
                name: name.to_owned(),
                text: String::new(),
            });
        } else if line == "failures:" {
            self.is_inside = false;
        } else if self.is_inside
            && let Some(last) = self.found.last_mut()
        {
            last.text.push_str(line);
            last.text.push('\n');
        }
    }
}

/// Passes lines on as they come, each after `label`, and counts the tests they tell of.
fn pass_on(from: impl Read, label: &str, to: &mut impl Write) -> io::Result<Outcome> {
    let mut counts = Counts::default();
    let mut failures = Failures::default();
    for text in BufReader::new(from).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        writeln!(to, "{label}{text}")?;
        failures.line(&text);
        if let Some(found) = result_line(&text) {
            counts += found;
        }
    }
    Ok(Outcome {
        counts,
        failures: failures.found,
    })
}

/// Runs it, passes its stdout on and counts its tests.
///
/// # Errors
/// It could not be started or read.
pub fn run(command: &mut Command) -> Result<Outcome> {
    run_beside_others(command, "")
}

/// The same where others print too: `label` is before each line.
///
/// # Errors
/// See [`run`].
pub fn run_beside_others(command: &mut Command, label: &str) -> Result<Outcome> {
    let line = process::shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut outcome = Outcome::default();
    if let Some(out) = child.stdout.take() {
        outcome = pass_on(out, label, &mut stdout())
            .with_context(|| format!("cannot pass on what `{line}` prints"))?;
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() && outcome.counts.failed == 0 {
        eprintln!("xtask: `{line}` failed ({status})");
        outcome.counts.failed = 1;
    }
    Ok(outcome)
}

/// Most failures that a busy machine can be the cause of.
const UNSTEADY_MAX: usize = 3;

/// Runs test programs, and few failures once more: `tests` is given the names that must run, none for all. A test that passes the second
/// time counts as passed and unsteady, and both runs stay in the output.
///
/// # Errors
/// Those of `tests`.
pub fn run_twice(mut tests: impl FnMut(&[&str]) -> Result<Outcome>) -> Result<Counts> {
    let Outcome {
        mut counts,
        failures,
    } = tests(&[])?;
    let names: Vec<&str> = failures
        .iter()
        .filter(|failure| failure.may_run_again())
        .map(|failure| failure.name.as_str())
        .collect();
    let is_all_named = failures.len() as u64 == counts.failed;
    if names.is_empty() || failures.len() > UNSTEADY_MAX || !is_all_named {
        return Ok(counts);
    }
    eprintln!("xtask: once more: {}", names.join(", "));
    let second = tests(&names)?;
    let passed = second.counts.passed.min(names.len() as u64);
    counts.failed -= passed;
    counts.passed += passed;
    counts.unsteady += passed;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may panic"
    )]
    use super::{Counts, Failure, pass_on, result_line, run, run_twice};
    use crate::process;

    #[test]
    fn result_lines_are_read() {
        let check = |line: &str, expect: Option<(u64, u64, u64)>| {
            let expect = expect.map(|(passed, failed, ignored)| Counts {
                passed,
                failed,
                ignored,
                unsteady: 0,
            });
            assert_eq!(result_line(line), expect, "{line}");
        };
        check(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            Some((5, 0, 1)),
        );
        check(
            "test result: FAILED. 4 passed; 2 failed; 0 ignored",
            Some((4, 2, 0)),
        );
        check("test a::b ... ok", None);
    }

    #[test]
    fn lines_are_passed_on_and_added_up() {
        let lines = "test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        let mut seen = vec![];
        let sum = pass_on(lines.as_bytes(), "", &mut seen).unwrap();
        assert_eq!(
            sum.counts,
            Counts {
                passed: 2,
                failed: 2,
                ..Counts::default()
            }
        );
        assert_eq!(String::from_utf8(seen).unwrap(), lines);
    }

    const FAILED: &str = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nthe agent was not ready within 30s\n\n---- a::c stdout ----\nwrong parent\n\n\nfailures:\n    a::b\n    a::c\n\ntest result: FAILED. 4 passed; 2 failed; 0 ignored\n";

    #[test]
    fn failures_are_named_with_what_they_printed() {
        let outcome = pass_on(FAILED.as_bytes(), "", &mut vec![]).unwrap();
        let failure = |name: &str, text: &str| Failure {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            outcome.failures,
            [
                failure("a::b", "the agent was not ready within 30s\n\n"),
                failure("a::c", "wrong parent\n\n\n")
            ]
        );
    }

    #[test]
    fn only_what_was_late_may_run_again() {
        for (text, expect) in [
            ("the agent did not end within 10 s after SIGTERM", true),
            (
                "jobs: 1 complaints (first 1):\n- a tick: 0 spans instead of 1: no span\n",
                true,
            ),
            ("assertion failed: 3 == 4", false),
            (
                "jobs: 1 complaints (first 1):\n- WRONG PARENT: Client",
                false,
            ),
            (
                "x: 1 complaints (first 1):\n- a put: 2 spans instead of 1: Client",
                false,
            ),
            (
                "x: 2 complaints (first 2):\n- a: 0 spans instead of 1: no span\n- one span id twice: a and b",
                false,
            ),
            (
                "x: 1 complaints (first 1):\n- evidence: none\nit did not come in 8s",
                false,
            ),
        ] {
            let failure = Failure {
                name: String::new(),
                text: text.to_owned(),
            };
            assert_eq!(failure.may_run_again(), expect, "{text}");
        }
    }

    #[test]
    fn what_fails_runs_once_more_unless_something_was_wrong() {
        let mut runs = vec![];
        let counts = run_twice(|names| {
            runs.push(names.join(" "));
            let second = "test result: ok. 1 passed; 0 failed; 0 ignored";
            let said = if runs.len() == 1 { FAILED } else { second };
            Ok(pass_on(said.as_bytes(), "", &mut vec![]).unwrap())
        })
        .unwrap();
        assert_eq!(runs, ["", "a::b"]);
        let said = "5 passed, 1 failed, 1 passed only the second time";
        assert_eq!(counts.to_string(), said);
    }

    #[test]
    fn a_failure_without_a_count_is_one() {
        assert_eq!(
            run(process::command("sh").args(["-c", "exit 3"]))
                .unwrap()
                .counts
                .failed,
            1
        );
        assert_eq!(
            run(&mut process::command("true")).unwrap().counts,
            Counts::default()
        );
    }

    #[test]
    fn nothing_run_and_tests_left_out_are_no_success() {
        let check = |passed, failed, ignored, expect: bool| {
            assert_eq!(
                Counts {
                    passed,
                    failed,
                    ignored,
                    unsteady: 0
                }
                .verdict("test")
                .is_ok(),
                expect,
                "{passed} {failed} {ignored}"
            );
        };
        check(0, 0, 0, false);
        check(1, 0, 0, true);
        check(1, 1, 0, false);
        check(1, 0, 1, false);
    }
}
