//! Connections of Redis' clients as they are captured: large messages, and those older than the agent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{direction, evidence};
use support::redis::{command, redis};
use support::{World, ids};

#[test]
fn what_stands_behind_a_script_s_long_text_is_read_where_its_end_was_captured() {
    for ending in [400, 0] {
        let mut world = World::default();
        let (mut web, mut worker) = (redis(1, 10), redis(2, 20));
        for (end, attempt) in [(&web, 90), (&worker, 91)] {
            world.connect(end, ids(attempt, attempt, None));
            world.state(end, 2, 1, 0);
        }
        let text = "x".repeat(20_000);
        let message = r#"{"queue_name":"mails","actor_name":"mail","args":[],"kwargs":{},"options":{"redis_message_id":"1"},"message_id":"2","message_timestamp":1}"#;
        let words = [
            "EVAL", &text, "1", "dramatiq", "enqueue", "1", "mails", "w", "1", "1", "1", "1", "1",
            message,
        ];
        let put = command(&words);
        web.capture = 8_192;
        let (mut record, mut payload) =
            world.segment(&mut web, direction::TX, &put, Some(ids(1, 1, None)));
        record.ending = ending;
        payload.extend(&put[put.len() - usize::from(ending)..]);
        record.head.payload += ending;
        record.head.size += u32::from(ending);
        world.push(&(record, payload));
        world.read(&mut web, b"$1\r\n1\r\n", None);
        world.write(
            &mut worker,
            &command(&[
                "EVALSHA", "f", "1", "dramatiq", "fetch", "1", "mails", "w", "1", "1", "1", "1",
                "1",
            ]),
            Some(ids(50, 50, None)),
        );
        let given = command(&[message]);
        world.read(
            &mut worker,
            &given,
            Some(ids(2, 2, Some((0, evidence::THREAD)))),
        );
        let outcome = world.run();
        let wanted = (ending > 0).then_some(1);
        assert_eq!(
            outcome.span(2).parent_span_id.map(|id| id.0[0]),
            wanted,
            "{ending}"
        );
    }
}

#[test]
fn puts_on_a_connection_older_than_the_agent_end_with_their_answer_or_their_own_write() {
    let mut world = World::default();
    let mut web = redis(1, 10);
    for span in 1..=3 {
        let jid = format!(r#"{{"class":"Mail","jid":"{span:024}","queue":"mails"}}"#);
        let words = command(&["LPUSH", "queue:mails", &jid]);
        world.write(&mut web, &words, Some(ids(span, span, None)));
        world.read(&mut web, b":1\r\n", None);
    }
    // Two at once, of which the second is answered alone.
    for span in 4..=5 {
        let jid = format!(r#"{{"class":"Mail","jid":"{span:024}","queue":"mails"}}"#);
        let words = command(&["LPUSH", "queue:mails", &jid]);
        world.write(&mut web, &words, Some(ids(span, span, None)));
    }
    world.read(&mut web, b":1\r\n:2\r\n", None);
    let outcome = world.run();
    for span in 1..=5 {
        let put = outcome.span(span);
        let took = put.end_unix_ns - put.start_unix_ns;
        let steps = took / support::STEP;
        assert!(steps <= 1, "{span}: {steps} steps");
    }
}
