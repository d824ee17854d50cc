//! Redis' connections with holes, met in their middle, of hostile peers; and what libraries say beside their messages.
//!
//! In: steps as `redis_steps` has them. Out: the events they must give, and bounds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod queue_text;
mod redis_steps;

use agent_protocol::queue::redis::ALTERNATIONS;
use agent_protocol::queue::{Conversation, Limits, Way};
use agent_protocol::stream::{Begin, Input};
use redis_steps::{begun, check, events_of, step};

/// A message that waits for its time is taken by a thread that only puts it where it is due: long ones (with a traceback) are cut.
#[test]
fn messages_of_dramatiq_that_wait_are_nobodys_work_where_they_were_cut() {
    let seen = r#"{"queue_name":"default.DQ","actor_name":"flaky","options":{"#;
    let fetch = |queue: &str| {
        format!("> EVALSHA sha 1 dramatiq fetch 1795768839586 {queue} id 60000 604800000 0 3996 9")
    };
    for (queue, wanted) in [
        ("default.DQ", &[][..]),
        ("default", &["fetching", "delivered #0 evalsha default"][..]),
    ] {
        check(
            &[
                &fetch(queue),
                &format!("< *1|$917|{seen}"),
                &format!("<~ {}", 917 + 2 - seen.len()),
            ],
            wanted,
        );
    }
}

#[test]
fn parts_that_were_not_captured() {
    // In a message: it is known by its beginning, if that is long enough.
    check(
        &[
            ">> *3|$5|LPUSH|$4|jobs|$3000|aaaa",
            ">~ 2998",
            "< :1|",
            "> LPOP jobs",
            "< $9|bb",
            "<~ 9",
            "> LPOP jobs",
            "< $4|work|",
        ],
        &[
            "sent #1 lpush jobs",
            "answered #1 None",
            "fetching",
            "delivered #0 lpop jobs",
            "fetching",
            "delivered #0 lpop jobs",
        ],
    );
    // Beyond it: what follows is found again, and answers count when they name what was asked for.
    check(
        &[
            ">> *3|$5|LPUSH|$4|jobs|$5|aaaa",
            ">~ 900",
            "> BRPOP jobs 0",
            "< *2|$4|jobs|$4|work|",
            "> LPOP jobs",
            "< $4|more|",
        ],
        &[
            "sent #1 lpush jobs",
            "Unparsed(\"the beginning of a message was not captured\")",
            "unanswered #1",
            "fetching",
            "delivered #0 brpop jobs",
            "fetching",
            "delivered #0 lpop jobs",
        ],
    );
    // The same answer does not count where it is another command's.
    check(
        &[
            ">! 0",
            "> LPOP jobs",
            "< *2|$4|jobs|$4|work|",
            "> BRPOP other 0",
            "< *2|$4|jobs|$4|work|",
        ],
        &["Unparsed(\"records were lost\")", "fetching", "fetching"],
    );
}

#[test]
fn the_middle_of_a_connection() {
    let mut client = begun(Begin::Midstream);
    let first = ["< ello|", ">> rld|", "> LPOP jobs", "< $4|work|"];
    assert_eq!(events_of(&mut client, &first), ["fetching"]);
    for _ in 0..=ALTERNATIONS {
        assert!(events_of(&mut client, &["> GET a", "< $1|b|"]).is_empty());
    }
    assert_eq!(
        events_of(&mut client, &["> LPOP jobs", "< $4|work|"]),
        ["fetching", "delivered #0 lpop jobs"]
    );
    // A subscriber's messages say themselves what they are.
    let mut client = begun(Begin::Midstream);
    assert_eq!(
        events_of(
            &mut client,
            &[
                "< *3|$7|message|$1|c|$4|word|",
                "< >3|$7|message|$1|c|$4|word|"
            ]
        ),
        ["delivered #0 message c", "delivered #0 message c"]
    );
}

