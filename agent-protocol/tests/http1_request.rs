//! Requests: bytes in, events out. Each input is given whole, in two pieces at every place, and byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::http1::{Begin, Limits, RequestEvent, RequestHead, RequestParser, TargetForm};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::{Invalid, Traceparent};

/// One line for each event but `Begin`.
fn line(event: &RequestEvent) -> Option<String> {
    Some(match event {
        RequestEvent::Begin => return None,
        RequestEvent::Head(head) => {
            let cut = if head.complete { "" } else { " cut" };
            format!("{} {}{cut}", head.method.as_str(), head.target.raw())
        }
        RequestEvent::End(end) => format!("{:?} {}", end.how, end.body_bytes),
        RequestEvent::Unparsed(why) => format!("{why:?}"),
    })
}

fn events(pieces: &[&[u8]], limits: &Limits) -> Vec<RequestEvent> {
    let mut seen = Vec::new();
    let mut parser = RequestParser::new(Begin::Boundary, limits.clone());
    for piece in pieces {
        parser.push(Input::Bytes(piece), &mut |event| seen.push(event));
    }
    parser.end(&mut |event| seen.push(event));
    seen
}

/// Bytes from a boundary on, then the end of the stream.
fn check_within(limits: &Limits, bytes: &[u8], expect: &[&str]) {
    let whole = events(&[bytes], limits);
    let lines: Vec<_> = whole.iter().filter_map(line).collect();
    assert_eq!(lines, expect, "{}", bytes.escape_ascii());
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(
        whole,
        events(&single, limits),
        "byte by byte: {}",
        bytes.escape_ascii()
    );
    for at in 1..bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(
            whole,
            events(&[left, right], limits),
            "cut at {at}: {}",
            bytes.escape_ascii()
        );
    }
}

fn check(bytes: &[u8], expect: &[&str]) {
    check_within(&Limits::default(), bytes, expect);
}

/// The head of one request with these header lines.
fn head(lines: &str) -> RequestHead {
    let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n");
    match events(
        &[bytes.as_bytes()],
        &Limits::new(16 * 1024, ["X-Keep", "x-other"]),
    )
    .into_iter()
    .nth(1)
    {
        Some(RequestEvent::Head(head)) => head,
        other => panic!("no head for {lines:?}: {other:?}"),
    }
}

#[test]
fn a_body_ends_where_its_head_says() {
    check(b"", &[]);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /", "NoBody 0"]);
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        &["POST /", "Length 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        &["POST /", "Length 3"],
    );
    check(
        b"POST / HTTP/1.1\r\ncontent-length:3\r\n\r\nab",
        &["POST /", "Truncated 2"],
    );
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc",
        &["POST /", "Length 3"],
    );
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y;\"\r\nabc\r\n0A\r\n0123456789\r\n000\r\nT: v\r\n\r\n";
    check(chunked, &["POST /", "Chunked 13"]);
    check(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\ntransfer-encoding: Chunked\r\n\r\n0\n\n",
        &["POST /", "Chunked 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        &["POST /", "Truncated 2"],
    );
}

#[test]
fn transfer_encoding_wins_over_content_length() {
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        &["POST /", "Chunked 1", "GET /2", "NoBody 0"],
    );
    assert_eq!(
        head("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n").content_length,
        None
    );
}

#[test]
fn many_messages_come_in_one_push() {
    check(
        b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /c HTTP/1.0\r\n\r\n",
        &["GET /a", "NoBody 0", "POST /b", "Length 2", "GET /c", "NoBody 0"],
    );
    let many = b"GET / HTTP/1.1\r\n\r\n".repeat(1000);
    assert_eq!(events(&[&many], &Limits::default()).len(), 3000);
}

#[test]
fn empty_lines_before_a_request_are_no_request() {
    check(b"\r\n\r\n\n", &[]);
    check(
        b"\r\nGET / HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\r\n",
        &["GET /", "NoBody 0", "GET /2", "NoBody 0"],
    );
}

#[test]
fn bare_line_feeds_end_lines() {
    check(
        b"POST / HTTP/1.1\nContent-Length: 1\n\nxGET / HTTP/1.1\r\n\n",
        &["POST /", "Length 1", "GET /", "NoBody 0"],
    );
}

