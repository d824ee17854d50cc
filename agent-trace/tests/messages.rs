//! Messages between programs that watch nobody: puts, deliveries, work, ends, attempts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{evidence, kind, protocol};
use agent_trace::counters::Counter;
use agent_trace::span::Span;
use support::redis::{call, command, context};
use support::{End, Outcome, World, attribute, ids, pair, process};

/// A Redis client whose thread has the number `tid`.
fn redis(n: u8, process: u32, tid: u32) -> End {
    let mut end = support::redis::redis(n, process);
    end.tid = tid;
    end
}

/// Puts `payload` under the span `parent`, and reads the answer.
fn put(world: &mut World, end: &mut End, queue: &str, payload: &str, span: u8, parent: Option<u8>) {
    let parent = parent.map(|parent| (parent, evidence::THREAD));
    world.write(
        end,
        &command(&["LPUSH", queue, payload]),
        Some(ids(span, span, parent)),
    );
    world.read(end, b":1\r\n", None);
}

/// Asks for a message.
fn ask(world: &mut World, end: &mut End, queue: &str, span: u8) {
    world.write(
        end,
        &command(&["BRPOP", queue, "0"]),
        Some(ids(span, span, None)),
    );
}

fn parent(outcome: &Outcome, span: u8) -> Option<u8> {
    outcome.span(span).parent_span_id.map(|id| id.0[0])
}

fn consumers(outcome: &Outcome) -> Vec<&Span> {
    let is_work = |span: &&Span| span.name.starts_with("process ");
    outcome.spans.iter().filter(is_work).collect()
}

/// A queue's two clients, seen from their connections' beginning.
fn two(world: &mut World) -> (End, End) {
    let (mut web, mut worker) = (redis(1, 10, 10), redis(2, 20, 20));
    for end in [&mut web, &mut worker] {
        let attempt = 80 + end.tid as u8;
        world.connect(end, ids(attempt, attempt, None));
        world.state(end, 2, 1, 0);
        world.write(
            end,
            &command(&["PING"]),
            Some(ids(90 + end.tid as u8, 90 + end.tid as u8, None)),
        );
        world.read(end, b"+PONG\r\n", None);
    }
    (web, worker)
}

fn popped(queue: &str, payload: &str) -> Vec<u8> {
    command(&[queue, payload])
}

#[test]
fn work_is_part_of_the_request_that_put_it_and_its_calls_are_part_of_the_work() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    ask(&mut world, &mut worker, "mails", 50);
    put(&mut world, &mut web, "mails", "to alice", 1, None);
    world.read(&mut worker, &popped("mails", "to alice"), context(2, 0));
    call(&mut world, 3, &worker, 3, 2);
    // Something it looks up meanwhile.
    world.write(
        &mut worker,
        &command(&["GET", "name"]),
        Some(ids(2, 51, Some((2, evidence::THREAD)))),
    );
    world.read(&mut worker, b"$5\r\nalice\r\n", context(4, 2));
    call(&mut world, 4, &worker, 5, 4);
    ask(&mut world, &mut worker, "mails", 52);
    let outcome = world.run();
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /mail 200 - t01 s03 p02 thread",
            "Client GET /mail 200 - t01 s05 p02 thread",
            "Consumer process mails - - t01 s02 p01 message",
            "Producer send mails - - t01 s01 p- none",
        ]
    );
    let work = outcome.span(2);
    let last_call = outcome.span(5);
    assert!(work.end_unix_ns >= last_call.end_unix_ns);
}

#[test]
fn what_comes_after_the_next_fetch_is_not_the_work_s() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    ask(&mut world, &mut worker, "mails", 50);
    put(&mut world, &mut web, "mails", "to alice", 1, None);
    world.read(&mut worker, &popped("mails", "to alice"), context(2, 0));
    ask(&mut world, &mut worker, "mails", 52);
    world.read(&mut worker, b"*-1\r\n", context(3, 2));
    call(&mut world, 3, &worker, 6, 3);
    let outcome = world.run();
    assert_eq!(parent(&outcome, 6), None);
    assert_eq!(outcome.count(Counter::ParentUnknown), 0);
}

