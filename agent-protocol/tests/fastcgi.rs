//! FastCGI: records in, the events of HTTP out. Each input is given whole, in two pieces at every place, byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::fastcgi::{Begin, Limits, RequestParser, ResponseParser};
use agent_protocol::http1::{RequestEvent, RequestHead, ResponseEvent, Version};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

const BEGIN: u8 = 1;
const ABORT: u8 = 2;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const GET_VALUES: u8 = 9;

fn record_of(id: u8, kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [len1, len0] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, id, len1, len0, padding, 0];
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + usize::from(padding), 0xaa);
    bytes
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    record_of(1, kind, content, (8 - content.len() % 8) as u8 % 8)
}

fn begin(role: u8, flags: u8) -> Vec<u8> {
    record(BEGIN, &[0, role, flags, 0, 0, 0, 0, 0])
}

/// Name-value pairs; lengths over 127 in four bytes.
fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for len in [name.len(), value.len()] {
            match u8::try_from(len) {
                Ok(len @ 0..=127) => bytes.push(len),
                _ => bytes.extend_from_slice(&(len as u32 | 1 << 31).to_be_bytes()),
            }
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// BEGIN_REQUEST, PARAMS, the empty PARAMS.
fn head(params: &[(&str, &str)]) -> Vec<u8> {
    [
        begin(1, 1),
        record(PARAMS, &pairs(params)),
        record(PARAMS, &[]),
    ]
    .concat()
}

fn request_events(inputs: &[Input<'_>], at: Begin, turn: Option<usize>) -> Vec<RequestEvent> {
    let mut seen = Vec::new();
    let mut parser = RequestParser::new(at, Limits::new(16 * 1024, ["x-keep"]));
    for (index, &input) in inputs.iter().enumerate() {
        if turn == Some(index) {
            parser.turn(&mut |event| seen.push(event));
        }
        parser.push(input, &mut |event| seen.push(event));
    }
    parser.end(&mut |event| seen.push(event));
    seen
}

fn request_lines(events: &[RequestEvent]) -> Vec<String> {
    let line = |event: &RequestEvent| match event {
        RequestEvent::Begin => "begin".to_owned(),
        RequestEvent::Head(head) => {
            format!(
                "{} {}{}",
                head.method.as_str(),
                head.target.raw(),
                if head.complete { "" } else { " cut" }
            )
        }
        RequestEvent::End(end) => format!("{:?} {}", end.how, end.body_bytes),
        RequestEvent::Unparsed(why) => format!("{why:?}"),
    };
    events.iter().map(line).collect()
}

fn check(bytes: &[u8], expect: &[&str]) {
    let whole = request_events(&[Input::Bytes(bytes)], Begin::Boundary, None);
    assert_eq!(request_lines(&whole), expect);
    let single: Vec<_> = bytes.chunks(1).map(Input::Bytes).collect();
    assert_eq!(
        whole,
        request_events(&single, Begin::Boundary, None),
        "byte by byte"
    );
    for at in 0..bytes.len() {
        let (left, right) = bytes.split_at(at);
        let cut = request_events(
            &[Input::Bytes(left), Input::Bytes(right)],
            Begin::Boundary,
            None,
        );
        assert_eq!(whole, cut, "cut at {at}");
    }
}

fn response_events(inputs: &[Input<'_>]) -> Vec<ResponseEvent> {
    let mut seen = Vec::new();
    let mut parser = ResponseParser::new(Begin::Boundary, Limits::new(16 * 1024, ["x-keep"]));
    for &input in inputs {
        parser.push(input, &mut || None, &mut |event| seen.push(event));
    }
    parser.end(&mut |event| seen.push(event));
    seen
}

fn response_lines(events: &[ResponseEvent]) -> Vec<String> {
    let line = |event: &ResponseEvent| match event {
        ResponseEvent::Begin => "begin".to_owned(),
        ResponseEvent::Interim(status) => format!("interim {status}"),
        ResponseEvent::Head(head) => {
            format!("{}{}", head.status, if head.complete { "" } else { " cut" })
        }
        ResponseEvent::End(end) => format!("{:?} {}", end.how, end.body_bytes),
        ResponseEvent::Unparsed(why) => format!("{why:?}"),
    };
    events.iter().map(line).collect()
}

fn check_response(bytes: &[u8], expect: &[&str]) {
    let whole = response_events(&[Input::Bytes(bytes)]);
    assert_eq!(response_lines(&whole), expect);
    let single: Vec<_> = bytes.chunks(1).map(Input::Bytes).collect();
    assert_eq!(whole, response_events(&single), "byte by byte");
    for at in 0..bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(
            whole,
            response_events(&[Input::Bytes(left), Input::Bytes(right)]),
            "cut at {at}"
        );
    }
}

fn only_head(params: &[(&str, &str)]) -> RequestHead {
    match request_events(&[Input::Bytes(&head(params))], Begin::Boundary, None)
        .into_iter()
        .nth(1)
    {
        Some(RequestEvent::Head(head)) => head,
        other => panic!("no head: {other:?}"),
    }
}

const GET: [(&str, &str); 2] = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a?b")];

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

#[test]
fn responses_begin_and_end() {
    let end = record(END, &[0; 8]);
    let ok = [
        record(STDOUT, b"Content-Type: text/html\r\n\r\nbody"),
        record(STDOUT, b" more"),
        record(STDOUT, &[]),
        end.clone(),
    ]
    .concat();
    check_response(&ok, &["begin", "200", "Record 9"]);
    check_response(&ok[..ok.len() - 8], &["begin", "200", "Truncated 9"]);
    check_response(
        &[
            record(STDERR, b"PHP Notice"),
            record(STDOUT, b"Status: 404 Not Found\r\nX-Keep: 1\r\n\r\n"),
            end.clone(),
        ]
        .concat(),
        &["begin", "404", "Record 0"],
    );
    check_response(
        &[
            record(STDOUT, b"Sta"),
            record(STDOUT, b"tus: 500\n"),
            record(STDOUT, b"\nx"),
            end.clone(),
        ]
        .concat(),
        &["begin", "500", "Record 1"],
    );
    check_response(
        &[record(STDOUT, b"Location: http://h/\r\n\r\n"), end.clone()].concat(),
        &["begin", "302", "Record 0"],
    );
    check_response(
        &ok.repeat(2),
        &["begin", "200", "Record 9", "begin", "200", "Record 9"],
    );
    check_response(
        &[record(STDOUT, b"Status: 200 OK\r\n"), end.clone()].concat(),
        &["begin", "200 cut", "Record 0"],
    );
    check_response(&end, &["begin", "NoHead"]);
    check_response(
        &record(END, &[0, 0, 0, 0, 2, 0, 0, 0]),
        &["begin", "Refused"],
    );
    let seen = response_events(&[Input::Bytes(&record(
        STDOUT,
        b"Content-Length: 7\r\nX-Keep: v\r\n\r\n",
    ))]);
    assert!(
        matches!(&seen[1], ResponseEvent::Head(head) if head.content_length == Some(7) && head.extra.len() == 1 && head.head_bytes == 32),
        "{seen:?}"
    );
}

#[test]
fn gaps_in_responses() {
    let check = |pieces: &[Input<'_>], expect: &[&str]| {
        assert_eq!(response_lines(&response_events(pieces)), expect)
    };
    let first = [
        vec![1, STDOUT, 0, 1, 0x10, 0, 0, 0],
        b"Status: 200\r\n\r\n0123456789".to_vec(),
    ]
    .concat();
    let end = record(END, &[0; 8]);
    check(
        &[
            Input::Bytes(&first),
            Input::Unseen {
                len: 4096 - 25,
                tail: b"",
            },
            Input::Bytes(&end),
        ],
        &["begin", "200", "Record 4081"],
    );
    check(
        &[
            Input::Bytes(&first),
            Input::Unseen {
                len: 9000,
                tail: &[0; 8],
            },
        ],
        &["begin", "200", "Close 9010"],
    );
    check(
        &[
            Input::Bytes(&first[..20]),
            Input::Unseen {
                len: 4096 - 12,
                tail: b"",
            },
            Input::Bytes(&end),
        ],
        &["begin", "UnseenHead"],
    );
}

/// Recorded between nginx 1.22 and php-fpm 8.2 (fastcgi_keep_conn on): GET, GET that makes a 404, POST, HEAD. Debian's
/// fastcgi_params pass `$host` as HTTP_HOST: without the port.
#[test]
fn nginx_and_php_fpm_are_understood() {
    let asked = include_bytes!("../../fuzz/corpus/fastcgi/nginx_1.22_asks");
    let answered = include_bytes!("../../fuzz/corpus/fastcgi/php_fpm_8.2_answers");
    let requests = request_events(&[Input::Bytes(asked)], Begin::Boundary, None);
    let expect = [
        "begin",
        "GET /a.php?n=5",
        "NoBody 0",
        "begin",
        "GET /a.php?s=404",
        "NoBody 0",
        "begin",
        "POST /a.php?n=20000",
        "Record 3000",
        "begin",
        "HEAD /a.php?n=3",
        "NoBody 0",
    ];
    assert_eq!(request_lines(&requests), expect);
    let Some(RequestEvent::Head(first)) = requests.get(1) else {
        panic!("{requests:?}")
    };
    assert!(matches!(first.traceparent, Traceparent::Valid(_)));
    assert_eq!(
        (first.script.as_deref(), first.scheme.as_deref()),
        (Some("/a.php"), Some("http"))
    );
    assert_eq!(
        (first.host.as_deref(), first.user_agent.as_deref()),
        (Some("127.0.0.1"), Some("ua"))
    );
    assert_eq!(first.remote_addr.as_deref(), Some("127.0.0.1"));
    assert_eq!(first.extra, [("x-keep".to_owned(), "asked".to_owned())]);
    let responses = response_events(&[Input::Bytes(answered)]);
    let expect = [
        "begin",
        "200",
        "Record 6",
        "begin",
        "404",
        "Record 11",
        "begin",
        "200",
        "Record 20004",
        "begin",
        "200",
        "Record 0",
    ];
    assert_eq!(response_lines(&responses), expect);
}
