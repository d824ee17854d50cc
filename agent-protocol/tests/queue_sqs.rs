//! SQS' calls as boto3 1.44 makes them and ElasticMQ 1.7 answers them: bodies as strace showed them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::queue::sqs::{Action, Call, target};
use agent_protocol::queue::{Conversation, Event, KeyKind, Keyer, Way};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

const SEND: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "MessageBody": "hello one", "MessageAttributes": {"traceparent": {"DataType": "String", "StringValue": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#;
const SENT: &[u8] = br#"{"MD5OfMessageAttributes":"bea2564b4c828908d0473cae38673bfa","MD5OfMessageBody":"6f11ac20bf1d3c85c586fa793fa03186","MessageId":"6b796540-a204-4f2e-b47f-d888a69a209f"}"#;
const SEND_BATCH: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "Entries": [{"Id": "a", "MessageBody": "two"}, {"Id": "b", "MessageBody": "three", "DelaySeconds": 5}]}"#;
const SENT_BATCH: &[u8] = br#"{"Successful":[{"Id":"b","MD5OfMessageBody":"35d6","MessageId":"468b4dc2"},{"Id":"a","MD5OfMessageBody":"b8a9","MessageId":"66cad9e6"}],"Failed":[{"Id":"c","Code":"InvalidParameterValue","SenderFault":true}]}"#;
const RECEIVE: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 2, "MessageAttributeNames": ["All"]}"#;
const RECEIVED: &[u8] = br#"{"Messages":[{"Attributes":{"SentTimestamp":"1795784341922","ApproximateReceiveCount":"1","SenderId":"127.0.0.1"},"Body":"two \"}{\" \u00e9","MD5OfBody":"b8a9","MessageId":"66cad9e6","ReceiptHandle":"66cad9e6#f64e"},{"Attributes":{"ApproximateReceiveCount":"2"},"Body":"hello one","MD5OfBody":"6f11","MessageAttributes":{"traceparent":{"DataType":"String","StringValue":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},"MessageId":"6b796540","ReceiptHandle":"6b79\/e5cf"}]}"#;
const DELETE: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "ReceiptHandle": "66cad9e6#f64e"}"#;
const DELETE_BATCH: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "Entries": [{"Id": "0", "ReceiptHandle": "66cad9e6#f64e"}, {"Id": "1", "ReceiptHandle": "6b79/e5cf"}]}"#;
const RELEASE: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "ReceiptHandle": "66cad9e6#f64e", "VisibilityTimeout": 0}"#;
const KEEP: &[u8] = br#"{"QueueUrl": "http://localhost:9324/000000000000/mails", "ReceiptHandle": "66cad9e6#f64e", "VisibilityTimeout": 30}"#;

/// The events of a call whose bodies come in pieces of at most `most` bytes.
fn call(action: Action, request: &[u8], answer: &[u8], most: usize) -> Vec<Event> {
    let mut call = Call::new(action, Keyer::new([7; 16]));
    let mut events = Vec::new();
    for (way, bytes) in [(Way::ToBroker, request), (Way::ToClient, answer)] {
        for piece in bytes.chunks(most) {
            call.push(way, Input::Bytes(piece), &mut |event| events.push(event));
        }
    }
    call.end(&mut |event| events.push(event));
    assert!(call.held() < 8 * 1024);
    events
}

fn line(event: &Event) -> String {
    let (word, destination, message) = match event {
        Event::Sent(sent) => {
            let word = if sent.is_delayed { "later" } else { "sent" };
            (word, &sent.destination, &sent.message)
        }
        Event::Delivered(delivered) => ("delivered", &delivered.destination, &delivered.message),
        Event::SettledKey { how, .. } => return format!("{how:?}"),
        other => panic!("{other:?}"),
    };
    let context = match message.traceparent {
        Traceparent::Valid(context) => format!(" {:02x}", context.parent_id[0]),
        _ => String::new(),
    };
    let id = message.id.as_deref().unwrap();
    let retries = message
        .retries
        .map(|retries| format!(" {retries}"))
        .unwrap_or_default();
    format!(
        "{word} {destination} {id} {}B{context}{retries}",
        message.body_bytes
    )
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(line).collect()
}

