//! Streams with gaps: unseen bytes, lost records, turns, connections met in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::http1::{
    Begin, Limits, RequestEvent, RequestMethod, RequestParser, ResponseEvent, ResponseParser,
};
use agent_protocol::stream::Input;

use Step::{Bytes, End, Lost, Turn, Unseen};

#[derive(Clone, Copy, Debug)]
enum Step {
    Bytes(&'static str),
    /// All its bytes, and the last of them that were kept.
    Unseen(u64, &'static str),
    Lost(Option<u64>),
    Turn,
    End,
}

fn note(complete: bool, resynced: bool) -> String {
    format!(
        "{}{}",
        if complete { "" } else { " cut" },
        if resynced { " resynced" } else { "" }
    )
}

fn requests(begin: Begin, steps: &[Step], expect: &[&str]) {
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

fn responses(begin: Begin, method: Option<RequestMethod>, steps: &[Step], expect: &[&str]) {
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

const GET: &str = "GET /next HTTP/1.1\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
const CHUNKED: &str = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const OTHER: Option<RequestMethod> = Some(RequestMethod::Other);
use Begin::{Boundary, Midstream};

#[test]
fn unseen_bytes_of_a_body_of_known_length_are_counted() {
    requests(
        Boundary,
        &[Bytes(POST), Unseen(100, ""), Turn, Bytes(GET)],
        &["/p", "Length 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[
            Bytes(POST),
            Bytes("abc"),
            Unseen(97, "tail...."),
            Bytes(GET),
        ],
        &["/p", "Length 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Unseen(60, ""), Turn, Unseen(40, "")],
        &["/p", "Length 100"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Unseen(99, ""), End],
        &["/p", "Truncated 99"],
    );
    // The next request begins in the same unseen piece; its first bytes are in the tail.
    requests(
        Boundary,
        &[
            Bytes(POST),
            Unseen(104, "....GET "),
            Bytes("/next HTTP/1.1\r\n\r\n"),
        ],
        &["/p", "Length 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Unseen(150, "anything"), Turn, Bytes(GET)],
        &[
            "/p",
            "Length 100",
            "UnseenHead",
            "/next resynced",
            "NoBody 0",
        ],
    );
}

#[test]
fn unseen_bytes_of_chunks_are_skipped_by_their_size() {
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Bytes("64\r\nabc"),
            Unseen(97, ""),
            Bytes("\r\n0\r\n\r\n"),
        ],
        &["/c", "Chunked 100"],
    );
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Bytes("64\r\nabc"),
            Unseen(99, ""),
            Bytes("0\r\n\r\n"),
            Bytes(GET),
        ],
        &["/c", "Chunked 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Bytes("64\r\nabc"),
            Unseen(104, "x\r\n0\r\n\r\n"),
        ],
        &["/c", "Chunked 100"],
    );
    // All of a small piece is in its tail.
    requests(
        Boundary,
        &[Bytes(CHUNKED), Bytes("2\r\nab\r\n"), Unseen(5, "0\r\n\r\n")],
        &["/c", "Chunked 2"],
    );
}

#[test]
fn where_a_chunk_size_was_not_seen_the_last_bytes_tell_the_end() {
    let steps = [
        Bytes(CHUNKED),
        Bytes("64\r\nabc"),
        Unseen(500, "x\r\n0\r\n\r\n"),
        Turn,
        Bytes(GET),
    ];
    requests(
        Boundary,
        &steps,
        &["/c", "Chunked 503", "/next", "NoBody 0"],
    );
    let steps = [
        Bytes(CHUNKED),
        Unseen(500, "xxxxxxxx"),
        Unseen(5, "0\r\n\r\n"),
        Bytes(GET),
    ];
    requests(
        Boundary,
        &steps,
        &["/c", "Chunked 505", "/next", "NoBody 0"],
    );
    let steps = [
        Bytes(CHUNKED),
        Unseen(500, "xxxxxx\r\n"),
        Bytes("0\r\n\r\n"),
        Turn,
        Bytes(GET),
    ];
    requests(
        Boundary,
        &steps,
        &["/c", "Chunked 505", "/next", "NoBody 0"],
    );
    let steps = [
        Bytes(CHUNKED),
        Unseen(500, "xxxxxxxx"),
        Bytes("y\r\n0\r\n\r\nmore"),
        Turn,
        Bytes(GET),
    ];
    requests(Boundary, &steps, &["/c", "Turn 512", "/next", "NoBody 0"]);
    requests(
        Boundary,
        &[Bytes(CHUNKED), Unseen(500, "T: v\r\n\r\n"), End],
        &["/c", "Close 500"],
    );
    // Bytes of unknown content came in between.
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Unseen(500, "x\r\n0\r\n"),
            Unseen(50, ""),
            Bytes("\r\n"),
            End,
        ],
        &["/c", "Close 552"],
    );
}

