//! Brokers, programs that put messages to them while serving requests, and workers.
//!
//! In: a [`System`]. Out: a [`Crew`]: the broker, a shop that serves `/put/KIND/ID`, a worker whose messages call `/leaf/ID/N`. Always holds: the
//! worker said that it is ready. Refuses: to start with anything missing. (RabbitMQ leaves Erlang's epmd running.)

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Serving, Victim, fresh};
use crate::process::{Folder, Running, built, free_port, program, source};

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
}

/// See the module.
pub struct Crew {
    /// Works on the messages.
    pub worker: Running,
    /// Puts them.
    pub shop: Victim,
    /// Keeps them.
    pub broker: Running,
    /// The broker's.
    pub port: u16,
    _folder: Folder,
}

fn rabbitmq(port: u16, folder: &Folder) -> Result<Command> {
    let script = program(
        &["/usr/lib/rabbitmq/bin/rabbitmq-server"],
        "rabbitmq-server",
    )?;
    let mut command = Command::new(script);
    command
        .env("HOME", folder.path())
        .env("RABBITMQ_NODENAME", format!("suture{port}@localhost"))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", free_port()?.to_string())
        .env("RABBITMQ_MNESIA_BASE", folder.path())
        .env("RABBITMQ_LOG_BASE", folder.path())
        .env("RABBITMQ_PID_FILE", folder.path().join("pid"))
        .env(
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            folder.write("plugins", "[].")?,
        );
    Ok(command)
}

fn mosquitto(port: u16, folder: &Folder) -> Result<Command> {
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    let mut command = Command::new(program(&["mosquitto"], "mosquitto")?);
    command.arg("-c").arg(folder.write("conf", text)?);
    Ok(command)
}

/// The server refuses to run as root.
fn postgresql(port: u16, folder: &Folder) -> Result<Command> {
    let tool = |name: &str| {
        let places = [15, 16, 17].map(|of| format!("/usr/lib/postgresql/{of}/bin/{name}"));
        program(&places, "postgresql")
    };
    let data = folder.path().join("data");
    let as_postgres = || {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).current_dir("/");
        command
    };
    let mut make = Command::new("install");
    make.args(["-d", "-o", "postgres", "-m", "700"]).arg(&data);
    let mut init = as_postgres();
    init.arg(tool("initdb")?).args(["-A", "trust", "-N", "-D"]);
    init.arg(&data);
    for mut command in [make, init] {
        let done = command.output()?;
        ensure!(
            done.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let mut command = as_postgres();
    command.arg(tool("postgres")?).arg("-D").arg(&data).args([
        "-p",
        &port.to_string(),
        "-k",
        "",
        "-c",
        "listen_addresses=127.0.0.1",
    ]);
    Ok(command)
}

fn program_of(system: System, port: u16, leaf: &Victim, what: &str) -> Result<Command> {
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
    let (port, folder) = fresh()?;
    let mut command = match system {
        System::Rabbitmq => rabbitmq(port, &folder)?,
        System::Mosquitto => mosquitto(port, &folder)?,
        System::Postgresql => postgresql(port, &folder)?,
    };
    let mut broker = Running::start(system.name(), &mut command)?;
    // RabbitMQ needs 4 s, and on a busy machine more than one time-out.
    if broker.wait_for_port(port).is_err() {
        broker.wait_for_port(port)?;
    }
    let mut worker = Running::start("the worker", &mut program_of(system, port, leaf, "worker")?)?;
    let log = worker.log_path().to_owned();
    worker.wait_for("its readiness", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("ready")
    })?;
    let serves = free_port()?;
    let mut command = program_of(system, port, leaf, "shop")?;
    command.arg(serves.to_string());
    let shop = Victim::start("the shop", Serving::Thread, serves, &mut command, None)?;
    Ok(Crew {
        worker,
        shop,
        broker,
        port,
        _folder: folder,
    })
}
