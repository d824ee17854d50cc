//! The frame of one scenario: the machine-wide turn, the receiver, unique ids, time scale.
//!
//! Always holds: while a [`Scene`] lives no other one does on this machine (a lock on a file, which the kernel
//! releases however the process ends), because a second agent refuses to start.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::agent::AgentCommand;
use crate::receiver::Receiver;

/// `SUTURE_TIME_SCALE`: by how much everything is slower here (1 when unset; 10 to 20 under emulation).
pub fn time_scale() -> f64 {
    std::env::var("SUTURE_TIME_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|scale| *scale >= 1.0)
        .unwrap_or(1.0)
}

/// A time, times [`time_scale`].
pub fn scaled(time: Duration) -> Duration {
    time.mul_f64(time_scale())
}

/// How often to do a thing: `full`, or a fifth of it (at least 4) when `SUTURE_SHORT` is set.
pub fn times(full: usize) -> usize {
    if std::env::var_os("SUTURE_SHORT").is_some() {
        (full / 5).max(4).min(full)
    } else {
        full
    }
}

/// A word that occurs in no other request on this machine: 16 hex digits.
pub fn unique_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos() as u64;
    // Low bits of the clock, the pid and a count: unique in a process by the count, between processes by the pid.
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:04x}{:06x}{:06x}",
        (now >> 20) & 0xffff,
        std::process::id() & 0xff_ffff,
        count & 0xff_ffff
    )
}

/// `count` unique ids.
pub fn unique_ids(count: usize) -> Vec<String> {
    (0..count).map(|_| unique_id()).collect()
}

/// One scenario's turn on this machine, and its receiver.
pub struct Scene {
    receiver: Receiver,
    _turn: File,
}

impl Scene {
    /// Waits for the turn, then starts a receiver.
    ///
    /// # Errors
    /// When the lock file or the receiver's ports cannot be had.
    pub fn open() -> Result<Self> {
        let path = lock_path();
        let turn = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| {
                format!(
                    "opening {}, which keeps scenarios from running at once",
                    path.display()
                )
            })?;
        turn.lock()
            .with_context(|| format!("locking {}", path.display()))?;
        Ok(Self {
            receiver: Receiver::start()?,
            _turn: turn,
        })
    }

    /// The receiver.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// An agent that exports to the receiver over gRPC, every 100 ms, and prints nothing.
    pub fn agent(&self) -> AgentCommand {
        AgentCommand::new(&self.receiver.grpc_endpoint())
    }
}

fn lock_path() -> PathBuf {
    std::env::temp_dir().join("suture-scenarios.lock")
}