#[test]
fn a_head_of_which_the_end_was_not_seen_is_delivered_cut_and_lasts_until_the_turn() {
    let steps = [
        Bytes("GET /long HTTP/1.1\r\nHost: a\r\nCookie: aa"),
        Unseen(900, "a\r\n\r\n"),
        Turn,
        Bytes(GET),
    ];
    requests(
        Boundary,
        &steps,
        &["/long cut", "Turn 5", "/next", "NoBody 0"],
    );
    let steps = [
        Bytes("POST /long HTTP/1.1\r\nContent-Length: 5\r\nX:"),
        Unseen(900, ""),
        Bytes("GET / HTTP/1.1\r\n\r\n"),
        Turn,
        Bytes(GET),
    ];
    requests(
        Boundary,
        &steps,
        &["/long cut", "Turn 18", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes("GET /long HTTP/1.1\r\nX: "), Unseen(9, ""), End],
        &["/long cut", "Close 0"],
    );
    requests(
        Boundary,
        &[Bytes("GET /lo"), Unseen(9, ""), Turn, Bytes(GET)],
        &["FirstLineCut", "/next resynced", "NoBody 0"],
    );
    let steps = [
        Bytes("HTTP/1.1 101 Switching Protocols\r\nX: "),
        Unseen(900, ""),
        Turn,
        Bytes("HTTP/1.1 200 OK\r\n\r\n"),
    ];
    responses(Boundary, OTHER, &steps, &["101 cut", "Opaque 0"]);
    let steps = [
        Bytes("HTTP/1.1 103 Early\r\nX: "),
        Unseen(900, ""),
        Bytes("HTTP/1.1 204 N\r\n\r\n"),
    ];
    responses(
        Boundary,
        OTHER,
        &steps,
        &["interim 103", "204 resynced", "NoBody 0"],
    );
}

#[test]
fn an_unseen_head_is_counted_and_the_next_one_found() {
    requests(
        Boundary,
        &[Unseen(500, ""), Turn, Bytes(GET)],
        &["UnseenHead", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Unseen(500, ""), Unseen(7, ""), Bytes(GET)],
        &["UnseenHead", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Unseen(0, ""), Bytes(GET)],
        &["/next", "NoBody 0"],
    );
}

