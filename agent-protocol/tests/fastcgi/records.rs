//! Builds FastCGI records, feeds them to the parsers, and writes their events as lines.
//!
//! In: what a record holds; bytes with the lines expected. Out: bytes; a panic where the lines differ, or where the same
//! bytes cut elsewhere give other events.

use agent_protocol::fastcgi::{Begin, Limits, RequestParser, ResponseParser};
use agent_protocol::http1::{RequestEvent, ResponseEvent};
use agent_protocol::stream::Input;

pub const BEGIN: u8 = 1;
pub const ABORT: u8 = 2;
pub const END: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const GET_VALUES: u8 = 9;

pub fn record_of(id: u8, kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [len1, len0] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, id, len1, len0, padding, 0];
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + usize::from(padding), 0xaa);
    bytes
}

pub fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    record_of(1, kind, content, (8 - content.len() % 8) as u8 % 8)
}

pub fn begin(role: u8, flags: u8) -> Vec<u8> {
    record(BEGIN, &[0, role, flags, 0, 0, 0, 0, 0])
}

/// Name-value pairs; lengths over 127 in four bytes.
pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
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
pub fn head(params: &[(&str, &str)]) -> Vec<u8> {
    [
        begin(1, 1),
        record(PARAMS, &pairs(params)),
        record(PARAMS, &[]),
    ]
    .concat()
}

pub fn request_events(inputs: &[Input<'_>], at: Begin, turn: Option<usize>) -> Vec<RequestEvent> {
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

pub fn request_lines(events: &[RequestEvent]) -> Vec<String> {
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

pub fn check(bytes: &[u8], expect: &[&str]) {
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

pub fn response_events(inputs: &[Input<'_>]) -> Vec<ResponseEvent> {
    let mut seen = Vec::new();
    let mut parser = ResponseParser::new(Begin::Boundary, Limits::new(16 * 1024, ["x-keep"]));
    for &input in inputs {
        parser.push(input, &mut || None, &mut |event| seen.push(event));
    }
    parser.end(&mut |event| seen.push(event));
    seen
}

pub fn response_lines(events: &[ResponseEvent]) -> Vec<String> {
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

pub fn check_response(bytes: &[u8], expect: &[&str]) {
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

pub const GET: [(&str, &str); 2] = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a?b")];
