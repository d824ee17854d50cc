//! What the agent counts about itself, as rows for the metrics and for the summary.
//!
//! In: the live loop's counts. Out: [`Row`]s, the same ones each time. Always holds: each reason of the kernel side and of
//! the tracer is a row.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use agent_common::counters::Counter as KernelCounter;
use agent_trace::counters::Counter as TraceCounter;

use crate::{
    export::{Kind, Row, SnapshotProvider},
    pipeline::live::SharedCounts,
    sink::DroppedText,
};

/// A row without a reason.
fn plain(metric: &'static str, kind: Kind, value: u64, meaning: &'static str) -> Row {
    Row {
        metric,
        kind,
        reason: None,
        value,
        meaning,
    }
}

/// Resident memory of this process in bytes (`/proc/self/statm`, field 2, pages).
fn resident_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(0) as u64;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * page)
}

/// Makes the provider of everything but the exporter's own rows.
#[must_use]
pub fn provider(counts: SharedCounts, text: DroppedText) -> SnapshotProvider {
    Arc::new(move || {
        let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let traced =
            |wanted: TraceCounter| counts.tracer.get(wanted as usize).map_or(0, |row| row.2);
        let mut rows = vec![
            plain(
                "suture.spans",
                Kind::Counter,
                traced(TraceCounter::SpansEmitted),
                "Spans made.",
            ),
            plain(
                "suture.records",
                Kind::Counter,
                counts.records,
                "Records read from the kernel.",
            ),
            plain(
                "suture.record.bytes",
                Kind::Counter,
                counts.record_bytes,
                "Bytes of records read from the kernel.",
            ),
            plain(
                "suture.processes.described",
                Kind::Counter,
                counts.processes.described,
                "Processes looked up in /proc.",
            ),
            plain(
                "suture.processes.gone",
                Kind::Counter,
                counts.processes.gone,
                "Processes that had ended before they could be looked up; only their thread's name is known.",
            ),
            plain(
                "suture.processes.evicted",
                Kind::Counter,
                counts.processes.evicted,
                "Descriptions of processes dropped to stay within bounds.",
            ),
            plain(
                "suture.processes.io_uring",
                Kind::Gauge,
                counts.io_uring.len() as u64,
                "Running processes that use io_uring; what they do through it is not seen.",
            ),
            plain(
                "suture.probes.refused",
                Kind::Counter,
                counts.probes_refused,
                "Processes whose calls are roots because a uprobe was not attached: its file was another one by then, or there are too many places.",
            ),
            plain(
                "suture.print.dropped",
                Kind::Counter,
                text.load(Ordering::Relaxed),
                "Pieces of text dropped because stdout was not read fast enough.",
            ),
            plain(
                "suture.memory.resident",
                Kind::Gauge,
                resident_bytes(),
                "Resident memory of the agent, bytes.",
            ),
            plain(
                "suture.memory.maps",
                Kind::Gauge,
                counts.map_bytes,
                "Memory of BPF maps, bytes.",
            ),
        ];
        rows.extend(
            KernelCounter::ALL
                .iter()
                .enumerate()
                .map(|(slot, counter)| Row {
                    metric: "suture.kernel.unseen",
                    kind: Kind::Counter,
                    reason: Some(counter.name()),
                    value: counts.kernel.get(slot).copied().unwrap_or(0),
                    meaning: counter.meaning(),
                }),
        );
        rows.extend(
            TraceCounter::ALL
                .iter()
                .filter(|counter| **counter != TraceCounter::SpansEmitted)
                .map(|counter| Row {
                    metric: "suture.trace.reasons",
                    kind: Kind::Counter,
                    reason: Some(counter.name()),
                    value: traced(*counter),
                    meaning: counter.meaning(),
                }),
        );
        rows
    })
}
