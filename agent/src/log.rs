//! The agent's own log, on stderr.
//!
//! In: `tracing` events of all parts, and what the BPF programs log (`--bpf-log`, through the `log` crate). Out: lines.
//! Always holds: stdout is never written to. `SUTURE_LOG` takes a filter such as `debug` or `agent=debug,aya=off`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging; call once, before threads.
pub fn start() {
    let filter = EnvFilter::try_from_env("SUTURE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,aya=error,aya_obj=error"));
    // A second start would only mean that logging is on already.
    let _ = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .try_init();
}
