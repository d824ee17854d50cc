//! Programs that put jobs into Redis while serving requests, and workers of the same library.
//!
//! In: a library, and how many jobs it may work on at once. Out: a [`Crew`]: Redis, a shop that serves `/put/KIND/ID`, a worker whose jobs
//! call `/leaf/ID/N`. Always holds: the worker said that it is ready. Refuses: to start with anything missing.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::broker::{Broker, Server};
use super::{Serving, Victim};
use crate::process::{Running, built, free_port, program, source};
use crate::scene::scaled;

/// Who puts jobs and works on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Celery, children of one process.
    Celery,
    /// The same without results.
    CeleryNoResults,
    /// The same over RabbitMQ.
    CeleryRabbitmq,
    /// RQ: a child for each job.
    Rq,
    /// Sidekiq: threads.
    Sidekiq,
    /// redis-py alone: lists, streams, channels.
    Lists,
    /// dramatiq: one process, threads.
    Dramatiq,
    /// The same; its threads call something when they are done with a job.
    DramatiqBetween,
    /// huey: threads.
    Huey,
    /// BullMQ on Node.
    BullMq,
    /// asynq on Go.
    Asynq,
}

impl Library {
    /// Where it keeps its jobs.
    pub const fn server(self) -> Server {
        match self {
            Self::CeleryRabbitmq => Server::Rabbitmq,
            _ => Server::Redis,
        }
    }
}

/// See the module. The worker ends first, Redis last.
pub struct Crew {
    /// The worker.
    pub worker: Running,
    /// Whoever puts jobs.
    pub shop: Victim,
    /// Redis.
    pub redis: Broker,
    /// Redis' port.
    pub port: u16,
}

fn python(redis: u16, leaf: &Victim, of: &str) -> Result<Command> {
    let mut command = Command::new(built(&format!("jobs/bin/{of}"))?);
    command.current_dir(source("jobs")).env("PYTHONPATH", ".");
    Ok(environment(command, redis, leaf))
}

fn environment(mut command: Command, redis: u16, leaf: &Victim) -> Command {
    command
        .env("REDIS_PORT", redis.to_string())
        .env("LEAF_URL", leaf.url())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    command
}

/// The module of a Python library's jobs.
fn module(library: Library) -> &'static str {
    match library {
        Library::Rq => "rq_jobs",
        Library::Dramatiq | Library::DramatiqBetween => "dramatiq_jobs",
        Library::Huey => "huey_jobs",
        Library::Lists => "list_jobs",
        _ => "celery_jobs",
    }
}

fn bullmq(redis: u16, leaf: &Victim) -> Result<Command> {
    let mut command = Command::new(program(&["node"], "nodejs")?);
    command
        .arg(source("jobs/bullmq.mjs"))
        .env("MODULES", built("jobs-node")?);
    Ok(environment(command, redis, leaf))
}

fn asynq(redis: u16, leaf: &Victim) -> Result<Command> {
    let command = Command::new(built("asynq-victim")?);
    Ok(environment(command, redis, leaf))
}

/// Starts whoever puts jobs.
///
/// # Errors
/// When it does not start.
pub fn shop(library: Library, redis: u16, leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut command = match library {
        Library::Sidekiq => {
            let mut command = Command::new(program(&["ruby"], "ruby")?);
            command.arg(source("jobs/shop.rb"));
            environment(command, redis, leaf)
        }
        Library::BullMq => {
            let mut command = bullmq(redis, leaf)?;
            command.arg("shop");
            command
        }
        Library::Asynq => {
            let mut command = asynq(redis, leaf)?;
            command.arg("shop");
            command
        }
        _ => {
            let mut command = python(redis, leaf, "python")?;
            command.arg("shop.py");
            command
        }
    };
    command.arg(port.to_string());
    if !matches!(library, Library::Sidekiq | Library::BullMq | Library::Asynq) {
        command.arg(module(library));
    }
    celery_environment(library, redis, &mut command);
    let serving = match library {
        Library::BullMq => Serving::Loop,
        _ => Serving::Thread,
    };
    Victim::start("the shop", serving, port, &mut command, None)
}

