//! The daemon's parts, in the order data flows: attach -> capture -> (agent-trace) -> enrich -> export / view.
//!
//! In: the running kernel, or a recording. Out: OTLP, a terminal view, self-metrics. Always holds: aya appears only
//! in `attach` and `capture`, OTLP types only in `export` and `view::json`. Refuses: to hold anything without a bound.

pub mod attach;
pub mod capture;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod enrich;
pub mod export;
pub mod headers;
pub mod log;
pub mod pipeline;
pub mod rows;
pub mod run;
pub mod sink;
pub mod view;
