//! Real servers that keep messages, each a process of its own on a free loopback port.
//!
//! In: which one. Out: a [`Broker`] that accepts connections. Always holds: what it stores lies in a folder that goes with it; nothing of the
//! system's own services is touched. Refuses: to start with anything missing. (RabbitMQ leaves Erlang's epmd running.)

use std::process::Command;

use anyhow::{Result, ensure};

use crate::process::{Folder, Running, built, free_port, program};

/// Who keeps the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// redis-server.
    Redis,
    /// RabbitMQ.
    Rabbitmq,
    /// Mosquitto.
    Mosquitto,
    /// PostgreSQL.
    Postgresql,
    /// nats-server with JetStream.
    Nats,
    /// Kafka in KRaft mode.
    Kafka,
    /// ElasticMQ: SQS' interface over HTTP, with a queue `mails` whose visibility time-out is three seconds.
    ElasticMq,
}

/// A running one.
pub struct Broker {
    /// Its processes.
    pub running: Running,
    /// Where it listens.
    pub port: u16,
    folder: Folder,
}

fn redis(port: u16, folder: &Folder) -> Result<Command> {
    let mut command = Command::new(program(&["redis-server"], "redis-server")?);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--dir"])
        .arg(folder.path());
    Ok(command)
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
    // (Its queue for a client holds 1,000 messages beyond those under way.)
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    let mut command = Command::new(program(&["mosquitto"], "mosquitto")?);
    command.arg("-c").arg(folder.write("conf", text)?);
    Ok(command)
}

fn nats(port: u16, folder: &Folder) -> Result<Command> {
    let mut command = Command::new(program(&["nats-server"], "nats-server")?);
    command
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.path());
    Ok(command)
}

/// What a command made ready; its output when it could not.
fn done(mut command: Command) -> Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
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
    done(make)?;
    let mut init = as_postgres();
    init.arg(tool("initdb")?).args(["-A", "trust", "-N", "-D"]);
    init.arg(&data);
    done(init)?;
    let mut command = as_postgres();
    command.arg(tool("postgres")?).arg("-D").arg(&data).args([
        "-p",
        &port.to_string(),
        "-k",
        "",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "max_connections=200",
    ]);
    Ok(command)
}

/// The jars that Maven copied, without ZooKeeper: one process is broker and controller.
fn kafka(port: u16, folder: &Folder) -> Result<Command> {
    let jars = format!("{}/*", built("kafka/lib")?.display());
    let controller = free_port()?;
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\nnum.partitions=4\n\
         offsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n",
        folder.path().join("log").display()
    );
    let settings = folder.write("server.properties", text)?;
    let java = |memory: &str, class: &str| -> Result<Command> {
        let mut command = Command::new(program(&["java"], "default-jdk-headless")?);
        command
            .args([memory, "-XX:+UseSerialGC", "-cp", &jars, class])
            .current_dir(folder.path());
        Ok(command)
    };
    let mut format = java("-Xmx256m", "kafka.tools.StorageTool")?;
    format
        .args([
            "format",
            "--standalone",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qk",
            "-c",
        ])
        .arg(&settings);
    done(format)?;
    let mut command = java("-Xmx512m", "kafka.Kafka")?;
    command.arg(&settings);
    Ok(command)
}

/// The jars that Maven copied.
fn elasticmq(port: u16, folder: &Folder) -> Result<Command> {
    let jars = format!("{}/*", built("elasticmq/lib")?.display());
    let text = format!(
        "include classpath(\"application.conf\")\n\
         node-address {{ protocol = http, host = \"127.0.0.1\", port = {port} }}\n\
         rest-sqs {{ enabled = true, bind-hostname = \"127.0.0.1\", bind-port = {port} }}\n\
         rest-stats {{ enabled = false }}\n\
         queues {{ mails {{ defaultVisibilityTimeout = 3 seconds }} }}\n"
    );
    let mut command = Command::new(program(&["java"], "default-jdk-headless")?);
    command
        .args(["-Xmx256m", "-XX:+UseSerialGC"])
        .arg(format!(
            "-Dconfig.file={}",
            folder.write("elasticmq.conf", text)?.display()
        ))
        .args(["-cp", &jars, "org.elasticmq.server.Main"])
        .current_dir(folder.path());
    Ok(command)
}

impl Broker {
    /// Starts it, and waits until it accepts.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(server: Server) -> Result<Self> {
        let (port, folder) = super::fresh()?;
        let mut command = match server {
            Server::Redis => redis(port, &folder)?,
            Server::Rabbitmq => rabbitmq(port, &folder)?,
            Server::Mosquitto => mosquitto(port, &folder)?,
            Server::Postgresql => postgresql(port, &folder)?,
            Server::Nats => nats(port, &folder)?,
            Server::Kafka => kafka(port, &folder)?,
            Server::ElasticMq => elasticmq(port, &folder)?,
        };
        let mut running = Running::start(&format!("{server:?}"), &mut command)?;
        // RabbitMQ needs 4 s, and on a busy machine more than one time-out.
        if running.wait_for_port(port).is_err() {
            running.wait_for_port(port)?;
        }
        Ok(Self {
            running,
            port,
            folder,
        })
    }

    /// A folder for what the programs around it share.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}
