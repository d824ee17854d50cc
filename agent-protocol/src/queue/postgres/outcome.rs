//! What a statement that is complete means.
//!
//! In: a [`Run`] with its rows. Out: events. Always holds: a row that came back without an id is told without a key, and one that is all
//! NULL is none. Refuses: nothing.

use super::request::sent;
use super::shared::{Columns, Row, Run, Shared};
use super::statement::Kind;
use super::words::Outcome;
use crate::queue::{Delivered, Event, Job, KEYS_MAX, Key, Message, Placed, Settle, System};

/// Tells it. `is_none`: no row was touched or returned.
pub(super) fn tell(run: &Run, is_none: bool, shared: &mut Shared, out: &mut dyn FnMut(Event)) {
    match run.statement.kind {
        Kind::Insert | Kind::Defer | Kind::Send => placed(run, shared, out),
        Kind::Fetch | Kind::FetchJob | Kind::Read => {
            for row in &run.rows {
                delivered(run, row, shared, out);
            }
        }
        Kind::Settle if !is_none => {
            let id = &run.values[0];
            let key = shared.named(&run.statement.table, &run.statement.column, id);
            settled(key, run.outcome, out);
        }
        Kind::FinishJob => {
            if let Some(job) = shared.job(&run.values[0]) {
                let failed = run.values[1] == "failed";
                out(Event::Done { job, failed });
            }
        }
        Kind::RetryJob => settled(shared.job(&run.values[0]), Some(Outcome::Waits), out),
        Kind::Remove => {
            let key = message_key(shared, &run.values[0], &run.values[1]);
            settled(key, Some(Outcome::Done), out);
        }
        Kind::Rollback => {
            for key in std::mem::take(&mut shared.taken) {
                settled(Some(key), Some(Outcome::Waits), out);
            }
        }
        Kind::Commit => shared.taken.clear(),
        Kind::Settle | Kind::Begin | Kind::Other => {}
    }
}

fn settled(key: Option<Key>, outcome: Option<Outcome>, out: &mut dyn FnMut(Event)) {
    let how = match outcome {
        Some(Outcome::Done) => Settle::Ack,
        Some(Outcome::Failed) => Settle::Reject,
        Some(Outcome::Waits) => Settle::Requeue,
        None => return,
    };
    if let Some(key) = key {
        out(Event::SettledKey { key, how });
    }
}

/// The place of a message of pgmq.
fn message_key(shared: &Shared, queue: &str, id: &str) -> Option<Key> {
    shared.named(&format!("pgmq.{queue}"), "msg_id", id)
}

/// Keys of a row of a statement.
fn keys(run: &Run, columns: &Columns, id: &str, named: bool, shared: &Shared) -> Vec<Key> {
    match run.statement.kind {
        Kind::Defer | Kind::FetchJob => shared.job(id).into_iter().collect(),
        Kind::Send | Kind::Read => message_key(shared, &run.values[0], id)
            .into_iter()
            .collect(),
        _ => shared.places(&run.statement.table, columns, id, named),
    }
}

fn placed(run: &Run, shared: &mut Shared, out: &mut dyn FnMut(Event)) {
    for (nth, row) in (0..).zip(&run.rows) {
        if nth >= run.sent {
            out(Event::Sent(sent(run)));
        }
        let (Some(columns), Some(id)) = (&run.columns, &row.id) else {
            continue;
        };
        out(Event::Placed(Placed {
            operation: run.operation,
            nth,
            keys: keys(run, columns, id, false, shared),
            id: Some(id.clone()),
            ..Placed::default()
        }));
    }
    out(Event::Answered {
        operation: run.operation,
        error: None,
    });
}

fn delivered(run: &Run, row: &Row, shared: &mut Shared, out: &mut dyn FnMut(Event)) {
    let has_id = run
        .columns
        .as_ref()
        .is_some_and(|columns| columns.id.is_some());
    if has_id && row.id.is_none() {
        return;
    }
    let mut found = Vec::new();
    if let (Some(columns), Some(id)) = (&run.columns, &row.id) {
        found = keys(run, columns, id, true, shared);
        found.truncate(KEYS_MAX);
    }
    if let Some(key) = found.last() {
        shared.take(*key);
    }
    let attempts = row
        .attempts
        .as_ref()
        .and_then(|text| text.parse::<u32>().ok());
    let kind = run.statement.kind;
    let job = found
        .first()
        .filter(|_| kind == Kind::FetchJob)
        .map(|key| Job {
            system: System::Procrastinate,
            key: *key,
            name: row.task.clone().unwrap_or_default(),
            retries: attempts,
        });
    let destination = match kind {
        Kind::FetchJob => row.queue.as_deref().unwrap_or("procrastinate_jobs"),
        Kind::Read => &run.values[0],
        _ => &run.statement.table,
    };
    out(Event::Delivered(Delivered {
        name: match kind {
            Kind::Read => "read",
            Kind::FetchJob => "fetch",
            _ => "select",
        },
        destination: destination.to_owned(),
        redelivered: kind == Kind::Read && attempts.is_some_and(|count| count > 1),
        message: Message {
            keys: found,
            job,
            id: row.id.clone(),
            // pgmq counts this reading too.
            retries: attempts
                .filter(|_| kind == Kind::Read)
                .map(|count| count.saturating_sub(1)),
            body_bytes: row.bytes,
            ..Message::default()
        },
        ..Delivered::default()
    }));
}
