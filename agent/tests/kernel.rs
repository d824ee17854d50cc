//! The BPF programs and the running kernel: every program passes the verifier, and the attach table names each once.
//!
//! In: the object this build carries, the running kernel. Always holds: without root these tests fail, they never pass
//! silently.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use agent::attach::{
    self, Options,
    carriers::{Carriers, Members},
    table::{HOOKS, Way},
};
use agent_common::abi::{Runtime, demand, runtime};
use agent_trace::config::Sampler;

fn everything(way: Way) -> Options {
    Options {
        head_bytes: 4096,
        message_bytes: 8192,
        processes: None,
        ports: Vec::new(),
        runtimes: Vec::new(),
        bpf_log: false,
        way: Some(way),
        carriers: Carriers {
            option: true,
            header: Some(Members::NonBlocking),
            ..Carriers::default()
        },
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
    // The ways that this kernel has.
    let mut ways = vec![Way::Syscalls];
    if attach::has_sockets_way() {
        ways.push(Way::Sockets);
    }
    if attach::has_functions_way() {
        ways.push(Way::Functions);
    }
    for way in ways {
        let mut attached = attach::attach(&everything(way)).unwrap();
        attached.arm(demand::ALL).unwrap();
        let missing: Vec<_> = attached
            .missing
            .iter()
            .map(|missing| format!("{}: {}", missing.hook.program, missing.reason))
            .collect();
        // Kernels from 5.15 on have every hook of the table that serves the way.
        assert_eq!(missing, Vec::<String>::new(), "{way:?}");
    }
}

#[test]
fn the_programs_also_load_with_their_log_and_with_a_narrow_scope() {
    let options = Options {
        head_bytes: 16 * 1024,
        message_bytes: 0,
        processes: Some(vec![1]),
        ports: vec![80, 8080],
        runtimes: vec![(1, Runtime::of(runtime::MULTIPLEXING))],
        bpf_log: true,
        way: None,
        carriers: Carriers {
            option: true,
            header: Some(Members::First),
            socket_pair: false,
            sampler: Sampler::TraceIdRatio(0.25),
            destinations: Vec::new(),
        },
    };
    attach::attach(&options).unwrap();
}
