//! What every parser must hold on any bytes; the fuzz targets in `fuzz/` call these, and so does `cargo test` over
//! their corpus and a few thousand mutations of it.
//!
//! In: any bytes. Out: a panic when a property is broken: the same input whole and cut (at every byte where it is
//! short) must give the same events, events must come in the order the module `http1` promises, memory stays bounded.

#![allow(clippy::panic, reason = "a broken property is reported by panicking")]

use std::fmt::Debug;

use crate::fastcgi;
use crate::http1::{self, RequestEvent, RequestMethod, ResponseEvent};
use crate::stream::{Begin, Input, Limits};
use crate::tracecontext;

/// Inputs up to this length are cut at every byte, longer ones where their own bytes say.
const EVERY_BYTE_MAX: usize = 4096;

/// `http1::RequestParser`.
pub fn http1_request(bytes: &[u8]) {
    for limits in limits() {
        let parser = |begin| http1::RequestParser::new(begin, limits.clone());
        agree(bytes, &|pieces| {
            let mut machine = parser(Begin::Boundary);
            let mut seen = Vec::new();
            for piece in pieces {
                machine.push(Input::Bytes(piece), &mut |event| seen.push(event));
            }
            machine.end(&mut |event| seen.push(event));
            Order::check_requests(&seen, false);
            seen
        });
        for begin in [Begin::Boundary, Begin::Midstream] {
            let mut machine = parser(begin);
            let mut seen = Vec::new();
            script(bytes, &mut |step| {
                match step {
                    Step::Push(input) => machine.push(input, &mut |event| seen.push(event)),
                    Step::Turn => machine.turn(&mut |event| seen.push(event)),
                }
                Order::check_requests(&seen, machine.in_message());
            });
            machine.end(&mut |event| seen.push(event));
            Order::check_requests(&seen, machine.in_message());
        }
    }
}

/// `http1::ResponseParser`.
pub fn http1_response(bytes: &[u8]) {
    let methods = [
        None,
        Some(RequestMethod::Head),
        Some(RequestMethod::Connect),
        Some(RequestMethod::Other),
    ];
    for (limits, shift) in limits().into_iter().zip([0, 2]) {
        // Which requests are answered follows from the input as well.
        let method = |answered: usize| {
            methods[(usize::from(bytes.first().map_or(0, |byte| byte >> shift)) + answered) & 3]
        };
        agree(bytes, &|pieces| {
            let mut machine = http1::ResponseParser::new(Begin::Boundary, limits.clone());
            let (mut seen, mut answered) = (Vec::new(), 0);
            let mut next = || {
                answered += 1;
                method(answered)
            };
            for piece in pieces {
                machine.push(Input::Bytes(piece), &mut next, &mut |event| {
                    seen.push(event)
                });
            }
            machine.end(&mut |event| seen.push(event));
            Order::check_responses(&seen, false);
            seen
        });
        for begin in [Begin::Boundary, Begin::Midstream] {
            let mut machine = http1::ResponseParser::new(begin, limits.clone());
            let (mut seen, mut answered) = (Vec::new(), 0);
            let mut next = || {
                answered += 1;
                method(answered)
            };
            script(bytes, &mut |step| {
                match step {
                    Step::Push(input) => {
                        machine.push(input, &mut next, &mut |event| seen.push(event))
                    }
                    Step::Turn => machine.turn(&mut |event| seen.push(event)),
                }
                Order::check_responses(&seen, machine.in_message());
            });
            machine.end(&mut |event| seen.push(event));
            Order::check_responses(&seen, machine.in_message());
        }
    }
}

