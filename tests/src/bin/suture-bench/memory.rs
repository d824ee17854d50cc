//! Resident and map memory: idle, after 100 thousand requests, after many more.

use anyhow::Result;
use suture_tests::AgentCommand;
use suture_tests::receiver::{Mood, Receiver};
use suture_tests::victims::nginx::{Behind, nginx};

use crate::Plan;
use crate::load::wrk;
use suture_tests::proc::{map_bytes, resident_bytes};

/// Measures and prints the table.
///
/// # Errors
/// When the agent, wrk or nginx fails.
pub fn run(plan: Plan) -> Result<()> {
    let victim = nginx(1, &Behind::Nothing)?;
    let url = format!("{}/static/hello.txt", victim.url());
    let receiver = Receiver::start()?;
    receiver.set_mood(Mood::Count);
    let agent = AgentCommand::new(&receiver.grpc_endpoint()).start()?;
    println!(
        "\n{:<34} {:>12} {:>12} {:>12}",
        "memory, MiB", "resident", "maps", "together"
    );
    let print = |name: &str| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (resident, maps) = (resident_bytes(agent.pid()), map_bytes(agent.pid()));
        println!(
            "{name:<34} {:>12.1} {:>12.1} {:>12.1}",
            mib(resident),
            mib(maps),
            mib(resident + maps)
        );
    };
    std::thread::sleep(std::time::Duration::from_secs(3));
    print("idle");
    let mut total = 0;
    while total < 100_000 {
        total += wrk(&url, 2)?.requests;
    }
    print(&format!("after {total} requests"));
    let mut left = plan.memory_seconds;
    while left > 0 {
        let step = left.min(20);
        total += wrk(&url, step)?.requests;
        left -= step;
        print(&format!("after {total} requests"));
    }
    agent.stop()?;
    Ok(())
}
