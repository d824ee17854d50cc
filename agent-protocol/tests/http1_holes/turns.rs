//! Turns of the connection, and connections met in the middle.
//!
//! In: steps with turns. Out: where a message ends, and where the next one is found.

use agent_protocol::http1::Begin::{Boundary, Midstream};
use agent_protocol::http1::{Limits, RequestParser};
use agent_protocol::stream::Input;

use crate::steps::Step::{Bytes, End, Lost, Turn, Unseen};
use crate::steps::{CHUNKED, GET, OTHER, POST, requests, responses};

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
