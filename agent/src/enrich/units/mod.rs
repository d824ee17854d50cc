//! Execution units that are not threads: for each runtime, how the programs find the unit that runs.
//!
//! In: a process whose runtime is known. Out: [`Units`], or none where this build or version of the runtime is not known. Always holds: an offset
//! comes from the file itself or from a table of versions with a test for each that can be installed. Refuses: to guess: a process whose units are not
//! known is MULTIPLEXING, whose calls are roots.

pub mod cpython;
pub mod go;
pub mod haproxy;
pub mod java;
mod jvm;
pub mod node;

use agent_common::abi::Runtime;

use crate::attach::user::Probe;

/// How a process' units are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// For the programs.
    pub runtime: Runtime,
    /// Programs that must be attached before `runtime` may be set.
    pub probes: Vec<Probe>,
    /// The fact it stands on, for people.
    pub fact: &'static str,
}
