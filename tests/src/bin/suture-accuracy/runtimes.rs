//! The runtimes that are measured: a real server that calls another one for each request.

use anyhow::{Result, bail};
use suture_tests::ReceivedSpan;
use suture_tests::check::of_process;
use suture_tests::victims::nginx::{Behind, PhpFpm, nginx};
use suture_tests::victims::python::{EventLoop, Worker, event_loop, gunicorn, http_server};
use suture_tests::victims::scripts::{NodeFramework, node, webrick};
use suture_tests::victims::{Victim, compiled};

/// All of them.
pub const NAMES: &[&str] = &[
    "http.server",
    "gunicorn-sync",
    "gunicorn-gthread",
    "webrick",
    "php-fpm",
    "nginx",
    "nginx-keepalive",
    "java-httpserver",
    "go",
    "node-http",
    "node-express",
    "aiohttp",
    "uvicorn",
    "uvicorn-uvloop",
];

/// Programs at work.
pub struct Stage {
    /// Where requests are sent.
    pub front_port: u16,
    /// Processes of the program that is measured.
    pub caller: Vec<u32>,
    /// Processes of the one it calls.
    pub answerer: Vec<u32>,
    _victims: Vec<Victim>,
    _fpm: Option<PhpFpm>,
}

impl Stage {
    /// A span of one of the two programs.
    pub fn is_ours(&self, span: &ReceivedSpan) -> bool {
        span.path().len() > 1
            && (of_process(span, &self.caller) || of_process(span, &self.answerer))
    }

    fn of(caller: Victim, answerer: Victim) -> Self {
        Self {
            front_port: caller.port,
            caller: caller.pids(),
            answerer: answerer.pids(),
            _victims: vec![caller, answerer],
            _fpm: None,
        }
    }
}

/// Starts a runtime and what it calls.
///
/// # Errors
/// A program is missing or does not start.
pub fn start(name: &str) -> Result<Stage> {
    // Go answers: of the victims it is the one that is never the slowest.
    let leaf = compiled::go(None)?;
    let caller = match name {
        "http.server" => http_server(Some(&leaf))?,
        "gunicorn-sync" => gunicorn(Worker::Sync, "requests", Some(&leaf))?,
        "gunicorn-gthread" => gunicorn(Worker::Gthread, "requests", Some(&leaf))?,
        "webrick" => webrick(Some(&leaf))?,
        "java-httpserver" => compiled::java(Some(&leaf))?,
        "go" => compiled::go(Some(&leaf))?,
        "node-http" => node(NodeFramework::Http, Some(&leaf))?,
        "node-express" => node(NodeFramework::Express, Some(&leaf))?,
        "aiohttp" => event_loop(EventLoop::Aiohttp, Some(&leaf))?,
        "uvicorn" => event_loop(EventLoop::Uvicorn, Some(&leaf))?,
        "uvicorn-uvloop" => event_loop(EventLoop::UvicornUvloop, Some(&leaf))?,
        // nginx asks for the same path; that one's own call goes nowhere.
        "nginx" => {
            let behind = http_server(Some(&leaf))?;
            let front = nginx(1, &Behind::Proxy(&behind))?;
            let mut stage = Stage::of(front, behind);
            stage._victims.push(leaf);
            return Ok(stage);
        }
        "nginx-keepalive" => {
            let behind = compiled::go(Some(&leaf))?;
            let front = nginx(2, &Behind::ProxyKeepAlive(&behind))?;
            let mut stage = Stage::of(front, behind);
            stage._victims.push(leaf);
            return Ok(stage);
        }
        "php-fpm" => {
            let fpm = PhpFpm::start(Some(&leaf))?;
            let front = nginx(1, &Behind::FastCgi(&fpm))?;
            let mut stage = Stage {
                front_port: front.port,
                caller: fpm.hop().pids,
                answerer: leaf.pids(),
                _victims: vec![front, leaf],
                _fpm: None,
            };
            stage._fpm = Some(fpm);
            return Ok(stage);
        }
        _ => bail!("{name}: no such runtime"),
    };
    Ok(Stage::of(caller, leaf))
}
