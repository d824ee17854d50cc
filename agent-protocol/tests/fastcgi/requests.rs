//! What a web server asks over FastCGI.
//!
//! In: records of requests, also with gaps. Out: the events of HTTP requests.

use agent_protocol::fastcgi::Begin;
use agent_protocol::http1::{RequestEvent, RequestHead, Version};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

use crate::records::{
    ABORT, BEGIN, GET, GET_VALUES, PARAMS, STDIN, begin, check, head, pairs, record, record_of,
    request_events, request_lines,
};

fn only_head(params: &[(&str, &str)]) -> RequestHead {
    match request_events(&[Input::Bytes(&head(params))], Begin::Boundary, None)
        .into_iter()
        .nth(1)
    {
        Some(RequestEvent::Head(head)) => head,
        other => panic!("no head: {other:?}"),
    }
}

#[test]
fn requests_begin_and_end() {
    check(
        &[head(&GET), record(STDIN, &[])].concat(),
        &["begin", "GET /a?b", "NoBody 0"],
    );
    let post = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/p")];
    let body = [
        head(&post),
        record(STDIN, b"hello"),
        record(STDIN, b" world!"),
        record(STDIN, &[]),
    ]
    .concat();
    check(&body, &["begin", "POST /p", "Record 12"]);
    check(
        &[body.clone(), head(&GET), record(STDIN, &[])].concat(),
        &[
            "begin",
            "POST /p",
            "Record 12",
            "begin",
            "GET /a?b",
            "NoBody 0",
        ],
    );
    check(
        &body[..body.len() - 8],
        &["begin", "POST /p", "Truncated 12"],
    );
    check(
        &[head(&post), record(STDIN, b"hel"), record(ABORT, &[])].concat(),
        &["begin", "POST /p", "Truncated 3"],
    );
    check(&begin(1, 0), &["begin", "FirstLineTruncated"]);
    check(
        &[begin(1, 0), record(PARAMS, &pairs(&GET))].concat(),
        &["begin", "GET /a?b cut", "Truncated 0"],
    );
}

#[test]
fn parameters_may_be_cut_over_records() {
    let params = pairs(&[
        ("REQUEST_METHOD", "GET"),
        ("HTTP_COOKIE", &"c".repeat(300)),
        ("REQUEST_URI", "/late"),
    ]);
    for at in 0..params.len() {
        let (left, right) = params.split_at(at);
        let bytes = [
            begin(1, 0),
            record(PARAMS, left),
            record(PARAMS, right),
            record(PARAMS, &[]),
            record(STDIN, &[]),
        ]
        .concat();
        let expect: &[&str] = if at == 0 {
            &["begin", "Unsupported"]
        } else {
            &["begin", "GET /late", "NoBody 0"]
        };
        assert_eq!(
            request_lines(&request_events(
                &[Input::Bytes(&bytes)],
                Begin::Boundary,
                None
            )),
            expect,
            "cut at {at}"
        );
    }
}

