//! What the exporter says about its backend, without flooding anyone's log.
//!
//! In: outcomes of requests. Out: `tracing` events. Always holds: one line when the backend stops working, one when it
//! works again, and each kind of complaint at most once per minute in between. Refuses: to show headers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::transport::{Accepted, Action, Failure};
use crate::config::Target;

/// Shortest time between two lines of one kind.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Said {
    retry: Option<Instant>,
    refused: Option<Instant>,
    partial: Option<Instant>,
    broken: bool,
}

/// Remembers what was said when.
pub(super) struct Log {
    said: Mutex<Said>,
    uri: String,
}

/// Whether a line may be written now.
fn due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= QUIET);
    if due {
        *last = Some(Instant::now());
    }
    due
}

impl Log {
    /// For requests to `target`.
    pub(super) fn new(target: &Target) -> Self {
        Self {
            said: Mutex::new(Said::default()),
            uri: target.uri.to_string(),
        }
    }

    /// A request was taken.
    pub(super) fn accepted(&self, accepted: &Accepted) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut said.broken) {
            said.retry = None;
            tracing::info!("export to {}: works again", self.uri);
        }
        let Accepted { rejected, message } = accepted;
        if (*rejected > 0 || !message.is_empty()) && due(&mut said.partial) {
            tracing::warn!(
                "export to {}: the backend rejected {rejected} spans of a request: {message}",
                self.uri
            );
        }
    }

    /// A request was not taken.
    pub(super) fn failed(&self, failure: &Failure, spans: u64) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let message = &failure.message;
        if failure.action == Action::Drop {
            if due(&mut said.refused) {
                tracing::error!(
                    "export to {}: the backend refused {spans} spans, which are dropped and counted: {message}",
                    self.uri
                );
            }
            return;
        }
        said.broken = true;
        if due(&mut said.retry) {
            tracing::warn!(
                "export to {}: will try again; until then spans wait in a bounded queue: {message}",
                self.uri
            );
        }
    }
}
