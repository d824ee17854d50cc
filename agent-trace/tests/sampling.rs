//! Which spans are handed out: samplers, sampled flags, ignored paths.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::evidence::THREAD;
use agent_trace::counters::Counter;
use agent_trace::tracer::{Sampler, TracerConfig};
use support::chain::{Chain, chain, edges, request};

#[test]
fn samplers_choose_as_the_specification_says() {
    let config = |sampler| TracerConfig {
        sampler,
        ..TracerConfig::default()
    };
    let make = |flags: &str| Chain {
        first: request("/", Some((0xaa, 0xbb)), flags),
        second: request("/", None, "01"),
        call: Some((2, THREAD)),
        remote: true,
    };
    for (sampler, flags, spans) in [
        (Sampler::ParentBasedAlwaysOn, "01", 3),
        (Sampler::ParentBasedAlwaysOn, "00", 0),
        (Sampler::ParentBasedAlwaysOff, "01", 3),
        (Sampler::ParentBasedTraceIdRatio(0.0), "03", 3),
        (Sampler::AlwaysOn, "00", 3),
        (Sampler::AlwaysOff, "01", 0),
        (Sampler::TraceIdRatio(1.0), "00", 3),
        (Sampler::TraceIdRatio(0.0), "01", 0),
        // The lower 63 bits of trace id aa…aa are 0.33 of their range: 0x55… / 2^63 = 2/3.
        (Sampler::TraceIdRatio(0.7), "01", 3),
        (Sampler::TraceIdRatio(0.6), "01", 0),
    ] {
        let outcome = chain(&make(flags), config(sampler));
        assert_eq!(outcome.spans.len(), spans, "{sampler:?} {flags}");
        assert_eq!(
            outcome.count(Counter::NotSampled),
            3 - spans as u64,
            "{sampler:?} {flags}"
        );
    }
}

#[test]
fn sampler_names_are_those_of_the_specification() {
    for (name, argument, expect) in [
        ("always_on", None, Some(Sampler::AlwaysOn)),
        (
            "parentbased_traceidratio",
            Some("0.25"),
            Some(Sampler::ParentBasedTraceIdRatio(0.25)),
        ),
        ("traceidratio", None, Some(Sampler::TraceIdRatio(1.0))),
        ("traceidratio", Some("1.5"), None),
        ("traceidratio", Some("x"), None),
        ("xray", None, None),
    ] {
        assert_eq!(
            Sampler::parse(name, argument).ok(),
            expect,
            "{name} {argument:?}"
        );
    }
}

#[test]
fn children_of_an_ignored_path_go_to_its_parent() {
    for (pattern, remote, expect) in [
        ("/health", false, vec!["3: 1<-:none", "4: 1<3:socket"]),
        ("/he*", false, vec!["3: 1<-:none", "4: 1<3:socket"]),
        ("/health", true, vec!["3: 1<-:none", "4: 1<3:socket"]),
        (
            "/healt",
            false,
            vec![
                "1: 1<-:none",
                "2: 1<1:socket",
                "3: 1<2:thread",
                "4: 1<3:socket",
            ],
        ),
    ] {
        let config = TracerConfig {
            ignore_paths: vec![pattern.to_owned()],
            ..TracerConfig::default()
        };
        let first = request("/health?full=1", None, "01");
        let outcome = chain(
            &Chain {
                first,
                second: request("/db", None, "01"),
                call: Some((2, THREAD)),
                remote,
            },
            config,
        );
        let spans: Vec<u8> = (1..=4)
            .filter(|n| outcome.spans.iter().any(|span| span.span_id.0 == [*n; 8]))
            .collect();
        assert_eq!(edges(&outcome, &spans), expect, "{pattern} {remote}");
        assert_eq!(
            outcome.count(Counter::PathIgnored) + outcome.spans.len() as u64,
            if remote { 3 } else { 4 }
        );
    }
    let config = TracerConfig {
        ignore_paths: vec!["/health".to_owned()],
        ..TracerConfig::default()
    };
    let first = request("/health", Some((0xaa, 0xbb)), "01");
    let outcome = chain(
        &Chain {
            first,
            second: request("/db", None, "01"),
            call: Some((2, THREAD)),
            remote: true,
        },
        config,
    );
    assert_eq!(
        edges(&outcome, &[3, 4]),
        ["3: aa<bb:thread", "4: aa<3:socket"]
    );
}
