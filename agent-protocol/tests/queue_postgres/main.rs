//! PostgreSQL: what real clients and PostgreSQL 15.18 said to each other in, events out.
//!
//! In: recordings (see `recorded/README.md`) and messages built here. Out: what `queue::postgres` makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod build;
mod built;
#[path = "../queue_kafka/lines.rs"]
mod lines;
mod recordings;
