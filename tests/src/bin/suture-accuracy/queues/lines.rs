//! The lines that are printed for queues.
//!
//! In: a row's loads. Out: a line for each, and one verdict. Always holds: each line has the same columns, in the order right, link, root, wrong,
//! missing, doubled; `late` is work that ends more than 0.3 s after its last call, or whose end was not seen; `whole` are calls whose trace begins at or before the request that put their job.

use super::rows::Queue;
use super::stage::Load;
use crate::score::Score;

/// What is wanted of all, in percent.
const TARGET: f64 = 99.9;

/// The two lines above all others.
pub fn head() -> String {
    let columns = "right link root wrong miss doubl";
    format!(
        "{:<22} {:>6} {:>5} | {:<34} | {:<39} | {:<40} | {:<34}\n{:<22} {:>6} {:>5} | {columns:<34} | {columns:<34} late | {columns:<34} whole | {columns:<34}",
        "queue",
        "in",
        "jobs",
        "PRODUCER: child of its request",
        "CONSUMER: child of its PRODUCER",
        "calls: child of their CONSUMER",
        "retries: linked to the one before",
        "",
        "flight",
        ""
    )
}

fn columns(score: &Score) -> String {
    let Score {
        right,
        link,
        root,
        wrong,
        missing,
        doubled,
    } = score;
    format!("{right:>5} {link:>4} {root:>4} {wrong:>5} {missing:>4} {doubled:>5}  ")
}

/// One load.
pub fn line(queue: &Queue, load: &Load) -> String {
    let measured = &load.measured;
    format!(
        "{:<22} {:>6} {:>5} | {} | {} {:>4} | {} {:>5} | {}",
        queue.name,
        load.in_flight(),
        load.jobs,
        columns(&measured.puts),
        columns(&measured.work),
        measured.late,
        columns(&measured.calls),
        measured.whole,
        columns(&measured.links)
    )
}

/// What the row was to reach, and what it did, without its first jobs.
pub fn verdict(queue: &Queue, loads: &[Load]) -> String {
    let (mut all, mut whole) = ([Score::default(); 4], 0);
    for load in loads.iter().filter(|load| !load.is_first) {
        let measured = &load.measured;
        whole += measured.whole;
        for (sum, score) in
            all.iter_mut()
                .zip([measured.puts, measured.work, measured.calls, measured.links])
        {
            *sum += score;
        }
    }
    let [puts, work, calls, links] = all;
    let whole = 100.0 * whole as f64
        / (calls.right + calls.root + calls.wrong + calls.missing).max(1) as f64;
    let retries = match queue.again {
        Some(_) => format!("{:.2} % of retries", links.percent()),
        None => "no retries".to_owned(),
    };
    let reached = whole >= TARGET && all.iter().all(|score| score.percent() >= TARGET);
    format!(
        "{:<22} = {:.2} % of messages, {:.2} % of deliveries, {:.2} % of calls, {retries} right; {:.2} % of calls in the request's trace; {} wrong (target {TARGET} %: {})",
        queue.name,
        puts.percent(),
        work.percent(),
        calls.percent(),
        whole,
        all.iter().map(|score| score.wrong).sum::<usize>(),
        if reached { "reached" } else { "MISSED" }
    )
}
