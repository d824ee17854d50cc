//! Programs that try again: a server that fails, and a shop and a Node server that call it.

use std::process::Command;

use anyhow::Result;

use super::python::interpreter;
use super::{Serving, Victim};
use crate::process::{built, free_port, program, source};

/// A server whose first answers to each customer are failures (`/fail/HOW/TIMES/…`).
///
/// # Errors
/// When it cannot be started.
pub fn flaky() -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(interpreter()?);
    command
        .arg(source("retries/flaky.py"))
        .arg(port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Victim::start("flaky", Serving::Thread, port, &mut command, None)
}

/// gunicorn's gthread and Flask, with `requests` and urllib3's Retry: one process, 16 threads. Nobody listens on `gone`.
///
/// # Errors
/// When it cannot be started.
pub fn shop(bank: &Victim, gone: u16) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(built("venv/bin/gunicorn")?);
    command
        .args(["-w", "1", "-k", "gthread", "--threads", "16", "-b"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("shop:app")
        .current_dir(source("retries"))
        .env("LEAF_URL", bank.url())
        .env("GONE_URL", format!("http://127.0.0.1:{gone}"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let victim = Victim::start("shop", Serving::Thread, port, &mut command, None)?;
    // The arbiter listens before its worker is there.
    let deadline =
        std::time::Instant::now() + crate::scene::scaled(std::time::Duration::from_secs(20));
    while !victim.log().contains("Booting worker") {
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "gunicorn has no worker: {}",
            victim.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(victim)
}

/// Node's http with axios and axios-retry.
///
/// # Errors
/// When node is not installed or the packages are not built.
pub fn axios_retry(bank: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(program(&["node"], "nodejs")?);
    command
        .arg(source("retries/caller.js"))
        .arg(port.to_string())
        .env("LEAF_URL", bank.url())
        .env("MODULES", built("retries/node_modules")?);
    Victim::start("axios-retry", Serving::Loop, port, &mut command, None)
}
