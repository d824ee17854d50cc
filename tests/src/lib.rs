//! What the scenarios are made of: real programs as victims, a real OTLP receiver, the agent as its users start it.
//!
//! In: the programs installed on this machine and the ones `tests/victims/setup.sh` built. Out: received spans,
//! checked one by one by `tests/scenarios`. Always holds: one agent at a time on the machine ([`Scene`] holds a
//! file lock); everything started is ended by its pid or its own process group on drop, also on panic; truth is in
//! the path of each request, so traffic of other programs on the host cannot change a verdict. Refuses: to skip.
//! What is missing is an error that names it.

pub mod agent;
pub mod check;
pub mod client;
pub mod curl;
pub mod exact;
pub mod hosts;
pub mod jobs;
pub mod otlp;
pub mod proc;
pub mod process;
pub mod receiver;
pub mod scene;
pub mod span;
pub mod talk;
pub mod victims;
pub mod wire;

pub use agent::{Agent, AgentCommand};
pub use receiver::Receiver;
pub use scene::Scene;
pub use span::{Kind, ReceivedSpan, Value};
