//! What every parser must hold, on the corpus in `fuzz/corpus` and mutations of it, the same on every machine.
//!
//! In: files. Out: what the checks of `agent_protocol::fuzzing` say. Refuses: a corpus that is not there or too small.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use agent_protocol::fuzzing;

/// Pieces that lead deep into the parsers.
const WORDS: [&[u8]; 32] = [
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
    b"\0\0\0\0\x15*2\r\n$4\r\nLPOP\r\n$1\r\nq\r\n",
    b"\x01\0\0\0\x0b$5\r\nhello\r\n",
    b"\0\0\0\0\x1c*3\r\n$5\r\nBRPOP\r\n$1\r\nq\r\n$1\r\n0\r\n",
    b"\x01\0\0\0\x14*2\r\n$1\r\nq\r\n$4\r\nwork\r\n",
    b"*-1\r\n",
    b">3\r\n$7\r\nmessage\r\n",
    b"$1000000000\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n",
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
        .unwrap_or_else(|error| panic!("the corpus {} cannot be read: {error}", folder.display()))
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
    run("http1_request", fuzzing::http1_request);
}

#[test]
fn http1_responses_hold_on_the_corpus_and_its_mutations() {
    run("http1_response", fuzzing::http1_response);
}

#[test]
fn fastcgi_holds_on_the_corpus_and_its_mutations() {
    run("fastcgi", fuzzing::fastcgi);
}

#[test]
fn redis_holds_on_the_corpus_and_its_mutations() {
    run("redis", fuzzing::conversations::redis);
}

#[test]
fn trace_context_holds_on_the_corpus_and_its_mutations() {
    run("tracecontext", fuzzing::tracecontext);
}

#[test]
fn amqp_holds_on_the_corpus_and_its_mutations() {
    run("amqp", fuzzing::conversations::amqp);
}

#[test]
fn nats_holds_on_the_corpus_and_its_mutations() {
    run("nats", fuzzing::conversations::nats);
}

#[test]
fn mqtt_holds_on_the_corpus_and_its_mutations() {
    run("mqtt", fuzzing::conversations::mqtt);
}

#[test]
fn sqs_holds_on_the_corpus_and_its_mutations() {
    run("sqs", fuzzing::conversations::sqs);
}

#[test]
fn kafka_holds_on_the_corpus_and_its_mutations() {
    run("kafka", fuzzing::lanes::kafka);
}

#[test]
fn postgres_holds_on_the_corpus_and_its_mutations() {
    run("postgres", fuzzing::lanes::postgres);
}
