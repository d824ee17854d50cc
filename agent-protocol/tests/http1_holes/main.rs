//! Streams with gaps: unseen bytes, lost records, turns, connections met in the middle.
//!
//! In: steps of one direction of a connection. Out: the events of the parsers, as lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod lost;
mod steps;
mod turns;
mod unseen;