/// `fastcgi::RequestParser` and `fastcgi::ResponseParser`.
pub fn fastcgi(bytes: &[u8]) {
    for limits in limits() {
        agree(bytes, &|pieces| {
            let mut machine = fastcgi::RequestParser::new(Begin::Boundary, limits.clone());
            let mut seen = Vec::new();
            for piece in pieces {
                machine.push(Input::Bytes(piece), &mut |event| seen.push(event));
            }
            machine.end(&mut |event| seen.push(event));
            Order::check_requests(&seen, false);
            seen
        });
        agree(bytes, &|pieces| {
            let mut machine = fastcgi::ResponseParser::new(Begin::Boundary, limits.clone());
            let mut seen = Vec::new();
            for piece in pieces {
                machine.push(Input::Bytes(piece), &mut || None, &mut |event| {
                    seen.push(event)
                });
            }
            machine.end(&mut |event| seen.push(event));
            Order::check_responses(&seen, false);
            seen
        });
        for begin in [Begin::Boundary, Begin::Midstream] {
            let mut requests = fastcgi::RequestParser::new(begin, limits.clone());
            let mut responses = fastcgi::ResponseParser::new(begin, limits.clone());
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            script(bytes, &mut |step| {
                match step {
                    Step::Push(input) => {
                        requests.push(input, &mut |event| asked.push(event));
                        responses.push(input, &mut || None, &mut |event| answered.push(event));
                    }
                    Step::Turn => {
                        requests.turn(&mut |event| asked.push(event));
                        responses.turn(&mut |event| answered.push(event));
                    }
                }
                Order::check_requests(&asked, requests.in_message());
                Order::check_responses(&answered, responses.in_message());
            });
            requests.end(&mut |event| asked.push(event));
            responses.end(&mut |event| answered.push(event));
            Order::check_requests(&asked, false);
            Order::check_responses(&answered, false);
        }
    }
}

/// `tracecontext`: what is accepted must be written back the same; lists keep their limits.
pub fn tracecontext(bytes: &[u8]) {
    if let Ok(context) = tracecontext::parse(bytes) {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let parts = [
            hex(&[context.version]),
            hex(&context.trace_id),
            hex(&context.parent_id),
            hex(&[context.flags]),
        ];
        let (wire, written) = (bytes.trim_ascii(), parts.join("-"));
        assert!(
            wire.starts_with(written.as_bytes()),
            "{written} was read from {:?}",
            bytes.escape_ascii()
        );
        assert!(context.version != 0xff && (context.version > 0 || wire.len() == written.len()));
        assert!(context.trace_id != [0; 16] && context.parent_id != [0; 8]);
    }
    let list = String::from_utf8_lossy(bytes);
    assert!(
        !tracecontext::tracestate_is_valid(&list) || list.len() <= tracecontext::TRACESTATE_MAX
    );
    assert!(!tracecontext::baggage_is_valid(&list) || list.len() <= tracecontext::BAGGAGE_MAX);
}

/// A head buffer larger than any input, and one smaller than most heads.
fn limits() -> [Limits; 2] {
    [
        Limits::new(16 * 1024, ["X-Keep"]),
        Limits::new(48, ["X-Keep"]),
    ]
}

/// The same bytes whole and cut must give the same events.
fn agree<E: Debug + PartialEq>(bytes: &[u8], run: &dyn Fn(&[&[u8]]) -> Vec<E>) {
    let whole = run(&[bytes]);
    let mut cuts = vec![cut_by_content(bytes)];
    if bytes.len() <= EVERY_BYTE_MAX {
        cuts.push(bytes.chunks(1).collect());
    }
    for pieces in cuts {
        let cut = run(&pieces);
        assert!(
            whole == cut,
            "whole and cut differ:\n{:?}\n{whole:#?}\n{cut:#?}",
            bytes.escape_ascii().to_string()
        );
    }
}

/// Pieces whose lengths are taken from the input.
fn cut_by_content(bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(first % 61) + 1));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// One step of a connection with gaps.
enum Step<'a> {
    Push(Input<'a>),
    Turn,
}

/// Reads the input as a list of steps: a byte that says which, a length, the bytes.
fn script(bytes: &[u8], step: &mut dyn FnMut(Step<'_>)) {
    let mut rest = bytes;
    let mut steps = 0;
    while let [what, len, after @ ..] = rest
        && steps < 256
    {
        steps += 1;
        let (piece, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        match what % 8 {
            0..=3 => step(Step::Push(Input::Bytes(piece))),
            4 => {
                let tail = &piece[piece.len().saturating_sub(8)..];
                step(Step::Push(Input::Unseen {
                    len: u64::from(*len),
                    tail,
                }));
            }
            5 => {
                step(Step::Push(Input::Lost {
                    len: Some(u64::from(*len)),
                }));
                rest = &bytes[bytes.len() - piece.len() - rest.len()..];
            }
            6 => {
                step(Step::Push(Input::Lost { len: None }));
                rest = &bytes[bytes.len() - piece.len() - rest.len()..];
            }
            _ => {
                step(Step::Turn);
                rest = &bytes[bytes.len() - piece.len() - rest.len()..];
            }
        }
    }
}

/// Where the order of events stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Outside,
    Begun,
    InBody,
}

/// An event, as far as the order goes.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Begin,
    Interim,
    Head,
    End,
    Unparsed {
        about_body: bool,
    },
    /// Beside everything else.
    Aside,
}

