//! The forms of HTTP/1 as a list: what is written to the server, what is expected of both spans.

use std::time::Duration;

use suture_tests::client::{Connection, request};
use suture_tests::scene::scaled;
use suture_tests::victims::Victim;

/// What is expected of both spans of a request.
#[derive(Clone)]
pub struct Expect {
    pub method: &'static str,
    /// `{id}` stands for the request's id.
    pub path: &'static str,
    /// `None`: no final answer came, both spans are errors with an `error.type`.
    pub status: Option<i64>,
    pub version: &'static str,
    pub request_size: Option<i64>,
    pub response_size: Option<i64>,
    pub at_least: Duration,
    pub at_most: Duration,
}

const ANSWERED: Expect = Expect {
    method: "GET",
    path: "/leaf/{id}",
    status: Some(200),
    version: "1.1",
    request_size: None,
    response_size: None,
    at_least: Duration::ZERO,
    at_most: Duration::from_secs(5),
};

/// A request and what is expected of it.
pub struct Case {
    pub what: &'static str,
    pub drive: fn(&Victim, &str),
    pub expect: Expect,
}

/// A new connection to the victim.
pub fn connect(victim: &Victim) -> Connection {
    Connection::local(victim.port).unwrap()
}

/// Sends the bytes on a new connection and requires this status.
fn exchange(victim: &Victim, bytes: &[u8], status: u16) {
    let mut connection = connect(victim);
    connection.send(bytes).unwrap();
    assert_eq!(
        connection
            .answer(bytes.starts_with(b"HEAD"))
            .unwrap()
            .status,
        status
    );
}

fn reset(connection: Connection) {
    connection.reset_on_close().unwrap();
}

static PAD_6K: [u8; 6 << 10] = [b'p'; 6 << 10];
static PAD_20K: [u8; 20 << 10] = [b'p'; 20 << 10];
static BIG_BODY: [u8; 300_000] = [b'b'; 300_000];