/// What differs from Celery with Redis and results.
fn celery_environment(library: Library, port: u16, command: &mut Command) {
    if matches!(library, Library::CeleryNoResults | Library::CeleryRabbitmq) {
        command.env("IGNORE_RESULT", "1");
    }
    if library == Library::CeleryRabbitmq {
        command.env(
            "BROKER_URL",
            format!("amqp://guest:guest@127.0.0.1:{port}//"),
        );
    }
}

/// The worker, and what it writes when it is ready.
///
/// # Errors
/// When its program is not there.
pub fn worker(
    library: Library,
    redis: u16,
    leaf: &Victim,
    count: usize,
) -> Result<(Command, &'static str)> {
    let at_once = count.to_string();
    let module = module(library);
    Ok(match library {
        Library::Celery | Library::CeleryNoResults | Library::CeleryRabbitmq => {
            let mut command = python(redis, leaf, "celery")?;
            command.args([
                "-A", module, "worker", "--pool", "prefork", "-l", "INFO", "-c", &at_once,
            ]);
            // Workers of one host need names of their own; a port that was free a moment ago is one.
            command.args(["-n", &format!("worker{}@%h", free_port()?)]);
            celery_environment(library, redis, &mut command);
            (command, " ready.")
        }
        Library::Rq => {
            let mut command = python(redis, leaf, "rq")?;
            command.args(["worker", "--url", &format!("redis://127.0.0.1:{redis}")]);
            (command, "Listening on")
        }
        Library::Dramatiq | Library::DramatiqBetween => {
            let mut command = python(redis, leaf, "dramatiq")?;
            if library == Library::DramatiqBetween {
                command.env("BETWEEN", "1");
            }
            command.args([module, "-p", "1", "-t", &at_once]);
            (command, "ready for action")
        }
        Library::Huey => {
            let mut command = python(redis, leaf, "huey_consumer")?;
            command.args(["huey_jobs.huey", "-w", &at_once, "-s", "1"]);
            (command, "The following commands are available")
        }
        Library::Lists => {
            let mut command = python(redis, leaf, "python")?;
            command.args(["list_jobs.py", &at_once]);
            (command, "ready")
        }
        Library::Sidekiq => {
            let mut command = Command::new(program(&["sidekiq"], "ruby-sidekiq")?);
            command
                .arg("-r")
                .arg(source("jobs/sidekiq_jobs.rb"))
                .args(["-c", &at_once]);
            (environment(command, redis, leaf), "ready")
        }
        Library::BullMq => {
            let mut command = bullmq(redis, leaf)?;
            command.args(["worker", &at_once]);
            (command, "ready")
        }
        Library::Asynq => {
            let mut command = asynq(redis, leaf)?;
            command.args(["worker", &at_once]);
            (command, "ready")
        }
    })
}

/// Celery's own scheduler, which puts a job for `ident` each second; its files lie in `folder`.
///
/// # Errors
/// When its program is not there.
pub fn beat(redis: u16, leaf: &Victim, folder: &Path, ident: &str) -> Result<Command> {
    let mut command = python(redis, leaf, "celery")?;
    command
        .args(["-A", "beat_jobs", "beat", "-l", "INFO", "--pidfile=", "-s"])
        .arg(folder.join("schedule"))
        .env("BEAT_IDENT", ident);
    Ok(command)
}

/// Starts a program, and waits until it wrote `is_ready`.
///
/// # Errors
/// When it does not.
pub(super) fn ready(name: &str, command: &mut Command, is_ready: &str) -> Result<Running> {
    let mut running = Running::start(name, command)?;
    let log = running.log_path().to_owned();
    running.wait_for("its readiness", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains(is_ready)
    })?;
    Ok(running)
}

/// Starts all of it; the worker works on `count` jobs at once (RQ's always on one).
///
/// # Errors
/// When one of them cannot be started.
pub fn crew(library: Library, leaf: &Victim, count: usize) -> Result<Crew> {
    let redis = Broker::start(library.server())?;
    let port = redis.port;
    let shop = shop(library, port, leaf)?;
    let (mut command, is_ready) = worker(library, port, leaf, count)?;
    let worker = ready("the worker", &mut command, is_ready)?;
    if library == Library::Asynq {
        // What is asked of a Go program before the agent has looked into it (it does when it listens: 40 ms seen) has no goroutine.
        sleep(scaled(Duration::from_millis(500)));
    }
    Ok(Crew {
        worker,
        shop,
        redis,
        port,
    })
}
