//! What enters the tracer: one [`Frame`] after the other, from the live kernel or from a recording.
//!
//! Always holds: the tracer's output is a function of the frames alone. No clock is read, no id is drawn here.

use serde::{Deserialize, Serialize};

/// One input of the tracer.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame<'a> {
    /// One record as the kernel wrote it (`agent_common::abi`), not yet decoded.
    Kernel(&'a [u8]),
    /// What user space found out about a process; comes after the first record that names it.
    Process(ProcessFacts),
    /// Time passes: CLOCK_MONOTONIC now, and what must be added to it for nanoseconds since the Unix epoch.
    /// A tick means: every record made before `ktime_ns` has been delivered.
    Tick {
        /// CLOCK_MONOTONIC, ns.
        ktime_ns: u64,
        /// CLOCK_REALTIME - CLOCK_MONOTONIC, ns.
        epoch_offset_ns: u64,
    },
    /// The kernel's own counters, absolute, in the order of `agent_common::counters::Counter::ALL`.
    KernelCounters(Vec<u64>),
}

/// A process as user space found it in /proc. One OpenTelemetry Resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Start time as in `agent_common::abi::ProcessKey` (ns).
    pub start_ns: u64,
    /// `service.name`.
    pub service_name: String,
    /// All other Resource attributes, in the order they are exported: (key, value).
    pub attributes: Vec<(String, ResourceValue)>,
}

/// Value of a Resource attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ResourceValue {
    /// int64
    Int(i64),
    /// string
    Str(String),
    /// array of strings
    List(Vec<String>),
}