/// The list.
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            what: "a request written at once",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/leaf/{id}"), &[], b""),
                    200,
                )
            },
            expect: ANSWERED,
        },
        Case {
            what: "HTTP/1.0, closed by the server",
            drive: |victim, id| {
                exchange(
                    victim,
                    format!("GET /leaf/{id} HTTP/1.0\r\n\r\n").as_bytes(),
                    200,
                )
            },
            expect: Expect {
                version: "1.0",
                ..ANSWERED
            },
        },
        Case {
            what: "a request written one byte at a time",
            drive: |victim, id| {
                let mut connection = connect(victim);
                connection
                    .send_bytewise(&request("GET", &format!("/leaf/{id}"), &[], b""))
                    .unwrap();
                assert_eq!(connection.answer(false).unwrap().status, 200);
            },
            expect: ANSWERED,
        },
        Case {
            what: "a head of 6 KiB, over the default capture",
            drive: |victim, id| {
                let pad = str::from_utf8(&PAD_6K).unwrap();
                exchange(
                    victim,
                    &request("GET", &format!("/leaf/{id}"), &[("X-Pad", pad)], b""),
                    200,
                );
            },
            expect: ANSWERED,
        },
        Case {
            what: "a head of 20 KiB, over the largest capture",
            drive: |victim, id| {
                let pad = str::from_utf8(&PAD_20K).unwrap();
                exchange(
                    victim,
                    &request("GET", &format!("/leaf/{id}"), &[("X-Pad", pad)], b""),
                    200,
                );
            },
            expect: ANSWERED,
        },
        Case {
            what: "a POST with Content-Length",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("POST", &format!("/echo/{id}"), &[], b"12345"),
                    200,
                )
            },
            expect: Expect {
                method: "POST",
                path: "/echo/{id}",
                request_size: Some(5),
                response_size: Some(1),
                ..ANSWERED
            },
        },
        Case {
            what: "a POST whose body follows in small writes",
            drive: |victim, id| {
                let mut connection = connect(victim);
                let bytes = request("POST", &format!("/echo/{id}"), &[], &BIG_BODY);
                for part in bytes.chunks(7_000) {
                    connection.send(part).unwrap();
                }
                assert_eq!(connection.answer(false).unwrap().body, b"300000");
            },
            expect: Expect {
                method: "POST",
                path: "/echo/{id}",
                request_size: Some(300_000),
                response_size: Some(6),
                ..ANSWERED
            },
        },
        Case {
            what: "a chunked POST with a trailer",
            drive: |victim, id| {
                let mut bytes = request(
                    "POST",
                    &format!("/echo/{id}"),
                    &[("Transfer-Encoding", "chunked"), ("Trailer", "X-T")],
                    b"",
                );
                bytes.extend_from_slice(b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-T: 1\r\n\r\n");
                exchange(victim, &bytes, 200);
            },
            expect: Expect {
                method: "POST",
                path: "/echo/{id}",
                request_size: Some(11),
                response_size: Some(2),
                ..ANSWERED
            },
        },
        Case {
            what: "a chunked answer with a trailer",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/chunked/{id}"), &[], b""),
                    200,
                )
            },
            expect: Expect {
                path: "/chunked/{id}",
                response_size: Some(35),
                ..ANSWERED
            },
        },
        Case {
            what: "Expect: 100-continue, the body after the interim answer",
            drive: |victim, id| {
                let mut connection = connect(victim);
                let head = format!(
                    "POST /echo/{id} HTTP/1.1\r\nHost: victim.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
                );
                connection.send(head.as_bytes()).unwrap();
                assert_eq!(connection.one_answer(false).unwrap().status, 100);
                connection.send(b"body").unwrap();
                assert_eq!(connection.answer(false).unwrap().body, b"4");
            },
            expect: Expect {
                method: "POST",
                path: "/echo/{id}",
                request_size: Some(4),
                response_size: Some(1),
                ..ANSWERED
            },
        },
        Case {
            what: "HEAD, then GET on the same connection",
            drive: |victim, id| {
                let mut connection = connect(victim);
                connection
                    .send(&request("HEAD", &format!("/head/{id}"), &[], b""))
                    .unwrap();
                assert_eq!(connection.answer(true).unwrap().status, 200);
                assert_eq!(connection.get("/leaf/after-head").unwrap().status, 200);
            },
            expect: Expect {
                method: "HEAD",
                path: "/head/{id}",
                ..ANSWERED
            },
        },
        Case {
            what: "204, then GET on the same connection",
            drive: |victim, id| {
                let mut connection = connect(victim);
                assert_eq!(
                    connection.get(&format!("/status/204/{id}")).unwrap().status,
                    204
                );
                assert_eq!(connection.get("/leaf/after-204").unwrap().status, 200);
            },
            expect: Expect {
                path: "/status/204/{id}",
                status: Some(204),
                ..ANSWERED
            },
        },
        Case {
            what: "304",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/status/304/{id}"), &[], b""),
                    304,
                )
            },
            expect: Expect {
                path: "/status/304/{id}",
                status: Some(304),
                ..ANSWERED
            },
        },
        Case {
            what: "404: an error for the client only",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/status/404/{id}"), &[], b""),
                    404,
                )
            },
            expect: Expect {
                path: "/status/404/{id}",
                status: Some(404),
                ..ANSWERED
            },
        },
        Case {
            what: "503: an error for both",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/status/503/{id}"), &[], b""),
                    503,
                )
            },
            expect: Expect {
                path: "/status/503/{id}",
                status: Some(503),
                ..ANSWERED
            },
        },
        Case {
            what: "a slow answer",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/slow/{id}?ms=300"), &[], b""),
                    200,
                )
            },
            expect: Expect {
                path: "/slow/{id}",
                at_least: Duration::from_millis(300),
                ..ANSWERED
            },
        },
        Case {
            what: "a multi-megabyte answer",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("/big/4000000/{id}"), &[], b""),
                    200,
                )
            },
            expect: Expect {
                path: "/big/4000000/{id}",
                response_size: Some(4_000_000),
                ..ANSWERED
            },
        },
        Case {
            what: "absolute-form",
            drive: |victim, id| {
                exchange(
                    victim,
                    &request("GET", &format!("http://victim.test/leaf/{id}"), &[], b""),
                    200,
                );
            },
            expect: ANSWERED,
        },
        Case {
            what: "WebSocket: the span ends with the handshake, though the connection stays open",
            drive: |victim, id| {
                let headers = [
                    ("Upgrade", "websocket"),
                    ("Connection", "Upgrade"),
                    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    ("Sec-WebSocket-Version", "13"),
                ];
                let mut connection = connect(victim);
                connection
                    .send(&request("GET", &format!("/ws/{id}"), &headers, b""))
                    .unwrap();
                assert_eq!(connection.answer(false).unwrap().status, 101);
                assert_eq!(connection.raw(7).unwrap(), b"\x81\x05hello");
                std::thread::sleep(scaled(Duration::from_millis(1200)));
            },
            expect: Expect {
                path: "/ws/{id}",
                status: Some(101),
                at_most: Duration::from_millis(1000),
                ..ANSWERED
            },
        },
        Case {
            what: "a server that closes without an answer",
            drive: |victim, id| {
                let mut connection = connect(victim);
                connection
                    .send(&request("GET", &format!("/dropped/{id}"), &[], b""))
                    .unwrap();
                assert!(connection.raw(1).unwrap_or_default().is_empty());
            },
            expect: Expect {
                path: "/dropped/{id}",
                status: None,
                ..ANSWERED
            },
        },
        Case {
            what: "a client that resets inside its request's body",
            drive: |victim, id| {
                let mut connection = connect(victim);
                let mut bytes = request("POST", &format!("/echo/{id}"), &[], &BIG_BODY);
                bytes.truncate(1000);
                connection.send(&bytes).unwrap();
                std::thread::sleep(scaled(Duration::from_millis(100)));
                reset(connection);
            },
            expect: Expect {
                method: "POST",
                path: "/echo/{id}",
                status: None,
                ..ANSWERED
            },
        },
    ]
}
