//! What every parser must hold on any bytes; the fuzz targets in `fuzz/` call these, and so does `tests/corpus.rs` over
//! their corpus and a few thousand mutations of it.
//!
//! In: any bytes. Out: a panic when a property is broken: the same input whole and cut (at every byte where it is
//! short) must give the same events, events must come in the order the module `http1` promises, memory stays bounded.

#![allow(clippy::panic, reason = "a broken property is reported by panicking")]

pub mod conversations;
pub mod lanes;

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
                bounded(machine.held_bytes(), machine.in_message(), &limits);
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
                bounded(machine.held_bytes(), machine.in_message(), &limits);
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
                bounded(requests.held_bytes(), requests.in_message(), &limits);
                bounded(responses.held_bytes(), responses.in_message(), &limits);
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

/// A parser holds one head at most, with the room a growing buffer has, and nothing outside of messages.
fn bounded(held: usize, in_message: bool, limits: &Limits) {
    let most = if in_message {
        3 * limits.head_bytes + 512
    } else {
        0
    };
    assert!(held <= most, "{held} bytes are held, {most} may be");
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
