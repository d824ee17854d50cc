//! A broker, a shop that puts messages while it serves requests, and several workers that compete for them.
//!
//! In: a server, a [`Program`], how many workers. Out: a [`Team`]: the shop serves `/put/KIND/ID`, the workers call `/leaf/ID/N`. Always holds:
//! every worker said that it is ready. Refuses: to start with anything missing.

use std::process::Command;

use anyhow::Result;

use super::broker::{Broker, Server};
use super::brokers::{System, program_of};
use super::jobs::{self, Library};
use super::{Serving, Victim};
use crate::process::{Running, built, free_port, program, source};

/// Which program it is, as shop and as worker.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// A library of jobs.
    Job(Library),
    /// `tests/victims/brokers/broker.py`.
    Broker(System),
    /// `tests/victims/brokers/MODULE.py`, whose shop is http.server's threads.
    Python(&'static str),
    /// The same, whose shop is aiohttp.
    Asyncio(&'static str),
    /// `tests/victims/brokers/node/NAME.mjs`.
    Node(&'static str),
    /// `tests/victims/brokers/go`, asked for NAME.
    Go(&'static str),
}

/// See the module. The workers end first, the broker last.
pub struct Team {
    /// Those who work.
    pub workers: Vec<Running>,
    /// Whoever puts messages.
    pub shop: Victim,
    /// Whoever keeps them.
    pub broker: Broker,
}

impl Team {
    /// Starts all of it; each worker works on `at_once` messages if it can.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub fn start(
        server: Server,
        program: Program,
        workers: usize,
        at_once: usize,
        leaf: &Victim,
    ) -> Result<Self> {
        let broker = Broker::start(server)?;
        let place = Place {
            program,
            port: broker.port,
            leaf,
        };
        let workers = (0..workers)
            .map(|_| place.worker(at_once))
            .collect::<Result<_>>()?;
        let shop = place.shop()?;
        Ok(Self {
            workers,
            shop,
            broker,
        })
    }

    /// What the workers wrote.
    pub fn log(&self) -> String {
        let logs: Vec<String> = self.workers.iter().map(Running::log).collect();
        logs.join("\n---\n")
    }
}

/// A program, and whom it talks to.
struct Place<'a> {
    program: Program,
    port: u16,
    leaf: &'a Victim,
}

impl Place<'_> {
    fn around(&self, mut command: Command) -> Command {
        let port = self.port.to_string();
        command
            .env("BROKER_PORT", &port)
            .env("REDIS_PORT", &port)
            .env("LEAF_URL", self.leaf.url())
            .env("PYTHONPATH", source("jobs"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
        command
    }

    fn python(&self, script: &str) -> Result<Command> {
        let folder = match self.program {
            Program::Python("sqs") => "boto3",
            _ => "brokers",
        };
        let mut command = Command::new(built(&format!("{folder}/bin/python"))?);
        command.current_dir(source("brokers")).arg(script);
        Ok(self.around(command))
    }

    fn node(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(program(&["node"], "nodejs")?);
        command
            .arg(source(&format!("brokers/node/{name}.mjs")))
            .env("MODULES", built("brokers-node")?);
        Ok(self.around(command))
    }

    fn go(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(built("brokers-go")?);
        command.arg(name);
        Ok(self.around(command))
    }

    fn shop(&self) -> Result<Victim> {
        let (port, mut serving) = (free_port()?, Serving::Thread);
        let at = port.to_string();
        let mut command = match self.program {
            Program::Job(library) => return jobs::shop(library, self.port, self.leaf),
            Program::Broker(system) => program_of(system, self.port, self.leaf, "shop")?,
            Program::Python(module) => {
                // (Its own folder would be first in the path, not the modules'.)
                let mut command = self.python("../jobs/shop.py")?;
                command.env(
                    "PYTHONPATH",
                    format!(
                        "{}:{}",
                        source("brokers").display(),
                        source("jobs").display()
                    ),
                );
                command.args([&at, module]);
                command
            }
            Program::Asyncio(module) => {
                serving = Serving::Loop;
                let mut command = self.python("aio_shop.py")?;
                command.args([&at, module]);
                command
            }
            Program::Node(name) => {
                serving = Serving::Loop;
                let mut command = self.node(name)?;
                command.args(["shop", &at]);
                command
            }
            Program::Go(name) => {
                let mut command = self.go(name)?;
                command.args(["shop", &at]);
                command
            }
        };
        if let Program::Broker(_) = self.program {
            command.arg(&at);
        }
        Victim::start("the shop", serving, port, &mut command, None)
    }

    fn worker(&self, at_once: usize) -> Result<Running> {
        let count = at_once.to_string();
        let (mut command, is_ready) = match self.program {
            Program::Job(library) => jobs::worker(library, self.port, self.leaf, at_once)?,
            Program::Broker(system) => {
                let command = program_of(system, self.port, self.leaf, "worker")?;
                (command, "ready")
            }
            Program::Python(module) | Program::Asyncio(module) => {
                let mut command = self.python(&format!("{module}.py"))?;
                command.arg(&count);
                (command, "ready")
            }
            Program::Node(name) => {
                let mut command = self.node(name)?;
                command.args(["worker", &count]);
                (command, "ready")
            }
            Program::Go(name) => {
                let mut command = self.go(name)?;
                command.args(["worker", &count]);
                (command, "ready")
            }
        };
        jobs::ready("the worker", &mut command, is_ready)
    }
}
