//! The requests of one measurement.
//!
//! In: a port, paths, how many at once. Out: which paths were answered. Always holds: each thread has one request in flight
//! and its own connection, kept while the server keeps it; a request that failed is not sent again.

use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::{Result, bail};
use suture_tests::client::Connection;

/// What became of the requests.
#[derive(Default)]
pub struct Outcome {
    /// Places of those that were answered as they should be.
    pub answered: Vec<usize>,
    /// Why others were not.
    pub failures: Vec<String>,
}

/// Sends `GET path` for each path, `concurrency` at once.
///
/// # Errors
/// A thread of the client panicked.
pub fn send(port: u16, paths: &[String], concurrency: usize) -> Result<Outcome> {
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrency)
            .map(|first| {
                let outcome = &outcome;
                scope.spawn(move || in_turn(port, paths, first, concurrency, outcome))
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                bail!("a client thread panicked");
            }
        }
        Ok(())
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn in_turn(port: u16, paths: &[String], first: usize, step: usize, outcome: &Mutex<Outcome>) {
    let mut open: Option<Connection> = None;
    for (place, path) in paths.iter().enumerate().skip(first).step_by(step) {
        let connection = match open.take() {
            Some(connection) => Ok(connection),
            None => Connection::local(port),
        };
        let answer = connection
            .and_then(|mut connection| connection.get(path).map(|answer| (answer, connection)));
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            // 500 and 502 are what a proxy makes of a failing leaf; an application answers 200 all the same.
            Ok((answer, connection)) if [200, 500, 502].contains(&answer.status) => {
                outcome.answered.push(place);
                if !answer.closes {
                    open = Some(connection);
                }
            }
            Ok((answer, _)) => outcome
                .failures
                .push(format!("GET {path} was answered {}", answer.status)),
            Err(error) => outcome.failures.push(format!("GET {path}: {error:#}")),
        }
    }
}
