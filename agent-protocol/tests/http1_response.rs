//! Responses: bytes and the methods they answer in, events out. Whole, in two pieces at every place, byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::http1::{Begin, Limits, RequestMethod, ResponseEvent, ResponseParser};
use agent_protocol::stream::Input;

const ANY: Option<RequestMethod> = Some(RequestMethod::Other);
const HEAD: Option<RequestMethod> = Some(RequestMethod::Head);
const CONNECT: Option<RequestMethod> = Some(RequestMethod::Connect);

/// One line for each event but `Begin`.
fn line(event: &ResponseEvent) -> Option<String> {
    Some(match event {
        ResponseEvent::Begin => return None,
        ResponseEvent::Interim(status) => format!("interim {status}"),
        ResponseEvent::Head(head) => {
            format!("{}{}", head.status, if head.complete { "" } else { " cut" })
        }
        ResponseEvent::End(end) => format!("{:?} {}", end.how, end.body_bytes),
        ResponseEvent::Unparsed(why) => format!("{why:?}"),
    })
}

fn events(pieces: &[&[u8]], methods: &[Option<RequestMethod>]) -> (Vec<ResponseEvent>, usize) {
    let (mut seen, mut asked) = (Vec::new(), 0);
    let mut parser = ResponseParser::new(Begin::Boundary, Limits::default());
    for piece in pieces {
        let mut method = || {
            asked += 1;
            methods.get(asked - 1).copied().flatten()
        };
        parser.push(Input::Bytes(piece), &mut method, &mut |event| {
            seen.push(event)
        });
    }
    parser.end(&mut |event| seen.push(event));
    (seen, asked)
}

fn check(bytes: &[u8], methods: &[Option<RequestMethod>], expect: &[&str]) {
    let (whole, asked) = events(&[bytes], methods);
    let lines: Vec<_> = whole.iter().filter_map(line).collect();
    assert_eq!(lines, expect, "{}", bytes.escape_ascii());
    let heads = whole
        .iter()
        .filter(|event| matches!(event, ResponseEvent::Head(head) if head.complete))
        .count();
    assert_eq!(
        asked,
        heads,
        "the method is asked for once per final head: {}",
        bytes.escape_ascii()
    );
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(
        whole,
        events(&single, methods).0,
        "byte by byte: {}",
        bytes.escape_ascii()
    );
    for at in 1..bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(
            whole,
            events(&[left, right], methods).0,
            "cut at {at}: {}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn a_body_ends_where_head_and_method_say() {
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        &[ANY],
        &["200", "Length 2"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
        &[ANY],
        &["200", "Truncated 1"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        &[ANY],
        &["200", "Length 0"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHTTP/1.1 404 \r\nContent-Length: 1\r\n\r\nx",
        &[HEAD, ANY],
        &["200", "NoBody 0", "404", "Length 1"],
    );
    check(
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 \r\nContent-Length: 7\r\n\r\n",
        &[ANY, ANY],
        &["204", "NoBody 0", "304", "NoBody 0"],
    );
    check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", &[ANY, ANY], &["200", "Chunked 2", "500", "Length 0"]);
    check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n", &[ANY], &["200", "Chunked 0"]);
    check(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        &[ANY],
        &["200", "Truncated 2"],
    );
}

#[test]
fn a_body_without_a_length_lasts_until_the_stream_ends() {
    check(
        b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        &[ANY],
        &["200", "Close 19"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        &[ANY],
        &["200", "Close 3"],
    );
    check(b"HTTP/1.0 200 OK\r\n\r\n", &[ANY], &["200", "Close 0"]);
}

#[test]
fn interim_responses_come_before_the_final_one() {
    check(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        &[ANY],
        &["interim 100", "interim 103", "201", "Length 0"],
    );
}

#[test]
fn an_upgrade_or_tunnel_ends_http() {
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05helloHTTP/1.1 200 OK\r\n\r\n";
    check(upgrade, &[ANY], &["101", "Opaque 0"]);
    check(
        b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01",
        &[CONNECT],
        &["200", "Opaque 0"],
    );
    check(
        b"HTTP/1.1 407 Auth\r\nContent-Length: 1\r\n\r\nx",
        &[CONNECT],
        &["407", "Length 1"],
    );
}

#[test]
fn unusual_heads_are_read() {
    check(
        b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx",
        &[ANY],
        &["200", "Length 1"],
    );
    check(
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        &[ANY],
        &["200", "Length 1"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\nX: a\r\n b\r\n\r\nx",
        &[ANY],
        &["200", "Length 1"],
    );
    check(
        b"HTTP/1.1 200 \xc3\xa9\xff\r\nContent-Length: 1\r\n\r\nx",
        &[ANY],
        &["200", "Length 1"],
    );
    check(
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        &[ANY],
        &["999", "Length 0"],
    );
}

#[test]
fn contradictions_are_counted() {
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc",
        &[ANY],
        &["200", "ContentLength", "Close 3"],
    );
    check(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        &[ANY],
        &["200", "Chunk", "Close 2"],
    );
}

#[test]
fn what_is_not_a_response_is_said_once() {
    check(b"220 mail ESMTP\r\n", &[], &["NotHttp"]);
    check(b"HTTP/2 200\r\n\r\n", &[], &["NotHttp"]);
    check(b"HTTP/1.1 099 X\r\n\r\n", &[], &["NotHttp"]);
    check(b"HTTP/1.1 2xx X\r\n\r\n", &[], &["NotHttp"]);
    check(b"HTTP/1.1 20", &[], &["FirstLineTruncated"]);
    check(
        b"HTTP/1.1 200 OK\r\nA: b\r\nC",
        &[],
        &["200 cut", "Truncated 0"],
    );
    check(b"ICY 200 OK\r\n\r\n", &[], &["NotHttp"]);
}
