//! Requests: bytes in, events out. Each input is given whole and byte by byte; both must say the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::http1::{Begin, Ended, Limits, RequestEvent, RequestParser};
use agent_protocol::stream::Input;

/// One line for each event but `Begin`.
fn line(event: &RequestEvent) -> Option<String> {
    Some(match event {
        RequestEvent::Begin => return None,
        RequestEvent::Head(head) => format!(
            "{} {}{}{}",
            head.method.as_str(),
            head.target.raw(),
            if head.complete { "" } else { " cut" },
            if head.resynced { " resynced" } else { "" },
        ),
        RequestEvent::End(end) => format!("{:?} {}", end.how, end.body_bytes),
        RequestEvent::Unparsed(why) => format!("{why:?}"),
    })
}

fn events(pieces: &[Input<'_>], begin: Begin, end: bool) -> Vec<RequestEvent> {
    let mut seen = Vec::new();
    let mut parser = RequestParser::new(begin, Limits::default());
    for &piece in pieces {
        parser.push(piece, &mut |event| seen.push(event));
    }
    if end {
        parser.end(&mut |event| seen.push(event));
    }
    seen
}

/// Bytes from a boundary on, then the end of the stream.
fn check(bytes: &[u8], expect: &[&str]) {
    let whole = events(&[Input::Bytes(bytes)], Begin::Boundary, true);
    let single: Vec<_> = bytes.chunks(1).map(Input::Bytes).collect();
    assert_eq!(
        whole,
        events(&single, Begin::Boundary, true),
        "whole and byte by byte differ: {:?}",
        bytes.escape_ascii()
    );
    let lines: Vec<_> = whole.iter().filter_map(line).collect();
    assert_eq!(lines, expect, "{:?}", bytes.escape_ascii().to_string());
}

#[test]
fn messages_and_their_ends() {
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /", "NoBody 0"]);
    check(
        b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        &["GET /a", "NoBody 0", "GET /b", "NoBody 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        &["POST /", "Length 3", "GET /", "NoBody 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["POST /", "Chunked 3", "GET /", "NoBody 0"],
    );
    check(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
        &["POST /", "Truncated 2"],
    );
    check(b"SSH-2.0-OpenSSH_9.2\r\n", &["NotHttp"]);
    let _ = Ended::Turn;
}