#[test]
fn equal_payloads_that_wait_together_are_joined_with_nobody() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    put(&mut world, &mut web, "mails", "the same", 1, None);
    put(&mut world, &mut web, "mails", "the same", 2, None);
    for n in 0..2 {
        ask(&mut world, &mut worker, "mails", 50 + n);
        world.read(
            &mut worker,
            &popped("mails", "the same"),
            context(10 + n, 0),
        );
    }
    let outcome = world.run();
    assert_eq!(consumers(&outcome).len(), 2);
    for work in consumers(&outcome) {
        assert_eq!(work.parent_span_id, None);
    }
    assert_eq!(outcome.count(Counter::MessageAmbiguous), 2);
}

#[test]
fn a_delivery_that_is_recorded_before_its_put_has_it_as_its_parent() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    ask(&mut world, &mut worker, "queue:default", 50);
    let envelope = r#"{"class":"Mail","args":[1],"jid":"b4a577edbccf1d805744efa9","queue":"default","retry":true}"#;
    let push = command(&["LPUSH", "queue:default", envelope]);
    let put = world.segment(&mut web, 1, &push, Some(ids(1, 1, None)));
    world.read(
        &mut worker,
        &popped("queue:default", envelope),
        context(2, 0),
    );
    world.push(&put);
    let outcome = world.run();
    assert_eq!(parent(&outcome, 2), Some(1));
    assert_eq!(outcome.span(2).name, "process Mail");
}

#[test]
fn each_attempt_of_a_job_is_a_span_that_links_the_one_before() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    let job = |count: &str| {
        format!(
            r#"{{"class":"Pay","args":[1],"jid":"b4a577edbccf1d805744efa9","queue":"default"{count}}}"#
        )
    };
    put(&mut world, &mut web, "queue:default", &job(""), 1, None);
    for (n, retries) in [(0, ""), (1, r#","retry_count":0"#)] {
        ask(&mut world, &mut worker, "queue:default", 50 + n);
        world.read(
            &mut worker,
            &popped("queue:default", &job(retries)),
            context(10 + n, 0),
        );
        if n == 0 {
            put(
                &mut world,
                &mut worker,
                "queue:default",
                &job(r#","retry_count":0"#),
                30,
                Some(10),
            );
        }
    }
    let outcome = world.run();
    assert_eq!(parent(&outcome, 10), Some(1));
    assert_eq!(parent(&outcome, 30), Some(10));
    assert_eq!(parent(&outcome, 11), Some(30));
    let second = outcome.span(11);
    assert_eq!(second.trace_id, outcome.span(1).trace_id);
    assert_eq!(second.links.len(), 1);
    assert_eq!(second.links[0].span_id, outcome.span(10).span_id);
    assert!(outcome.span(10).links.is_empty());
}

#[test]
fn a_retry_that_another_thread_of_the_worker_puts_is_its_attempt_s() {
    let numbered = r#","retry_count":0"#;
    for (process, retries, expected) in [
        (20, numbered, Some(10)),
        (30, numbered, None),
        (20, "", None),
    ] {
        let mut world = World::default();
        let (mut web, mut worker) = two(&mut world);
        let mut other = redis(3, process, 21);
        world.connect(&other, ids(70, 70, None));
        world.state(&other, 2, 1, 0);
        let job = |count: &str| {
            format!(
                r#"{{"class":"Pay","jid":"b4a577edbccf1d805744efa9","queue":"default"{count}}}"#
            )
        };
        ask(&mut world, &mut worker, "queue:default", 50);
        put(&mut world, &mut web, "queue:default", &job(""), 1, None);
        world.read(
            &mut worker,
            &popped("queue:default", &job("")),
            context(10, 0),
        );
        world.read(&mut other, b":1\r\n", context(60, 0));
        let by = Some(60);
        put(
            &mut world,
            &mut other,
            "queue:default",
            &job(retries),
            30,
            by,
        );
        let outcome = world.run();
        assert_eq!(parent(&outcome, 30), expected, "{process} {retries}");
    }
}

#[test]
fn a_list_from_which_nobody_takes_is_no_queue() {
    let mut world = World::default();
    let (mut web, _) = two(&mut world);
    put(&mut world, &mut web, "last visitors", "alice", 1, None);
    assert!(world.run().spans.is_empty());
}

#[test]
fn a_worker_that_dies_ends_its_work_with_an_error() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    ask(&mut world, &mut worker, "mails", 50);
    put(&mut world, &mut web, "mails", "to alice", 1, None);
    world.read(&mut worker, &popped("mails", "to alice"), context(2, 0));
    world.task(kind::EXIT, process(20));
    let outcome = world.run();
    assert_eq!(support::text(outcome.span(2), "error.type"), "process_exit");
}

