//! The ABI between the BPF programs (`agent-ebpf`) and user space.
//!
//! In: nothing. Out: `#[repr(C)]` records and map values, the limits and the counters both sides agree on.
//! Always holds: no dependencies, no allocation, every size and offset is asserted at compile time, all
//! integers are native-endian, every struct is free of padding so that no kernel stack byte leaks through it.
//! Refuses: anything with a pointer, a `bool` or an enum in a record. Bytes from the kernel are parsed, not trusted.
#![no_std]

pub mod abi;
pub mod carried;
pub mod counters;
pub mod header;
pub mod limits;
pub mod offsets;
