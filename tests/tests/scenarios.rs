//! Scenarios: real programs, one agent, spans read back from a real OTLP receiver.
//!
//! Modules named `vm_…` are the short set for the VM kernels. Every test takes the machine's turn first
//! (`Scene::open`), so they run one after the other whatever `--test-threads` says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on must say so by panicking"
)]

mod scenarios {
    mod batches;
    pub mod broker_messages;
    pub mod chain;
    pub mod checks;
    pub mod context;
    pub mod contexts;
    pub mod export;
    pub mod goroutines;
    mod header;
    pub mod http1_cases;
    pub mod lifecycle;
    pub mod load;
    pub mod messages_over_http;
    pub mod namespaces;
    pub mod option;
    pub mod option_agents;
    mod parents;
    pub mod proxies;
    pub mod receiver;
    mod redeliveries;
    pub mod redis_jobs;
    pub mod retries;
    pub mod scope;
    pub mod servers;
    pub mod settings;
    pub mod sockets;
    mod ticks;
    mod tokio_tasks;
    mod turns;
    pub mod victims;
    mod virtual_threads;
    pub mod vm_http1;
    pub mod vm_ports;
    pub mod vm_servers;
}