#[test]
fn unusual_heads_that_servers_serve_are_read() {
    check(
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\tc\r\n\r\n",
        &["GET /", "NoBody 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nBad Header: x\r\nContent-Length: 1\r\n\r\nx",
        &["POST /", "Length 1"],
    );
    check(b"GET  /two  HTTP/1.1\r\n\r\n", &["GET /two", "NoBody 0"]);
    check(
        b"GET /\xff HTTP/1.1\r\n\r\n",
        &["GET /\u{fffd}", "NoBody 0"],
    );
    check(b"M-SEARCH * HTTP/1.1\r\n\r\n", &["M-SEARCH *", "NoBody 0"]);
    let headers = "X: y\r\n".repeat(500);
    let bytes = format!("POST / HTTP/1.1\r\n{headers}Content-Length: 1\r\n\r\nx");
    let seen = events(&[bytes.as_bytes()], &Limits::default());
    assert_eq!(
        seen.iter().filter_map(line).collect::<Vec<_>>(),
        ["POST /", "Length 1"]
    );
    assert_eq!(
        head("X-Keep: a\r\n b\r\n").extra,
        [("x-keep".to_owned(), "a   b".to_owned())]
    );
}

#[test]
fn a_request_whose_length_cannot_be_told_is_counted_and_lasts() {
    let next = "GET /2 HTTP/1.1\r\n\r\n";
    for (lines, why) in [
        (
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "ContentLength",
        ),
        ("Content-Length: 3, 4\r\n", "ContentLength"),
        ("Content-Length: +3\r\n", "ContentLength"),
        ("Content-Length: -3\r\n", "ContentLength"),
        ("Content-Length: 0x3\r\n", "ContentLength"),
        ("Content-Length:\r\n", "ContentLength"),
        ("Content-Length: 18446744073709551616\r\n", "ContentLength"),
        ("Transfer-Encoding: chunked, gzip\r\n", "TransferEncoding"),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\n{lines}\r\nabc{next}");
        check(
            bytes.as_bytes(),
            &["POST /", why, &format!("Close {}", 3 + next.len())],
        );
    }
    for chunk in [
        "x\r\n",
        "\r\n",
        "1\r\nabc\r\n",
        "10000000000000000\r\n",
        "1\r\na0\r\n",
        "-1\r\n",
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        let seen = events(&[bytes.as_bytes()], &Limits::default());
        assert!(
            matches!(&seen[2], RequestEvent::Unparsed(why) if format!("{why:?}") == "Chunk"),
            "{chunk:?}: {seen:?}"
        );
        assert_eq!(
            seen,
            events(
                &bytes.as_bytes().chunks(1).collect::<Vec<_>>(),
                &Limits::default()
            )
        );
    }
}

#[test]
fn what_is_not_http_is_said_once() {
    check(
        b"SSH-2.0-OpenSSH_9.2\r\nGET / HTTP/1.1\r\n\r\n",
        &["NotHttp"],
    );
    check(b"\x16\x03\x01\x02\x00\x01", &["NotHttp"]);
    check(b"*1\r\n$4\r\nPING\r\n", &["NotHttp"]);
    check(b"PING\r\n", &["NotHttp"]);
    check(b"GET /\r\n", &["NotHttp"]);
    check(b"GET / HTTP/1.2\r\n\r\n", &["NotHttp"]);
    check(b"GET / HTTP/11\r\n\r\n", &["NotHttp"]);
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["Http2"]);
    check(
        b"A-METHOD-OF-MORE-THAN-THIRTY-TWO-BYTES / HTTP/1.1\r\n\r\n",
        &["NotHttp"],
    );
    check(
        b"GET / HTTP/1.1\r\n\r\nnonsense\r\n",
        &["GET /", "NoBody 0", "NotHttp"],
    );
}

#[test]
fn a_stream_that_ends_inside_a_head_is_truncated() {
    check(b"GET", &["FirstLineTruncated"]);
    check(b"GET / HTTP/1.1\r", &["FirstLineTruncated"]);
    check(
        b"GET / HTTP/1.1\r\nHost: a\r\nX",
        &["GET / cut", "Truncated 0"],
    );
}

#[test]
fn a_head_over_the_limit_is_delivered_cut() {
    let limits = Limits::new(64, [""; 0]);
    let long = "x".repeat(100);
    check_within(
        &limits,
        format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {long}\r\n\r\nrest").as_bytes(),
        &["GET / cut", "Close 77"],
    );
    check_within(
        &limits,
        format!("GET /{long} HTTP/1.1\r\n\r\n").as_bytes(),
        &["FirstLineCut"],
    );
    let exact = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 - 23));
    assert_eq!(exact.len(), 64);
    check_within(&limits, exact.as_bytes(), &["GET /", "NoBody 0"]);
}

