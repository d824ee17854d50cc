//! Requests whose caller an option of another host's agent named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{evidence::OPTION, said, words_of};
use agent_common::carried::tag_of;
use agent_trace::config::Sampler;
use agent_trace::tracer::TracerConfig;
use support::chain::{OK, edges, request};
use support::{World, ids, pair};

/// The tag of the header with trace `t` and parent `p`.
fn tag(t: u8, p: u8) -> u8 {
    tag_of(words_of([t; 16]), u64::from_ne_bytes([p; 8]))
}

/// Span 2 of a server whose client (span 1, trace `trace`) is on another host.
fn served(trace: u8, said: u8, header: Option<(u8, u8)>, sampler: Sampler) -> Vec<String> {
    let mut world = World::default();
    let (_, mut server) = pair(1, 10, 20);
    world.conn(&server);
    let bytes = request("/", header, "01");
    let mut exchange = ids(trace, 2, Some((1, OPTION)));
    exchange.said = said;
    world.read(&mut server, &bytes, Some(exchange));
    world.write(&mut server, OK, None);
    let outcome = world.run_with(TracerConfig {
        sampler,
        ..TracerConfig::default()
    });
    if outcome.spans.is_empty() {
        return Vec::new();
    }
    assert!(outcome.span(2).parent_is_remote);
    edges(&outcome, &[2])
}

#[test]
fn an_option_names_the_parent_and_a_header_wins_unless_it_was_passed_on() {
    let sampled = said::SAMPLED;
    let passed = sampled | tag(0xaa, 0xbb) << said::TAG_SHIFT;
    for (what, trace, said, header, expect) in [
        ("no header", 7, sampled, None, "2: 7<1:option"),
        (
            "the client's own header",
            7,
            sampled,
            Some((0xaa, 0xbb)),
            "2: aa<bb:header",
        ),
        (
            "passed on by a proxy",
            0xaa,
            passed,
            Some((0xaa, 0xbb)),
            "2: aa<1:option",
        ),
        (
            "a new header in the same trace",
            0xaa,
            passed,
            Some((0xaa, 0xcc)),
            "2: aa<cc:header",
        ),
        (
            "a tag that fits by accident",
            7,
            passed,
            Some((0xaa, 0xbb)),
            "2: aa<bb:header",
        ),
    ] {
        let edge = served(trace, said, header, Sampler::ParentBasedAlwaysOn);
        assert_eq!(edge, [expect], "{what}");
    }
}

#[test]
fn the_sampled_flag_counts_as_that_of_a_header_does() {
    let none: [&str; 0] = [];
    assert_eq!(served(7, 0, None, Sampler::ParentBasedAlwaysOn), none);
    assert_eq!(served(7, 0, None, Sampler::AlwaysOn), ["2: 7<1:option"]);
    assert_eq!(
        served(7, said::SAMPLED, None, Sampler::ParentBasedAlwaysOff),
        ["2: 7<1:option"]
    );
    assert_eq!(served(7, said::SAMPLED, None, Sampler::AlwaysOff), none);
}
