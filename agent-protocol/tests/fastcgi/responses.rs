//! What an application answers over FastCGI.
//!
//! In: records of responses, also with gaps. Out: the events of HTTP responses.

use agent_protocol::http1::ResponseEvent;
use agent_protocol::stream::Input;

use crate::records::{
    END, STDERR, STDOUT, check_response, record, response_events, response_lines,
};

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
