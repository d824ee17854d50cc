//! `cargo xtask demo`: a small shop of real, unmodified programs under a little load, traced.
//!
//! In: arguments of `suture run`. Out: traces on the terminal until Ctrl-C, two stories among them: a welcome mail's job that ran before its
//! tenant existed, and a card that was charged twice. Always holds: the shop (nginx in front of gunicorn+Flask, Node express, Go,
//! Redis and a Celery worker, `tests/demo`) listens on loopback only and ends with the demo.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, process,
    setup::{self, Package, program},
};

const NEEDED: &[Package] = &[
    program("redis-server", "redis-server", "the demo shop's stock"),
    program("curl", "curl", "the demo shop's customers"),
];

/// The ports of the demo's services, front first; `tests/demo/shop.sh` has the same.
const PORTS: [&str; 7] = [
    "18700", "18701", "18702", "18703", "18704", "18705", "18706",
];

/// Builds, starts shop and agent, and stays until the agent ends (Ctrl-C), or for so many seconds.
///
/// # Errors
/// A build failed, or one of the programs could not be started.
pub fn run(seconds: Option<u64>, args: &[OsString]) -> Result<()> {
    setup::packages(NEEDED)?;
    setup::victims()?;
    let suture = build::all()?;
    let mut shop = Shop::open()?;
    let mut agent = process::as_root(&suture);
    agent.arg("run");
    if !args.iter().any(|arg| arg == "--print") {
        agent.args(["--print", "tree"]);
    }
    if !args
        .iter()
        .any(|arg| arg == "--port" || arg == "--pid" || arg == "--exe")
    {
        for port in PORTS {
            agent.args(["--port", port]);
        }
    }
    let mut agent = agent
        .args(args)
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::shown(&agent)))?;
    let status = match seconds {
        None => agent.wait().context("cannot wait for the agent")?,
        Some(seconds) => {
            let end = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < end
                && agent
                    .try_wait()
                    .context("cannot wait for the agent")?
                    .is_none()
            {
                sleep(Duration::from_millis(100));
            }
            stop(&mut agent)?
        }
    };
    shop.close();
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    Ok(())
}

fn stop(agent: &mut Child) -> Result<std::process::ExitStatus> {
    if let Some(status) = agent.try_wait().context("cannot wait for the agent")? {
        return Ok(status);
    }
    process::run(process::as_root("kill").args(["-TERM", &agent.id().to_string()]))?;
    agent.wait().context("cannot wait for the agent")
}

/// The running shop: it ends when its stdin is closed, however this process ends.
struct Shop {
    script: Child,
    open: Option<ChildStdin>,
}

impl Shop {
    fn open() -> Result<Shop> {
        let mut command: Command = process::command("bash");
        // In a process group of its own, so that Ctrl-C reaches the agent first and the shop closes after it.
        command
            .arg("tests/demo/shop.sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut script = command.spawn().context("cannot start tests/demo/shop.sh")?;
        let open = script.stdin.take();
        let Some(stdout) = script.stdout.take() else {
            bail!("the shop has no stdout")
        };
        let mut lines = BufReader::new(stdout).lines();
        let opened = lines
            .by_ref()
            .map_while(|line| line.ok())
            .any(|line| line == "open");
        if !opened {
            let status = script.wait().context("cannot wait for the shop")?;
            bail!("the shop could not open ({status}); what it said is above");
        }
        eprintln!(
            "xtask: the shop is open at http://127.0.0.1:{}/ and has customers; Ctrl-C ends it",
            PORTS[0]
        );
        Ok(Shop { script, open })
    }

    fn close(&mut self) {
        self.open = None;
        // It ends by itself when stdin closes; its status says nothing more.
        let _ = self.script.wait();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.close();
    }
}
