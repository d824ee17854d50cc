//! What real clients and PostgreSQL said, against what is known of it (`recorded/NAME.events`). `BLESS=1` writes the expectations anew:
//! read them before you commit them.

use agent_protocol::queue::postgres::Client;
use agent_protocol::queue::{Conversation, Event, Keyer, Limits};
use agent_protocol::stream::Begin;

use super::lines::{check, events, pieces};

const NAMES: [&str; 7] = [
    "asyncpg",
    "node-pg",
    "pgmq",
    "pgx",
    "procrastinate",
    "psycopg2",
    "psycopg3",
];

/// What a recording says, cut as `cut` says.
fn told(name: &str, cut: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<(u8, Event)> {
    let make = || -> Box<dyn Conversation> {
        let (limits, keyer) = (Limits::default(), Keyer::new([1; 16]));
        Box::new(Client::new(Begin::Boundary, limits, keyer))
    };
    events(&pieces("queue_postgres", name), &make, cut)
}

#[test]
fn recordings_say_what_the_clients_did() {
    for name in NAMES {
        check(
            "queue_postgres",
            name,
            &told(name, &|bytes| vec![bytes.to_vec()]),
        );
    }
}

#[test]
fn recordings_cut_at_every_byte_say_the_same() {
    for name in NAMES {
        let whole = told(name, &|bytes| vec![bytes.to_vec()]);
        for len in [1, 3, 7, 61, 300] {
            let cut = told(name, &|bytes| {
                bytes.chunks(len).map(<[u8]>::to_vec).collect()
            });
            assert_eq!(whole, cut, "{name} by {len}");
        }
    }
}
