//! Redis as a queue without a library: what is on the wire, and the events it gives.
//!
//! In: steps as `redis_steps` has them. Out: the events they must give.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod queue_text;
mod redis_steps;

use agent_protocol::queue::Event;
use agent_protocol::stream::Begin;
use redis_steps::{begun, check, step};

#[test]
fn lists() {
    check(
        &[
            "> LPUSH jobs hello",
            "< :1|",
            "> rpush jobs first second",
            "< :3|",
        ],
        &[
            "sent #1 lpush jobs",
            "answered #1 None",
            "sent #2 rpush jobs",
            "sent #2 rpush jobs",
            "answered #2 None",
        ],
    );
    check(
        &[
            "> BRPOP jobs other 0",
            "< *2|$4|jobs|$5|hello|",
            "> BLPOP jobs 1",
            "< *-1|",
            "> BLPOP jobs 1",
            "< _|",
        ],
        &[
            "fetching",
            "delivered #0 brpop jobs",
            "fetching",
            "fetching",
        ],
    );
    check(
        &[
            "> LPOP jobs",
            "< $5|hello|",
            "> LPOP jobs 2",
            "< *2|$5|hello|$5|world|",
            "> RPOP jobs",
            "< $-1|",
        ],
        &[
            "fetching",
            "delivered #0 lpop jobs",
            "fetching",
            "delivered #0 lpop jobs",
            "delivered #0 lpop jobs",
            "fetching",
        ],
    );
    check(
        &[
            "> BLMPOP 1 2 jobs other LEFT COUNT 2",
            "< *2|$5|other|*2|$4|aaaa|$4|bbbb|",
        ],
        &[
            "fetching",
            "delivered #0 blmpop other",
            "delivered #0 blmpop other",
        ],
    );
    // A reliable queue: the message waits in another list until it is removed there.
    check(
        &[
            "> BLMOVE jobs doing RIGHT LEFT 0",
            "< $5|hello|",
            "> LREM doing 1 hello",
            "< :1|",
        ],
        &["fetching", "delivered #1 blmove jobs", "settled #1 Ack"],
    );
}

#[test]
fn both_ends_have_a_key_in_common() {
    let keys = |steps: &[&str]| {
        let mut keys = Vec::new();
        let mut client = begun(Begin::Boundary);
        for text in steps {
            step(&mut client, text, &mut |event| match event {
                Event::Sent(it) => keys.extend(it.message.keys),
                Event::Delivered(it) => keys.extend(it.message.keys),
                Event::Placed(placed) => keys.extend(placed.keys),
                _ => {}
            });
        }
        keys
    };
    for (sender, receiver) in [
        (
            &["> LPUSH q hello"][..],
            &["> BRPOP q 0", "< *2|$1|q|$5|hello|"][..],
        ),
        (
            &["> PUBLISH c hello"],
            &["> SUBSCRIBE c", "< *3|$7|message|$1|c|$5|hello|"],
        ),
        (
            &["> XADD s * f value"],
            &[
                "> XREAD STREAMS s 0",
                "< *1|*2|$1|s|*1|*2|$3|1-1|*2|$1|f|$5|value|",
            ],
        ),
        (
            &["> XADD s * f v", "< $3|1-1|"],
            &[
                "> XREAD STREAMS s 0",
                "< %1|$1|s|*1|*2|$3|1-1|*2|$1|f|$1|v|",
            ],
        ),
    ] {
        let (sent, received) = (keys(sender), keys(receiver));
        assert!(
            sent.iter().any(|key| received.contains(key)),
            "{sender:?} {sent:?} {received:?}"
        );
    }
    // Another queue, another message, another entry.
    for (sender, receiver) in [
        (
            &["> LPUSH q hello"][..],
            &["> BRPOP r 0", "< *2|$1|r|$5|hello|"][..],
        ),
        (
            &["> LPUSH q hello"],
            &["> BRPOP q 0", "< *2|$1|q|$5|hellO|"],
        ),
        (
            &["> XADD s * f v", "< $3|1-1|"],
            &[
                "> XREAD STREAMS s 0",
                "< *1|*2|$1|s|*1|*2|$3|1-2|*2|$1|f|$1|w|",
            ],
        ),
    ] {
        let (sent, received) = (keys(sender), keys(receiver));
        assert!(sent.iter().all(|key| !received.contains(key)), "{sender:?}");
    }
}

#[test]
fn streams() {
    check(
        &[
            "> XADD events MAXLEN ~ 1000 LIMIT 5 * kind signup",
            "< $3|7-0|",
            "> XADD events 8-1 kind signup",
            "< $3|8-1|",
        ],
        &[
            "sent #1 xadd events",
            "placed #1",
            "answered #1 None",
            "sent #2 xadd events",
            "placed #2",
            "answered #2 None",
        ],
    );
    check(
        &[
            "> XREADGROUP GROUP g c COUNT 2 BLOCK 100 STREAMS events >",
            "< *1|*2|$6|events|*2|*2|$3|7-0|*2|$4|kind|$6|signup|*2|$3|8-1|*2|$4|kind|$6|signup|",
            "> XACK events g 7-0 8-1",
            "< :2|",
            "> XACK events g 6-0",
            "< :1|",
        ],
        &[
            "fetching",
            "delivered #1 xreadgroup events id=7-0",
            "delivered #2 xreadgroup events id=8-1",
            "settled #1 Ack",
            "settled #2 Ack",
            "settled Ack",
        ],
    );
    check(
        &[
            "> XREADGROUP GROUP g c STREAMS events 0",
            "< %1|$6|events|*1|*2|$3|7-0|*2|$4|kind|$6|signup|",
            "> XAUTOCLAIM events g c 1000 0 COUNT 5",
            "< *3|$3|0-0|*1|*2|$3|9-0|*2|$4|kind|$6|signup|*0|",
            "> XCLAIM events g c 1000 5-0",
            "< *1|*2|$3|5-0|*2|$4|kind|$6|signup|",
        ],
        &[
            "fetching",
            "delivered #1 xreadgroup events again id=7-0",
            "delivered #2 xautoclaim events again id=9-0",
            "delivered #3 xclaim events again id=5-0",
        ],
    );
    check(
        &[
            "> XREAD BLOCK 0 STREAMS a b $ $",
            "< *1|*2|$1|b|*1|*2|$3|7-0|*4|$11|traceparent|$55|00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01|$1|f|$1|v|",
        ],
        &["fetching", "delivered #0 xread b id=7-0 traceparent"],
    );
}

