//! ns added per syscall: on a captured connection, an ignored one, in a process out of scope, on unhooked syscalls.
//!
//! The worker is this program again, one thread with both ends of a loopback connection: it writes a request, reads
//! it, writes the answer, reads it. Bursts leave the agent time to drain between them; only bursts are timed, in CPU
//! time of the thread (CLOCK_THREAD_CPUTIME_ID), so that other programs on the machine do not count.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use suture_tests::AgentCommand;
use suture_tests::process::Running;

use crate::{Plan, median};

const REQUEST: &[u8] =
    b"GET /bench/1 HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: suture-bench\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
const NOISE: &[u8] =
    b"\x01\x02\x03\x04 bytes of no known protocol, as long as a small request would be ....";

/// Exchanges (4 syscalls each) of one timed burst; their records fit the ring buffer many times.
const BURST: u32 = 1_000;
const BURSTS: u32 = 30;

/// `worker exchange|noise|getppid|fstat`: prints ns per syscall.
///
/// # Errors
/// When loopback fails or the word is unknown.
pub fn worker(arguments: &[String]) -> Result<()> {
    let what = arguments.first().map_or("", String::as_str);
    let ns = match what {
        "exchange" => pingpong(REQUEST, ANSWER)?,
        "noise" => pingpong(NOISE, NOISE)?,
        "getppid" => repeated(|| {
            // SAFETY: takes and touches nothing.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }),
        "fstat" => {
            // SAFETY: all-zero is a valid `stat`.
            let mut stat: libc::stat = unsafe { std::mem::zeroed() };
            repeated(|| {
                // SAFETY: `stat` is ours and alive; fd 0 may even be closed.
                unsafe { libc::fstat(0, &raw mut stat) };
            })
        }
        _ => bail!("worker {what}: unknown"),
    };
    println!("{ns}");
    Ok(())
}

/// CPU time of this thread so far, ns.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours and alive; the clock id is a constant of Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn pingpong(up: &[u8], down: &[u8]) -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut exchange = || -> Result<()> {
        client.write_all(up)?;
        let got = server.read(&mut buffer)?;
        server.write_all(down)?;
        let back = client.read(&mut buffer)?;
        if got != up.len() || back != down.len() {
            bail!("a short read on loopback");
        }
        Ok(())
    };
    for _ in 0..100 {
        exchange()?;
    }
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        let begun = thread_cpu_ns();
        for _ in 0..BURST {
            exchange()?;
        }
        bursts.push((thread_cpu_ns() - begun) as f64 / f64::from(BURST * 4));
        std::thread::sleep(Duration::from_millis(30));
    }
    Ok(median(bursts))
}

fn repeated(mut call: impl FnMut()) -> f64 {
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        let begun = thread_cpu_ns();
        for _ in 0..BURST * 20 {
            call();
        }
        bursts.push((thread_cpu_ns() - begun) as f64 / f64::from(BURST * 20));
    }
    median(bursts)
}

fn measure(what: &str) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args(["worker", what])
        .output()?;
    if !output.status.success() {
        bail!("worker {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .with_context(|| format!("the figure of worker {what}"))
}

struct Row {
    name: &'static str,
    worker: &'static str,
    /// The agent's scope names another process.
    out_of_scope: bool,
    off: Vec<f64>,
    on: Vec<f64>,
}

/// Measures and prints the table.
///
/// # Errors
/// When the agent or a worker fails.
pub fn run(plan: Plan) -> Result<()> {
    let row = |name, worker, out_of_scope| Row {
        name,
        worker,
        out_of_scope,
        off: Vec::new(),
        on: Vec::new(),
    };
    let mut rows = [
        row("traced, captured (read/write of HTTP)", "exchange", false),
        row("traced, connection ignored (no HTTP)", "noise", false),
        row(
            "process out of scope (read/write of HTTP)",
            "exchange",
            true,
        ),
        row("unhooked syscall getppid", "getppid", false),
        row("unhooked syscall fstat", "fstat", false),
    ];
    // `--pid` follows a process and its later children: one that has none and is not ours keeps the worker outside.
    let bystander = Running::start("bystander", Command::new("sleep").arg("100000"))?;
    let out_of_scope = bystander.pid().to_string();
    for _ in 0..plan.rounds {
        for row in &mut rows {
            row.off.push(measure(row.worker)?);
        }
        let agent = AgentCommand::plain(&["run", "--print", "none"]).start()?;
        for row in rows.iter_mut().filter(|row| !row.out_of_scope) {
            row.on.push(measure(row.worker)?);
        }
        agent.stop()?;
        let agent =
            AgentCommand::plain(&["run", "--print", "none", "--pid", &out_of_scope]).start()?;
        for row in rows.iter_mut().filter(|row| row.out_of_scope) {
            row.on.push(measure(row.worker)?);
        }
        agent.stop()?;
    }
    println!(
        "\n{:<44} {:>9} {:>9} {:>9} {:>7}",
        "ns of CPU per syscall", "off", "on", "added", "ratio"
    );
    for row in &rows {
        let added = median(
            row.on
                .iter()
                .zip(&row.off)
                .map(|(on, off)| on - off)
                .collect(),
        );
        let ratio = median(
            row.on
                .iter()
                .zip(&row.off)
                .map(|(on, off)| on / off)
                .collect(),
        );
        let (off, on) = (median(row.off.clone()), median(row.on.clone()));
        println!(
            "{:<44} {off:>9.0} {on:>9.0} {added:>9.0} {ratio:>7.2}",
            row.name
        );
    }
    Ok(())
}
