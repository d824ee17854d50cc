//! Messages -> exchanges -> spans, causality and links.
//!
//! In: [`frame::Frame`]s. Out: [`span::Span`]s and counters. Always holds: no I/O, no clock, no randomness; the
//! same frames give the same spans. Refuses: to draw an edge without evidence (DESIGN §5).
#![warn(clippy::print_stderr)] // no I/O

mod aged;
pub mod ahead;
mod attempts;
mod body;
pub mod config;
mod conn;
mod connect;
pub mod counters;
pub mod decode;
mod done;
mod exchange;
mod fields;
pub mod frame;
mod graph;
mod ids;
mod keyed;
mod keys;
mod links;
mod message;
pub mod moves;
pub mod position;
mod queue;
mod render;
mod request_ids;
pub mod route;
pub mod semconv;
mod shared;
pub mod span;
mod ticks;
pub mod tracer;
mod wire;
