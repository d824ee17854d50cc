//! Go and Java, compiled by setup.sh.

use std::path::{Path, PathBuf};
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

/// The leaf of `cargo xtask accuracy`: Go, whose `/leaf` is late by up to `ms` milliseconds, so that answers do not come in
/// the order of the calls.
///
/// # Errors
/// When it is not built.
pub fn go_late(ms: u32) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(built("go-victim")?);
    command
        .arg(port.to_string())
        .env("LEAF_JITTER_MS", ms.to_string());
    Victim::start("leaf", Serving::Loop, port, &mut command, None)
}

/// The Go victim as setup.sh built it with another release (`go1.18.10`) or in another way (`stripped`); none when it was not.
///
/// # Errors
/// When it does not start.
pub fn go_built(how: &str, leaf: &Victim) -> Result<Option<Victim>> {
    let Ok(program) = built(&format!("go-victim-{how}")) else {
        return Ok(None);
    };
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(Some(leaf)));
    Victim::start("go net/http", Serving::Loop, port, &mut command, None).map(Some)
}

/// Go: the ways in which work passes from one goroutine to another (tests/victims/go/units).
///
/// # Errors
/// When it is not built.
pub fn go_units(leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(built("go-units")?);
    command
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf));
    Victim::start("go units", Serving::Loop, port, &mut command, None)
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

/// What serves in Java for `cargo xtask accuracy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JavaShapes {
    /// Eight threads that block.
    Fixed,
    /// A virtual thread for each request; needs Java 21.
    Virtual,
    /// Eight threads, java.net.http and CompletableFuture.
    Futures,
}

/// com.sun.net.httpserver for `cargo xtask accuracy`, by the Java of the machine or by `java`.
///
/// # Errors
/// When it is not built or there is no java.
pub fn java_shapes(kind: JavaShapes, java: Option<&Path>, leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let java = match java {
        Some(java) => java.to_owned(),
        None => program(&["java"], "default-jdk-headless")?,
    };
    let kind = match kind {
        JavaShapes::Fixed => "fixed",
        JavaShapes::Virtual => "virtual",
        JavaShapes::Futures => "futures",
    };
    let mut command = Command::new(java);
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(built("accuracy-java")?)
        .args(["Shaped", kind, &port.to_string()])
        .env("LEAF_URL", leaf.url());
    Victim::start("java httpserver", Serving::Thread, port, &mut command, None)
}

/// A Java of version 21 or later under `/usr/lib/jvm`, the first in the order of names.
pub fn java_21() -> Option<PathBuf> {
    let is_21 = |home: &PathBuf| {
        // A line such as JAVA_VERSION="25.0.1".
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        let version = release.lines().find_map(|line| {
            let (major, _) = line
                .strip_prefix("JAVA_VERSION=\"")?
                .split_once(['.', '"'])?;
            major.parse::<u32>().ok()
        });
        version.is_some_and(|major| major >= 21)
    };
    let mut homes: Vec<PathBuf> = std::fs::read_dir("/usr/lib/jvm")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(is_21)
        .collect();
    homes.sort();
    homes.first().map(|home| home.join("bin/java"))
}
