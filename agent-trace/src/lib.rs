//! Messages -> exchanges -> spans, causality and links.
//!
//! In: [`frame::Frame`]s. Out: [`span::Span`]s and counters. Always holds: no I/O, no clock, no randomness; the
//! same frames give the same spans. Refuses: to draw an edge without evidence (DESIGN §5).

pub mod frame;
pub mod span;
