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
pub mod tokio;

use agent_common::abi::{Runtime, runtime};

use crate::{attach::user::Probe, config::NodeTurns};

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

/// Units that are followed only where the configuration says so.
#[derive(Clone, Copy, Debug)]
pub struct Follows {
    /// Node.js' turns (`capture.node_turns`).
    pub node_turns: NodeTurns,
    /// tokio's tasks (`capture.tokio_tasks`).
    pub tokio_tasks: bool,
}

impl Follows {
    /// Why units of this class are not followed.
    pub(super) fn refusal(self, class: u8) -> Option<&'static str> {
        match class {
            runtime::TOKIO if !self.tokio_tasks => {
                Some("tokio's tasks are not followed: capture.tokio_tasks is off")
            }
            runtime::NODE if self.node_turns == NodeTurns::Off => {
                Some("Node.js' turns are not followed: capture.node_turns is off")
            }
            _ => None,
        }
    }
}
