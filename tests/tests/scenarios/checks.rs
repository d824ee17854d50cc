//! The checks themselves, without an agent: a right chain passes, and each way of being wrong is told.

use std::collections::BTreeMap;

use suture_tests::check::{Asked, Call, Hop, check_chain};
use suture_tests::span::{Attributes, StatusCode};
use suture_tests::victims::Serving;
use suture_tests::{Kind, ReceivedSpan, Value};

const ID: &str = "0123456789abcdef";
const CALLER: u32 = 10;
const VICTIM: u32 = 20;
const LEAF: u32 = 30;

fn text(value: &str) -> Value {
    Value::Str(value.to_owned())
}

/// A span of `pid`; `id` and `parent` are its ids' last bytes.
fn span(
    kind: Kind,
    pid: u32,
    path: &str,
    id: u8,
    parent: Option<u8>,
    evidence: &str,
) -> ReceivedSpan {
    let mut attributes: Attributes = BTreeMap::new();
    attributes.insert("http.request.method".to_owned(), text("GET"));
    attributes.insert("http.response.status_code".to_owned(), Value::Int(200));
    attributes.insert("suture.parent.evidence".to_owned(), text(evidence));
    if kind == Kind::Server {
        attributes.insert("url.path".to_owned(), text(path));
        attributes.insert("url.scheme".to_owned(), text("http"));
    } else {
        attributes.insert(
            "url.full".to_owned(),
            text(&format!("http://127.0.0.1:80{path}")),
        );
        attributes.insert("server.address".to_owned(), text("127.0.0.1"));
        attributes.insert("server.port".to_owned(), Value::Int(80));
    }
    let mut resource: Attributes = BTreeMap::new();
    resource.insert("service.name".to_owned(), text("x"));
    resource.insert("host.name".to_owned(), text("h"));
    resource.insert("process.pid".to_owned(), Value::Int(i64::from(pid)));
    ReceivedSpan {
        trace_id: vec![7; 16],
        span_id: vec![0, 0, 0, 0, 0, 0, 0, id],
        parent: parent.map(|parent| vec![0, 0, 0, 0, 0, 0, 0, parent]),
        trace_state: String::new(),
        flags: 0,
        kind,
        name: "GET /work/{id}".to_owned(),
        start: 100 + u64::from(id),
        end: 200 - u64::from(id),
        status: StatusCode::Unset,
        status_message: String::new(),
        attributes,
        repeated_keys: Vec::new(),
        resource,
        links: Vec::new(),
    }
}

fn right_chain() -> Vec<ReceivedSpan> {
    let (work, leaf) = (format!("/work/{ID}"), format!("/leaf/{ID}/0"));
    vec![
        span(Kind::Client, CALLER, &work, 1, None, "none"),
        span(Kind::Server, VICTIM, &work, 2, Some(1), "socket"),
        span(Kind::Client, VICTIM, &leaf, 3, Some(2), "thread"),
        span(Kind::Server, LEAF, &leaf, 4, Some(3), "socket"),
    ]
}

fn verdict(spans: &[ReceivedSpan], serving: Serving) -> String {
    let calls = [Call {
        id: ID.to_owned(),
        client: CALLER,
        alone: true,
        traceparent: None,
    }];
    let hop = |name, pid, serving, asked| Hop {
        name,
        pids: vec![pid],
        serving,
        asked,
    };
    let hops = [
        hop("victim", VICTIM, serving, Asked::Work),
        hop("leaf", LEAF, Serving::Thread, Asked::Leaf),
    ];
    check_chain(spans, &calls, &hops)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// Changes the right chain; the verdict must contain `word` ("" for a pass).
fn check(what: &str, serving: Serving, change: fn(&mut Vec<ReceivedSpan>), word: &str) {
    let mut spans = right_chain();
    change(&mut spans);
    let verdict = verdict(&spans, serving);
    assert_eq!(verdict.is_empty(), word.is_empty(), "{what}: {verdict}");
    assert!(verdict.contains(word), "{what}: lacks {word:?}: {verdict}");
}

#[test]
fn a_right_chain_passes_and_each_wrong_one_is_told() {
    check("right", Serving::Thread, |_| (), "");
    check("right on a loop", Serving::Loop, |_| (), "");
    check(
        "right on a proxy, but by thread",
        Serving::Proxy,
        |_| (),
        "evidence",
    );
    let root = |spans: &mut Vec<ReceivedSpan>| {
        spans[2].parent = None;
        spans[2].trace_id = vec![8; 16];
        spans[3].trace_id = vec![8; 16];
        spans[2]
            .attributes
            .insert("suture.parent.evidence".to_owned(), text("none"));
    };
    check(
        "a root where a thread serves",
        Serving::Thread,
        root,
        "must be the child",
    );
    check("a root on a loop", Serving::Loop, root, "");
    check(
        "a root on a proxy, alone",
        Serving::Proxy,
        root,
        "alone in flight",
    );
    check(
        "a wrong parent on a loop",
        Serving::Loop,
        |spans| spans[2].parent = Some(vec![9; 8]),
        "WRONG PARENT",
    );
    check(
        "a missing SERVER span",
        Serving::Thread,
        |spans| drop(spans.remove(1)),
        "0 spans instead of 1",
    );
    check(
        "a missing CLIENT span",
        Serving::Thread,
        |spans| drop(spans.remove(0)),
        "0 spans instead of 1",
    );
    check(
        "a span twice",
        Serving::Thread,
        |spans| spans.push(spans[3].clone()),
        "2 spans instead of 1",
    );
    check(
        "a span of another process too",
        Serving::Thread,
        |spans| {
            spans.push(span(
                Kind::Server,
                99,
                &format!("/work/{ID}"),
                9,
                None,
                "none",
            ));
        },
        "5 spans name",
    );
    check(
        "one id twice",
        Serving::Loop,
        |spans| {
            spans[3].span_id = spans[0].span_id.clone();
        },
        "one span id twice",
    );
    check(
        "SERVER joined to nobody",
        Serving::Thread,
        |spans| spans[3].parent = None,
        "parent",
    );
    check(
        "another trace",
        Serving::Thread,
        |spans| spans[1].trace_id = vec![8; 16],
        "trace id",
    );
    check(
        "ends before it starts",
        Serving::Thread,
        |spans| spans[0].end = 1,
        "out of order",
    );
    check(
        "an id in the name",
        Serving::Thread,
        |spans| spans[0].name = format!("GET /work/{ID}"),
        "id of its path",
    );
    check(
        "another status",
        Serving::Thread,
        |spans| {
            spans[0]
                .attributes
                .insert("http.response.status_code".to_owned(), Value::Int(201));
        },
        "status code",
    );
    check(
        "a 500 without an error",
        Serving::Thread,
        |spans| {
            spans[1]
                .attributes
                .insert("http.response.status_code".to_owned(), Value::Int(500));
        },
        "error.type",
    );
    check(
        "no Resource",
        Serving::Thread,
        |spans| drop(spans[1].resource.remove("service.name")),
        "service.name",
    );
    check(
        "an attribute twice",
        Serving::Thread,
        |spans| spans[1].repeated_keys.push("url.path".to_owned()),
        "twice",
    );
    check(
        "nothing at all",
        Serving::Thread,
        Vec::clear,
        "0 spans instead of 1",
    );
}
