//! Full load: what the agent saw is delivered or counted when it ends in the middle of it, and the traffic goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use suture_tests::Scene;
use suture_tests::client::Connection;
use suture_tests::receiver::Mood;
use suture_tests::scene::scaled;
use suture_tests::victims::nginx::{Behind, nginx};

/// Connections that ask for a file again and again, as fast as it is answered.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    fn begin(port: u16, connections: usize) -> Self {
        let (ends, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..connections)
            .map(|_| {
                let (ends, answered) = (Arc::clone(&ends), Arc::clone(&answered));
                std::thread::spawn(move || {
                    let mut connection = Connection::local(port)?;
                    while !ends.load(Ordering::Relaxed) {
                        let answer = connection.get("/static/hello.txt")?;
                        anyhow::ensure!(answer.status == 200, "{answer:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        Self {
            ends,
            answered,
            threads,
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it. No request may have failed.
    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap().unwrap();
        }
    }
}

#[test]
fn stopped_under_full_load_it_accounts_for_every_span_and_the_traffic_goes_on() {
    const CONNECTIONS: u64 = 8;
    let scene = Scene::open().unwrap();
    let victim = nginx(1, &Behind::Nothing).unwrap();
    scene.receiver().set_mood(Mood::Count);
    let agent = scene.agent().start().unwrap();
    let load = Load::begin(victim.port, CONNECTIONS as usize);
    std::thread::sleep(scaled(Duration::from_secs(2)));
    let before = load.answered();
    let ended = agent.stop().unwrap();
    let after = load.answered();
    std::thread::sleep(scaled(Duration::from_millis(500)));
    let last = load.answered();
    load.end();
    assert!(last > after, "the traffic stopped with the agent");
    let received: u64 = scene.receiver().counts().values().sum();
    let told = |name: &str| figure(&ended.stderr, name);
    let (made, sent) = (told("[suture.spans]"), told("[suture.export.spans.sent]"));
    let dropped = told("[suture.export.spans.dropped");
    let account = format!(
        "{before} to {after} requests, {made} spans made, {received} received\n--- the agent's stderr ---\n{}",
        ended.stderr
    );
    // A SERVER and a CLIENT span for each; what was under way when the signal came may have them or not. Where the load takes all processors
    // the ring may fill: no span is missing without a lost record, and each of those is counted.
    let lost = told("reason=ring_full");
    assert!(made + lost >= 2 * before, "{account}");
    assert!(made <= 2 * (after + CONNECTIONS), "{account}");
    // Each was delivered or counted: this receiver is slower than the host.
    assert_eq!(received, sent, "{account}");
    assert_eq!(made, sent + dropped, "{account}");
}

/// The sum of the summary's lines that hold `name`.
fn figure(summary: &str, name: &str) -> u64 {
    summary
        .lines()
        .filter(|line| line.contains(name))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}
