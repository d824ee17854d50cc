//! Workers that say what became of a message: the calls that the same thread made for it are its children.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{direction, evidence, kind};
use agent_trace::counters::Counter;
use agent_trace::tracer::TracerConfig;
use support::redis::{command, context, redis};
use support::{End, Outcome, World, ids, pair, process};

/// A dramatiq worker (process 20): thread 20 fetches, the others work; a shop (process 10) that put messages 0 to 5.
struct Scene {
    world: World,
    /// Connections of threads 20 to 23.
    ends: Vec<End>,
    calls: u8,
    contexts: u8,
}

fn script(what: &str, rest: &[&str]) -> Vec<u8> {
    let head = [
        "EVALSHA",
        "fdacc359c79a5adc3b8eeb53ff5772d7c42144e3",
        "1",
        "dramatiq",
        what,
    ];
    let middle = [
        "1795768839258",
        "default",
        "28fdb5df",
        "60000",
        "604800000",
        "0",
        "3996",
    ];
    command(&[&head, &middle[..], rest].concat())
}

fn message(nth: &str) -> String {
    format!(
        r#"{{"queue_name":"default","actor_name":"work","args":[{nth}],"kwargs":{{}},"options":{{"redis_message_id":"7721f2c1-{nth}"}},"message_id":"6f67b219-{nth}","message_timestamp":1795768839258}}"#
    )
}

