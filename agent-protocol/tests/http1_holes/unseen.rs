//! Bytes that passed and were not copied: only their length, and the last few, are known.
//!
//! In: steps with unseen bytes in heads and bodies. Out: what is still told of each message.

use agent_protocol::http1::Begin::Boundary;

use crate::steps::Step::{Bytes, End, Turn, Unseen};
use crate::steps::{CHUNKED, GET, OTHER, POST, requests, responses};

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