#[test]
fn variables_become_a_head() {
    let head = only_head(&[
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/index.php"),
        ("PATH_INFO", "/x"),
        ("QUERY_STRING", "q=1"),
        ("CONTENT_LENGTH", "5"),
        ("CONTENT_TYPE", "text/plain"),
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("REQUEST_SCHEME", "https"),
        ("REMOTE_ADDR", "10.0.0.9"),
        ("HTTP_HOST", "h:8080"),
        ("HTTP_USER_AGENT", "ua"),
        ("HTTP_X_FORWARDED_FOR", "1.2.3.4"),
        ("HTTP_X_KEEP", "k"),
        ("HTTP_COOKIE", "secret"),
        (
            "HTTP_TRACEPARENT",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("HTTP_TRACESTATE", "a=b"),
        ("HTTP_BAGGAGE", "k=v"),
    ]);
    assert_eq!(
        (head.target.path(), head.target.query()),
        ("/index.php/x", Some("q=1"))
    );
    assert_eq!(head.script.as_deref(), Some("/index.php"));
    assert_eq!(
        (head.content_length, head.content_type.as_deref()),
        (Some(5), Some("text/plain"))
    );
    assert_eq!(
        (head.version, head.scheme.as_deref()),
        (Version::Http2, Some("https"))
    );
    assert_eq!(head.remote_addr.as_deref(), Some("10.0.0.9"));
    assert_eq!(
        (head.host.as_deref(), head.user_agent.as_deref()),
        (Some("h:8080"), Some("ua"))
    );
    assert_eq!(head.x_forwarded_for.as_deref(), Some("1.2.3.4"));
    assert_eq!(head.extra, [("x-keep".to_owned(), "k".to_owned())]);
    assert!(matches!(head.traceparent, Traceparent::Valid(_)));
    assert_eq!(
        (head.tracestate.as_deref(), head.baggage.as_deref()),
        (Some("a=b"), Some("k=v"))
    );
    assert!(head.complete && !format!("{head:?}").contains("secret"));
    let plain = only_head(&[
        ("REQUEST_METHOD", "GET"),
        ("HTTPS", "on"),
        ("CONTENT_LENGTH", ""),
    ]);
    assert_eq!(
        (plain.scheme.as_deref(), plain.content_length),
        (Some("https"), None)
    );
}

#[test]
fn hostile_lengths_cost_nothing() {
    let claimed = [0xff; 8];
    let huge = [
        begin(1, 0),
        record(
            PARAMS,
            &[&pairs(&GET)[..], &claimed, b"REQUEST_METHOD"].concat(),
        ),
        record(PARAMS, &[]),
        record(STDIN, &[]),
    ];
    check(&huge.concat(), &["begin", "GET /a?b", "NoBody 0"]);
    let long = "/".repeat(30_000);
    let head = only_head(&[
        ("REQUEST_METHOD", "GET"),
        ("HTTP_USER_AGENT", &long),
        ("REQUEST_URI", &long),
    ]);
    assert_eq!(head.user_agent.map(|agent| agent.len()), Some(1024));
    assert_eq!(head.target.raw().len(), 16 * 1024 - 3 - 1024);
    assert!(!head.complete);
}

#[test]
fn what_is_not_followed_is_counted() {
    let two = begin(2, 0);
    check(
        &[two, record(PARAMS, &pairs(&GET))].concat(),
        &["begin", "Unsupported"],
    );
    check(
        &[head(&[("REQUEST_URI", "/")]), record(STDIN, &[])].concat(),
        &["begin", "Unsupported"],
    );
    let other = [
        record_of(2, BEGIN, &[0, 1, 1, 0, 0, 0, 0, 0], 0),
        record_of(2, STDIN, b"x", 0),
    ]
    .concat();
    check(
        &[head(&GET), other, record(STDIN, &[])].concat(),
        &["begin", "GET /a?b", "Multiplexed", "NoBody 0"],
    );
    check(
        &[
            record_of(0, GET_VALUES, &pairs(&[("FCGI_MAX_CONNS", "")]), 0),
            head(&GET),
            record(STDIN, &[]),
        ]
        .concat(),
        &["begin", "GET /a?b", "NoBody 0"],
    );
    check(
        &[head(&GET), head(&GET), record(STDIN, &[])].concat(),
        &[
            "begin", "GET /a?b", "Turn 0", "begin", "GET /a?b", "NoBody 0",
        ],
    );
    check(b"GET / HTTP/1.1\r\n\r\n", &["NotHttp"]);
    check(
        &[head(&GET), record(STDIN, b"abc"), b"\x02rest".to_vec()].concat(),
        &["begin", "GET /a?b", "Chunk", "Close 8"],
    );
    check(b"\x01\x0c\0\x01", &["NotHttp"]);
    check(
        &[b"\x02".to_vec(), head(&GET), record(STDIN, &[])].concat(),
        &["NotHttp"],
    );
}

#[test]
fn gaps_in_requests() {
    let check = |pieces: &[Input<'_>], turn, expect: &[&str]| {
        assert_eq!(
            request_lines(&request_events(pieces, Begin::Boundary, turn)),
            expect
        );
    };
    let post = [
        head(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/p")]),
        vec![1, STDIN, 0, 1, 0x10, 0, 0, 0],
    ]
    .concat();
    let last = record(STDIN, &[]);
    let next = [head(&GET), last.clone()].concat();
    // 4096 bytes of STDIN, then another record and its header, unseen.
    let pieces = [
        Input::Bytes(&post),
        Input::Unseen {
            len: 4096,
            tail: b"",
        },
        Input::Bytes(&last),
        Input::Bytes(&next),
    ];
    check(
        &pieces,
        None,
        &[
            "begin",
            "POST /p",
            "Record 4096",
            "begin",
            "GET /a?b",
            "NoBody 0",
        ],
    );
    let pieces = [
        Input::Bytes(&post),
        Input::Unseen {
            len: 6000,
            tail: &last,
        },
        Input::Bytes(&next),
    ];
    check(
        &pieces,
        None,
        &[
            "begin",
            "POST /p",
            "Record 6000",
            "begin",
            "GET /a?b",
            "NoBody 0",
        ],
    );
    let pieces = [
        Input::Bytes(&post),
        Input::Unseen {
            len: 6000,
            tail: b"whatever",
        },
        Input::Bytes(&next),
    ];
    check(
        &pieces,
        Some(2),
        &[
            "begin",
            "POST /p",
            "Turn 6000",
            "begin",
            "GET /a?b",
            "NoBody 0",
        ],
    );
    let pieces = [
        Input::Bytes(&post),
        Input::Lost { len: None },
        Input::Bytes(&next),
    ];
    check(
        &pieces,
        None,
        &[
            "begin", "POST /p", "LostBody", "Turn 0", "begin", "GET /a?b", "NoBody 0",
        ],
    );
    let cookie = [GET[0], GET[1], ("HTTP_COOKIE", "0123456789")];
    let params = [begin(1, 0), record_of(1, PARAMS, &pairs(&cookie), 0)].concat();
    let cut = &params[..params.len() - 8];
    check(
        &[
            Input::Bytes(cut),
            Input::Unseen {
                len: 500,
                tail: &last,
            },
        ],
        None,
        &["begin", "GET /a?b cut", "Record 492"],
    );
    check(
        &[
            Input::Unseen {
                len: 500,
                tail: b"",
            },
            Input::Bytes(&next),
        ],
        None,
        &["UnseenHead", "begin", "GET /a?b", "NoBody 0"],
    );
    let middle = request_events(
        &[Input::Bytes(b"middle"), Input::Bytes(&next)],
        Begin::Midstream,
        None,
    );
    assert_eq!(
        request_lines(&middle),
        ["Midstream", "begin", "GET /a?b", "NoBody 0"]
    );
    assert!(matches!(&middle[2], RequestEvent::Head(head) if head.resynced));
}
