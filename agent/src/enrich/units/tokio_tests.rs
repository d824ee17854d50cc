//! Tests of `tokio`: the code of the releases that were looked at, names, and programs that cannot be read.

use super::{CODE, STRIPPED, TokioFacts, ends_in, exchanged, jump_behind_exchange};

/// `TaskIdGuard::enter` of tokio 1.44.0, 1.48.0 (`lea rax, [rax-0x160]`) and 1.54.1 (`-0x130`), rustc 1.95, release.
fn enter(base: u8) -> Vec<u8> {
    let mut code = vec![
        0x41, 0x56, 0x53, 0x50, 0x48, 0x89, 0xfb, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48,
        0x8d, 0x80, base, 0xfe, 0xff, 0xff, 0x0f, 0xb6, 0x48, 0x48, 0x83, 0xf9, 0x01, 0x74, 0x24,
        0x83, 0xf9, 0x02, 0x75, 0x04, 0x31, 0xc9, 0xeb, 0x23,
    ];
    code.extend([
        0x48, 0x8d, 0x35, 0x70, 0xee, 0xfe, 0xff, 0x48, 0x89, 0xc7, 0x49, 0x89, 0xc6, 0xff, 0x15,
        0xd4, 0xc6, 0x06, 0, 0x4c, 0x89, 0xf0, 0x41, 0xc6, 0x46, 0x48, 0x01, 0x48, 0x8b, 0x48,
        0x30, 0x48, 0x89, 0x58, 0x30, 0x48, 0x89, 0xc8, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0x41, 0x5e,
        0xc3,
    ]);
    code
}

#[test]
fn the_ids_place_is_where_it_is_exchanged() {
    assert_eq!(exchanged(&enter(0xa0), 0x160), Some(0x30));
    assert_eq!(exchanged(&enter(0xd0), 0x130), Some(0x30));
}

#[test]
fn code_that_is_not_as_it_should_be_has_no_place() {
    let code = enter(0xa0);
    assert_eq!(exchanged(&code, 0x158), None); // another thread-local
    // One bit of the two moves: of their opcodes, their base registers (1), their distances.
    for (at, bit) in [
        (68, 8),
        (69, 8),
        (70, 1),
        (71, 8),
        (72, 8),
        (73, 8),
        (74, 1),
        (75, 8),
    ] {
        let mut other = code.clone();
        other[at] ^= bit;
        assert_eq!(exchanged(&other, 0x160), None, "byte {at}");
    }
    let twice: Vec<u8> = [&code[..], &code[..]].concat();
    assert_eq!(exchanged(&twice, 0x160), None);
    for len in 0..76 {
        assert_eq!(exchanged(&code[..len], 0x160), None, "{len}");
    }
}

#[test]
fn the_jump_behind_the_exchange_is_found() {
    // AtomicWaker::wake of 1.44.0 to 1.54.1.
    let code = [
        0x48, 0x8b, 0x47, 0x10, 0x66, 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x48,
        0x89, 0xc1, 0x48, 0x83, 0xc9, 0x02, 0xf0, 0x48, 0x0f, 0xb1, 0x4f, 0x10, 0x75, 0xf1, 0x48,
        0x85, 0xc0, 0x74, 0x01, 0xc3,
    ];
    assert_eq!(jump_behind_exchange(&code), Some(34));
    assert_eq!(jump_behind_exchange(&code[..34]), None);
}

#[test]
fn names_are_known_however_they_are_mangled() {
    for (name, last, expect) in [
        (
            "_ZN5tokio4sync4task12atomic_waker11AtomicWaker4wake17h0123456789abcdefE",
            "4wake",
            true,
        ),
        (
            "_RNvMNtNtNtNtCs1_5tokio4sync4task12atomic_wakerNtB2_11AtomicWaker4wake",
            "4wake",
            true,
        ),
        (
            "_RINvMNtNtNtCs1_5tokio7runtime4task4list10OwnedTasks10bind_innerCs2_3foo",
            "10bind_inner",
            true,
        ),
        ("_ZN5tokio4wake5other17h0123456789abcdefE", "4wake", false),
        ("wake", "4wake", false),
    ] {
        assert_eq!(ends_in(name, last), expect, "{name}");
    }
}

#[test]
fn programs_whose_tasks_are_not_known_say_why() {
    let read = |path: &str| TokioFacts::read(&std::fs::File::open(path).unwrap()).unwrap();
    assert_eq!(read("/bin/sh").limit(), Some(STRIPPED));
    // This test holds tokio as it is compiled for tests: not optimised.
    let own = std::env::current_exe().unwrap();
    assert_eq!(read(own.to_str().unwrap()).limit(), Some(CODE));
}
