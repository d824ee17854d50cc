//! Node and Ruby.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Serving, Victim, leaf_url};
use crate::process::{built, free_port, program, source};

/// Node's server library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFramework {
    /// node:http alone.
    Http,
    /// express from the victims' folder.
    Express,
}

/// Node: one event loop, http.get as its client.
///
/// # Errors
/// When node is not installed or express not built.
pub fn node(framework: NodeFramework, leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(program(&["node"], "nodejs")?);
    command
        .arg(source("node/server.js"))
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf));
    let name = match framework {
        NodeFramework::Http => "node http",
        NodeFramework::Express => {
            command
                .env("FRAMEWORK", "express")
                .env("EXPRESS", built("node/node_modules/express")?);
            "node express"
        }
    };
    Victim::start(name, Serving::Loop, port, &mut command, None)
}

/// The executable `node` with the shapes of `node/turns.js`.
///
/// # Errors
/// When it does not start.
pub fn turns(node: &Path, leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(node);
    command
        .arg(source("node/turns.js"))
        .arg(port.to_string())
        // The collector moves what lives as often as it can.
        .env("NODE_OPTIONS", "--max-semi-space-size=1")
        .env("LEAF_URL", leaf.url());
    Victim::start("node turns", Serving::Loop, port, &mut command, None)
}

/// What Node runs for `cargo xtask accuracy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeShapes {
    /// node:http as server and client.
    Http,
    /// express and axios.
    Express,
    /// fastify and undici (its own, and Node's `fetch`).
    Fastify,
    /// node:http in two worker processes.
    Cluster,
}

/// Node with one of the libraries that are measured.
///
/// # Errors
/// When node is not installed or the packages are not built.
pub fn node_shapes(kind: NodeShapes, leaf: &Victim) -> Result<Victim> {
    let (name, framework) = match kind {
        NodeShapes::Http => ("node http", "http"),
        NodeShapes::Express => ("node express", "express"),
        NodeShapes::Fastify => ("node fastify", "fastify"),
        NodeShapes::Cluster => ("node cluster", "cluster"),
    };
    let port = free_port()?;
    let mut command = Command::new(program(&["node"], "nodejs")?);
    command
        .arg(source("accuracy/node/shapes.js"))
        .args([framework, &port.to_string()])
        .env("LEAF_URL", leaf.url())
        .env("MODULES", built("accuracy-node/node_modules")?);
    Victim::start(name, Serving::Loop, port, &mut command, None)
}

/// Ruby's WEBrick: one thread per connection, Net::HTTP as its client.
///
/// # Errors
/// When ruby is not installed.
pub fn webrick(leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(program(&["ruby"], "ruby and ruby-webrick")?);
    command
        .arg(source("ruby/server.rb"))
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf));
    Victim::start("WEBrick", Serving::Thread, port, &mut command, None)
}