#[test]
fn what_a_call_says_is_the_same_however_its_bodies_are_cut() {
    for (action, request, answer, expected) in [
        (
            Action::Send,
            SEND,
            SENT,
            &["sent mails 6b796540-a204-4f2e-b47f-d888a69a209f 9B b7"][..],
        ),
        (
            Action::SendBatch,
            SEND_BATCH,
            SENT_BATCH,
            &["later mails 468b4dc2 5B", "sent mails 66cad9e6 3B"],
        ),
        (
            Action::Receive,
            RECEIVE,
            RECEIVED,
            &[
                "delivered mails 66cad9e6 11B 0",
                "delivered mails 6b796540 9B b7 1",
            ],
        ),
        (Action::Receive, RECEIVE, br#"{"Messages":[]}"#, &[]),
        (Action::Receive, RECEIVE, b"{}", &[]),
        (Action::Delete, DELETE, b"", &["Ack"]),
        (Action::DeleteBatch, DELETE_BATCH, b"{}", &["Ack", "Ack"]),
        (Action::Visibility, RELEASE, b"", &["Requeue"]),
        (Action::Visibility, KEEP, b"", &[]),
        (
            Action::Send,
            SEND,
            br#"{"__type":"QueueDoesNotExist"}"#,
            &[],
        ),
    ] {
        let whole = call(action, request, answer, usize::MAX);
        assert_eq!(lines(&whole), expected, "{action:?}");
        for most in [1, 2, 7] {
            assert_eq!(
                call(action, request, answer, most),
                whole,
                "{action:?} by {most}"
            );
        }
    }
}

#[test]
fn a_message_is_known_by_its_id_at_both_ends_and_by_its_receipt_when_it_is_deleted() {
    let keys = |events: &[Event]| -> Vec<_> {
        events
            .iter()
            .flat_map(|event| match event {
                Event::Sent(sent) => sent.message.keys.clone(),
                Event::Delivered(delivered) => delivered.message.keys.clone(),
                Event::SettledKey { key, .. } => vec![*key],
                _ => Vec::new(),
            })
            .collect()
    };
    let put = keys(&call(Action::SendBatch, SEND_BATCH, SENT_BATCH, 9));
    let taken = keys(&call(Action::Receive, RECEIVE, RECEIVED, 9));
    let deleted = keys(&call(Action::DeleteBatch, DELETE_BATCH, b"", 9));
    assert_eq!(put[1], taken[0]);
    assert_eq!(taken[0].kind, KeyKind::Job);
    // A slash is escaped or not.
    assert_eq!(deleted, [taken[1], taken[3]]);
}

#[test]
fn answers_in_chunks_are_read_as_those_with_a_length() {
    let mut chunked = Vec::new();
    for piece in RECEIVED.chunks(50) {
        chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let plain = call(Action::Receive, RECEIVE, RECEIVED, usize::MAX);
    for most in [1, 11, usize::MAX] {
        assert_eq!(call(Action::Receive, RECEIVE, &chunked, most), plain);
    }
}

#[test]
fn what_was_whole_before_bytes_that_were_not_seen_is_told() {
    let at = RECEIVED.len() - 60;
    let mut call = Call::new(Action::Receive, Keyer::new([7; 16]));
    let mut events = Vec::new();
    call.push(Way::ToBroker, Input::Bytes(RECEIVE), &mut |_| {});
    for input in [
        Input::Bytes(&RECEIVED[..at]),
        Input::Unseen {
            len: 60,
            tail: b"}]}",
        },
    ] {
        call.push(Way::ToClient, input, &mut |event| events.push(event));
    }
    assert!(events.is_empty() && !call.is_answered());
    call.end(&mut |event| events.push(event));
    assert_eq!(lines(&events), ["delivered mails 66cad9e6 11B 0"]);
}

#[test]
fn a_context_of_x_ray_counts_where_there_is_none_of_w3c_s() {
    let header = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1";
    for (header, expected) in [
        (header, true),
        (&header.replace("Root=1-", "Root=2-"), false),
        (&header.replace("Parent=", "Father="), false),
        ("Root=1-6789;Parent=463ac35c9f6413ad", false),
        ("", false),
    ] {
        let answer = format!(
            r#"{{"Messages":[{{"Attributes":{{"AWSTraceHeader":"{header}"}},"MessageId":"m","ReceiptHandle":"r"}}]}}"#
        );
        let events = call(Action::Receive, RECEIVE, answer.as_bytes(), usize::MAX);
        let Some(Event::Delivered(delivered)) = events.first() else {
            panic!("{events:?}");
        };
        let found = match delivered.message.traceparent {
            Traceparent::Valid(context) => {
                assert_eq!(context.trace_id[..5], [0x67, 0x89, 0x12, 0x33, 0xab]);
                assert!(context.sampled());
                true
            }
            _ => false,
        };
        assert_eq!(found, expected, "{header}");
    }
}

#[test]
fn what_is_no_call_of_these_or_no_json_says_nothing() {
    assert_eq!(target("AmazonSQS.SendMessage"), Some(Some(Action::Send)));
    assert_eq!(target("AmazonSQS.CreateQueue"), Some(None));
    assert_eq!(target("DynamoDB_20120810.GetItem"), None);
    for bytes in [
        &b"[1,2]"[..],
        b"{{{{",
        b"\"a\"",
        b"12",
        b"{\"QueueUrl\":}",
        b"Action=SendMessage&QueueUrl=http%3A",
        b"{\"a\":[[[[[[[[[[[[{\"QueueUrl\":\"x\"}]]]]]]]]]]]],\"QueueUrl\":3}",
    ] {
        assert!(call(Action::Delete, bytes, bytes, 3).is_empty());
        assert!(call(Action::Send, bytes, SENT, 3).is_empty());
    }
    // More messages than there can be in one call.
    let many: Vec<String> = (0..40)
        .map(|n| format!(r#"{{"MessageId":"{n}","ReceiptHandle":"r"}}"#))
        .collect();
    let answer = format!(r#"{{"Messages":[{}]}}"#, many.join(","));
    let events = call(Action::Receive, RECEIVE, answer.as_bytes(), usize::MAX);
    assert_eq!(events.len(), 16);
    assert_eq!(line(&events[15]), "delivered mails 15 0B");
}

#[test]
fn what_a_call_holds_counts_the_texts_that_it_keeps() {
    let handle = "h".repeat(1_024);
    let messages: Vec<String> = (0..10)
        .map(|n| format!(r#"{{"MessageId":"m{n}","ReceiptHandle":"{handle}"}}"#))
        .collect();
    let answer = format!(r#"{{"Messages":[{}]}}"#, messages.join(","));
    let mut call = Call::new(Action::Receive, Keyer::new([7; 16]));
    for (way, bytes) in [(Way::ToBroker, RECEIVE), (Way::ToClient, answer.as_bytes())] {
        call.push(way, Input::Bytes(bytes), &mut |_| {});
    }
    assert!(
        (10 * 1_024..20 * 1_024).contains(&call.held()),
        "{}",
        call.held()
    );
}
