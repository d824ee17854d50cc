//! Brokers, programs that put messages to them while serving requests, and workers.
//!
//! In: a [`System`]. Out: a [`Crew`]: the broker, a shop that serves `/put/KIND/ID`, a worker whose messages call `/leaf/ID/N`. Always holds: the
//! worker said that it is ready. Refuses: to start with anything missing. (RabbitMQ leaves Erlang's epmd running.)

use std::process::Command;

use anyhow::Result;

use super::broker::{Broker, Server};
use super::{Serving, Victim};
use crate::process::{Running, built, free_port, source};

/// Who keeps the messages, with the client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// pika's `BlockingConnection`, one message at a time, acknowledged when it is worked on.
    Rabbitmq,
    /// paho, QoS 1.
    Mosquitto,
    /// psycopg: a table, `FOR UPDATE SKIP LOCKED`.
    Postgresql,
}

impl System {
    const fn name(self) -> &'static str {
        match self {
            Self::Rabbitmq => "rabbitmq",
            Self::Mosquitto => "mosquitto",
            Self::Postgresql => "postgresql",
        }
    }

    /// The server.
    pub const fn server(self) -> Server {
        match self {
            Self::Rabbitmq => Server::Rabbitmq,
            Self::Mosquitto => Server::Mosquitto,
            Self::Postgresql => Server::Postgresql,
        }
    }
}

/// See the module.
pub struct Crew {
    /// Works on the messages.
    pub worker: Running,
    /// Puts them.
    pub shop: Victim,
    /// Keeps them.
    pub broker: Broker,
}

impl Crew {
    /// The broker's port.
    pub fn port(&self) -> u16 {
        self.broker.port
    }
}

/// `broker.py` as `shop`, which wants a port, or as `worker`, which writes `ready`.
///
/// # Errors
/// When its Python is not built.
pub fn program_of(system: System, port: u16, leaf: &Victim, what: &str) -> Result<Command> {
    let mut command = Command::new(built("brokers/bin/python")?);
    command
        .arg(source("brokers/broker.py"))
        .args([system.name(), what])
        .env("BROKER_PORT", port.to_string())
        .env("LEAF_URL", leaf.url());
    Ok(command)
}

/// Starts all of it.
///
/// # Errors
/// When one of them cannot be started.
pub fn crew(system: System, leaf: &Victim) -> Result<Crew> {
    let broker = Broker::start(system.server())?;
    let port = broker.port;
    let mut command = program_of(system, port, leaf, "worker")?;
    let worker = super::jobs::ready("the worker", &mut command, "ready")?;
    let serves = free_port()?;
    let mut command = program_of(system, port, leaf, "shop")?;
    command.arg(serves.to_string());
    let shop = Victim::start("the shop", Serving::Thread, serves, &mut command, None)?;
    Ok(Crew {
        worker,
        shop,
        broker,
    })
}
