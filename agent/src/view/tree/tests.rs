//! Traces as they appear on the terminal.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::borrow::Cow;
use std::sync::Arc;

use agent_trace::frame::ProcessFacts;
use agent_trace::semconv::{ERROR_TYPE, HTTP_REQUEST_RESEND_COUNT, HTTP_RESPONSE_STATUS_CODE};
use agent_trace::span::{Evidence, Link, Span, SpanId, SpanKind, Status, TraceId, Value};
use unicode_width::UnicodeWidthStr;

use super::{TreeLimits, TreeView};

const SECOND: u64 = 1_000_000_000;
const LIMITS: TreeLimits = TreeLimits {
    traces: 100,
    spans: 1_000,
};

/// One span of a test: (id, parent, evidence, kind, service, name, status, start µs, end µs).
type Line = (
    u8,
    Option<u8>,
    Evidence,
    SpanKind,
    &'static str,
    &'static str,
    Result<i64, &'static str>,
    u64,
    u64,
);

const fn id(number: u8) -> SpanId {
    SpanId([number; 8])
}

fn push(view: &mut TreeView, trace: u8, line: &Line) {
    push_with(view, trace, line, &[]);
}

/// The same with more attributes.
fn push_with(view: &mut TreeView, trace: u8, line: &Line, more: &[(&'static str, Value)]) {
    push_span(view, trace, line, more, Vec::new());
}

/// The same with links.
fn push_linked(view: &mut TreeView, trace: u8, line: &Line, links: Vec<Link>) {
    push_span(view, trace, line, &[], links);
}

fn push_span(
    view: &mut TreeView,
    trace: u8,
    line: &Line,
    more: &[(&'static str, Value)],
    links: Vec<Link>,
) {
    let (span_id, parent, evidence, kind, service, name, status, start_us, end_us) = *line;
    let attribute = match status {
        Ok(code) => (HTTP_RESPONSE_STATUS_CODE, Value::Int(code)),
        Err(kind) => (ERROR_TYPE, Value::Str(Cow::Borrowed(kind))),
    };
    let failed = status.map_or(true, |code| code >= 500);
    let span = Span {
        trace_id: TraceId([trace; 16]),
        span_id: id(span_id),
        parent_span_id: parent.map(id),
        trace_state: None,
        parent_is_remote: false,
        evidence,
        kind,
        name: name.to_owned(),
        start_unix_ns: 1_795_245_600 * SECOND + start_us * 1_000,
        end_unix_ns: 1_795_245_600 * SECOND + end_us * 1_000,
        status: if failed {
            Status::Error(Cow::Borrowed(""))
        } else {
            Status::Unset
        },
        attributes: [&[attribute], more].concat(),
        links,
        process: agent_common::abi::ProcessKey::default(),
    };
    let facts = ProcessFacts {
        service_name: service.to_owned(),
        ..ProcessFacts::default()
    };
    view.push(&span, &Arc::new(facts));
}

fn shop() -> Vec<Line> {
    use Evidence::{None as Root, Socket, Thread};
    use SpanKind::{Client, Server};
    vec![
        (
            4,
            Some(3),
            Thread,
            Client,
            "cart",
            "GET",
            Ok(200),
            5_000,
            9_000,
        ),
        (
            5,
            Some(4),
            Socket,
            Server,
            "prices",
            "GET /prices/{id}",
            Ok(200),
            5_300,
            8_800,
        ),
        (
            6,
            Some(3),
            Thread,
            Client,
            "cart",
            "POST",
            Err("connection_refused"),
            10_000,
            10_050,
        ),
        (
            3,
            Some(2),
            Socket,
            Server,
            "cart",
            "GET /cart/{id}",
            Ok(500),
            2_000,
            20_000,
        ),
        (
            2,
            Some(1),
            Thread,
            Client,
            "gateway",
            "GET",
            Ok(500),
            1_000,
            21_000,
        ),
        (
            1,
            None,
            Root,
            Server,
            "gateway",
            "GET /cart/{id}",
            Ok(500),
            0,
            23_400,
        ),
    ]
}

fn drawn(color: bool, trace: &[Line]) -> String {
    let mut view = TreeView::new(LIMITS, color);
    trace.iter().for_each(|line| push(&mut view, 0xab, line));
    view.finish();
    view.take_output()
}

#[test]
fn a_trace_is_one_waterfall() {
    insta::assert_snapshot!(drawn(false, &shop()));
}

#[test]
fn errors_are_red_on_a_terminal() {
    insta::assert_snapshot!(drawn(true, &shop()).replace('\x1b', "ESC"));
    assert!(!drawn(false, &shop()).contains('\x1b'));
}

#[test]
fn long_and_wide_names_are_cut_at_their_column() {
    use Evidence::{Header, None as Root};
    use SpanKind::{Client, Server};
    let text = drawn(
        false,
        &[
            (
                1,
                None,
                Root,
                Server,
                "a-service-with-a-name-that-is-longer-than-half",
                "GET /a/very/long/route/{id}",
                Ok(200),
                0,
                9,
            ),
            (
                2,
                Some(1),
                Header,
                Client,
                "注文サービスは長い名前を持っています",
                "GET /注文/{id}/明細/一覧/全部",
                Ok(404),
                1,
                8,
            ),
            (
                3,
                Some(2),
                Header,
                Server,
                "evil\x1b[2J\u{202e}",
                "GET /\r\n",
                Ok(200),
                2,
                3,
            ),
        ],
    );
    insta::assert_snapshot!(text);
    for line in text.lines() {
        assert!(line.width() <= 100, "{line}");
    }
}

#[test]
fn spans_without_their_parent_are_under_a_heading() {
    use Evidence::{Header, Thread};
    use SpanKind::{Client, Server};
    insta::assert_snapshot!(drawn(
        false,
        &[
            (1, Some(9), Header, Server, "api", "GET /a", Ok(200), 0, 100),
            (2, Some(1), Thread, Client, "api", "GET", Ok(200), 10, 90),
            (3, Some(8), Header, Server, "api", "GET /b", Ok(200), 20, 60),
        ],
    ));
}

#[test]
fn repetitions_of_a_call_are_numbered() {
    use Evidence::Thread;
    let mut view = TreeView::new(LIMITS, false);
    for attempt in 0..3_u8 {
        let status = Ok(if attempt < 2 { 503 } else { 200 });
        let at = u64::from(attempt) * 10;
        let line = (
            2 + attempt,
            Some(1),
            Thread,
            SpanKind::Client,
            "cart",
            "GET",
            status,
            at,
            at + 9,
        );
        let count = (HTTP_REQUEST_RESEND_COUNT, Value::Int(i64::from(attempt)));
        push_with(
            &mut view,
            0xab,
            &line,
            if attempt > 0 {
                std::slice::from_ref(&count)
            } else {
                &[]
            },
        );
    }
    view.finish();
    let text = view.take_output();
    let labels: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once("→ "))
        .map(|(_, label)| {
            label
                .trim_start_matches("GET")
                .split("  ")
                .next()
                .unwrap()
                .trim()
        })
        .collect();
    assert_eq!(labels, ["", "↻1", "↻2"], "{text}");
}

#[test]
fn rings_of_parents_are_drawn_once() {
    use Evidence::Header;
    let line = |span, parent| {
        (
            span,
            Some(parent),
            Header,
            SpanKind::Server,
            "api",
            "GET /",
            Ok(200),
            u64::from(span),
            90,
        )
    };
    let text = drawn(false, &[line(1, 2), line(2, 1), line(3, 3), line(3, 3)]);
    assert_eq!(text.matches("GET /").count(), 4, "{text}");
}

#[test]
fn a_trace_is_drawn_when_it_is_quiet() {
    let mut view = TreeView::new(LIMITS, false);
    let check = |view: &mut TreeView, now_ms: u64, traces: usize| {
        view.tick(now_ms * 1_000_000);
        let text = view.take_output();
        assert_eq!(
            text.matches("trace ").count(),
            traces,
            "at {now_ms} ms: {text}"
        );
    };
    let shop = shop();
    check(&mut view, 1_000, 0);
    push(&mut view, 1, &shop[5]); // a root
    push(&mut view, 2, &shop[4]); // none
    check(&mut view, 1_400, 0);
    push(&mut view, 1, &shop[4]); // starts the wait anew
    check(&mut view, 1_500, 0);
    check(&mut view, 1_899, 0);
    check(&mut view, 1_900, 1);
    check(&mut view, 5_999, 0);
    check(&mut view, 6_000, 1);
    check(&mut view, 60_000, 0);
}

#[test]
fn a_trace_is_not_drawn_while_a_job_in_it_is_at_work() {
    let mut view = TreeView::new(LIMITS, false);
    let shop = shop();
    push(&mut view, 1, &shop[5]);
    push(&mut view, 1, &shop[0]); // its parent comes later
    view.tick(3 * SECOND);
    assert_eq!(view.take_output(), "");
    push(&mut view, 1, &shop[3]);
    push(&mut view, 1, &shop[4]);
    view.tick(3 * SECOND + 500_000_000);
    let text = view.take_output();
    assert!(
        text.contains("  4 spans") && !text.contains("not seen"),
        "{text}"
    );
    // One that never comes.
    push(&mut view, 2, &shop[5]);
    push(&mut view, 2, &shop[0]);
    view.tick(9 * SECOND);
    assert!(view.take_output().contains("(parent not seen)"));
}

#[test]
fn a_span_that_is_linked_to_another_trace_names_it() {
    let mut view = TreeView::new(LIMITS, false);
    let shop = shop();
    let link = |trace| Link {
        trace_id: TraceId([trace; 16]),
        span_id: id(9),
        attributes: Vec::new(),
    };
    push_linked(&mut view, 1, &shop[5], vec![link(1), link(0xab)]);
    push_linked(&mut view, 2, &shop[5], vec![link(2)]);
    view.finish();
    let text = view.take_output();
    assert_eq!(text.matches('↪').count(), 1, "{text}");
    assert!(text.contains(" ↪abababab "), "{text}");
}

#[test]
fn late_spans_are_shown_under_their_trace() {
    let mut view = TreeView::new(LIMITS, false);
    let shop = shop();
    push(&mut view, 0xab, &shop[5]);
    push(&mut view, 0xab, &shop[4]);
    view.tick(SECOND);
    push(&mut view, 0xab, &shop[3]);
    push(&mut view, 0xab, &shop[0]);
    view.tick(2 * SECOND);
    insta::assert_snapshot!(view.take_output());
}

#[test]
fn beyond_the_limits_the_oldest_trace_is_drawn_early() {
    let mut view = TreeView::new(
        TreeLimits {
            traces: 2,
            spans: 5,
        },
        false,
    );
    let shop = shop();
    let mut check = |trace: u8, expect: &[u8]| {
        push(&mut view, trace, &shop[4]);
        let text = view.take_output();
        let heads: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("trace "))
            .collect();
        let expected: Vec<_> = expect
            .iter()
            .map(|trace| format!("trace {trace:02x}"))
            .collect();
        assert_eq!(heads.len(), expected.len(), "{text}");
        for (head, start) in heads.iter().zip(&expected) {
            assert!(head.starts_with(start), "{head}");
        }
    };
    check(1, &[]);
    check(2, &[]);
    check(3, &[1]);
    check(3, &[]);
    check(3, &[]);
    check(3, &[]);
    check(3, &[2]);
    check(3, &[3]);
    check(3, &[]);
    view.finish();
    assert!(view.take_output().contains("… late  1 span\n"));
}

#[test]
fn very_long_traces_say_what_they_leave_out() {
    let mut view = TreeView::new(
        TreeLimits {
            traces: 2,
            spans: 5_000,
        },
        false,
    );
    let shop = shop();
    (0..1_500).for_each(|_| push(&mut view, 1, &shop[5]));
    view.finish();
    let text = view.take_output();
    assert!(text.ends_with("… and 500 more spans of this trace\n\n"));
    assert_eq!(text.lines().count(), 1 + 1_000 + 2);
}

proptest::proptest! {
    #[test]
    fn every_span_is_drawn_once_and_within_the_width(
        spans in proptest::collection::vec((0_u8..3, 1_u8..20, proptest::option::of(0_u8..20), 0_u64..5_000, 0_u64..5_000), 1..60),
        ticks in proptest::collection::vec(proptest::bool::ANY, 60),
        limits in (1_usize..4, 1_usize..30),
    ) {
        let mut view = TreeView::new(TreeLimits { traces: limits.0, spans: limits.1 }, false);
        let mut now_ns = 0;
        for ((trace, span, parent, start, length), tick) in spans.iter().zip(ticks) {
            let line = (*span, *parent, Evidence::Socket, SpanKind::Server, "api", "SPAN", Ok(200), *start, start + length);
            push(&mut view, *trace + 1, &line);
            if tick {
                now_ns += SECOND;
                view.tick(now_ns);
            }
        }
        view.finish();
        let text = view.take_output();
        proptest::prop_assert_eq!(text.matches("SPAN").count(), spans.len());
        proptest::prop_assert!(text.lines().all(|line| line.width() <= 100), "{}", text);
        view.finish();
        proptest::prop_assert_eq!(view.take_output(), "");
    }
}