/// The same message, to be tried once more.
fn retried(nth: &str) -> String {
    message(nth)
        .replace("7721f2c1", "17fb0d04")
        .replace(r#""options":{"#, r#""options":{"retries":1,"#)
}

impl Scene {
    fn new() -> Self {
        let mut world = World::default();
        let mut shop = redis(1, 10);
        let mut ends = vec![shop.clone()];
        ends.extend((20..24_u8).map(|tid| {
            let mut end = redis(tid, 20);
            end.tid = u32::from(tid);
            end
        }));
        for (nth, end) in ends.iter().enumerate() {
            let attempt = 240 + nth as u8;
            world.connect(end, ids(attempt, attempt, None));
            world.state(end, 2, 1, 0);
        }
        for nth in 0..6_u8 {
            let text = nth.to_string();
            let put = script("enqueue", &[&format!("7721f2c1-{nth}"), &message(&text)]);
            world.write(&mut shop, &put, Some(ids(200 + nth, 200 + nth, None)));
            world.read(&mut shop, b"_\r\n", None);
        }
        Self {
            world,
            ends: ends.split_off(1),
            calls: 0,
            contexts: 150,
        }
    }

    /// Thread `tid` writes to Redis, and reads the answer, which gives it another context.
    fn says(&mut self, tid: usize, bytes: &[u8], answer: &[u8]) {
        let end = &mut self.ends[tid - 20];
        let (now, next) = (self.contexts, self.contexts + 1);
        self.contexts += 1;
        let asked = ids(now, 249, Some((now, evidence::THREAD)));
        self.world.write(end, bytes, Some(asked));
        self.world.read(end, answer, context(next, now));
    }

    fn call(&mut self, tid: usize, of_process: u32) {
        let nth = 2 * self.calls + 1;
        self.calls += 1;
        let (mut client, mut server) = pair(100 + nth, of_process, 900);
        client.tid = tid as u32;
        for end in [&client, &server] {
            self.world.conn(end);
        }
        let request = b"GET /mail HTTP/1.1\r\nHost: mail\r\n\r\n";
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        self.world
            .exchange(&mut client, &mut server, request, answer, nth);
    }

    /// One step: what, by which thread, of which messages.
    fn step(&mut self, step: &str) {
        let (what, rest) = step.split_at(1);
        let (tid, of) = rest.split_once(':').unwrap_or((rest, ""));
        let tid: usize = tid.parse().unwrap_or(20);
        let of: Vec<&str> = of.split(',').filter(|text| !text.is_empty()).collect();
        let named: Vec<String> = of.iter().map(|nth| format!("7721f2c1-{nth}")).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let ack = |nth: &&str| script("ack", &[*nth]);
        match what {
            "f" => {
                let messages: String = of
                    .iter()
                    .map(|nth| message(nth))
                    .map(|text| format!("${}\r\n{text}\r\n", text.len()))
                    .collect();
                let answer = format!("*{}\r\n{messages}", of.len());
                self.says(tid, &script("fetch", &["4"]), answer.as_bytes());
            }
            "c" => self.call(tid, 20),
            // A thread of another process that has the same number.
            "o" => self.call(tid, 21),
            "a" => self.says(tid, &script("ack", &named), b"_\r\n"),
            "n" => self.says(tid, &script("nack", &named), b"_\r\n"),
            // In one write.
            "p" => {
                let all: Vec<u8> = named.iter().flat_map(ack).collect();
                self.says(tid, &all, b"_\r\n_\r\n");
            }
            "r" => self.says(
                tid,
                &script(
                    "enqueue",
                    &[&format!("17fb0d04-{}", of[0]), &retried(of[0])],
                ),
                b"_\r\n",
            ),
            "l" => {
                let bytes = script("ack", &named);
                self.world
                    .lose(&mut self.ends[tid - 20], direction::TX, &bytes);
            }
            "g" => self.says(tid, &command(&["GET", "name"]), b"$5\r\nalice\r\n"),
            "w" => self.world.wait(rest.parse().unwrap()),
            "k" => self.world.task(kind::EXIT, process(20)),
            _ => panic!("{step}"),
        }
    }
}

/// Whose each call is, in their order: the message's number, `-` for nobody's.
fn whose(outcome: &Outcome, calls: u8) -> String {
    let of = |nth: u8| {
        let call = outcome.span(2 * nth + 1);
        let server = outcome.span(2 * nth + 2);
        assert_eq!(
            (server.trace_id, server.parent_span_id),
            (call.trace_id, Some(call.span_id))
        );
        let Some(parent) = call.parent_span_id else {
            return "-".to_owned();
        };
        assert_eq!(call.evidence.as_str(), "settle");
        let work = outcome.spans.iter().find(|span| span.span_id == parent);
        let work = work.expect("a consumer");
        assert_eq!(work.trace_id, call.trace_id);
        let put = work.parent_span_id.expect("a put").0[0];
        (put - 200).to_string()
    };
    (0..calls).map(of).collect()
}

/// A thread settles what was not seen to come, and calls nobody after that.
const QUIET: &str = "a23:5 w60 a23:5 w60 a23:5 w300";

fn run(steps: &str, config: TracerConfig) -> (String, Outcome) {
    let mut scene = Scene::new();
    for step in steps.split_whitespace() {
        scene.step(step);
    }
    let outcome = scene.world.run_with(config);
    (whose(&outcome, scene.calls), outcome)
}

/// What became of the calls of `steps`, in a worker whose threads have been quiet before.
fn check(what: &str, steps: &str, expect: &str) {
    let steps = format!("{QUIET} {steps}");
    assert_eq!(
        run(&steps, TracerConfig::default()).0,
        expect,
        "{what}: {steps}"
    );
}

/// `f20:0,1` thread 20 fetches; `c21` thread 21 calls; `a21:0` it acks, `n` it refuses, `r` it puts it to be tried again, `p` it acks several in one
/// write; `g` it asks Redis for something else; `l` an ack whose record is lost; `w` ms pass; `k` the worker is killed.
#[test]
fn a_call_is_for_the_message_that_its_thread_settles_next() {
    for (what, steps, expect) in [
        ("one", "f20:0 c21 a21:0", "0"),
        ("several calls", "f20:0 c21 w300 c21 g21 c21 a21:0", "000"),
        ("refused", "f20:0 c21 n21:0", "0"),
        ("competing", "f20:0,1 c21 c22 c21 c22 a22:1 a21:0", "0101"),
        ("one after the other", "f20:0,1 c21 a21:0 c21 a21:1", "01"),
        (
            "crossed",
            "f20:0,1,2 c21 c22 a22:2 c22 a21:0 c21 a22:1 c21 a21:3",
            "021--",
        ),
        (
            "while it waits long",
            "g21 f20:0 c21 w20000 c21 a21:0",
            "00",
        ),
        ("tried again", "f20:0 c21 r21:0 a21:0 f20:1 c21 a21:1", "01"),
        ("one tried again", "f20:0,1 c22 c21 r22:1 a22:1 a21:0", "10"),
    ] {
        check(what, steps, expect);
    }
}

#[test]
fn a_call_that_may_be_for_something_else_is_nobody_s() {
    for (what, steps, expect) in [
        ("before it came", "c21 f20:0 c21 a21:0", "-0"),
        ("another thread", "f20:0 c22 a21:0", "-"),
        ("another process", "f20:0 o21 a21:0", "-"),
        ("by the fetching thread", "f20:0,1 c20 a20:0", "-"),
        ("several in one write", "f20:0,1 c21 p21:0,1", "-"),
        ("not seen to come", "f20:0 c21 a21:5 c21 a21:0", "-0"),
        ("after the last", "f20:0 c21 a21:0 c21 w300", "0-"),
        ("never settled", "f20:0,1 c21 k", "-"),
        (
            "for longer than calls wait",
            "g21 f20:0 c21 w61000 c21 a21:0",
            "-0",
        ),
        (
            "an ack whose record is lost",
            "f20:0,1 g21 c21 l21:0 g21 c21 a21:1",
            "-1",
        ),
        ("after a refusal", "f20:0,1 c21 n21:0 c21 a21:1", "0-"),
    ] {
        check(what, steps, expect);
    }
}

#[test]
fn calls_of_a_worker_wait_until_its_threads_have_been_quiet_three_times_after_a_message() {
    for (what, steps, expect) in [
        (
            "at once",
            "f20:0 c21 a21:0 w60 f20:1 c21 a21:1 w60 f20:2 c21 a21:2 w60",
            "012",
        ),
        (
            "by several",
            "f20:0,1,2 c21 c22 c23 a21:0 a22:1 a23:2 w60",
            "012",
        ),
        (
            "always at work",
            "f20:0,1,2 c21 a21:0 c21 a21:1 c21 a21:2",
            "---",
        ),
        (
            "after the last one",
            "f20:0 c21 a21:0 c21 w300 a22:5 a23:5 w60 a22:5 w300",
            "--",
        ),
        (
            "twice",
            "f20:0,1,2 c21 a21:0 c21 a21:1 w60 c21 a21:2 w300 k",
            "---",
        ),
        (
            "between two messages",
            "f20:0,1 c21 a21:0 c21 a21:1 c21 w60 f20:2 c21 a21:2 w60 a21:5 w60 a21:5 w60",
            "----",
        ),
    ] {
        assert_eq!(
            run(steps, TracerConfig::default()).0,
            expect,
            "{what}: {steps}"
        );
    }
}

#[test]
fn a_worker_whose_threads_call_between_messages_is_not_trusted_again() {
    let steps = format!("{QUIET} f20:0 c21 a21:0 c21 f20:1 c21 a21:1 f20:2,3 c21 a21:2 c22 a22:3");
    let (found, outcome) = run(&steps, TracerConfig::default());
    assert_eq!(found, "0----");
    assert_eq!(outcome.count(Counter::SettleBetween), 1);
}

#[test]
fn where_carriers_are_on_nothing_waits() {
    let config = TracerConfig {
        settles: false,
        ..TracerConfig::default()
    };
    assert_eq!(run(&format!("{QUIET} f20:0 c21 a21:0"), config).0, "-");
}

#[test]
fn spans_of_calls_are_handed_out_when_their_wait_is_over() {
    let (_, outcome) = run("g21 f20:0 c21 w61000 a21:0 w300", TracerConfig::default());
    assert_eq!(outcome.count(Counter::SettleLate), 1);
    let (_, outcome) = run("f20:0 c21 w1000 a21:0", TracerConfig::default());
    assert_eq!(outcome.count(Counter::SettleLate), 0);
}
