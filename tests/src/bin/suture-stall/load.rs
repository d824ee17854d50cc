//! One run: the clients, so many at once, for some seconds, and what each says of its waits.
//!
//! In: the clients and the servers. Out: for each its requests, failures, stalls and longest wait. Always holds: a client that does not
//! end in time is ended, and is one failure and one stall. Refuses: a client that says nothing.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use suture_tests::process::Running;

use crate::clients::{Asks, Client};
use crate::servers::Servers;

/// How long a client may take to start and to end, beside what it waits for.
const START: Duration = Duration::from_secs(20);

/// What is asked of each client.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How long.
    pub seconds: u32,
    /// From how many seconds on a request has failed.
    pub patience: u32,
    /// From how many on it is a stall.
    pub stall: u32,
    /// How many connections.
    pub connections: u32,
    /// How many clients at the same time.
    pub at_once: usize,
}

/// What a client says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits {
    /// Requests, failed ones too.
    pub requests: u64,
    /// Those without a right answer.
    pub failures: u64,
    /// Those that took too long.
    pub stalls: u64,
    /// The longest, in seconds.
    pub longest: f64,
}

impl Waits {
    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.stalls += other.stalls;
        self.longest = self.longest.max(other.longest);
    }

    fn of(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.starts_with('{'))?;
        let told: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            requests: told["requests"].as_u64()?,
            failures: told["failures"].as_u64()?,
            stalls: told["stalls"].as_u64()?,
            longest: told["longest"].as_f64()?,
        })
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{:>9} {:>8} {:>9.2} {:>6}",
            self.requests, self.failures, self.longest, self.stalls
        )
    }
}

impl Load {
    /// Runs the clients.
    ///
    /// # Errors
    /// One cannot be started, or says nothing.
    pub fn run(&self, clients: &[&Client], servers: &Servers) -> Result<Vec<Waits>> {
        let mut waits = Vec::new();
        for group in clients.chunks(self.at_once) {
            waits.extend(self.together(group, servers)?);
        }
        Ok(waits)
    }

    fn together(&self, clients: &[&Client], servers: &Servers) -> Result<Vec<Waits>> {
        let begun = Instant::now();
        let mut running = Vec::new();
        for client in clients {
            let port = match client.asks {
                Asks::Origin => servers.origin(),
                Asks::Proxy => servers.proxy(),
            };
            let mut command = client.command()?;
            let numbers = [self.seconds, self.patience, self.stall, self.connections];
            command
                .arg(port.to_string())
                .args(numbers.map(|number| number.to_string()));
            running.push((client, Running::start(client.name, &mut command)?));
        }
        let work = Duration::from_secs(u64::from(self.seconds + 2 * self.patience));
        running
            .into_iter()
            .map(|(client, mut one)| {
                // `wait_end` scales what it is told, and the clients' seconds are not.
                let left = work.saturating_sub(begun.elapsed());
                if one
                    .wait_end(START + left.div_f64(suture_tests::scene::time_scale()))
                    .is_err()
                {
                    eprintln!("suture-stall: {} did not end:\n{}", client.name, one.log());
                    return Ok(Waits {
                        requests: 1,
                        failures: 1,
                        stalls: 1,
                        longest: begun.elapsed().as_secs_f64(),
                    });
                }
                let log = one.log();
                let waits = Waits::of(&log)
                    .with_context(|| format!("{} said nothing of its waits: {log}", client.name))?;
                if waits.requests == 0 {
                    bail!("{} made no request: {log}", client.name);
                }
                for line in log.lines().filter(|line| !line.starts_with('{')).take(3) {
                    eprintln!("suture-stall: {}: {line}", client.name);
                }
                Ok(waits)
            })
            .collect()
    }
}
