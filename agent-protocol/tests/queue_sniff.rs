//! `is_kafka` and `is_postgres` on what real clients of all protocols wrote.
//!
//! In: recordings and the fuzz corpus. Out: each client's message is recognised as its own protocol, and nothing else is. Refuses: folders
//! that are not there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use agent_protocol::queue::kafka::is_kafka;
use agent_protocol::queue::postgres::is_postgres;

/// The files of a folder of this repository whose names end so.
fn files(folder: &str, end: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(end) && path.is_file() {
            all.push((name, std::fs::read(&path).unwrap()));
        }
    }
    assert!(!all.is_empty(), "{} is empty", folder.display());
    all
}

/// Pieces behind so many bytes: whether the client wrote it (the last of these bytes is even), and the piece.
fn pieces(bytes: &[u8], before: usize) -> Vec<(bool, Vec<u8>)> {
    let (mut rest, mut all) = (bytes, Vec::new());
    while rest.len() >= before + 4 {
        let is_clients = rest[before - 1] & 1 == 0;
        let is_hole = before == 1 && rest[0] >> 1 & 7 >= 5;
        let len = u32::from_be_bytes(*rest[before..].first_chunk().unwrap()) as usize;
        let after = &rest[before + 4..];
        let piece = &after[..len.min(after.len())];
        if is_hole {
            rest = after;
            continue;
        }
        all.push((is_clients, piece.to_vec()));
        rest = &after[piece.len()..];
    }
    all
}

#[test]
fn clients_are_recognised_at_each_request() {
    let mut count = [0, 0];
    for (name, bytes) in files("agent-protocol/tests/queue_kafka/recorded", ".rec") {
        for (is_clients, piece) in pieces(&bytes, 2) {
            // A broker's answer may look like a request: its correlation id stands where that has the key and the version.
            if is_clients {
                assert!(
                    is_kafka(&piece),
                    "{name} {:?}",
                    &piece[..piece.len().min(24)]
                );
            }
            assert!(!is_postgres(&piece), "{name}");
            count[0] += usize::from(is_clients);
        }
    }
    for (name, bytes) in files("agent-protocol/tests/queue_postgres/recorded", ".rec") {
        for (is_clients, piece) in pieces(&bytes, 2) {
            if is_clients {
                assert!(
                    is_postgres(&piece),
                    "{name} {:?}",
                    piece.escape_ascii().to_string()
                );
            }
            assert!(!is_kafka(&piece), "{name}");
            count[1] += usize::from(is_clients);
        }
    }
    assert!(count[0] > 300 && count[1] > 200, "{count:?} were read");
}

#[test]
fn no_other_protocol_is_taken_for_them() {
    let mut count = 0;
    for (name, bytes) in files("agent-protocol/tests/queue_peers/recorded", ".rec") {
        for (_, piece) in pieces(&bytes, 1) {
            assert!(
                !is_kafka(&piece),
                "{name} {:?}",
                &piece[..piece.len().min(24)]
            );
            assert!(
                !is_postgres(&piece),
                "{name} {:?}",
                &piece[..piece.len().min(24)]
            );
            count += 1;
        }
    }
    for folder in ["http1_request", "http1_response", "fastcgi"] {
        for (name, bytes) in files(&format!("fuzz/corpus/{folder}"), "") {
            assert!(!is_kafka(&bytes), "{name}");
            assert!(!is_postgres(&bytes), "{name}");
            count += 1;
        }
    }
    assert!(count > 300, "{count} were read");
}
