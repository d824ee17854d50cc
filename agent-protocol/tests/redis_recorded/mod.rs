//! Recordings of libraries that keep jobs in Redis, made by `tests/redis/record.py`.
//!
//! In: a name. Out: what each connection's ends wrote. Refuses: a file that is not there.

#![allow(clippy::unwrap_used, dead_code, reason = "tests")]

use std::path::{Path, PathBuf};

use agent_protocol::queue::Way;

/// Names of the recordings.
pub const LIBRARIES: [&str; 9] = [
    "contexts",
    "redelivery",
    "celery",
    "rq",
    "sidekiq",
    "dramatiq",
    "huey",
    "bullmq",
    "asynq",
];

/// Where they are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis")
}

/// Connection, way, bytes.
pub type Line = (u32, Way, Vec<u8>);

/// A recording: bytes as Python writes them.
pub fn recording(library: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(folder().join(format!("{library}.txt"))).unwrap();
    text.lines().map(line).collect()
}

fn line(line: &str) -> Line {
    let mut words = line.splitn(3, ' ');
    let connection = words.next().unwrap().parse().unwrap();
    let way = match words.next().unwrap() {
        ">" => Way::ToBroker,
        _ => Way::ToClient,
    };
    let quoted = words.next().unwrap().strip_prefix('b').unwrap();
    let mut bytes = Vec::new();
    let mut rest = quoted[1..quoted.len() - 1].bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    (connection, way, bytes)
}
