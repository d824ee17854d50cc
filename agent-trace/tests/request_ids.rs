//! Requests with ids that their program hands on: heads in, parents out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_trace::tracer::TracerConfig;
use support::calls::{OK, Scene};
use support::line;

fn with(line: &str, id: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: shop\r\nX-Request-Id: {id}\r\n\r\n")
}

/// The line of call 10 of a program that serves requests 1 and 2 with these ids; the kernel side says that it is for `parent` (0: nothing).
fn call(ids: [&str; 2], parent: u8, request: &str, names: &[&str]) -> String {
    let mut scene = Scene::new();
    for (n, id) in [1, 2].into_iter().zip(ids) {
        scene.serve_with(n, &with("GET /in", id));
    }
    scene.call(parent, 10, request, OK);
    let config = TracerConfig {
        request_ids: names.iter().map(|name| (*name).to_owned()).collect(),
        ..TracerConfig::default()
    };
    line(scene.run_with(config).span(10))
}

#[test]
fn a_call_without_a_parent_is_for_the_request_with_its_id() {
    let (one, two) = ("7d3f9b2e-01", "c0ffee15-02");
    let names: &[&str] = &["X-Request-Id"];
    let get = |id: &str| with("GET /price", id);
    for (what, ids, parent, request, names, expect) in [
        (
            "the first",
            [one, two],
            0,
            get(one),
            names,
            "t01 s0a p01 request_id",
        ),
        (
            "the second",
            [one, two],
            0,
            get(two),
            names,
            "t02 s0a p02 request_id",
        ),
        (
            "another",
            [one, two],
            0,
            get("deadbeef-03"),
            names,
            "t0a s0a p- none",
        ),
        ("both", [one, one], 0, get(one), names, "t0a s0a p- none"),
        (
            "the thread's is nearer",
            [one, two],
            2,
            get(one),
            names,
            "t02 s0a p02 thread",
        ),
        (
            "nobody asked for it",
            [one, two],
            0,
            get(one),
            &[][..],
            "t0a s0a p- none",
        ),
    ] {
        let found = call(ids, parent, &request, names);
        assert!(found.ends_with(expect), "{what}: {found}");
    }
}

#[test]
fn a_header_of_its_own_is_nearer() {
    let request = "GET /price HTTP/1.1\r\nHost: shop\r\nX-Request-Id: 7d3f9b2e-01\r\ntraceparent: \
                   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let found = call(
        ["7d3f9b2e-01", "c0ffee15-02"],
        0,
        request,
        &["x-request-id"],
    );
    assert!(found.ends_with("header"), "{found}");
}