#[test]
fn a_request_that_its_thread_serves_is_not_changed_by_what_it_reads_from_redis() {
    let mut world = World::default();
    let (mut web, _) = two(&mut world);
    let (mut client, mut server) = pair(5, 30, 10);
    server.tid = 10;
    world.conn(&client);
    world.conn(&server);
    let get = b"GET /sign-up HTTP/1.1\r\nHost: a\r\n\r\n";
    world.write(&mut client, get, Some(ids(1, 1, None)));
    world.read(
        &mut server,
        get,
        Some(ids(1, 2, Some((1, evidence::SOCKET)))),
    );
    // No ids: the kernel side leaves the request's context where it is.
    world.write(
        &mut web,
        &command(&["GET", "a"]),
        Some(ids(1, 3, Some((2, evidence::THREAD)))),
    );
    world.read(&mut web, b"$1\r\nb\r\n", None);
    let job = r#"{"class":"Mail","args":[],"jid":"b4a577edbccf1d805744efa9","queue":"default"}"#;
    put(&mut world, &mut web, "queue:default", job, 4, Some(2));
    world.write(
        &mut server,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        None,
    );
    world.read(
        &mut client,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        None,
    );
    let outcome = world.run();
    assert_eq!(parent(&outcome, 4), Some(2));
    assert_eq!(outcome.span(4).trace_id, outcome.span(1).trace_id);
}

#[test]
fn bytes_that_no_broker_speaks_end_the_following_of_their_connection() {
    let mut world = World::default();
    let (mut web, _) = two(&mut world);
    for _ in 0..200 {
        world.write(
            &mut web,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            Some(ids(1, 1, None)),
        );
        world.read(&mut web, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76", None);
    }
    let outcome = world.run();
    assert_eq!(outcome.count(Counter::NotBroker), 1);
    assert!(outcome.spans.is_empty());
}

#[test]
fn equal_messages_of_two_brokers_do_not_meet() {
    for (port, meets) in [(6379, true), (6380, false)] {
        let mut world = World::default();
        let (mut web, mut worker) = (redis(1, 10, 10), redis(2, 20, 20));
        worker.remote.1 = port;
        for end in [&mut web, &mut worker] {
            world.conn(end);
        }
        ask(&mut world, &mut worker, "mails", 50);
        put(&mut world, &mut web, "mails", "to alice", 1, None);
        world.read(&mut worker, &popped("mails", "to alice"), context(2, 0));
        let outcome = world.run();
        let work = consumers(&outcome);
        assert_eq!(work.len(), 1);
        assert_eq!(parent(&outcome, 2), meets.then_some(1), "{port}");
    }
}

#[test]
fn two_messages_that_a_thread_without_a_context_writes_at_once_are_two_traces() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    let both = [
        command(&["LPUSH", "mails", "to alice"]),
        command(&["LPUSH", "mails", "to bob"]),
    ];
    world.write(&mut web, &both.concat(), Some(ids(1, 1, None)));
    world.read(&mut web, b":1\r\n:2\r\n", None);
    for (payload, span) in [("to alice", 2), ("to bob", 3)] {
        ask(&mut world, &mut worker, "mails", 50 + span);
        world.read(&mut worker, &popped("mails", payload), context(span, 0));
    }
    let outcome = world.run();
    let work = consumers(&outcome);
    assert_eq!(work.len(), 2);
    assert!(work.iter().all(|span| span.parent_span_id.is_some()));
    assert_ne!(work[0].trace_id, work[1].trace_id);
}

