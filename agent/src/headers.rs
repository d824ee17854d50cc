//! Whether headers are written into requests: what the user wants, and what this host is fit for.
//!
//! In: `propagation.header`. Out: which sockets may stay in the map in which their messages are seen, or none, or the sentence why the agent
//! does not start. Always holds: nothing is probed where headers are off; without `force` no socket stays in it on a kernel that
//! fails the probe, and none that can wait anywhere; none is put there beside another program that has sockets in such a map. Refuses:
//! `on` where that is so.

use anyhow::bail;

use crate::{
    attach::{carriers::Members, sockhash},
    config::Headers,
};

/// Decides.
///
/// # Errors
/// `on`, and it cannot be.
pub fn decide(wanted: Headers) -> anyhow::Result<Option<Members>> {
    if wanted == Headers::Off {
        return Ok(None);
    }
    // First, because the kernel takes a moment to forget the probe's own program.
    let others = sockhash::others();
    if !others.is_empty() {
        let reason = format!(
            "another program has sockets in a map of its own, and a socket can be in one only: {}",
            others.join(", ")
        );
        if wanted == Headers::On {
            bail!(
                "no headers can be written into requests: {reason}; end it, or set propagation.header to \"auto\" to go on without them"
            );
        }
        tracing::warn!("no headers are written into requests: {reason}");
        return Ok(None);
    }
    if wanted == Headers::Force {
        tracing::warn!(
            "headers are written into all requests (propagation.header = \"force\"): blocking reads of their connections can fail"
        );
        return Ok(Some(Members::All));
    }
    match sockhash::probe() {
        Ok(()) => Ok(Some(Members::NonBlocking)),
        Err(unsound) => {
            tracing::info!(
                "headers are written into the first request of a connection only: this kernel mishandles sockets in a SockHash ({unsound})"
            );
            Ok(Some(Members::First))
        }
    }
}
