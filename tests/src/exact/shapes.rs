//! Conversations of all kinds: requests in every shape, and protocols that are none of ours.
//!
//! In: a seed, a number. Out: what is said. Always holds: the same seed and number give the same bytes; a place for a header is where the
//! kernel side must be certain. Refuses: nothing.

use super::{Conversation, How};

/// Requests of one connection that is kept.
const KEPT: usize = 40;

/// The conversation with this number.
pub(super) fn conversation(seed: u64, number: usize) -> Conversation {
    let mut talk = Conversation::new(seed, number);
    match number % 8 {
        7 => foreign(&mut talk),
        kind => {
            let requests = if kind < 5 { KEPT } else { talk.below(6) };
            for _ in 0..requests {
                plain(&mut talk);
            }
            if kind >= 5 {
                last(&mut talk);
            }
        }
    }
    talk
}

fn whole(head: String, body: &[u8]) -> Vec<u8> {
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn posted(talk: &mut Conversation, size: usize, lines: &str) -> String {
    talk.head("POST", &format!("Content-Length: {size}\r\n{lines}"))
}

/// A body of requests.
const REQUESTS: &[u8] = b"GET /never HTTP/1.1\r\nHost: b\r\n\r\nPOST /never HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n";

/// A request after which the next one can have a header.
fn plain(talk: &mut Conversation) {
    let methods = ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"];
    let method = methods[talk.below(methods.len())];
    match talk.below(15) {
        0..=3 => {
            let head = talk.head(method, "");
            talk.due(whole(head, b""), How::Write);
        }
        4 => {
            let (head, size) = (talk.head(method, ""), 1 + talk.below(200));
            talk.due(whole(head, b""), How::Vectors(size));
        }
        5 => {
            let size = talk.below(9_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            talk.due(whole(head, &body), How::Write);
        }
        6 => {
            let head = posted(talk, 200_000, "");
            let body = talk.noise(200_000);
            talk.due(whole(head, &body), How::Write);
        }
        7 => {
            let head = posted(talk, REQUESTS.len(), "");
            talk.due(whole(head, b""), How::Write);
            talk.send(REQUESTS.to_vec(), How::Pieces(REQUESTS.len() / 2 - 18));
        }
        8 => {
            let size = talk.below(30_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            let head = whole(head, b"");
            let first = head.len();
            talk.due([head, body].concat(), How::Sendfile(first));
        }
        9 => {
            let size = 1 + talk.below(70_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            let head = whole(head, b"");
            let first = head.len();
            talk.due([head, body].concat(), How::Splice(first));
        }
        10 => {
            let size = 1 + talk.below(3_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            let head = whole(head, b"");
            let first = head.len();
            talk.due([head, body].concat(), How::More(first));
        }
        11 => {
            // One of its own, in any case of its letters, is not touched.
            let names = ["traceparent", "Traceparent", "TRACEPARENT", "tracePARENT"];
            let name = names[talk.below(names.len())];
            let line = format!("{name}: 00-{:032x}-{:016x}-01\r\n", 7, 9);
            let head = talk.head(method, &line);
            talk.send(whole(head, b""), How::Write);
        }
        12 => {
            let head = posted(talk, REQUESTS.len(), "Expect: 100-continue\r\n");
            talk.due(whole(head, b""), How::Write);
            talk.answer("HTTP/1.1 100 Continue\r\n\r\n");
            talk.send(REQUESTS.to_vec(), How::Write);
        }
        13 => {
            let size = talk.below(60_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            talk.due(whole(head, &body), How::Partial);
        }
        _ => {
            let size = talk.below(40_000);
            let (head, body) = (posted(talk, size, ""), talk.noise(size));
            talk.due(whole(head, &body), How::Zerocopy);
        }
    }
    talk.ok();
}

/// A request after which none of its connection has a header any more, and some that follow.
fn last(talk: &mut Conversation) {
    let head = talk.head("GET", "");
    let request = whole(head, b"");
    let half = request.len() / 2;
    match talk.below(14) {
        0 => {
            talk.name = "split".to_owned();
            talk.send(request, How::Pieces(half));
        }
        1 => {
            talk.name = "bytewise".to_owned();
            talk.send(request, How::Pieces(1));
        }
        2 => {
            talk.name = "long head".to_owned();
            let long = talk.letters(5_000);
            let head = talk.head("GET", &format!("X-Long: {long}\r\n"));
            talk.send(whole(head, b""), How::Write);
        }
        3 => {
            talk.name = "pipelined in one write".to_owned();
            talk.due(
                [&request[..], &request[..], &request[..]].concat(),
                How::Write,
            );
            talk.ok();
            talk.ok();
        }
        4 => {
            talk.name = "pipelined in several writes".to_owned();
            talk.due(request.clone(), How::Write);
            talk.send(request.clone(), How::Write);
            talk.send(request, How::Write);
            talk.ok();
            talk.ok();
        }
        5 => {
            talk.name = "chunked".to_owned();
            let head = talk.head("POST", "Transfer-Encoding: chunked\r\n");
            talk.due(whole(head, b""), How::Write);
            talk.send(b"5\r\nGET /\r\n0\r\n\r\n".to_vec(), How::Write);
        }
        6 => {
            talk.name = "answered before its body".to_owned();
            let head = posted(talk, REQUESTS.len(), "");
            talk.due(whole(head, b""), How::Write);
            talk.ok();
            talk.send(REQUESTS.to_vec(), How::Write);
            talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        7 => {
            talk.name = "upgrade".to_owned();
            let head = talk.head("GET", "Connection: Upgrade\r\nUpgrade: raw\r\n");
            talk.due(whole(head, b""), How::Write);
            talk.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\n\r\n");
            talk.answer("raw bytes of the server");
            talk.send(REQUESTS.to_vec(), How::Write);
            talk.answer("and more");
        }
        8 => {
            talk.name = "tunnel".to_owned();
            talk.send(
                b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
                How::Write,
            );
            talk.answer("HTTP/1.1 200 OK\r\n\r\n");
            talk.send(REQUESTS.to_vec(), How::Write);
        }
        9 => {
            talk.name = "several messages in one call".to_owned();
            talk.send(request, How::Several(half));
        }
        10 => {
            talk.name = "line ends".to_owned();
            let text = String::from_utf8_lossy(&request).replace("\r\n", "\n");
            talk.send(text.into_bytes(), How::Write);
        }
        11 => {
            talk.name = "two lengths".to_owned();
            let head = talk.head("POST", "Content-Length: 3\r\nContent-length: 3\r\n");
            talk.due(whole(head, b"abc"), How::Write);
        }
        12 => {
            talk.name = "by sendfile alone".to_owned();
            talk.send(request, How::Sendfile(0));
        }
        _ => {
            talk.name = "answered with something else".to_owned();
            talk.due(request, How::Write);
            talk.answer("+OK this is no HTTP\r\n");
        }
    }
    talk.ok();
    talk.is_lost = true;
    for _ in 0..3 {
        plain(talk);
    }
}

/// Another protocol.
fn foreign(talk: &mut Conversation) {
    let first: &[u8] = match talk.below(9) {
        0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
        1 => b"GET /\r\n",
        2 => b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$30\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n..\r\n",
        3 => b"\0\0\0\x08\x04\xd2\x16\x2f",
        4 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        5 => b"EHLO a.example\r\n",
        6 => b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        7 => b"AMQP\0\0\x09\x01",
        _ => b"",
    };
    talk.name = format!("other protocol {:?}", String::from_utf8_lossy(first));
    talk.is_lost = true;
    let mut bytes = first.to_vec();
    if first.is_empty() {
        bytes = talk.noise(300);
    }
    talk.send(bytes, How::Write);
    for _ in 0..12 {
        let size = 1 + talk.below(4_000);
        let noise = talk.noise(size);
        talk.answer(noise);
        match talk.below(3) {
            0 => talk.send(REQUESTS.to_vec(), How::Write),
            _ => {
                let size = 1 + talk.below(20_000);
                let noise = talk.noise(size);
                talk.send(noise, How::Write);
            }
        }
    }
    talk.answer("bye");
}
