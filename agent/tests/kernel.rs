//! The BPF programs and the running kernel: every program passes the verifier, and the attach table names each once.
//!
//! In: the object this build carries, the running kernel. Always holds: without root these tests fail, they never pass
//! silently.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use agent::attach::{self, Options, table::HOOKS};

fn everything() -> Options {
    Options {
        head_bytes: 4096,
        processes: None,
        ports: Vec::new(),
        runtimes: Vec::new(),
        bpf_log: false,
    }
}

#[test]
fn the_table_and_the_object_name_the_same_programs() {
    let in_object: BTreeSet<String> = attach::object_programs().unwrap().into_iter().collect();
    let in_table: BTreeSet<String> = HOOKS.iter().map(|hook| hook.program.to_owned()).collect();
    assert_eq!(in_table.len(), HOOKS.len(), "a program has two rows");
    assert_eq!(in_table, in_object);
}

#[test]
fn every_program_passes_the_verifier_and_finds_its_hook() {
    let attached = attach::attach(&everything()).unwrap();
    let missing: Vec<_> = attached
        .missing
        .iter()
        .map(|missing| missing.hook.program)
        .collect();
    // Kernels from 5.15 on have every hook of the table.
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_programs_also_load_with_their_log_and_with_a_narrow_scope() {
    let options = Options {
        head_bytes: 16 * 1024,
        processes: Some(vec![1]),
        ports: vec![80, 8080],
        runtimes: vec![(1, 3)],
        bpf_log: true,
    };
    attach::attach(&options).unwrap();
}
