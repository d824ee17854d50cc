//! Starts `suture` as its users do and ends it as they do.
//!
//! In: flags and environment. Out: a running agent that said `ready`, its stderr and stdout. Always holds: SIGTERM
//! ends it with code 0 within 10 s (scaled) or [`Agent::stop`] is an error; a dropped agent is killed by its pid.
//! Refuses: to go on without the binary (`SUTURE_BIN`, else `target/release/suture`).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Folder, signal};
use crate::scene::scaled;

/// The binary under test.
///
/// # Errors
/// When it is not there.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("SUTURE_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            );
            target.join("release/suture")
        }
    };
    if !path.is_file() {
        bail!(
            "{} is not there: build it with `cargo xtask build`, or name it in SUTURE_BIN",
            path.display()
        );
    }
    Ok(path)
}

/// `suture VERB …` without any OTEL_ variable of the caller.
///
/// # Errors
/// When the binary is not there.
pub fn suture(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(key);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Runs `suture VERB …` to its end.
///
/// # Errors
/// When it cannot be started or does not end within 60 s (scaled).
pub fn suture_output(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("no pipes")
    };
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe means the process ended: what came until then is the output.
        let _ = out.read_to_end(&mut bytes);
        bytes
    });
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = err.read_to_end(&mut bytes);
        bytes
    });
    let status = wait(&mut child, scaled(Duration::from_secs(60)));
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let stdout = reader.join().unwrap_or_default();
    let stderr = errors.join().unwrap_or_default();
    let Some(status) = status else {
        bail!(
            "{command:?} did not end within 60 s; stderr: {}",
            String::from_utf8_lossy(&stderr)
        );
    };
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn wait(child: &mut Child, timeout: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// An agent about to be started.
pub struct AgentCommand {
    /// Has a `/run` of its own.
    apart: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl AgentCommand {
    /// `suture run --print none --otlp-endpoint ENDPOINT`, over gRPC, exporting every 100 ms.
    pub fn new(endpoint: &str) -> Self {
        Self::plain(&["run", "--print", "none", "--otlp-endpoint", endpoint])
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// Any command line after `suture`.
    pub fn plain(arguments: &[&str]) -> Self {
        Self {
            apart: false,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|text| (*text).to_owned()));
        self
    }

    /// As on a host of its own: it does not see that another agent traces this kernel, too.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Adds `--port` for each port.
    #[must_use]
    pub fn ports(mut self, ports: &[u16]) -> Self {
        for port in ports {
            self.arguments
                .extend(["--port".to_owned(), port.to_string()]);
        }
        self
    }

    /// With this text as its configuration file, which is kept in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configured(self, folder: &Folder, text: &str) -> Result<Self> {
        let path = folder.write("suture.toml", text)?.display().to_string();
        Ok(self.args(&["--config", &path]))
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits for the line containing `ready` on stderr, 30 s (scaled) at most. While another agent
    /// runs on this host (a user's, or one that is just ending) it tries again for a minute.
    ///
    /// # Errors
    /// When the binary is missing, it ends, or it does not become ready; the message has its stderr.
    pub fn start(self) -> Result<Agent> {
        let deadline = Instant::now() + scaled(Duration::from_secs(60));
        loop {
            match self.start_once() {
                Err(error)
                    if error.to_string().contains("this one does not start")
                        && Instant::now() < deadline =>
                {
                    sleep(Duration::from_millis(500));
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(&self) -> Result<Agent> {
        let mut command = suture(&[])?;
        if self.apart {
            // A mount namespace with an empty /run, where the lock is.
            let alone = "mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";
            let mut wrapped = Command::new("unshare");
            wrapped.args(["--mount", "--propagation", "private", "sh", "-c", alone]);
            wrapped.arg(command.get_program()).stdin(Stdio::null());
            command = wrapped;
        }
        // `cargo xtask vm-test` runs the same tests with each way of seeing bytes. Read before the agent is ready.
        let folder = Folder::new()?;
        if let Ok(way) = std::env::var("SUTURE_TEST_HOOKS")
            && self.arguments.first().is_some_and(|verb| verb == "run")
            && !self.arguments.iter().any(|word| word == "--config")
        {
            let text = format!("[capture]\nhooks = \"{way}\"\n");
            command
                .args(&self.arguments)
                .arg("--config")
                .arg(folder.write("hooks.toml", text)?);
        } else {
            command.args(&self.arguments);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (key, value) in &self.environment {
            command.env(key, value);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("no pipes")
        };
        let stdout = Lines::read(out);
        let stderr = Lines::read(err);
        let agent = Agent {
            child,
            stdout,
            stderr,
            ended: false,
        };
        agent.until_ready()
    }
}

/// Lines of a pipe, read by a thread of their own so that the agent never blocks on it.
struct Lines {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self {
            text,
            thread: Some(thread),
        }
    }

    fn now(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            // The thread only ends at the pipe's end; it cannot panic while holding text we need.
            let _ = thread.join();
        }
        self.now()
    }
}

/// What an agent that was ended left.
pub struct Ended {
    /// Its stdout.
    pub stdout: String,
    /// Its stderr: `ready`, warnings, the summary of counters.
    pub stderr: String,
    /// From SIGTERM to its end.
    pub took: Duration,
}

/// A running agent.
pub struct Agent {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    ended: bool,
}

impl Agent {
    fn until_ready(mut self) -> Result<Self> {
        let timeout = scaled(Duration::from_secs(30));
        let deadline = Instant::now() + timeout;
        loop {
            let says_ready = |line: &str| line.contains("ready");
            if self.stderr.now().lines().any(says_ready) {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!(
                    "the agent ended ({status}) before it was ready; stderr:\n{}",
                    self.stderr.all()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "the agent was not ready within {timeout:?}; stderr:\n{}",
                    self.stderr.now()
                );
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.now()
    }

    /// Its stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.now()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, then its end.
    ///
    /// # Errors
    /// When it does not end within 10 s (scaled) or with another code than 0.
    pub fn stop(mut self) -> Result<Ended> {
        let begun = Instant::now();
        signal(self.pid(), libc::SIGTERM);
        let Some(status) = wait(&mut self.child, scaled(Duration::from_secs(10))) else {
            bail!(
                "the agent did not end within 10 s after SIGTERM; stderr:\n{}",
                self.stderr.now()
            );
        };
        self.ended = true;
        let ended = Ended {
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            took: begun.elapsed(),
        };
        if status.code() != Some(0) {
            bail!(
                "the agent ended with {status} after SIGTERM, not 0; stderr:\n{}",
                ended.stderr
            );
        }
        Ok(ended)
    }

    /// kill -9: nothing of it can run any more.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.ended {
            // Already gone is as good as killed.
            let _ = self.child.kill();
            let _ = self.child.wait();
            if std::thread::panicking() {
                eprintln!("--- the agent's stderr ---\n{}", self.stderr.now());
            }
        }
    }
}