#[test]
fn targets_have_four_forms() {
    let check = |line: &str,
                 form,
                 path: &str,
                 query: Option<&str>,
                 scheme: Option<&str>,
                 authority: Option<&str>| {
        let seen = events(
            &[format!("{line} HTTP/1.1\r\n\r\n").as_bytes()],
            &Limits::default(),
        );
        let Some(RequestEvent::Head(head)) = seen.get(1) else {
            panic!("{line}: {seen:?}")
        };
        let target = &head.target;
        let got = (
            target.form(),
            target.path(),
            target.query(),
            target.scheme(),
            target.authority(),
        );
        assert_eq!(got, (form, path, query, scheme, authority), "{line}");
    };
    check("GET /", TargetForm::Origin, "/", None, None, None);
    check(
        "GET /a/b?c=d?e",
        TargetForm::Origin,
        "/a/b",
        Some("c=d?e"),
        None,
        None,
    );
    check("GET /a?", TargetForm::Origin, "/a", Some(""), None, None);
    check(
        "GET /a://b?x",
        TargetForm::Origin,
        "/a://b",
        Some("x"),
        None,
        None,
    );
    check("GET //a#f", TargetForm::Origin, "//a", None, None, None);
    check(
        "GET http://h:80/p?q#f",
        TargetForm::Absolute,
        "/p",
        Some("q"),
        Some("http"),
        Some("h:80"),
    );
    check(
        "GET http://u:p@h",
        TargetForm::Absolute,
        "/",
        None,
        Some("http"),
        Some("h"),
    );
    check(
        "GET https://h?q",
        TargetForm::Absolute,
        "/",
        Some("q"),
        Some("https"),
        Some("h"),
    );
    check(
        "CONNECT h:443",
        TargetForm::Authority,
        "",
        None,
        None,
        Some("h:443"),
    );
    check("OPTIONS *", TargetForm::Asterisk, "*", None, None, None);
}

#[test]
fn connect_ends_with_its_head() {
    check(
        b"CONNECT h:443 HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        &["CONNECT h:443", "NoBody 0"],
    );
    let mut seen = Vec::new();
    let mut parser = RequestParser::new(Begin::Boundary, Limits::default());
    parser.push(
        Input::Bytes(b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
        &mut |event| seen.push(event),
    );
    parser.become_opaque();
    parser.push(Input::Bytes(b"GET / HTTP/1.1\r\n\r\n"), &mut |event| {
        seen.push(event)
    });
    assert_eq!(seen.len(), 3);
    assert!(parser.is_opaque() && !parser.in_message());
}

#[test]
fn headers_that_make_attributes_are_kept() {
    let head = head(
        "host: h:81\r\nUSER-AGENT: ua \r\nContent-Type: text/x\r\nExpect: 100-Continue\r\nUpgrade: websocket\r\n\
         Forwarded: for=1\r\nX-Forwarded-For: 2\r\nX-Forwarded-Proto: https\r\nX-KEEP: k\r\nX-Keep: l\r\nCookie: secret\r\n",
    );
    assert_eq!(head.host.as_deref(), Some("h:81"));
    assert_eq!(head.user_agent.as_deref(), Some("ua"));
    assert_eq!(head.content_type.as_deref(), Some("text/x"));
    assert!(head.expects_continue && head.complete && !head.resynced);
    assert_eq!(head.upgrade.as_deref(), Some("websocket"));
    assert_eq!(head.forwarded.as_deref(), Some("for=1"));
    assert_eq!(head.x_forwarded_for.as_deref(), Some("2"));
    assert_eq!(head.x_forwarded_proto.as_deref(), Some("https"));
    assert_eq!(
        head.extra,
        [
            ("x-keep".to_owned(), "k".to_owned()),
            ("x-keep".to_owned(), "l".to_owned())
        ]
    );
    assert!(!format!("{head:?}").contains("secret"));
}

#[test]
fn trace_context_is_read_by_the_rules() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let valid = head(&format!(
        "TraceParent: {parent}\r\ntracestate: a=b\r\nTracestate:\r\ntracestate: c=d,e=f\r\nbaggage: k=v\r\nbaggage: l=w\r\n"
    ));
    assert!(matches!(valid.traceparent, Traceparent::Valid(context) if context.sampled()));
    assert_eq!(valid.tracestate.as_deref(), Some("a=b,c=d,e=f"));
    assert_eq!(valid.baggage.as_deref(), Some("k=v,l=w"));
    let several = head(&format!(
        "traceparent: {parent}\r\ntraceparent: {parent}\r\ntracestate: a=b\r\n"
    ));
    assert_eq!(several.traceparent, Traceparent::Invalid(Invalid::Several));
    assert_eq!(
        (several.tracestate, several.tracestate_invalid),
        (None, false)
    );
    let broken = head(&format!(
        "traceparent: {parent}\r\ntracestate: A=b\r\nbaggage: {}\r\n",
        "k=v,".repeat(3000)
    ));
    assert_eq!((broken.tracestate, broken.tracestate_invalid), (None, true));
    assert_eq!((broken.baggage, broken.baggage_invalid), (None, true));
    assert_eq!(head("X-Trace: 1\r\n").traceparent, Traceparent::Absent);
}
