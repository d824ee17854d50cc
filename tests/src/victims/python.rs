//! Python: http.server (an application, and plain `-m http.server`), gunicorn + Flask, and event loops.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Serving, Victim, fresh, leaf_url};
use crate::process::{Folder, Running, built, free_port, source};

/// The interpreter of the victims' venv.
///
/// # Errors
/// When setup.sh did not run.
pub fn interpreter() -> Result<PathBuf> {
    built("venv/bin/python")
}

/// Our ThreadingHTTPServer application: one thread per connection, urllib as its client.
///
/// # Errors
/// When it cannot be started.
pub fn http_server(leaf: Option<&Victim>) -> Result<Victim> {
    http_server_on("127.0.0.1", leaf)
}

/// The same, bound to `host` (`::` accepts IPv4 too, as IPv4-mapped addresses).
///
/// # Errors
/// When it cannot be started.
pub fn http_server_on(host: &str, leaf: Option<&Victim>) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(interpreter()?);
    command
        .arg(source("python/threading_app.py"))
        .arg(port.to_string())
        .arg(host)
        .env("LEAF_URL", leaf_url(leaf))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if host == "::1" {
        let mut running = Running::start("http.server (::1)", &mut command)?;
        running.wait_for("port", || {
            std::net::TcpStream::connect(("::1", port)).is_ok()
        })?;
        return Ok(Victim {
            name: "http.server",
            port,
            serving: Serving::Thread,
            running,
            _folder: None,
        });
    }
    Victim::start("http.server", Serving::Thread, port, &mut command, None)
}

/// Plain `python3 -m http.server` over a folder with `static/hello.txt` (6 bytes).
///
/// # Errors
/// When it cannot be started.
pub fn plain_http_server() -> Result<Victim> {
    let (port, folder) = fresh()?;
    std::fs::create_dir(folder.path().join("static"))?;
    folder.write("static/hello.txt", "hello\n")?;
    let mut command = Command::new(interpreter()?);
    command
        .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
        .arg(folder.path())
        .arg(port.to_string());
    Victim::start(
        "python -m http.server",
        Serving::Thread,
        port,
        &mut command,
        Some(folder),
    )
}

/// gunicorn's worker class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// `-k sync`: a process serves one request at a time.
    Sync,
    /// `-k gthread`: the main thread accepts, a pool of threads reads and serves.
    Gthread,
}

/// Where gunicorn listens.
#[derive(Clone, Debug)]
pub enum Bind<'a> {
    /// A free port of 127.0.0.1.
    Port,
    /// A unix socket.
    Unix(&'a Path),
}

/// gunicorn + Flask, two worker processes. `client` is `requests` or `urllib`.
///
/// # Errors
/// When it cannot be started.
pub fn gunicorn(worker: Worker, client: &str, leaf: Option<&Victim>) -> Result<Victim> {
    gunicorn_on(&Bind::Port, worker, client, leaf)
}

/// [`gunicorn`], listening at `bind`; over a unix socket the victim's `port` is 0.
///
/// # Errors
/// When it cannot be started.
pub fn gunicorn_on(
    bind: &Bind<'_>,
    worker: Worker,
    client: &str,
    leaf: Option<&Victim>,
) -> Result<Victim> {
    let folder = Folder::new()?;
    let port = match bind {
        Bind::Port => free_port()?,
        Bind::Unix(_) => 0,
    };
    let at = match bind {
        Bind::Port => format!("127.0.0.1:{port}"),
        Bind::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut command = Command::new(interpreter()?);
    command.args([
        "-m",
        "gunicorn",
        "--workers",
        "2",
        "--bind",
        &at,
        "--timeout",
        "0",
        "--no-control-socket",
    ]);
    match worker {
        Worker::Sync => command.args(["-k", "sync"]),
        Worker::Gthread => command.args(["-k", "gthread", "--threads", "8"]),
    };
    command
        .arg("flask_app:app")
        .current_dir(source("python"))
        .env("LEAF_URL", leaf_url(leaf))
        .env("HTTP_CLIENT", client)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let name = match worker {
        Worker::Sync => "gunicorn sync",
        Worker::Gthread => "gunicorn gthread",
    };
    let mut running = Running::start(name, &mut command)?;
    match bind {
        Bind::Port => running.wait_for_port(port)?,
        Bind::Unix(path) => running.wait_for_socket(path)?,
    }
    // The arbiter listens before its workers are there; workers say so in the log.
    let log = running.log_path().to_owned();
    running.wait_for("both workers", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .matches("Booting worker")
            .count()
            >= 2
    })?;
    Ok(Victim {
        name,
        port,
        serving: Serving::Thread,
        running,
        _folder: Some(folder),
    })
}

/// A server on Python's event loop, and the client that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLoop {
    /// aiohttp's server and its ClientSession.
    Aiohttp,
    /// FastAPI and httpx under uvicorn, asyncio's own loop.
    Uvicorn,
    /// The same on uvloop.
    UvicornUvloop,
}

/// Our asyncio application: one thread, connections to the leaf are kept.
///
/// # Errors
/// When it cannot be started.
pub fn event_loop(kind: EventLoop, leaf: Option<&Victim>) -> Result<Victim> {
    let name = match kind {
        EventLoop::Aiohttp => "aiohttp",
        EventLoop::Uvicorn => "uvicorn",
        EventLoop::UvicornUvloop => "uvicorn-uvloop",
    };
    let port = free_port()?;
    let mut command = Command::new(interpreter()?);
    command
        .arg(source("python/asyncio_app.py"))
        .arg(name)
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(leaf))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Victim::start(name, Serving::Loop, port, &mut command, None)
}

/// Interpreters of this machine whose Contexts are known: the distribution's, and those of pyenv (3.8 and later).
///
/// # Errors
/// When there is none.
pub fn interpreters() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let versions = home.map(|home| home.join(".pyenv/versions"));
    let mut found: Vec<PathBuf> = versions
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/python3"))
        .chain([PathBuf::from("/usr/bin/python3")])
        .filter(|path| {
            let mut command = Command::new(path);
            command.args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]);
            command.status().is_ok_and(|status| status.success())
        })
        .collect();
    found.sort();
    anyhow::ensure!(!found.is_empty(), "no python3 (Debian's package python3)");
    Ok(found)
}

/// How an asyncio server makes its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// One serves a connection, with all its requests.
    OfConnections,
    /// One serves a request.
    OfRequests,
}

/// Our server on asyncio alone, run by `interpreter`, on asyncio's own loop or on uvloop's (`uvloop`, of the victims' venv). Its own task, which serves nobody, calls `/leaf/TICKS/N` all the time.
///
/// # Errors
/// When it cannot be started.
pub fn contexts(
    (interpreter, uvloop): (&Path, bool),
    tasks: Tasks,
    ticks: &str,
    leaf: &Victim,
) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(interpreter);
    command
        .arg(source("python/contexts_app.py"))
        .arg(match tasks {
            Tasks::OfConnections => "streams",
            Tasks::OfRequests => "protocol",
        })
        .arg(port.to_string())
        .env("LEAF_URL", leaf_url(Some(leaf)))
        .env("TICKS", ticks)
        .env("LOOP", if uvloop { "uvloop" } else { "asyncio" });
    Victim::start("asyncio", Serving::Loop, port, &mut command, None)
}
