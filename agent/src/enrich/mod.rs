//! Who a process is: its OpenTelemetry Resource, and how far its threads can be trusted.
//!
//! In: process keys from the kernel's records, `/proc`, executables. Out: `ProcessFacts`, runtime classes, processes in
//! scope. Always holds: everything kept is bounded and its loss counted; of an environment only OpenTelemetry's variables and a closed list are
//! read out. Refuses: to keep anything about a process whose start time does not match its key.

pub mod bounded;
pub mod cgroup;
pub mod classes;
pub mod docker;
pub mod elf;
pub mod environ;
pub mod facts;
pub mod foreign;
pub mod host;
pub mod keys;
pub mod naming;
pub mod nginx;
pub mod prefork;
pub mod proc_root;
pub mod runtime;
pub mod scope;
pub mod serving;
pub mod table;
pub mod units;