#[test]
fn what_a_worker_was_waiting_for_when_it_was_met() {
    let sidekiq = r#"{"class":"Mail","jid":"0123456789abcdef01234567","queue":"mails"}"#;
    let celery = r#"{"body":"W10=","headers":{"id":"7","task":"mail"},"properties":{"delivery_info":{"exchange":"","routing_key":"mails"}}}"#;
    let uuid = "0b7d4b2f-ead6-3079-9c11-c83846e04787";
    let bulk = |text: &str| format!("${}|{text}|", text.len());
    let popped = |key: &str, message: &str| format!("< *2|{}{}", bulk(key), bulk(message));
    let cases = [
        (popped("queue:mails", sidekiq), "delivered #0 pop mails"),
        (popped("queue:others", sidekiq), ""),
        (popped("mails", celery), "delivered #0 pop mails"),
        (popped("others", celery), ""),
        (popped("rq:queue:mails", uuid), "delivered #0 pop mails"),
        (popped("rq:queue:mails", "rq:queue:others"), ""),
        (popped("jobs", "work"), ""),
        (popped(sidekiq, celery), ""),
        (
            format!(
                "< *1|*2|{}*1|*2|{}*2|$1|a|$1|b|",
                bulk("orders"),
                bulk("15-0")
            ),
            "delivered #1 xread orders",
        ),
        // XRANGE, XAUTOCLAIM.
        (format!("< *1|*2|{}*2|$1|a|$1|b|", bulk("15-0")), ""),
        (
            format!("< *2|{}*1|*2|{}*2|$1|a|$1|b|", bulk("0-0"), bulk("15-0")),
            "",
        ),
        (format!("< {}", bulk(celery)), ""),
    ];
    for (answer, expected) in cases {
        let mut client = begun(Begin::Midstream);
        let events = events_of(&mut client, &[&answer]);
        let words = |event: &String| event.split(' ').take(4).collect::<Vec<_>>().join(" ");
        let events: Vec<String> = events.iter().map(words).collect();
        let expected: Vec<&str> = Some(expected)
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect();
        assert_eq!(events, expected, "{answer}");
    }
}

#[test]
fn what_libraries_tell_themselves_is_no_message() {
    check(
        &[
            "> PUBLISH /0.celeryev/worker.heartbeat {}",
            "> LPUSH 1234.reply.celery.pidbox {}",
            "> ZADD unacked_index 1.5 abcd",
            "> PUBLISH celery-task-meta-1 {}",
            "> SUBSCRIBE rq:pubsub:1",
            "> XADD rq:results:1 * type 1",
            "> ZADD rq:finished:mail 1 abcd",
            "> BRPOP vm:1:aa-signals 1",
            "> XREAD BLOCK 5 STREAMS bull:mail:events $",
            "> BZPOPMIN bull:mail:marker 5",
            "> ZADD asynq:servers 1 abcd",
        ],
        &[],
    );
    check(&["> ZADD board 10 alice 20 bob", "< :2|"], &[]);
}

#[test]
fn what_libraries_write_beside_their_messages() {
    check(
        &[
            "> SETEX celery-task-meta-1 86400 {\"status\":\"STARTED\"}",
            "> SETEX celery-task-meta-1 86400 {\"status\":\"PROGRESS\"}",
            "> SETEX celery-task-meta-1 86400 {\"status\":\"SUCCESS\"}",
            "> SET celery-task-meta-2 {\"status\":\"REVOKED\"}",
            "> SET other {\"status\":\"SUCCESS\"}",
        ],
        &["claimed", "done failed=false", "done failed=true"],
    );
    check(
        &[
            "> HSET rq:job:1 status started",
            "> HSET rq:job:1 last_heartbeat 1 status started",
            "> HSET rq:job:1 status stopped",
            "> HSET rq:job:1 status stopped",
            "> HSET rq:job:2 status queued description app.mail('a@example.com',secret)",
            "> RPUSH rq:queue:mail 2",
            "> HSET rq:job:3 status queued description Send(the(mail",
            "> HSET rq:job:4 description mail",
            "> RPUSH rq:queue:mail 4",
        ],
        &[
            "claimed",
            "done failed=true",
            "sent #1 rpush mail Rq app.mail id=2",
            "sent #2 rpush mail Rq  id=4",
        ],
    );
    let sidekiq = "{\"class\":\"A\",\"jid\":\"d9af\",\"queue\":\"default\",\"retry_count\":25}";
    check(
        &[
            &format!("> ZADD dead 1.5 {sidekiq}"),
            &format!("> ZADD app:retry NX 1.5 {sidekiq}"),
        ],
        &[
            "done failed=true",
            "done failed=true",
            "sent #1 zadd default later Sidekiq A retries=26 id=d9af",
        ],
    );
    check(
        &[
            "> EVALSHA sha 4 asynq:{q}:active asynq:{q}:lease asynq:{q}:pending asynq:{q}:t:1 1",
            "> EVALSHA sha 2 asynq:{q}:scheduled asynq:{q}:pending 1795768873 asynq:{q}:t:",
            "> EVALSHA sha 1 dramatiq requeue 1795768839513 default worker 60000 604800000 0 3996 7721 5887",
            "> EVALSHA sha 1 lock token 10",
            "> EVALSHA sha 99 lock",
            "> EVALSHA sha",
        ],
        &["settled Requeue", "settled Requeue", "settled Requeue"],
    );
}