impl Order {
    fn check_requests(events: &[RequestEvent], in_message: bool) {
        let marks = events.iter().map(|event| match event {
            RequestEvent::Begin => Mark::Begin,
            RequestEvent::Head(_) => Mark::Head,
            RequestEvent::End(_) => Mark::End,
            RequestEvent::Unparsed(http1::Reason::Multiplexed) => Mark::Aside,
            RequestEvent::Unparsed(why) => Mark::Unparsed {
                about_body: why.is_about_body(),
            },
        });
        Self::check(marks, in_message, &events);
    }

    fn check_responses(events: &[ResponseEvent], in_message: bool) {
        let marks = events.iter().map(|event| match event {
            ResponseEvent::Begin => Mark::Begin,
            ResponseEvent::Interim(_) => Mark::Interim,
            ResponseEvent::Head(_) => Mark::Head,
            ResponseEvent::End(_) => Mark::End,
            ResponseEvent::Unparsed(http1::Reason::Multiplexed) => Mark::Aside,
            ResponseEvent::Unparsed(why) => Mark::Unparsed {
                about_body: why.is_about_body(),
            },
        });
        Self::check(marks, in_message, &events);
    }

    fn check(marks: impl Iterator<Item = Mark>, in_message: bool, events: &dyn Debug) {
        let mut order = Self::Outside;
        for mark in marks {
            order = match (order, mark) {
                (same, Mark::Aside) => same,
                (Self::Outside, Mark::Begin) => Self::Begun,
                (Self::Begun, Mark::Head) => Self::InBody,
                (Self::InBody, Mark::End) | (Self::Begun, Mark::Interim) => Self::Outside,
                (Self::Outside | Self::Begun, Mark::Unparsed { about_body: false }) => {
                    Self::Outside
                }
                (Self::InBody, Mark::Unparsed { about_body: true }) => Self::InBody,
                (before, mark) => panic!("{mark:?} cannot come when {before:?}: {events:#?}"),
            };
        }
        assert_eq!(
            order != Self::Outside,
            in_message,
            "in_message does not tell the truth: {events:#?}"
        );
    }
}

#[cfg(test)]
mod tests {
    //! The corpus in `fuzz/corpus` and mutations of it.
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::path::Path;

    /// Pieces that lead deep into the parsers.
    const WORDS: [&[u8]; 24] = [
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 204 \r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"0\r\n\r\n",
        b"5\r\nabcde\r\n",
        b"ffffffffffffffff\r\n",
        b" folded\r\n",
        b"X-Keep: v\r\n",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
        b"\x01\x04\0\x01\0\0\0\0",
        b"\x01\x05\0\x01\0\0\0\0",
        b"\x01\x06\0\x01\0\x12\x06\0Status: 404 Nope\r\n",
        b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff",
    ];

    /// xorshift64*; the mutations must be the same on every machine.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
        }

        fn mutate(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let again = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                4 => {
                    let other = &others[self.below(others.len())];
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
            }
            bytes.truncate(2048);
        }
    }

    fn run(target: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut paths: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| {
                panic!("the corpus {} cannot be read: {error}", folder.display())
            })
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let corpus: Vec<_> = paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        assert!(
            corpus.len() >= 5,
            "{} has only {} inputs",
            folder.display(),
            corpus.len()
        );
        for input in &corpus {
            check(input);
        }
        let mut seeded = Seeded(0x5eed);
        for round in 0..3000 {
            let mut input = corpus[round % corpus.len()].clone();
            for _ in 0..=seeded.below(6) {
                seeded.mutate(&mut input, &corpus);
            }
            check(&input);
        }
    }

    #[test]
    fn http1_requests_hold_on_the_corpus_and_its_mutations() {
        run("http1_request", super::http1_request);
    }

    #[test]
    fn http1_responses_hold_on_the_corpus_and_its_mutations() {
        run("http1_response", super::http1_response);
    }

    #[test]
    fn fastcgi_holds_on_the_corpus_and_its_mutations() {
        run("fastcgi", super::fastcgi);
    }

    #[test]
    fn trace_context_holds_on_the_corpus_and_its_mutations() {
        run("tracecontext", super::tracecontext);
    }
}
