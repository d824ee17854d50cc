//! Suture's BPF programs.
//!
//! In: calls that move bytes on stream sockets, socket state changes, exec/fork/exit. Out: records in the ring
//! buffer (`agent_common::abi`) and the causal maps. Always holds: every loop has a constant bound named beside it,
//! every failure has a counter, nothing is written to a process or a packet. Refuses: kernel structs as a whole
//! (single fields are read), and work on sockets that were given up.
//!
//! Layout: `programs` are the entry points, one module per family of hooks; `walk` goes from a task to a socket;
//! `user` reads the bytes of a call; `sniff` recognises a first token; `flow` is the state of a connection, `exchange`
//! of what runs on it, `messages` what brokers' clients say; `unit`, `tick` and `pending` are the causal maps; `emit` writes records.
#![no_std]
#![no_main]
// Atomic exchanges of words (`unit::word`).
#![feature(asm_experimental_arch)]

mod adopt;
mod carry;
mod conn;
mod emit;
mod ends;
mod exchange;
mod flow;
mod ids;
mod inject;
mod maps;
mod messages;
mod pending;
mod programs;
mod scope;
mod segment;
mod settings;
mod sniff;
mod tick;
mod unit;
mod user;
mod walk;

/// The verifier proves that no path of the programs reaches a panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // BOUND: never runs.
    loop {}
}

/// Helpers such as `bpf_probe_read_user` are for programs that declare a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