#[test]
fn in_the_middle_a_job_that_names_the_queue_that_was_asked_for_is_delivered() {
    let dramatiq = r#"{"queue_name":"default","actor_name":"a","options":{},"message_id":"m"}"#;
    let dramatiq = &format!("< *1|${}|{dramatiq}|", dramatiq.len());
    let asynq = "< $9|\n\u{1}t\u{1a}\u{1}i\"\u{1}q|";
    let fetch = |queue: &str| format!("> EVALSHA sha 1 dramatiq fetch 1 {queue} id 6 6 0 3 9");
    let dequeue = |queue: &str| {
        let keys = ["pending", "paused", "active", "lease"]
            .map(|set| format!("asynq:{{{queue}}}:{set}"))
            .join(" ");
        format!("> EVALSHA sha 4 {keys} 1")
    };
    for (command, answer, wanted) in [
        (
            fetch("default"),
            dramatiq.as_str(),
            "delivered #0 evalsha default Dramatiq a id=m",
        ),
        (fetch("other"), dramatiq, ""),
        (
            dequeue("q"),
            asynq,
            "delivered #0 evalsha q Asynq t retries=0 id=i",
        ),
        (dequeue("other"), asynq, ""),
    ] {
        let mut client = begun(Begin::Midstream);
        let events = events_of(&mut client, &[&command, answer]);
        assert_eq!(events.first().map(String::as_str), Some("fetching"));
        assert_eq!(
            events.get(1).map_or("", String::as_str),
            wanted,
            "{command}"
        );
    }
}

#[test]
fn what_is_not_redis_is_hopeless() {
    for steps in [
        &[">> GET / HTTP/1.1|Host: a||"; 1][..],
        &[">> \u{16}\u{3}\u{1}\u{2}\0\u{1}"],
        &["> MONITOR"],
    ] {
        let mut client = begun(Begin::Boundary);
        for _ in 0..5 {
            for text in steps {
                step(&mut client, text, &mut |_| {});
            }
            step(&mut client, "< ?|", &mut |_| {});
        }
        assert!(client.is_hopeless(), "{steps:?}");
    }
}

#[test]
fn what_a_peer_claims_is_not_held() {
    let limits = Limits::default();
    for (way, bytes) in [
        (Way::ToBroker, &b"*1000000000\r\n"[..]),
        (Way::ToBroker, b"*2\r\n$5\r\nLPUSH\r\n$900000000\r\n"),
        (Way::ToBroker, b"*-5\r\n"),
        (Way::ToBroker, b"*1\r\n$-5\r\n"),
        (Way::ToClient, b"*1000000000\r\n"),
        (Way::ToClient, b"$-5\r\n"),
        (Way::ToClient, b"$99999999999999999999\r\n"),
        (Way::ToClient, b"%9223372036854775807\r\n"),
    ] {
        let mut client = begun(Begin::Boundary);
        client.push(way, Input::Bytes(bytes), &mut |_| {});
        assert!(
            client.held() < 1024,
            "{}: {}",
            bytes.escape_ascii(),
            client.held()
        );
        for filler in [&b"*1\r\n"[..], b"$1\r\nx\r\n", b"\r\n", &[b'x'; 5000]] {
            for _ in 0..1000 {
                client.push(way, Input::Bytes(filler), &mut |_| {});
            }
            assert!(
                client.held() < 8 * limits.message_bytes,
                "{}: {}",
                bytes.escape_ascii(),
                client.held()
            );
        }
    }
    // Commands that are never answered, transactions that never end, subscriptions, deliveries that are never settled.
    let mut client = begun(Begin::Boundary);
    let key = "k".repeat(250);
    let many = [
        format!("> BRPOP {key} 0"),
        format!("> XADD {key} * f v"),
        "> MULTI".to_owned(),
        format!("> LPOP {key}"),
        format!("> SUBSCRIBE {key}"),
    ];
    for text in many.iter().cycle().take(20_000) {
        step(&mut client, text, &mut |_| {});
    }
    let most = limits.in_flight * 1024 + 8 * limits.message_bytes;
    assert!(client.held() < most, "{}", client.held());
}
