//! Go and Java, compiled by setup.sh.

use std::process::Command;

use anyhow::Result;

use super::{Serving, Victim, leaf_url};
use crate::process::{built, free_port, program};

/// Go: net/http as server and client, goroutines over threads.
///
/// # Errors
/// When it is not built.
pub fn go(leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(built("go-victim")?);
    command
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf));
    Victim::start("go net/http", Serving::Loop, port, &mut command, None)
}

/// Java: com.sun.net.httpserver on a pool of 8 threads, HttpURLConnection as its client.
///
/// # Errors
/// When it is not built or there is no java.
pub fn java(leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(program(&["java"], "default-jdk-headless")?);
    command
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-cp",
        ])
        .arg(built("java")?)
        .arg("Victim")
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf));
    Victim::start("java httpserver", Serving::Thread, port, &mut command, None)
}
