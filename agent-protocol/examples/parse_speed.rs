//! Prints what parsing costs: `cargo run --release -p agent-protocol --example parse_speed`.
//!
//! In: nothing. Out: for each kind of input the best of several rounds, in ns per message. Refuses: debug builds.
#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::hint::black_box;
use std::time::Instant;

use agent_protocol::http1::{Begin, Limits, RequestMethod, RequestParser, ResponseParser};
use agent_protocol::queue::redis::Client;
use agent_protocol::queue::{Conversation, Keyer, Limits as QueueLimits, Way};
use agent_protocol::stream::Input;

const GET: &[u8] = b"GET /api/items/42?page=3 HTTP/1.1\r\nHost: shop.example.org:8080\r\nUser-Agent: curl/7.88.1\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nX-Any: 1\r\n\r\n";
const BROWSER: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) \
    Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: vendor=value\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nContent-Type: text/html\r\n\
    Content-Length: 5\r\nConnection: keep-alive\r\nETag: \"64\"\r\nAccept-Ranges: bytes\r\n\r\nhello";

/// Best of nine rounds, ns per call.
fn best(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 200_000;
    let round = |call: &mut dyn FnMut()| {
        let begun = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..9).map(|_| round(&mut call)).fold(f64::MAX, f64::min)
}

fn requests(what: &str, pieces: &[&[u8]]) {
    let mut parser = RequestParser::new(Begin::Boundary, Limits::default());
    let ns = best(|| {
        for piece in pieces {
            parser.push(Input::Bytes(black_box(piece)), &mut |event| {
                black_box(&event);
            });
        }
    });
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    println!("{what:<40} {bytes:>5} bytes {ns:>8.0} ns");
}

/// A command and its answer.
fn redis(what: &str, command: &[u8], answer: &[u8]) {
    let mut client = Client::new(Begin::Boundary, QueueLimits::default(), Keyer::new([7; 16]));
    let ns = best(|| {
        for (way, bytes) in [(Way::ToBroker, command), (Way::ToClient, answer)] {
            client.push(way, Input::Bytes(black_box(bytes)), &mut |event| {
                black_box(&event);
            });
        }
    });
    let bytes = command.len() + answer.len();
    println!("{what:<40} {bytes:>5} bytes {ns:>8.0} ns");
}

fn main() {
    if cfg!(debug_assertions) {
        println!("not optimised: run with --release");
        std::process::exit(2);
    }
    requests("GET", &[GET]);
    requests("GET of a browser, with trace context", &[BROWSER]);
    requests(
        "the same in two pieces",
        &[&BROWSER[..300], &BROWSER[300..]],
    );
    requests(
        "the same byte by byte",
        &BROWSER.chunks(1).collect::<Vec<_>>(),
    );
    let mut parser = ResponseParser::new(Begin::Boundary, Limits::default());
    let ns = best(|| {
        parser.push(
            Input::Bytes(black_box(OK)),
            &mut || Some(RequestMethod::Other),
            &mut |event| {
                black_box(&event);
            },
        );
    });
    println!(
        "{:<40} {:>5} bytes {ns:>8.0} ns",
        "200 with a body",
        OK.len()
    );
    redis(
        "Redis: SET and its answer",
        b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n",
        b"+OK\r\n",
    );
    redis(
        "Redis: GET and its answer",
        b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n",
        b"$3\r\nxxx\r\n",
    );
    let get = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n".repeat(16);
    redis("Redis: 16 of them", &get, &b"$3\r\nxxx\r\n".repeat(16));
    const JOB: &[u8] = br#"{"retry":true,"queue":"default","args":["a@example.com"],"class":"WelcomeMail","jid":"d9afac2f19d2725a3f696e93","created_at":1795768275.2100382,"enqueued_at":1795768275.210192}"#;
    let push = [
        b"*3\r\n$5\r\nlpush\r\n$13\r\nqueue:default\r\n$176\r\n",
        JOB,
        b"\r\n",
    ];
    redis("Redis: LPUSH of a Sidekiq job", &push.concat(), b":1\r\n");
}
