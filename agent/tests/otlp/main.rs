//! Export against real OTLP receivers over real sockets: what arrives, what is retried, what is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

mod deliver;
mod json;
mod outage;
mod receiver;
mod samples;
mod secure;
mod self_metrics;
