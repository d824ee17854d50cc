//! What an `UPDATE` says became of a row.
//!
//! In: words, texts and parameters of its `SET`. Out: an [`Outcome`]. Always holds: a word that is not listed says nothing, so that a
//! progress report or a lock settles nothing.

/// What became of a row; if several are said, the last of this list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It waits again.
    Waits,
    /// Its job ended.
    Done,
    /// Its job ended and had failed.
    Failed,
}

/// Of a value in a text.
pub(super) fn outcome_of(word: &[u8]) -> Option<Outcome> {
    let mut lower = [0; 16];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"done" | b"complete" | b"completed" | b"finished" | b"processed" | b"succeeded"
        | b"success" | b"successful" | b"sent" | b"archived" => Some(Outcome::Done),
        b"failed" | b"failure" | b"error" | b"errored" | b"dead" | b"discarded" | b"cancelled"
        | b"canceled" => Some(Outcome::Failed),
        b"pending" | b"queued" | b"todo" | b"ready" | b"new" | b"retry" | b"retrying"
        | b"scheduled" | b"available" | b"waiting" => Some(Outcome::Waits),
        _ => None,
    }
}

/// Of a column that is set to something that is neither NULL nor false.
pub(super) fn column_outcome(word: &[u8]) -> Option<Outcome> {
    let is = |names: &[&str]| {
        names
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    if is(&[
        "done",
        "completed",
        "finished",
        "processed",
        "is_done",
        "is_processed",
    ]) || is(&[
        "done_at",
        "completed_at",
        "finished_at",
        "processed_at",
        "sent_at",
    ]) {
        Some(Outcome::Done)
    } else if is(&["failed_at", "discarded_at"]) {
        Some(Outcome::Failed)
    } else {
        None
    }
}
