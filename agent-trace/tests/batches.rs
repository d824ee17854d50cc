//! Threads that take several messages at once: what they call is linked to all of these, and is nobody's child.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::evidence;
use support::redis::{call, command, context, redis};
use support::{End, Outcome, World, ids};

/// A worker's connection, seen from its beginning, and messages that a shop has put
fn worker(world: &mut World, messages: usize) -> End {
    let (mut shop, mut worker) = (redis(1, 10), redis(2, 20));
    (shop.tid, worker.tid) = (10, 20);
    for end in [&mut shop, &mut worker] {
        let attempt = 240 + end.tid as u8 / 10;
        world.connect(end, ids(attempt, attempt, None));
        world.state(end, 2, 1, 0);
    }
    for nth in 0..messages {
        let span = 100 + nth as u8;
        let put = command(&["LPUSH", "mails", &format!("a mail to number {nth:02}")]);
        world.write(&mut shop, &put, Some(ids(span, span, None)));
        world.read(&mut shop, b":1\r\n", None);
    }
    worker
}

/// Takes the messages from `first` on, `count` of them, in one read, in the context `span` (`before` until then).
fn take(world: &mut World, worker: &mut End, (first, count): (usize, usize), span: u8, before: u8) {
    let ask = command(&["RPOP", "mails"]).repeat(count);
    let asked = ids(span + 1, span + 1, Some((before, evidence::THREAD)));
    world.write(worker, &ask, Some(asked));
    let answers: String = (first..first + count)
        .map(|nth| {
            let message = format!("a mail to number {nth:02}");
            format!("${}\r\n{message}\r\n", message.len())
        })
        .collect();
    world.read(worker, answers.as_bytes(), context(span, before));
}

/// The messages that a call is linked to, by their puts' span ids; it must have no parent.
fn linked(outcome: &Outcome, span: u8) -> Vec<u8> {
    let call = outcome.span(span);
    assert_eq!(call.parent_span_id, None, "{span}");
    let mut puts: Vec<u8> = call
        .links
        .iter()
        .map(|link| {
            let is_it = |work: &&agent_trace::span::Span| work.span_id == link.span_id;
            let work = outcome.spans.iter().find(is_it).expect("a consumer");
            assert_eq!(work.trace_id, link.trace_id);
            work.parent_span_id.expect("a put").0[0]
        })
        .collect();
    puts.sort_unstable();
    puts
}

#[test]
fn a_call_after_a_batch_is_linked_to_each_message_of_it_until_the_thread_asks_for_more() {
    let mut world = World::default();
    let mut worker = worker(&mut world, 5);
    take(&mut world, &mut worker, (0, 3), 2, 0);
    call(&mut world, 3, &worker, 5, 2);
    // What it looks up meanwhile changes nothing.
    world.write(&mut worker, &command(&["GET", "name"]), None);
    world.read(&mut worker, b"$5\r\nalice\r\n", context(6, 2));
    call(&mut world, 4, &worker, 7, 6);
    take(&mut world, &mut worker, (3, 2), 10, 6);
    call(&mut world, 5, &worker, 12, 10);
    let outcome = world.run();
    assert_eq!(linked(&outcome, 5), [100, 101, 102]);
    assert_eq!(linked(&outcome, 7), [100, 101, 102]);
    assert_eq!(linked(&outcome, 12), [103, 104]);
}

#[test]
fn a_call_after_one_message_is_its_child_and_linked_to_nothing() {
    let mut world = World::default();
    let mut worker = worker(&mut world, 3);
    take(&mut world, &mut worker, (0, 1), 2, 0);
    call(&mut world, 3, &worker, 5, 2);
    // Nor is a batch after it linked to it.
    take(&mut world, &mut worker, (1, 2), 10, 2);
    call(&mut world, 4, &worker, 12, 10);
    let outcome = world.run();
    let call = outcome.span(5);
    assert_eq!(call.parent_span_id.map(|id| id.0[0]), Some(2));
    assert!(call.links.is_empty());
    assert_eq!(linked(&outcome, 12), [101, 102]);
}

#[test]
fn a_batch_of_many_says_nothing() {
    let mut world = World::default();
    let mut worker = worker(&mut world, 40);
    take(&mut world, &mut worker, (0, 40), 2, 0);
    call(&mut world, 3, &worker, 5, 2);
    let outcome = world.run();
    assert_eq!(linked(&outcome, 5), [0; 0]);
}
