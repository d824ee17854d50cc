//! The clients: real programs whose connections are what a header is written into.
//!
//! In: the port that one asks. Out: its command, up to the arguments that all have in common. Always holds: each reads and
//! waits as its runtime does. Refuses: to leave out one whose program is not there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use suture_tests::process::{built, program, source};
use suture_tests::victims::python::interpreter;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// nginx with files.
    Origin,
    /// nginx that passes on.
    Proxy,
}

/// What a client is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Node,
    Python,
    Go,
    Java,
}

/// A client.
pub struct Client {
    /// Its name in the table.
    pub name: &'static str,
    /// What it asks.
    pub asks: Asks,
    runtime: Runtime,
    way: &'static str,
}

const fn client(name: &'static str, runtime: Runtime, way: &'static str, asks: Asks) -> Client {
    Client {
        name,
        asks,
        runtime,
        way,
    }
}

/// All of them.
pub const CLIENTS: &[Client] = &[
    client("nginx proxying", Runtime::Go, "", Asks::Proxy),
    client("uploads by nginx", Runtime::Python, "upload", Asks::Proxy),
    client("Node http", Runtime::Node, "http", Asks::Origin),
    client("Node fetch", Runtime::Node, "fetch", Asks::Origin),
    client("Go net/http", Runtime::Go, "", Asks::Origin),
    client("asyncio", Runtime::Python, "asyncio", Asks::Origin),
    client("Java HttpURLConnection", Runtime::Java, "url", Asks::Origin),
    client("Java java.net.http", Runtime::Java, "client", Asks::Origin),
    client("FIONREAD reader", Runtime::Python, "fionread", Asks::Origin),
];

impl Client {
    /// Its command, up to and with its way.
    ///
    /// # Errors
    /// Its program is not there.
    pub fn command(&self) -> Result<Command> {
        let (program, before): (PathBuf, Vec<PathBuf>) = match self.runtime {
            Runtime::Node => (
                program(&["node"], "nodejs")?,
                vec![source("stall/client.js")],
            ),
            Runtime::Python => (interpreter()?, vec![source("stall/client.py")]),
            Runtime::Go => (built("stall-go")?, Vec::new()),
            Runtime::Java => (
                program(&["java"], "default-jdk-headless")?,
                vec![
                    "-XX:TieredStopAtLevel=1".into(),
                    "-XX:+UseSerialGC".into(),
                    "-Xmx128m".into(),
                    "-cp".into(),
                    built("stall-java")?,
                    "Stall".into(),
                ],
            ),
        };
        let mut command = Command::new(program);
        command.args(before);
        if !self.way.is_empty() {
            command.arg(self.way);
        }
        Ok(command)
    }
}
