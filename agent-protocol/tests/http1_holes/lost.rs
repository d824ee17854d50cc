//! Bytes that were lost on the way from the kernel, of known and of unknown length.
//!
//! In: steps with holes. Out: what is counted, and where the parser goes on.

use agent_protocol::http1::Begin::Boundary;

use crate::steps::Step::{Bytes, End, Lost, Turn, Unseen};
use crate::steps::{CHUNKED, GET, OTHER, POST, requests, responses};

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
