//! Runs test programs and counts what they say.
//!
//! In: a command whose stdout has libtest's result lines. Out: [`Counts`]. Always holds: every line is passed on as it
//! comes; a program that fails without naming a failed test counts as one failure.

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
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} did not run", self.ignored)?;
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

/// Passes lines on as they come, and counts the tests they tell of.
fn pass_on(from: impl Read, to: &mut impl Write) -> io::Result<Counts> {
    let mut sum = Counts::default();
    for text in BufReader::new(from).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        writeln!(to, "{text}")?;
        if let Some(counts) = result_line(&text) {
            sum += counts;
        }
    }
    Ok(sum)
}

/// Runs it, passes its stdout on and counts its tests.
///
/// # Errors
/// It could not be started or read.
pub fn run(command: &mut Command) -> Result<Counts> {
    let line = process::shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut sum = Counts::default();
    if let Some(out) = child.stdout.take() {
        sum = pass_on(out, &mut stdout())
            .with_context(|| format!("cannot pass on what `{line}` prints"))?;
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() && sum.failed == 0 {
        eprintln!("xtask: `{line}` failed ({status})");
        sum.failed = 1;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may panic"
    )]
    use super::{Counts, pass_on, result_line, run};
    use crate::process;

    #[test]
    fn result_lines_are_read() {
        let check = |line: &str, expect: Option<(u64, u64, u64)>| {
            let expect = expect.map(|(passed, failed, ignored)| Counts {
                passed,
                failed,
                ignored,
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
        let sum = pass_on(lines.as_bytes(), &mut seen).unwrap();
        assert_eq!(
            sum,
            Counts {
                passed: 2,
                failed: 2,
                ignored: 0
            }
        );
        assert_eq!(String::from_utf8(seen).unwrap(), lines);
    }

    #[test]
    fn a_failure_without_a_count_is_one() {
        assert_eq!(
            run(process::command("sh").args(["-c", "exit 3"]))
                .unwrap()
                .failed,
            1
        );
        assert_eq!(
            run(&mut process::command("true")).unwrap(),
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
                    ignored
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
