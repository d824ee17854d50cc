//! Each rule with a small input that keeps it and one that breaks it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use super::rules;

/// The lines of the findings, without warnings.
fn broken(file: &str, text: &str) -> Vec<usize> {
    rules::check(file, text)
        .into_iter()
        .filter(|finding| !finding.warning)
        .map(|finding| finding.line)
        .collect()
}

fn check(file: &str, body: &str, expect: &[usize]) {
    assert_eq!(
        broken(file, &format!("//! A file.\n{body}")),
        expect,
        "{file}:\n{body}"
    );
}

#[test]
fn a_file_opens_with_its_purpose() {
    assert_eq!(broken("agent/src/a.rs", "fn f() {}\n"), [1]);
    assert_eq!(broken("agent/src/a.rs", "//! F.\nfn f() {}\n"), [0usize; 0]);
}

#[test]
fn long_files_warn_then_fail() {
    let text = |lines: usize| format!("//! A file.\n{}", "fn f() {}\n".repeat(lines - 1));
    let warned = |lines| {
        rules::check("agent/src/a.rs", &text(lines))
            .iter()
            .any(|finding| finding.warning)
    };
    assert!(!warned(400));
    assert!(warned(401));
    assert_eq!(broken("agent/src/a.rs", &text(500)), [0usize; 0]);
    assert_eq!(broken("agent/src/a.rs", &text(501)), [0]);
}

#[test]
fn empty_words_are_refused_in_names_only() {
    check(
        "agent/src/a.rs",
        "struct SpanManager;\nfn data() {}\nmod string_utils;",
        &[2, 3, 4],
    );
    check(
        "agent/src/a.rs",
        "struct Metadata;\nfn f() { let data = 1; }\n// fn helper()",
        &[],
    );
    check("agent/src/utils.rs", "", &[0]);
}

#[test]
fn globs_and_stubs_are_refused() {
    check(
        "agent/src/a.rs",
        "use super::*;\nfn f() { todo!() }\n#[ignore = \"slow\"]",
        &[2, 3, 4],
    );
    check(
        "agent/src/a.rs",
        "// use super::*\nlet s = \"todo!()\";",
        &[],
    );
}

#[test]
fn unsafe_needs_its_proof() {
    check("agent/src/a.rs", "fn f() {\n    unsafe { g() };\n}", &[3]);
    check(
        "agent/src/a.rs",
        "fn f() {\n    // SAFETY: g asks for nothing.\n    unsafe { g() };\n}",
        &[],
    );
    check(
        "agent/src/a.rs",
        "// SAFETY: two lines\n// of proof.\nlet a =\n    unsafe { g() };",
        &[],
    );
    check(
        "agent/src/a.rs",
        "// SAFETY: of another one.\nlet a = 1;\nunsafe impl Send for A {}",
        &[4],
    );
}

#[test]
fn bpf_loops_say_when_they_end() {
    check(
        "agent-ebpf/src/a.rs",
        "for i in 0..4 {\n}\nlet x = loop {\n};",
        &[2, 4],
    );
    check(
        "agent-ebpf/src/a.rs",
        "// BOUND: 4.\nfor i in 0..4 {\n}\nimpl A for B {}",
        &[],
    );
    check("agent/src/a.rs", "for i in 0..4 {\n}", &[]);
}

#[test]
fn each_semantic_key_has_one_const() {
    check(
        "agent/src/semconv.rs",
        "const A: &str = \"a.b\";\nconst B: &str =\n    \"a.b\";",
        &[4],
    );
    check(
        "agent/src/semconv.rs",
        "const A: &str = \"a.b\";\nfn f() { g(\"a.b\") }",
        &[],
    );
}

#[test]
fn crates_stay_on_their_side() {
    check("agent/src/view/tree.rs", "use aya::Ebpf;", &[2]);
    check("agent/src/attach/mod.rs", "use aya::Ebpf;", &[]);
    check(
        "agent-protocol/src/a.rs",
        "fn f() { tokio::spawn(g()) }",
        &[2],
    );
    check(
        "agent-trace/src/a.rs",
        "use std::{\n    net::{IpAddr, TcpStream},\n    fs,\n};",
        &[3, 4],
    );
    check(
        "agent-trace/src/a.rs",
        "use std::time::{Duration, Instant};",
        &[2],
    );
    check(
        "agent-trace/src/a.rs",
        "fn f() { std::env::var_os(\"X\"); }",
        &[2],
    );
    check(
        "agent/src/enrich/a.rs",
        "use opentelemetry_proto::tonic;",
        &[2],
    );
    check(
        "agent/src/view/json.rs",
        "use opentelemetry_proto::tonic;",
        &[],
    );
}
