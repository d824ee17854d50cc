//! Prints what parsing costs: `cargo run --release -p agent-protocol --example parse_speed`.
//!
//! In: nothing. Out: for each kind of input the best of several rounds, in ns per message. Refuses: debug builds.
#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::hint::black_box;
use std::time::Instant;

use agent_protocol::http1::{Begin, Limits, RequestMethod, RequestParser, ResponseParser};
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
}