#[test]
fn a_hole_of_known_length_in_a_body_of_known_length_is_counted() {
    requests(
        Boundary,
        &[Bytes(POST), Lost(Some(40)), Unseen(60, ""), Bytes(GET)],
        &["/p", "Length 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Lost(Some(100)), Bytes(GET)],
        &["/p", "Length 100", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Lost(Some(101)), Bytes("x"), Bytes(GET)],
        &["/p", "Length 100", "LostHead", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Bytes("64\r\n"),
            Lost(Some(100)),
            Bytes("\r\n0\r\n\r\n"),
        ],
        &["/c", "Chunked 100"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Lost(Some(0)), Unseen(100, "")],
        &["/p", "Length 100"],
    );
}

#[test]
fn any_other_hole_ends_at_the_next_turn_or_start() {
    requests(
        Boundary,
        &[Bytes(POST), Lost(None), Turn, Bytes(GET)],
        &["/p", "LostBody", "Turn 0", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Lost(None), Bytes("abc"), Bytes(GET)],
        &["/p", "LostBody", "Turn 3", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(POST), Lost(None), End],
        &["/p", "LostBody", "Close 0"],
    );
    requests(
        Boundary,
        &[
            Bytes(CHUNKED),
            Lost(Some(7)),
            Bytes("x\r\n0\r\n\r\n"),
            Turn,
            Bytes(GET),
        ],
        &["/c", "LostBody", "Chunked 15", "/next", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes("GET /h HTTP/1.1\r\nA: b"), Lost(Some(9)), Bytes(GET)],
        &["/h cut", "Turn 0", "/next resynced", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Lost(None), Bytes("rest of something"), Bytes(GET)],
        &["LostHead", "/next resynced", "NoBody 0"],
    );
    responses(
        Boundary,
        OTHER,
        &[
            Bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            Lost(None),
            Bytes("HTTP/1.1 204 X\r\n\r\n"),
        ],
        &["200", "LostBody", "Turn 0", "204 resynced", "NoBody 0"],
    );
}

#[test]
fn a_connection_met_in_the_middle_is_followed_from_its_next_message() {
    requests(
        Midstream,
        &[Bytes("ent-Type: x\r\n\r\nbody"), Turn, Bytes(GET)],
        &["Midstream", "/next resynced", "NoBody 0"],
    );
    requests(
        Midstream,
        &[Bytes("body"), Bytes("more"), Bytes(GET), Bytes(GET)],
        &[
            "Midstream",
            "/next resynced",
            "NoBody 0",
            "/next",
            "NoBody 0",
        ],
    );
    requests(Midstream, &[Bytes(GET)], &["/next resynced", "NoBody 0"]);
    // Only a whole first line counts, unless the direction has just turned.
    requests(
        Midstream,
        &[Bytes("GET /next HT"), Bytes("TP/1.1\r\n\r\n")],
        &["Midstream"],
    );
    requests(
        Midstream,
        &[Turn, Bytes("GET /next HT"), Bytes("TP/1.1\r\n\r\n")],
        &["/next resynced", "NoBody 0"],
    );
    responses(
        Midstream,
        None,
        &[
            Bytes("</html>"),
            Bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        ],
        &["Midstream", "200 resynced", "Length 1"],
    );
}

#[test]
fn a_turn_inside_a_message_of_known_length_changes_nothing() {
    requests(
        Boundary,
        &[Bytes(POST), Turn, Unseen(50, ""), Turn, Unseen(50, "")],
        &["/p", "Length 100"],
    );
    requests(
        Boundary,
        &[
            Bytes("GET /sl"),
            Turn,
            Bytes("ow HTTP/1.1\r\n"),
            Turn,
            Bytes("\r\n"),
        ],
        &["/slow", "NoBody 0"],
    );
    requests(
        Boundary,
        &[Bytes(CHUNKED), Turn, Bytes("0\r\n"), Turn, Bytes("\r\n")],
        &["/c", "Chunked 0"],
    );
}

#[test]
fn a_response_until_close_ends_at_a_turn_only_where_a_new_head_follows() {
    let until_close = Bytes("HTTP/1.0 200 OK\r\n\r\n<html>");
    responses(
        Boundary,
        OTHER,
        &[until_close, Turn, Bytes("</html>"), End],
        &["200", "Close 13"],
    );
    responses(
        Boundary,
        OTHER,
        &[until_close, Bytes("HTTP/1.1 204 X\r\n\r\n"), End],
        &["200", "Close 24"],
    );
    responses(
        Boundary,
        OTHER,
        &[until_close, Turn, Bytes("HTTP/1.1 204 X\r\n\r\n"), End],
        &["200", "Turn 6", "204", "NoBody 0"],
    );
    responses(
        Boundary,
        OTHER,
        &[
            until_close,
            Unseen(1000, ""),
            Lost(None),
            Lost(Some(5)),
            End,
        ],
        &["200", "Close 1011"],
    );
}

#[test]
fn a_length_is_doubted_where_the_request_is_unknown() {
    let head = Bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    let next = Bytes("HTTP/1.1 204 X\r\n\r\n");
    responses(
        Boundary,
        None,
        &[head, Turn, next],
        &["200", "Turn 0", "204", "NoBody 0"],
    );
    responses(
        Boundary,
        None,
        &[head, next],
        &["200", "Length 9", "NotHttp"],
    );
    responses(
        Boundary,
        OTHER,
        &[head, Turn, next],
        &["200", "Length 9", "NotHttp"],
    );
}

#[test]
fn a_parser_that_never_finds_a_message_is_hopeless() {
    let mut parser = RequestParser::new(Boundary, Limits::default());
    for round in 0..4 {
        assert!(!parser.is_hopeless(), "after {round} turns");
        parser.turn(&mut |_| {});
        parser.push(Input::Bytes(b"\x00binary"), &mut |_| {});
    }
    assert!(parser.is_hopeless());
    parser.turn(&mut |_| {});
    parser.push(Input::Bytes(GET.as_bytes()), &mut |_| {});
    assert!(!parser.is_hopeless());
    requests(
        Boundary,
        &[Bytes("junk\r\n"), Bytes(GET), Turn, Bytes(GET)],
        &["NotHttp", "/next resynced", "NoBody 0"],
    );
}
