//! `traceparent`, `tracestate`, `baggage`: values and what becomes of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::tracecontext::{Invalid, baggage_is_valid, parse, tracestate_is_valid};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[test]
fn valid_parents_are_read() {
    let context = parse(format!("00-{TRACE}-{PARENT}-01").as_bytes()).unwrap();
    assert_eq!(context.version, 0);
    assert_eq!(
        context.trace_id,
        [
            10, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31,
            0x9c
        ]
    );
    assert_eq!(
        context.parent_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert!(context.sampled());
    let check = |value: String, flags: u8, sampled: bool| {
        let context = parse(value.as_bytes()).unwrap_or_else(|why| panic!("{value}: {why:?}"));
        assert_eq!(
            (context.flags, context.sampled()),
            (flags, sampled),
            "{value}"
        );
    };
    check(format!("00-{TRACE}-{PARENT}-00"), 0, false);
    check(format!("00-{TRACE}-{PARENT}-03"), 3, true);
    check(format!("00-{TRACE}-{PARENT}-ff"), 255, true);
    check(format!("  00-{TRACE}-{PARENT}-02 \t"), 2, false);
    // Later versions: what this version knows of them.
    check(format!("cc-{TRACE}-{PARENT}-01"), 1, true);
    check(
        format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
        1,
        true,
    );
    check(format!("01-{TRACE}-{PARENT}-01-"), 1, true);
}

#[test]
fn invalid_parents_are_ignored_with_a_reason() {
    let check =
        |value: String, why: Invalid| assert_eq!(parse(value.as_bytes()), Err(why), "{value:?}");
    check(String::new(), Invalid::Length);
    check(format!("00-{TRACE}-{PARENT}"), Invalid::Length);
    check(format!("00-{TRACE}-{PARENT}-0"), Invalid::Length);
    check(format!("00-{TRACE}-{PARENT}-01-extra"), Invalid::Length);
    check(format!("00-{TRACE}-{PARENT}-01."), Invalid::Length);
    check(format!("cc-{TRACE}-{PARENT}-01.what"), Invalid::Length);
    check(
        format!("00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01"),
        Invalid::Length,
    );
    check(format!("ff-{TRACE}-{PARENT}-01"), Invalid::Version);
    check(format!("0A-{TRACE}-{PARENT}-01"), Invalid::Character);
    check(
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        Invalid::Character,
    );
    check(
        format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
        Invalid::Character,
    );
    check(format!("00-{TRACE}-{PARENT}-0A"), Invalid::Character);
    check(format!("00-{TRACE}-{PARENT}-.0"), Invalid::Character);
    check(format!("00_{TRACE}-{PARENT}-01"), Invalid::Character);
    check(format!("00-{TRACE}_{PARENT}-01"), Invalid::Character);
    check(format!("00-{TRACE}-{PARENT}_01"), Invalid::Character);
    check(
        format!("00-{}-{PARENT}-01", "g".repeat(32)),
        Invalid::Character,
    );
    check(
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        Invalid::ZeroTraceId,
    );
    check(
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        Invalid::ZeroParentId,
    );
}

#[test]
fn tracestate_keeps_its_rules() {
    let check = |list: &str, valid: bool| assert_eq!(tracestate_is_valid(list), valid, "{list:?}");
    let members = |n: usize| {
        (0..n)
            .map(|i| format!("k{i}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for list in [
        "",
        "a=b",
        "a=b,c=d",
        "a=b , \t c=d",
        "a=b,,c=d,",
        "t-9_/*@x=y",
        "tenant@system=1",
        "1a=x y z",
        "a=:;<>~",
    ] {
        check(list, true);
    }
    for list in [
        "a",
        "=b",
        "a=",
        "A=b",
        "@a=b",
        "a=b=c",
        "a=b,a=c",
        "a b=c",
        "a=\u{e9}",
        "a=b\u{7f}",
        "a=b;c,d",
    ] {
        check(list, false);
    }
    check(&members(32), true);
    check(&members(33), false);
    check(&format!("{}=v", "k".repeat(256)), true);
    check(&format!("{}=v", "k".repeat(257)), false);
    check(&format!("k={}", "v".repeat(256)), true);
    check(&format!("k={}", "v".repeat(257)), false);
    check(
        &format!("a={0},b={0},c={1}", "v".repeat(250), "v".repeat(4)),
        true,
    );
    check(
        &format!("a={0},b={0},c={1}", "v".repeat(250), "v".repeat(5)),
        false,
    );
}

#[test]
fn baggage_keeps_its_rules() {
    let check = |list: &str, valid: bool| assert_eq!(baggage_is_valid(list), valid, "{list:?}");
    for list in [
        "a=b",
        "a = b , c=d",
        "k=",
        "userId=Am%C3%A9lie,serverNode=DF:28,isProduction=false",
        "a=b;p;q=r ; s = t",
        "a=b=c",
    ] {
        check(list, true);
    }
    for list in [
        "", "a", "=b", "a=b,", "a=b c", "a=b,c", "a=\"b\"", "a=b;", "a=b;p q", "a=b\\", "a=\u{e9}",
        "k (=v",
    ] {
        check(list, false);
    }
    check(&format!("a={}", "v".repeat(8190)), true);
    check(&format!("a={}", "v".repeat(8191)), false);
    check(&["k=v"; 180].join(","), true);
    check(&["k=v"; 181].join(","), false);
}
