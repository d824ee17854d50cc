//! Golden recordings: what real programs once said replays to the spans that a person has read and blessed.
//!
//! In: `tests/golden/NAME.suture` (`cargo xtask record`) and `NAME.json` (`cargo xtask bless`). Always holds: byte for byte;
//! no root and no kernel is needed. Refuses: a recording without expected output, and the reverse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must say so by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use suture_tests::agent::{suture, suture_output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Names of the files in the folder that end so.
fn names(extension: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn check(name: &str) {
    let recording = folder().join(format!("{name}.suture"));
    let expected = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let mut replay = suture(&["replay", "--print", "json"]).unwrap();
    let output = suture_output(replay.arg(&recording)).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {}: {said}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    for (line, (printed, expected)) in printed.lines().zip(expected.lines()).enumerate() {
        assert_eq!(
            printed,
            expected,
            "{name}, line {}: if the new output is right, `cargo xtask bless {name}`",
            line + 1
        );
    }
    assert!(
        printed == expected,
        "{name}: {} lines where {} were blessed",
        printed.lines().count(),
        expected.lines().count()
    );
}

#[test]
fn each_recording_has_its_expected_output() {
    assert_eq!(names("suture"), names("json"));
    assert!(!names("suture").is_empty(), "no recording at all");
}

#[test]
fn recordings_replay_to_what_was_blessed() {
    for name in names("suture") {
        check(&name);
    }
}
