//! redis-benchmark and Kafka's producer perf tool: operations/s, CPU of the agent; with the agent off, on, and on with queues off.
//!
//! In: redis-server and Kafka, started here. Out: a table. Always holds: a row's runs follow each other in turn; the clients and their
//! server are in the agent's scope, as on a host that runs both. Refuses: a run whose tool reports errors.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use suture_tests::process::{Folder, built, program};
use suture_tests::victims::broker::{Broker, Server};

use crate::{Plan, agent_with, median};
use suture_tests::proc::cpu_seconds;

/// Operations/s that redis-benchmark does on a small machine: what makes a run about as long as was asked for.
const REDIS_RATE: u32 = 100_000;
/// The same with pipelining.
const PIPELINED_RATE: u32 = 800_000;
/// Records/s of one Kafka producer.
const KAFKA_RATE: u32 = 300_000;

/// What runs beside the load, and its configuration.
const SIDES: [(&str, Option<&str>); 3] = [
    ("agent off", None),
    ("agent on", Some("")),
    (
        "agent on, queues off",
        Some("[capture]\nqueues = \"off\"\n"),
    ),
];

/// One kind of load: gives operations/s.
struct Load<'a> {
    name: &'a str,
    run: &'a dyn Fn() -> Result<f64>,
}

#[derive(Default)]
struct Side {
    rate: Vec<f64>,
    agent_cores: Vec<f64>,
}

/// Measures and prints the table.
///
/// # Errors
/// When the agent, a server or a client fails.
pub fn run(plan: Plan) -> Result<()> {
    println!(
        "\n{:<48} {:>11} {:>6} {:>11}",
        "queues", "op/s", "ratio", "agent cores"
    );
    let redis = Broker::start(Server::Redis)?;
    for (name, test, pipeline) in [
        ("redis-benchmark -c 20, SET", "set", 1),
        ("redis-benchmark -c 20, LPUSH", "lpush", 1),
        ("redis-benchmark -c 20 -P 16, SET", "set", 16),
        ("redis-benchmark -c 20 -P 16, LPUSH", "lpush", 16),
    ] {
        let run = || redis_benchmark(redis.port, test, pipeline, plan.seconds);
        one(&Load { name, run: &run }, plan)?;
    }
    drop(redis);
    let kafka = Broker::start(Server::Kafka)?;
    let run = || producer_perf(kafka.port, plan.seconds);
    let name = "kafka ProducerPerformance, 100 B, acks=1";
    one(&Load { name, run: &run }, plan)
}

fn one(load: &Load<'_>, plan: Plan) -> Result<()> {
    (load.run)()?;
    let mut sides = SIDES.map(|_| Side::default());
    for _ in 0..plan.rounds {
        for ((_, config), side) in SIDES.iter().zip(&mut sides) {
            measure(load, *config, side)?;
        }
    }
    let [off, ..] = &sides;
    for ((what, _), side) in SIDES.iter().zip(&sides) {
        let ratios = side.rate.iter().zip(&off.rate).map(|(on, off)| on / off);
        println!(
            "{:<48} {:>11.0} {:>6.2} {:>11.2}",
            format!("{}, {what}", load.name),
            median(side.rate.clone()),
            median(ratios.collect()),
            median(side.agent_cores.clone()),
        );
    }
    Ok(())
}

fn measure(load: &Load<'_>, config: Option<&str>, side: &mut Side) -> Result<()> {
    let folder = Folder::new()?;
    let agent = agent_with(config, &folder)?;
    let own: Vec<u32> = agent.iter().map(suture_tests::Agent::pid).collect();
    let (before, begun) = (cpu_seconds(&own), std::time::Instant::now());
    side.rate.push((load.run)()?);
    side.agent_cores
        .push((cpu_seconds(&own) - before) / begun.elapsed().as_secs_f64());
    if let Some(agent) = agent {
        agent.stop()?;
    }
    Ok(())
}

fn redis_benchmark(port: u16, test: &str, pipeline: u32, seconds: u32) -> Result<f64> {
    let rate = if pipeline > 1 {
        PIPELINED_RATE
    } else {
        REDIS_RATE
    };
    let requests = (rate * seconds).to_string();
    let output = Command::new(program(&["redis-benchmark"], "redis-tools")?)
        .args(["-p", &port.to_string(), "-c", "20", "-n", &requests])
        .args(["-P", &pipeline.to_string(), "-t", test, "--csv"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-benchmark: {text}");
    // "test","rps",… and then "SET","117000.00",…
    text.lines()
        .nth(1)
        .and_then(|line| line.split(',').nth(1))
        .and_then(|rate| rate.trim_matches('"').parse().ok())
        .with_context(|| format!("redis-benchmark said no rate: {text}"))
}

fn producer_perf(port: u16, seconds: u32) -> Result<f64> {
    let jars = format!("{}/*", built("kafka/lib")?.display());
    let records = (KAFKA_RATE * seconds).to_string();
    let output = Command::new(program(&["java"], "default-jdk-headless")?)
        .args(["-XX:+UseSerialGC", "-Xmx256m", "-cp", &jars])
        .args(["org.apache.kafka.tools.ProducerPerformance", "--topic"])
        .args(["bench", "--num-records", &records, "--record-size", "100"])
        .args(["--throughput", "-1", "--producer-props", "acks=1"])
        .arg(format!("bootstrap.servers=127.0.0.1:{port}"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "ProducerPerformance: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // 1500000 records sent, 312345.1 records/sec (29.79 MB/sec), …: the last such line is of the whole run.
    text.lines()
        .rev()
        .find_map(|line| line.split_once(" records/sec"))
        .and_then(|(before, _)| before.rsplit(", ").next())
        .and_then(|rate| rate.parse().ok())
        .with_context(|| format!("ProducerPerformance said no rate: {text}"))
}
