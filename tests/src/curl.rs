//! curl as a client: one process per call, as people use it.
//!
//! In: a URL and flags. Out: status and body. Always holds: it ends within 60 s (scaled). Refuses: nothing; an exit
//! code other than 0 is part of the outcome, because refused connects and timeouts are scenarios.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::program;
use crate::scene::time_scale;

/// What one curl said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code (7: refused, 28: timeout, 52: empty answer).
    pub code: i32,
    /// HTTP status, 0 when there was none.
    pub status: u16,
    /// Body.
    pub body: String,
    /// curl's pid.
    pub pid: u32,
}

/// Runs `curl -sS [flags] URL`.
///
/// # Errors
/// When curl is not installed or killed by a signal.
pub fn curl(url: &str, flags: &[&str]) -> Result<Outcome> {
    let limit = (60.0 * time_scale()).to_string();
    let child = Command::new(program(&["curl"], "curl")?)
        .args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            &limit,
            "-w",
            "\n%{http_code}",
        ])
        .args(flags)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting curl")?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    let Some(code) = output.status.code() else {
        bail!("curl {url} was ended by a signal: {}", output.status)
    };
    Ok(Outcome {
        code,
        status: status.trim().parse().unwrap_or(0),
        body: body.to_owned(),
        pid,
    })
}

/// Runs curl and requires this status.
///
/// # Errors
/// When curl fails or another status came.
pub fn curl_ok(url: &str, flags: &[&str], status: u16) -> Result<Outcome> {
    let outcome = curl(url, flags)?;
    if outcome.code != 0 || outcome.status != status {
        bail!("curl {flags:?} {url} should have answered {status}: {outcome:?}");
    }
    Ok(outcome)
}
