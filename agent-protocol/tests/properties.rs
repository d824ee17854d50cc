//! Properties over made-up conversations: what was sent is what is read, however the stream is cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::http1::{
    Begin, Ended, Limits, RequestEvent, RequestMethod, RequestParser, ResponseEvent, ResponseParser,
};
use agent_protocol::stream::Input;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

impl Body {
    fn write(&self, wire: &mut Vec<u8>) {
        match self {
            Self::None => wire.extend_from_slice(b"\r\n"),
            Self::Length(bytes) => {
                wire.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes(),
                );
                wire.extend_from_slice(bytes);
            }
            Self::Chunked(chunks) => {
                wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    wire.extend_from_slice(format!("{:x};e=f\r\n", chunk.len()).as_bytes());
                    wire.extend_from_slice(chunk);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\nTrailer: t\r\n\r\n");
            }
        }
    }

    fn end(&self) -> (Ended, u64) {
        match self {
            Self::None => (Ended::NoBody, 0),
            Self::Length(bytes) => (Ended::Length, bytes.len() as u64),
            Self::Chunked(chunks) => (
                Ended::Chunked,
                chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            ),
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    let chunk = vec(any::<u8>(), 1..200);
    prop_oneof![
        Just(Body::None),
        vec(any::<u8>(), 0..400).prop_map(Body::Length),
        vec(chunk, 0..5).prop_map(Body::Chunked),
    ]
}

/// Pieces of `wire` with these lengths, over and over.
fn cut<'a>(wire: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = wire;
    lengths.iter().cycle().map_while(move |&length| {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(Config::with_cases(400))]

    #[test]
    fn requests_are_read_as_they_were_written(
        messages in vec(("(GET|POST|PUT|X-Y)", "/[a-z0-9/]{0,40}(\\?[a-z=&]{0,20})?", body()), 1..6),
        lengths in vec(1_usize..90, 1..20),
    ) {
        let mut wire = Vec::new();
        for (method, target, body) in &messages {
            wire.extend_from_slice(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n").as_bytes());
            body.write(&mut wire);
        }
        let mut parser = RequestParser::new(Begin::Boundary, Limits::default());
        let mut read = Vec::new();
        for piece in cut(&wire, &lengths) {
            parser.push(Input::Bytes(piece), &mut |event| read.push(event));
        }
        let mut events = read.into_iter();
        for (method, target, body) in &messages {
            assert!(matches!(events.next(), Some(RequestEvent::Begin)));
            let Some(RequestEvent::Head(head)) = events.next() else { panic!("no head for {target}") };
            assert_eq!((head.method.as_str(), head.target.raw()), (method.as_str(), target.as_str()));
            let Some(RequestEvent::End(end)) = events.next() else { panic!("no end for {target}") };
            assert_eq!((end.how, end.body_bytes), body.end());
        }
        assert_eq!(events.next(), None);
    }

    #[test]
    fn responses_are_read_as_they_were_written(
        messages in vec((200_u16..600, body(), 0_usize..3, any::<bool>()), 1..6),
        lengths in vec(1_usize..90, 1..20),
    ) {
        let mut wire = Vec::new();
        let mut expect = Vec::new();
        let mut methods = Vec::new();
        for (status, body, interims, is_head) in &messages {
            for _ in 0..*interims {
                wire.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
            }
            // Without a length a body lasts until the end: none of that here.
            let body = if matches!(body, Body::None) { &Body::Length(Vec::new()) } else { body };
            let bodiless = *is_head || matches!(status, 204 | 304);
            let mut message = format!("HTTP/1.1 {status} Reason\r\n").into_bytes();
            body.write(&mut message);
            if bodiless {
                let head = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
                message.truncate(head + 4);
            }
            wire.extend_from_slice(&message);
            expect.push((*interims, *status, if bodiless { (Ended::NoBody, 0) } else { body.end() }));
            methods.push(if *is_head { RequestMethod::Head } else { RequestMethod::Other });
        }
        let mut parser = ResponseParser::new(Begin::Boundary, Limits::default());
        let (mut read, mut asked) = (Vec::new(), methods.into_iter());
        for piece in cut(&wire, &lengths) {
            parser.push(Input::Bytes(piece), &mut || asked.next(), &mut |event| read.push(event));
        }
        let mut events = read.into_iter().filter(|event| !matches!(event, ResponseEvent::Begin));
        for (interims, status, ended) in expect {
            for _ in 0..interims {
                assert_eq!(events.next(), Some(ResponseEvent::Interim(103)));
            }
            let Some(ResponseEvent::Head(head)) = events.next() else { panic!("no head for {status}") };
            assert_eq!(head.status, status);
            let Some(ResponseEvent::End(end)) = events.next() else { panic!("no end for {status}") };
            assert_eq!((end.how, end.body_bytes), ended);
        }
        assert_eq!(events.next(), None);
    }

    /// As the kernel side delivers them: of each body only the beginning is captured and the last bytes kept.
    #[test]
    fn bodies_that_were_not_captured_end_where_they_end(
        bodies in vec((body(), 0_usize..300), 1..6),
    ) {
        let mut parser = RequestParser::new(Begin::Boundary, Limits::default());
        let mut read = Vec::new();
        for (body, captured) in &bodies {
            let mut wire = b"POST / HTTP/1.1\r\nHost: h\r\n".to_vec();
            body.write(&mut wire);
            let head = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let (seen, unseen) = wire.split_at((head + captured).min(wire.len()));
            parser.turn(&mut |event| read.push(event));
            parser.push(Input::Bytes(seen), &mut |event| read.push(event));
            let tail = &unseen[unseen.len().saturating_sub(8)..];
            parser.push(Input::Unseen { len: unseen.len() as u64, tail }, &mut |event| read.push(event));
        }
        parser.end(&mut |event| read.push(event));
        assert!(!read.iter().any(|event| matches!(event, RequestEvent::Unparsed(_))), "{read:#?}");
        let ends: Vec<_> = read.iter().filter_map(|event| match event {
            RequestEvent::End(end) => Some(*end),
            _ => None,
        }).collect();
        assert_eq!(ends.len(), bodies.len());
        for (end, (body, _)) in ends.iter().zip(&bodies) {
            match body {
                // The trailer hides the last chunk from the tail: then the turn (or the stream's end) tells.
                Body::Chunked(_) => assert!(matches!(end.how, Ended::Chunked | Ended::Turn | Ended::Close)),
                _ => assert_eq!((end.how, end.body_bytes), body.end()),
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..3000), lengths in vec(1_usize..90, 1..20)) {
        agent_protocol::sniff::token_of(&bytes);
        let mut requests = RequestParser::new(Begin::Midstream, Limits::default());
        let mut responses = ResponseParser::new(Begin::Midstream, Limits::default());
        for piece in cut(&bytes, &lengths) {
            requests.turn(&mut |_| {});
            requests.push(Input::Bytes(piece), &mut |_| {});
            responses.turn(&mut |_| {});
            responses.push(Input::Bytes(piece), &mut || None, &mut |_| {});
        }
    }
}
