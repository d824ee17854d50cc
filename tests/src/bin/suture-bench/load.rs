//! nginx static file and Go net/http under wrk: requests/s, p99, CPU of the victim and of the agent, spans lost.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use suture_tests::process::program;
use suture_tests::receiver::{Mood, Receiver};
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::{Victim, compiled};
use suture_tests::{Agent, AgentCommand};

use crate::{Plan, median};
use suture_tests::proc::cpu_seconds;

/// What one wrk said.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests answered.
    pub requests: u64,
    /// Per second.
    pub rate: f64,
    /// 99th percentile of the latency, ms.
    pub p99_ms: f64,
}

/// Runs wrk with one thread and 32 connections.
///
/// # Errors
/// When wrk is missing, fails, or got errors instead of answers.
pub fn wrk(url: &str, seconds: u32) -> Result<Load> {
    let output = Command::new(program(&["wrk"], "wrk")?)
        .args(["-t1", "-c32", "--latency", &format!("-d{seconds}s"), url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!(
            "wrk {url}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let after = |mark: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(mark))
            .map(str::trim)
    };
    let requests = text
        .lines()
        .find_map(|line| {
            line.trim()
                .split_once(" requests in ")
                .and_then(|(count, _)| count.parse().ok())
        })
        .context("wrk said no count")?;
    let rate = after("Requests/sec:")
        .and_then(|rate| rate.parse().ok())
        .context("wrk said no rate")?;
    let p99_ms = after("99%")
        .and_then(milliseconds)
        .context("wrk said no p99")?;
    Ok(Load {
        requests,
        rate,
        p99_ms,
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = match text {
        text if text.ends_with("us") => (text.strip_suffix("us")?, 0.001),
        text if text.ends_with("ms") => (text.strip_suffix("ms")?, 1.0),
        text => (text.strip_suffix('s')?, 1000.0),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The heading of [`Side::line`]s.
pub fn heading() -> String {
    format!(
        "\n{:<34} {:>9} {:>6} {:>9} {:>6} {:>12} {:>6} {:>11}",
        "wrk -t1 -c32", "req/s", "ratio", "p99 ms", "ratio", "victim us/rq", "ratio", "agent cores"
    )
}

/// A victim's runs beside the same agent, or none.
#[derive(Default)]
pub struct Side {
    rate: Vec<f64>,
    p99: Vec<f64>,
    victim_us: Vec<f64>,
    agent_cores: Vec<f64>,
}

impl Side {
    /// Runs wrk once more. Returns how many requests were answered.
    ///
    /// # Errors
    /// As [`wrk`].
    pub fn take(
        &mut self,
        victim: &Victim,
        agent: Option<&Agent>,
        url: &str,
        seconds: u32,
    ) -> Result<u64> {
        let pids = victim.pids();
        let own: Vec<u32> = agent.map(Agent::pid).into_iter().collect();
        let (victim_before, agent_before) = (cpu_seconds(&pids), cpu_seconds(&own));
        let load = wrk(url, seconds)?;
        self.rate.push(load.rate);
        self.p99.push(load.p99_ms);
        self.victim_us
            .push((cpu_seconds(&pids) - victim_before) * 1e6 / load.requests as f64);
        self.agent_cores
            .push((cpu_seconds(&own) - agent_before) / f64::from(seconds));
        Ok(load.requests)
    }

    /// Medians, and ratios to the runs without an agent.
    pub fn line(&self, name: &str, off: &Self) -> String {
        let ratio = |on: &[f64], off: &[f64]| {
            median(on.iter().zip(off).map(|(on, off)| on / off).collect())
        };
        format!(
            "{name:<34} {:>9.0} {:>6.2} {:>9.2} {:>6.2} {:>12.2} {:>6.2} {:>11.2}",
            median(self.rate.clone()),
            ratio(&self.rate, &off.rate),
            median(self.p99.clone()),
            ratio(&self.p99, &off.p99),
            median(self.victim_us.clone()),
            ratio(&self.victim_us, &off.victim_us),
            median(self.agent_cores.clone()),
        )
    }
}

/// Measures and prints the table.
///
/// # Errors
/// When the agent, wrk or a victim fails.
pub fn run(plan: Plan) -> Result<()> {
    println!("{}", heading());
    let static_file = nginx(1, &Behind::Nothing)?;
    one(
        "nginx static",
        &static_file,
        "/static/hello.txt",
        "nginx",
        plan,
    )?;
    drop(static_file);
    let go = compiled::go(None)?;
    one("go net/http", &go, "/echoed", "go-victim", plan)
}

fn one(name: &str, victim: &Victim, path: &str, service: &str, plan: Plan) -> Result<()> {
    let url = format!("{}{path}", victim.url());
    wrk(&url, 1)?;
    let [mut off, mut alone, mut quiet, mut exporting] = [(); 4].map(|()| Side::default());
    let mut accounts = Vec::new();
    for _ in 0..plan.rounds {
        off.take(victim, None, &url, plan.seconds)?;
        let pid = victim.pid().to_string();
        let agent = AgentCommand::plain(&["run", "--print", "none", "--pid", &pid]).start()?;
        alone.take(victim, Some(&agent), &url, plan.seconds)?;
        agent.stop()?;
        let agent = AgentCommand::plain(&["run", "--print", "none"]).start()?;
        quiet.take(victim, Some(&agent), &url, plan.seconds)?;
        agent.stop()?;
        let receiver = Receiver::start()?;
        receiver.set_mood(Mood::Count);
        let agent = AgentCommand::new(&receiver.grpc_endpoint()).start()?;
        let requests = exporting.take(victim, Some(&agent), &url, plan.seconds)?;
        receiver.settle(Duration::from_millis(1500));
        let ended = agent.stop()?;
        let count = |kind: i32, wanted: &str| {
            receiver
                .counts()
                .iter()
                .filter(|((name, of), _)| *of == kind && name == wanted)
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        accounts.push((requests, count(2, service), count(3, "wrk"), ended.stderr));
    }
    println!("{}", off.line(&format!("{name}, agent off"), &off));
    println!("{}", alone.line(&format!("{name}, wrk not traced"), &off));
    println!("{}", quiet.line(&format!("{name}, on, no export"), &off));
    println!(
        "{}",
        exporting.line(&format!("{name}, on, exporting"), &off)
    );
    for (requests, served, called, _) in &accounts {
        println!(
            "  requests {requests} (wrk's count leaves out what was in flight at its end): SERVER spans {served}, wrk's CLIENT spans {called}"
        );
    }
    if let Some((.., summary)) = accounts.last() {
        println!("  the agent's own account of the last round:");
        for line in summary.lines().filter(|line| !line.contains("ready")) {
            println!("  | {line}");
        }
    }
    Ok(())
}
