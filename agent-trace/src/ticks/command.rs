//! What a scheduled command is called, and how it ended.
//!
//! In: the programs that a tick's processes become, its unit, its first process' status. Out: names, exit code, outcome. Always holds: no argument
//! of a command is looked at, because secrets stand there. Refuses: nothing.

use std::borrow::Cow;

use agent_common::abi::ProcessKey;

use crate::exchange::Outcome;
use crate::semconv;
use crate::tracer::text;

/// A program that a process became.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The name of its thread.
    pub(super) comm: String,
    /// Its service's name, once it was described.
    pub(super) service: Option<String>,
}

impl Program {
    pub(super) fn of(comm: &[u8]) -> Self {
        Self {
            comm: text(comm),
            service: None,
        }
    }
}

/// What a tick's span says.
#[derive(Debug, Default)]
pub(crate) struct Ticked {
    /// The scheduler's name.
    pub(crate) scheduler: String,
    /// The program that its first process became last.
    pub(super) first: Program,
    /// The program, no shell, that another of its processes became first.
    pub(super) other: Option<(ProcessKey, Program)>,
    /// The unit that systemd began.
    pub(super) unit: Option<String>,
    /// How the first process ended, as wait(2) says it.
    pub(crate) status: Option<u32>,
}

impl Ticked {
    /// The command: not the shell that was told to run it, where that is known, and its process if that is another than the first.
    pub(super) fn command(&self) -> (Option<ProcessKey>, &Program) {
        match &self.other {
            Some((process, other)) if is_shell(&self.first.comm) => (Some(*process), other),
            _ => (None, &self.first),
        }
    }

    /// The command's name.
    pub(crate) fn program(&self) -> &str {
        &self.command().1.comm
    }

    /// What the span is named by. Units have names of their own, but transient ones (`systemd-run`) numbers; a language's program is not what a
    /// command is known by.
    pub(crate) fn subject(&self) -> Cow<'_, str> {
        if let Some(unit) = self.unit.as_deref()
            && !unit.starts_with("run-")
        {
            return match unit.split_once('@') {
                Some((template, _)) => format!("{template}@.service").into(),
                None => unit.into(),
            };
        }
        let (_, program) = self.command();
        match &program.service {
            Some(service) if is_of_a_language(&program.comm) => service.into(),
            _ => (&program.comm).into(),
        }
    }

    /// The code the command ended with, if no signal ended it.
    pub(crate) fn exit_code(&self) -> Option<u32> {
        let status = self.status?;
        (status & SIGNAL == 0).then_some(status >> 8 & 0xff)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.status {
            Some(0) | None => Outcome::Complete,
            Some(status) if status & SIGNAL != 0 => {
                Outcome::Failed(semconv::error_of_signal(status & SIGNAL))
            }
            Some(_) => Outcome::Failed(semconv::ERROR_EXIT_CODE),
        }
    }
}

/// The signal in a status (`WTERMSIG`, wait(2)).
const SIGNAL: u32 = 0x7f;

/// Whether a program is a scheduler itself: what it begins has nothing to do with whoever began it.
pub(super) fn is_scheduler(program: &str) -> bool {
    matches!(program, "cron" | "crond" | "supercronic" | "systemd")
}

/// Whether a program is a shell, which schedulers give their commands to.
pub(super) fn is_shell(program: &str) -> bool {
    matches!(
        program,
        "sh" | "dash" | "bash" | "ash" | "zsh" | "ksh" | "busybox"
    )
}

/// Whether a program runs others' texts.
fn is_of_a_language(program: &str) -> bool {
    let name = program.trim_end_matches(|end: char| end.is_ascii_digit() || end == '.');
    matches!(
        name,
        "python" | "node" | "ruby" | "perl" | "php" | "java" | "bun" | "deno"
    )
}
