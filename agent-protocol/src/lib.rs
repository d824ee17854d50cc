//! Bytes -> messages.
//!
//! In: the bytes of one direction of one connection, in order, with holes. Out: message events. Always holds: no
//! I/O, no clock, no panic, memory bounded whatever a peer sends. Imports nothing of the workspace.
#![warn(clippy::print_stderr)] // no I/O

pub mod fastcgi;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http1;
pub mod queue;
pub mod sniff;
pub mod stream;
pub mod tracecontext;
