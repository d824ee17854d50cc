//! Launchers of real, unmodified programs, each serving the same paths.
//!
//! `/work/ID` calls `GET LEAF_URL/leaf/ID/0` with the language's ordinary client and then answers; `/leaf/…` and
//! `/static/…` answer at once; `/work/SHAPE/ID` makes the calls `/leaf/ID/N` that `cargo xtask accuracy` judges; `/status/CODE`, `/echo` (size of the POST body), `/slow/ID?ms=N`, `/chunked/ID`.
//! Always holds: a launcher returns when its port accepts; every process is ended when the [`Victim`] is dropped.
//! Refuses: to start with anything missing; the error names the program and Debian's package.

pub mod broker;
pub mod brokers;
pub mod compiled;
pub mod cron;
pub mod jobs;
pub mod nginx;
pub mod python;
pub mod retries;
pub mod scripts;
pub mod servers;
pub mod systemd;
pub mod teams;

use std::process::Command;

use anyhow::Result;

use crate::process::{Folder, Running, free_port};

/// Whose context a call made while serving a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The thread that reads a request makes the calls for it: they must be its children.
    Thread,
    /// A proxy on an event loop: a call must be right when its request is alone in flight, else a root or right.
    Proxy,
    /// Requests share threads: calls must be roots or right, never wrong.
    Loop,
}

/// A running victim.
pub struct Victim {
    /// Its name in messages.
    pub name: &'static str,
    /// The loopback port it serves on.
    pub port: u16,
    /// How it serves.
    pub serving: Serving,
    running: Running,
    _folder: Option<Folder>,
}

impl Victim {
    /// Starts `command` and waits until it accepts on `port`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        name: &'static str,
        serving: Serving,
        port: u16,
        command: &mut Command,
        folder: Option<Folder>,
    ) -> Result<Self> {
        let mut running = Running::start(name, command)?;
        running.wait_for_port(port)?;
        Ok(Self {
            name,
            port,
            serving,
            running,
            _folder: folder,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Pids of all its processes, now.
    pub fn pids(&self) -> Vec<u32> {
        self.running.pids()
    }

    /// The pid of the process that was started.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.running.log()
    }
}

/// `LEAF_URL` for a victim that calls `leaf`, or empty.
fn leaf_url(leaf: Option<&Victim>) -> String {
    leaf.map(Victim::url).unwrap_or_default()
}

/// The server at the end of every chain: Python's http.server, one thread per connection.
///
/// # Errors
/// When it cannot be started.
pub fn leaf() -> Result<Victim> {
    python::http_server(None)
}

fn fresh() -> Result<(u16, Folder)> {
    Ok((free_port()?, Folder::new()?))
}