#[test]
fn a_job_that_waits_in_the_process_that_took_it_begins_when_a_child_takes_it_and_ends_when_that_is_done()
 {
    const ID: &str = "7511e1a3-cd4b-4938-96d2-4ffb01e9213e";
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    let job = format!(
        r#"{{"body":"W10=","headers":{{"id":"{ID}","task":"mail"}},"properties":{{"delivery_tag":"tag-1"}}}}"#
    );
    ask(&mut world, &mut worker, "celery", 50);
    put(&mut world, &mut web, "celery", &job, 1, None);
    world.read(&mut worker, &popped("celery", &job), context(2, 0));
    world.wait(200);
    // The child takes it, and its parent acks.
    let (mut pipe, _) = pair(3, 21, 999);
    pipe.protocol = protocol::PIPE;
    pipe.tid = 21;
    let task = format!("\x02(K\0N\u{c}celery.app.trace{ID}");
    let task = [b"\x80\x05\x95\0\0\0\0\0\0\0\0K", task.as_bytes()].concat();
    world.read(&mut pipe, &task, context(5, 0));
    let began_ns = world.now;
    for words in [
        &["MULTI"][..],
        &["ZREM", "unacked_index", "tag-1"],
        &["HDEL", "unacked", "tag-1"],
        &["EXEC"],
    ] {
        world.write(&mut worker, &command(words), Some(ids(9, 60, None)));
        world.read(&mut worker, b"+OK\r\n", None);
    }
    call(&mut world, 4, &pipe, 6, 5);
    let ready = b"\0\0\0\x0f\x80\x04\x95\x04\0\0\0\0\0\0\0K\x01(K\0";
    world.write(&mut pipe, ready, None);
    let ended_ns = world.now;
    world.wait(5_000);
    let outcome = world.run();
    assert_eq!(parent(&outcome, 6), Some(2));
    let work = outcome.span(2);
    let took_ns = work.end_unix_ns - work.start_unix_ns;
    assert!(
        took_ns <= ended_ns - began_ns,
        "{took_ns} {}",
        ended_ns - began_ns
    );
    assert!(attribute(work, "error.type").is_none(), "{work:?}");
}

#[test]
fn what_a_thread_puts_for_many_after_a_read_that_was_no_work_are_traces_of_their_own() {
    let mut world = World::default();
    let (mut web, mut worker) = two(&mut world);
    // A client's own thread (paho's): it reads an answer, then writes what two requests gave it. The kernel makes both part of one trace.
    world.write(&mut web, &command(&["PING"]), Some(ids(1, 1, None)));
    world.read(&mut web, b"+PONG\r\n", context(7, 0));
    for (payload, span) in [("to alice", 2), ("to bob", 3)] {
        let of_the_read = Some(ids(7, span, Some((7, evidence::THREAD))));
        world.write(
            &mut web,
            &command(&["LPUSH", "mails", payload]),
            of_the_read,
        );
    }
    world.read(&mut web, b":1\r\n:2\r\n", None);
    for (payload, span) in [("to alice", 4), ("to bob", 5)] {
        ask(&mut world, &mut worker, "mails", 50 + span);
        world.read(&mut worker, &popped("mails", payload), context(span, 0));
    }
    let outcome = world.run();
    let work = consumers(&outcome);
    assert_eq!(parent(&outcome, 4), Some(2));
    assert_eq!(parent(&outcome, 5), Some(3));
    assert_ne!(work[0].trace_id, work[1].trace_id);
}

#[test]
fn what_goroutines_put_through_one_buffer_is_nobody_s() {
    for (kind_of_unit, is_child) in [(evidence::THREAD, true), (evidence::GOROUTINE, false)] {
        let mut world = World::default();
        let mut web = redis(1, 10, 10);
        web.protocol = protocol::NATS;
        web.remote.1 = 4222;
        world.connect(&web, ids(80, 80, None));
        world.state(&web, 2, 1, 0);
        world.read(&mut web, b"INFO {}\r\n", None);
        world.write(&mut web, b"CONNECT {}\r\nPING\r\n", None);
        let (_, mut served) = pair(2, 999, 10);
        served.tid = web.tid;
        world.conn(&served);
        world.read(
            &mut served,
            b"GET /signup HTTP/1.1\r\nHost: shop\r\n\r\n",
            Some(ids(5, 5, None)),
        );
        world.write(
            &mut web,
            b"PUB mails 8\r\nto alice\r\n",
            Some(ids(5, 6, Some((5, kind_of_unit)))),
        );
        world.write(
            &mut served,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            None,
        );
        let outcome = world.run();
        assert_eq!(parent(&outcome, 6).is_some(), is_child);
        assert_eq!(
            outcome.span(6).trace_id == outcome.span(5).trace_id,
            is_child
        );
    }
}
