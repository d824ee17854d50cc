//! Takes a parser through the steps of a connection and compares its events.
//!
//! In: steps and the lines expected. Out: a panic where the events differ.

use agent_protocol::http1::{
    Begin, Limits, RequestEvent, RequestMethod, RequestParser, ResponseEvent, ResponseParser,
};
use agent_protocol::stream::Input;

use Step::{Bytes, End, Lost, Turn, Unseen};

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Bytes(&'static str),
    /// All its bytes, and the last of them that were kept.
    Unseen(u64, &'static str),
    Lost(Option<u64>),
    Turn,
    End,
}

pub fn note(complete: bool, resynced: bool) -> String {
    format!(
        "{}{}",
        if complete { "" } else { " cut" },
        if resynced { " resynced" } else { "" }
    )
}

pub fn requests(begin: Begin, steps: &[Step], expect: &[&str]) {
    let mut seen = Vec::new();
    let mut parser = RequestParser::new(begin, Limits::default());
    let mut out = |event: RequestEvent| match event {
        RequestEvent::Begin => {}
        RequestEvent::Head(head) => seen.push(format!(
            "{}{}",
            head.target.raw(),
            note(head.complete, head.resynced)
        )),
        RequestEvent::End(end) => seen.push(format!("{:?} {}", end.how, end.body_bytes)),
        RequestEvent::Unparsed(why) => seen.push(format!("{why:?}")),
    };
    for step in steps {
        match *step {
            Bytes(bytes) => parser.push(Input::Bytes(bytes.as_bytes()), &mut out),
            Unseen(len, tail) => parser.push(
                Input::Unseen {
                    len,
                    tail: tail.as_bytes(),
                },
                &mut out,
            ),
            Lost(len) => parser.push(Input::Lost { len }, &mut out),
            Turn => parser.turn(&mut out),
            End => parser.end(&mut out),
        }
    }
    assert_eq!(seen, expect, "{steps:#?}");
}

pub fn responses(begin: Begin, method: Option<RequestMethod>, steps: &[Step], expect: &[&str]) {
    let mut seen = Vec::new();
    let mut parser = ResponseParser::new(begin, Limits::default());
    let mut out = |event: ResponseEvent| match event {
        ResponseEvent::Begin => {}
        ResponseEvent::Interim(status) => seen.push(format!("interim {status}")),
        ResponseEvent::Head(head) => seen.push(format!(
            "{}{}",
            head.status,
            note(head.complete, head.resynced)
        )),
        ResponseEvent::End(end) => seen.push(format!("{:?} {}", end.how, end.body_bytes)),
        ResponseEvent::Unparsed(why) => seen.push(format!("{why:?}")),
    };
    for step in steps {
        match *step {
            Bytes(bytes) => parser.push(Input::Bytes(bytes.as_bytes()), &mut || method, &mut out),
            Unseen(len, tail) => {
                parser.push(
                    Input::Unseen {
                        len,
                        tail: tail.as_bytes(),
                    },
                    &mut || method,
                    &mut out,
                );
            }
            Lost(len) => parser.push(Input::Lost { len }, &mut || method, &mut out),
            Turn => parser.turn(&mut out),
            End => parser.end(&mut out),
        }
    }
    assert_eq!(seen, expect, "{steps:#?}");
}

pub const GET: &str = "GET /next HTTP/1.1\r\n\r\n";
pub const POST: &str = "POST /p HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
pub const CHUNKED: &str = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
pub const OTHER: Option<RequestMethod> = Some(RequestMethod::Other);