#[test]
fn publish_and_subscribe() {
    check(
        &[
            "> PUBLISH news hello",
            "< :2|",
            "> SPUBLISH news hello",
            "< :0|",
        ],
        &[
            "sent #1 publish news",
            "answered #1 None",
            "sent #2 spublish news",
            "answered #2 None",
        ],
    );
    // RESP2: confirmations and messages are arrays, and so is the answer to PING.
    check(
        &[
            "> SUBSCRIBE news sport",
            "< *3|$9|subscribe|$4|news|:1|*3|$9|subscribe|$5|sport|:2|",
            "< *3|$7|message|$4|news|$5|hello|",
            "> PING",
            "< *2|$4|pong|$0||",
            "> PSUBSCRIBE n*",
            "< *3|$10|psubscribe|$2|n*|:3|*4|$8|pmessage|$2|n*|$4|news|$5|hello|",
        ],
        &["delivered #0 message news", "delivered #0 pmessage news"],
    );
    // RESP3: pushes come between answers.
    check(
        &[
            "> HELLO 3 AUTH user secret",
            "< %1|$5|proto|:3|",
            "> SUBSCRIBE news",
            "< >3|$9|subscribe|$4|news|:1|",
            "> LPOP jobs",
            "< >3|$7|message|$4|news|$5|hello|$4|work|",
        ],
        &[
            "fetching",
            "delivered #0 message news",
            "delivered #0 lpop jobs",
        ],
    );
    // Without a subscription an array is an answer, whatever stands in it.
    check(
        &["> LRANGE l 0 -1", "< *3|$7|message|$4|news|$5|hello|"],
        &[],
    );
}

#[test]
fn transactions() {
    check(
        &[
            "> MULTI",
            "> LPUSH jobs hello",
            "> GET x",
            "> LPOP other",
            "> EXEC",
            "< +OK|+QUEUED|+QUEUED|+QUEUED|*3|:1|$3|abc|$5|world|",
            "> LPOP jobs",
            "< $5|hello|",
        ],
        &[
            "sent #1 lpush jobs",
            "fetching",
            "answered #1 None",
            "delivered #0 lpop other",
            "fetching",
            "delivered #0 lpop jobs",
        ],
    );
    check(
        &[
            "> WATCH x",
            "< +OK|",
            "> MULTI",
            "> LPUSH jobs hello",
            "> EXEC",
            "< +OK|+QUEUED|*-1|",
        ],
        &["sent #1 lpush jobs", "answered #1 Some(\"WATCH\")"],
    );
    check(
        &[
            "> MULTI",
            "> LPUSH jobs hello",
            "> NOSUCH",
            "> EXEC",
            "< +OK|+QUEUED|-ERR unknown|-EXECABORT discarded|",
        ],
        &["sent #1 lpush jobs", "answered #1 Some(\"EXECABORT\")"],
    );
    check(
        &[
            "> MULTI",
            "> LPUSH jobs hello",
            "> DISCARD",
            "> LPOP jobs",
            "< +OK|+QUEUED|+OK|$4|work|",
        ],
        &["sent #1 lpush jobs", "fetching", "delivered #0 lpop jobs"],
    );
}

#[test]
fn answers_and_errors() {
    check(
        &[
            "> SET a b",
            "> LPUSH jobs hello",
            "> GET a",
            "< +OK|-WRONGTYPE Operation against a key|$1|b|",
        ],
        &["sent #1 lpush jobs", "answered #1 Some(\"WRONGTYPE\")"],
    );
    // RESP3's types, attributes before an answer among them.
    check(
        &[
            "> DEBUG x",
            "> LPOP q",
            "< ¦1|+ttl|:3600|#t|,1.5|",
            "< !9|ERR wrong|",
            "> LPOP q",
            "< (123456789012345678901234567890|",
        ],
        &["fetching", "fetching"],
    );
    check(
        &[
            "> ZPOPMIN z",
            "< *2|$4|work|$1|1|",
            "> ZPOPMIN z 2",
            "< *2|*2|$4|aaaa|,1|*2|$4|bbbb|,2|",
            "> BZPOPMIN z 0",
            "< *3|$1|z|$4|cccc|,1|",
        ],
        &[
            "fetching",
            "delivered #0 zpopmin z",
            "fetching",
            "delivered #0 zpopmin z",
            "delivered #0 zpopmin z",
            "fetching",
            "delivered #0 bzpopmin z",
        ],
    );
    check(
        &[
            ">> PING|LPUSH jobs hello|",
            "< +PONG|:1|",
            ">> |*0|",
            "> LPOP jobs",
            "< $5|hello|",
        ],
        &[
            "sent #1 lpush jobs",
            "answered #1 None",
            "fetching",
            "delivered #0 lpop jobs",
        ],
    );
    // An answer that was seen before its command belongs to it, and to no other.
    check(
        &["< +OK|", "> SET a b", "> LPOP jobs", "< $4|work|"],
        &["fetching", "delivered #0 lpop jobs"],
    );
}
