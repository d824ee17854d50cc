//! What `suture` shows on stdout: a waterfall per trace, or OTLP-JSON lines.
//!
//! In: finished spans with the facts of their process, ticks of time. Out: text, for the caller to write. Always holds:
//! the text is a function of the input alone, memory is bounded, every span is shown. Refuses: to pass control
//! characters of a peer on to the terminal.

pub mod json;
mod text;
mod tree;
mod waterfall;

pub use tree::{TreeLimits, TreeView};
