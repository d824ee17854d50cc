//! A server of each runtime that makes three calls in turn for a request, under wrk: what its execution units cost. A proxy and a Go
//! program with the carriers on: what injection costs.
//!
//! In: the victims of `cargo xtask accuracy`. Out: a table. Always holds: a row's runs follow each other in turn. Refuses: answers
//! that are errors.

use anyhow::Result;
use suture_tests::AgentCommand;
use suture_tests::process::Folder;
use suture_tests::victims::compiled::{self, Java, JavaShapes};
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::python::{EventLoop, event_loop, http_server};
use suture_tests::victims::scripts::{NodeShapes, node_shapes};
use suture_tests::victims::{Victim, servers};

use crate::load::wrk;
use crate::proc::cpu_seconds;
use crate::{Plan, median};

/// Three calls in turn.
const WORK: &str = "/work/seq/1";
/// What a proxy hands on.
const LEAF: &str = "/leaf/1/0";

/// What runs beside the load: its name, and the agent's configuration if there is one.
type Beside = (&'static str, Option<&'static str>);

const OFF: Beside = ("agent off", None);
const ON: Beside = ("agent on", Some(""));
const UNITS: &[Beside] = &[OFF, ON];
const CARRIERS: &[Beside] = &[
    OFF,
    ON,
    ("header", Some("[propagation]\nheader = \"on\"\n")),
    ("option", Some("[propagation]\noption = \"on\"\n")),
];

/// A victim under load.
struct Served<'a> {
    name: &'a str,
    victim: Victim,
    path: &'a str,
    beside: &'a [Beside],
}

#[derive(Default)]
struct Side {
    rate: Vec<f64>,
    p99_ms: Vec<f64>,
    victim_us: Vec<f64>,
    agent_cores: Vec<f64>,
}

/// Measures and prints the table.
///
/// # Errors
/// When the agent, wrk or a victim fails.
pub fn run(plan: Plan) -> Result<()> {
    println!(
        "\n{:<34} {:>9} {:>6} {:>9} {:>6} {:>12} {:>6} {:>11}",
        "wrk -t1 -c32", "req/s", "ratio", "p99 ms", "ratio", "victim us/rq", "ratio", "agent cores"
    );
    let leaf = compiled::go(None)?;
    let units = |name, victim| Served {
        name,
        victim,
        path: WORK,
        beside: UNITS,
    };
    one(
        &units("http.server (threads)", http_server(Some(&leaf))?),
        plan,
    )?;
    let aiohttp = event_loop(EventLoop::Aiohttp, Some(&leaf))?;
    one(&units("aiohttp (Contexts)", aiohttp), plan)?;
    let node = node_shapes(NodeShapes::Http, &leaf)?;
    one(&units("node http (turns)", node), plan)?;
    one(
        &units(
            "axum + reqwest (tasks)",
            servers::axum(servers::Tokio::Threads, &leaf)?,
        ),
        plan,
    )?;
    let java = Java::Release(25);
    let options = &["-XX:+UseSerialGC"];
    let victim = compiled::java_shapes_by(java, JavaShapes::Virtual, options, false, &leaf)?;
    one(&units("java (virtual threads)", victim), plan)?;
    let go = compiled::go(Some(&leaf))?;
    one(&carried("go net/http (goroutines)", go, WORK), plan)?;
    let proxy = nginx(1, &Behind::ProxyKeepAlive(&leaf))?;
    one(&carried("nginx as a proxy", proxy, LEAF), plan)
}

fn carried<'a>(name: &'a str, victim: Victim, path: &'a str) -> Served<'a> {
    Served {
        name,
        victim,
        path,
        beside: CARRIERS,
    }
}

fn one(served: &Served<'_>, plan: Plan) -> Result<()> {
    let url = format!("{}{}", served.victim.url(), served.path);
    wrk(&url, 1)?;
    let mut sides: Vec<Side> = served.beside.iter().map(|_| Side::default()).collect();
    for _ in 0..plan.rounds {
        for ((_, config), side) in served.beside.iter().zip(&mut sides) {
            side.take(&served.victim, *config, &url, plan.seconds)?;
        }
    }
    let Some((off, _)) = sides.split_first() else {
        return Ok(());
    };
    let ratio =
        |on: &[f64], off: &[f64]| median(on.iter().zip(off).map(|(on, off)| on / off).collect());
    for ((what, _), side) in served.beside.iter().zip(&sides) {
        println!(
            "{:<34} {:>9.0} {:>6.2} {:>9.2} {:>6.2} {:>12.2} {:>6.2} {:>11.2}",
            format!("{}, {what}", served.name),
            median(side.rate.clone()),
            ratio(&side.rate, &off.rate),
            median(side.p99_ms.clone()),
            ratio(&side.p99_ms, &off.p99_ms),
            median(side.victim_us.clone()),
            ratio(&side.victim_us, &off.victim_us),
            median(side.agent_cores.clone()),
        );
    }
    Ok(())
}

impl Side {
    fn take(
        &mut self,
        victim: &Victim,
        config: Option<&str>,
        url: &str,
        seconds: u32,
    ) -> Result<()> {
        let folder = Folder::new()?;
        let agent = match config {
            None => None,
            Some(text) => {
                let agent = AgentCommand::plain(&["run", "--print", "none"]);
                Some(agent.configured(&folder, text)?.start()?)
            }
        };
        // The first requests are what hooks on demand are attached for.
        wrk(url, 1)?;
        let pids = victim.pids();
        let own: Vec<u32> = agent.iter().map(suture_tests::Agent::pid).collect();
        let (victim_before, agent_before) = (cpu_seconds(&pids), cpu_seconds(&own));
        let load = wrk(url, seconds)?;
        self.rate.push(load.rate);
        self.p99_ms.push(load.p99_ms);
        self.victim_us
            .push((cpu_seconds(&pids) - victim_before) * 1e6 / load.requests as f64);
        self.agent_cores
            .push((cpu_seconds(&own) - agent_before) / f64::from(seconds));
        if let Some(agent) = agent {
            agent.stop()?;
        }
        Ok(())
    }
}
