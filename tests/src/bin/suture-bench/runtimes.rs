//! A server of each runtime that makes three calls in turn for a request, under wrk: what its execution units cost. A proxy and a Go
//! program with the carriers on: what injection costs.
//!
//! In: the victims of `cargo xtask accuracy`. Out: a table. Always holds: a row's runs follow each other in turn. Refuses: answers
//! that are errors.

use anyhow::Result;
use suture_tests::process::Folder;
use suture_tests::victims::compiled::{self, Java, JavaShapes};
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::python::{EventLoop, event_loop, http_server};
use suture_tests::victims::scripts::{NodeShapes, node_shapes};
use suture_tests::victims::{Victim, servers};

use crate::load::{Side, heading, wrk};
use crate::{Plan, agent_with};

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

/// Measures and prints the table.
///
/// # Errors
/// When the agent, wrk or a victim fails.
pub fn run(plan: Plan) -> Result<()> {
    println!("{}", heading());
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
            let folder = Folder::new()?;
            let agent = agent_with(*config, &folder)?;
            // The first requests are what hooks on demand are attached for.
            wrk(&url, 1)?;
            side.take(&served.victim, agent.as_ref(), &url, plan.seconds)?;
            if let Some(agent) = agent {
                agent.stop()?;
            }
        }
    }
    if let Some(off) = sides.first() {
        for ((what, _), side) in served.beside.iter().zip(&sides) {
            println!("{}", side.line(&format!("{}, {what}", served.name), off));
        }
    }
    Ok(())
}
