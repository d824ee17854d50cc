//! Kafka: what real clients and Kafka 4.2.1 said to each other in, events out.
//!
//! In: recordings (see `recorded/README.md`) and requests built here. Out: what `queue::kafka` makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod build;
mod built;
mod holes;
mod lines;
mod recordings;
