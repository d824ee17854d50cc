//! Records of Kafka's logs that come more than once: to another member of the group, on another connection, to other groups.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../../agent-protocol/tests/queue_kafka/build.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod build;
mod support;

use agent_common::abi::protocol;
use build::{Batch, fetch, fetched, produce, produced, record, request};
use support::{End, World, ids, pair, text};

/// What happens, one after the other.
#[derive(Clone, Copy)]
enum Step {
    /// A process joins a group: heard on a connection of its own.
    Joins(u32, &'static str),
    /// It was given the partition, and asks how far the group is.
    Reads(u32, &'static str),
    /// A process is given the records from .. to on its nth connection.
    Given(u32, u8, i64, i64),
    /// The nth connection is closed.
    Closed(u8),
}
use Step::{Closed, Given, Joins, Reads};

/// A client of process `process` on connection `n`, seen from its beginning.
fn client(world: &mut World, n: u8, process: u32) -> End {
    let (mut end, _) = pair(n, process, 999);
    end.protocol = protocol::KAFKA;
    end.remote.1 = 9092;
    world.connect(&end, ids(100 + n, 100 + n, None));
    world.state(&end, 2, 1, 0);
    end
}

/// Three records are put; of each delivery, in its order: offset, group, and offset and number of the delivery that it is linked to.
fn outcome(steps: &[Step]) -> Vec<String> {
    let mut world = World::default();
    let mut shop = client(&mut world, 1, 10);
    let batch = |offset: i64| {
        let value = format!("to customer {offset}");
        let batch = Batch {
            base: offset,
            ..Batch::of(1)
        };
        batch.bytes(&record(0, b"", value.as_bytes(), &[]))
    };
    for offset in 0..3 {
        let (n, span) = (offset as i32 + 1, offset as u8 + 1);
        let put = produce(n, 1, "mails", &batch(offset));
        world.write(&mut shop, &put, Some(ids(span, span, None)));
        world.read(&mut shop, &produced(n, "mails", 0, offset), None);
    }
    let mut ends: Vec<(u8, End)> = Vec::new();
    let mut coordinators: Vec<(u32, End)> = Vec::new();
    let mut given = Vec::new();
    for (nth, step) in steps.iter().enumerate() {
        let correlation = nth as i32 + 1;
        match *step {
            Joins(process, group) | Reads(process, group) => {
                if !coordinators.iter().any(|(of, _)| *of == process) {
                    let end = client(&mut world, 100 + process as u8, process);
                    coordinators.push((process, end));
                }
                let mut of = coordinators.iter_mut();
                let (_, end) = of.find(|(of, _)| *of == process).unwrap();
                let ask = match step {
                    Joins(..) => request(11, 5, correlation).string(group).framed(),
                    _ => request(9, 5, correlation)
                        .string(group)
                        .i32(1)
                        .string("mails")
                        .i32(1)
                        .i32(0)
                        .framed(),
                };
                world.write(end, &ask, None);
            }
            Given(process, n, from, to) => {
                if !ends.iter().any(|(of, _)| *of == n) {
                    let end = client(&mut world, n, process);
                    ends.push((n, end));
                }
                let (_, end) = ends.iter_mut().find(|(of, _)| *of == n).unwrap();
                world.write(end, &fetch(correlation, "mails", from), None);
                for offset in from..=to {
                    // One record an answer, each with a context of its own.
                    let correlation = 1_000 + correlation * 10 + offset as i32;
                    world.write(end, &fetch(correlation, "mails", offset), None);
                    let span = 20 + given.len() as u8;
                    let answer = fetched(correlation, "mails", &[], &batch(offset));
                    world.read(end, &answer, Some(ids(span, span, None)));
                    given.push((span, offset));
                }
            }
            Closed(n) => {
                let (_, end) = ends.iter().find(|(of, _)| *of == n).unwrap();
                world.state(end, 1, 7, 0);
            }
        }
    }
    let outcome = world.run();
    let line = |&(span, offset): &(u8, i64)| {
        let work = outcome
            .spans
            .iter()
            .find(|one| one.span_id.0 == [span; 8])?;
        assert_eq!(work.parent_span_id.unwrap().0[0], offset as u8 + 1);
        let group = text(work, "messaging.consumer.group.name");
        let links = work.links.iter().map(|link| link.span_id.0[0]);
        let links: Vec<String> = links.map(|to| format!(" after {}", to - 20)).collect();
        Some(format!("{offset} {group}{}", links.concat()))
    };
    given.iter().filter_map(line).collect()
}

#[test]
fn what_a_group_is_given_once_more_is_linked_to_the_delivery_before_and_two_groups_never_meet() {
    for (what, steps, expected) in [
        (
            "another member",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 1),
                Joins(30, "mailers"),
                Reads(30, "mailers"),
                Given(30, 3, 1, 2),
            ][..],
            &["0 mailers", "1 mailers", "1 mailers after 1", "2 mailers"][..],
        ),
        (
            "the same process on another connection, when the one before is closed",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 1),
                Closed(2),
                Reads(20, "mailers"),
                Given(20, 3, 1, 1),
            ],
            &["0 mailers", "1 mailers", "1 mailers after 1"],
        ),
        (
            "to another member and back to the connection of the first",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 0),
                Joins(30, "mailers"),
                Reads(30, "mailers"),
                Given(30, 3, 0, 0),
                Given(20, 2, 0, 0),
                Given(30, 3, 0, 0),
            ],
            &[
                "0 mailers",
                "0 mailers after 0",
                "0 mailers after 1",
                "0 mailers after 2",
            ],
        ),
        (
            "the same connection after its process joined the group anew, and again after a failure",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 1),
                Reads(20, "mailers"),
                Given(20, 2, 1, 1),
                Given(20, 2, 1, 1),
            ],
            &[
                "0 mailers",
                "1 mailers",
                "1 mailers after 1",
                "1 mailers after 2",
            ],
        ),
        (
            "two groups",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 0),
                Joins(30, "auditors"),
                Reads(30, "auditors"),
                Given(30, 3, 0, 0),
            ],
            &["0 mailers", "0 auditors"],
        ),
        (
            "two groups of one process",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Joins(20, "auditors"),
                Reads(20, "auditors"),
                Given(20, 2, 0, 0),
                Given(20, 3, 0, 0),
            ],
            &["0 -", "0 -"],
        ),
        (
            "a member and a reader without a group in one process",
            &[
                Joins(20, "mailers"),
                Reads(20, "mailers"),
                Given(20, 2, 0, 1),
                Given(20, 3, 0, 1),
                Given(20, 2, 2, 2),
            ],
            &["0 mailers", "1 mailers", "0 -", "1 -", "2 -"],
        ),
        (
            "one that only watches the group",
            &[Reads(20, "mailers"), Given(20, 2, 0, 0)],
            &["0 -"],
        ),
    ] {
        assert_eq!(outcome(steps), expected, "{what}");
    }
}
