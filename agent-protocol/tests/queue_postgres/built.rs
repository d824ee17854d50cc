//! Messages built byte by byte: what no recording has.

use agent_protocol::queue::postgres::Client;
use agent_protocol::queue::{Conversation, Event, Keyer, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use super::build::Step::{Answer, Ask, Lost, Unseen, UnseenAsked};
use super::build::{columns, complete, inserted, lines, message, query, ready, row, startup};

const PUT: &str = "INSERT INTO jobs (a) VALUES (1) RETURNING id";
const TAKE: &str = "SELECT id, a FROM jobs LIMIT 1 FOR UPDATE SKIP LOCKED";

#[test]
fn a_row_is_known_by_its_table_and_number_whatever_the_format() {
    let parse = |name: &str, sql: &str| {
        message(
            b'P',
            &[name.as_bytes(), &[0], sql.as_bytes(), &[0, 0, 0]].concat(),
        )
    };
    let bind = |name: &str, format: u8| {
        let name = name.as_bytes();
        message(
            b'B',
            &[&[0], name, &[0, 0, 0, 0, 0, 0, 1, 0, format]].concat(),
        )
    };
    let execute = message(b'E', &[0; 5]);
    let sync = message(b'S', b"");
    let describe = message(b'D', b"Stake\0");
    let steps = [
        Ask(startup(b"user\0u\0database\0shop\0\0")),
        Answer([message(b'R', &[0; 4]), ready()].concat()),
        Ask(query(PUT)),
        Answer(inserted("65536")),
        Ask([parse("take", TAKE), describe, sync.clone()].concat()),
        Answer([message(b'1', b""), message(b't', &[0, 0])].concat()),
        Answer([columns(&[("id", 77, 1, 20), ("a", 77, 2, 25)]), ready()].concat()),
        Ask([bind("take", 1), execute.clone(), sync.clone()].concat()),
        Answer(message(b'2', b"")),
        Answer(row(&[Some(&[0, 0, 0, 0, 0, 1, 0, 0]), Some(b"abcd")])),
        Answer([complete("SELECT 1"), ready()].concat()),
        // Again, with nothing there.
        Ask([bind("take", 1), execute, sync].concat()),
        Answer([message(b'2', b""), complete("SELECT 0"), ready()].concat()),
    ];
    assert_eq!(
        lines(Begin::Boundary, &steps),
        [
            "1. insert to jobs? 0 bytes",
            "1. placed 0 at:a",
            "1. answered",
            "Fetching",
            "select of jobs at:a at:b 12 bytes",
            "Fetching",
        ]
    );
}

#[test]
fn databases_and_tables_of_one_name_do_not_meet() {
    let placed = |database: &str, table: u32| {
        let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
        let mut keys = Vec::new();
        let start = startup(format!("user\0{database}\0\0").as_bytes());
        let answer = [
            columns(&[("id", table, 1, 20)]),
            row(&[Some(b"7")]),
            complete("INSERT 0 1"),
        ];
        for (way, bytes) in [
            (Way::ToBroker, start),
            (Way::ToBroker, query(PUT)),
            (Way::ToClient, answer.concat()),
        ] {
            client.push(way, Input::Bytes(&bytes), &mut |event| {
                if let Event::Placed(placed) = event {
                    keys.extend(placed.keys);
                }
            });
        }
        assert_eq!(keys.len(), 1);
        keys[0]
    };
    assert_eq!(placed("a", 77), placed("a", 77));
    assert_ne!(placed("a", 77), placed("b", 77));
    assert_ne!(placed("a", 77), placed("a", 78));
}

#[test]
fn only_a_column_that_tells_rows_apart_is_an_id() {
    for (all, expected) in [
        (vec![("id", 77, 3, 20)], true),
        (vec![("user_id", 77, 3, 20)], false),
        (vec![("job_id", 77, 1, 20)], true),
        (vec![("queue", 77, 1, 25)], false),
        (vec![("user_id", 77, 2, 20), ("id", 77, 1, 20)], true),
        // Another table's.
        (vec![("id", 78, 1, 20), ("id", 77, 1, 20)], false),
        (vec![("id", 0, 0, 20)], false),
    ] {
        let values = [Some(&b"7"[..])].repeat(all.len());
        let answer = |tag| [columns(&all), row(&values), complete(tag), ready()].concat();
        let known = [columns(&[("id", 77, 3, 20)]), row(&values[..1])];
        let known = match all[..] {
            [("job_id", ..)] => answer("INSERT 0 1"),
            [(_, 77, 3, _)] => [&known.concat()[..], &complete("INSERT 0 1"), &ready()].concat(),
            _ => inserted("7"),
        };
        let steps = [
            Ask(startup(b"user\0u\0\0")),
            Ask(query(PUT)),
            Answer(known),
            Ask(query(TAKE)),
            Answer(answer("SELECT 1")),
        ];
        let seen = lines(Begin::Boundary, &steps);
        assert_eq!(seen[4].contains("at:a"), expected, "{all:?}: {seen:?}");
    }
}

#[test]
fn encryption_ends_it_and_its_refusal_does_not() {
    let asks = b"\0\0\0\x08\x04\xd2\x16\x2f";
    for (answer, hopeless) in [(b"N", false), (b"S", true), (b"G", true)] {
        let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
        let mut seen = 0;
        for (way, bytes) in [
            (Way::ToBroker, &asks[..]),
            (Way::ToClient, answer),
            (Way::ToBroker, &startup(b"user\0u\0\0")),
            (Way::ToBroker, &query(PUT)),
        ] {
            client.push(way, Input::Bytes(bytes), &mut |_| seen += 1);
        }
        assert_eq!(client.is_hopeless(), hopeless, "{answer:?}");
        assert!(hopeless || seen == 1);
    }
    let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
    for _ in 0..4 {
        let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
        client.push(Way::ToBroker, Input::Bytes(hello), &mut |_| {});
        client.push(Way::ToClient, Input::Bytes(hello), &mut |_| {});
    }
    assert!(client.is_hopeless());
}

#[test]
fn answers_are_given_only_to_what_they_answer() {
    let other = "INSERT INTO others (a) VALUES (1) RETURNING id";
    let start = || Ask(startup(b"user\0u\0\0"));
    let error = || message(b'E', b"SERROR\0C23505\0Mduplicate\0\0");
    for (what, steps, expected) in [
        (
            "two queries before any answer",
            vec![
                start(),
                Ask([query(PUT), query(other)].concat()),
                Answer(inserted("1")),
                Answer(inserted("2")),
            ],
            vec![
                "1. insert to jobs? 0 bytes",
                "2. insert to others? 0 bytes",
                "1. placed 0 at:a",
                "1. answered",
                "2. placed 0 at:b",
                "2. answered",
            ],
        ),
        (
            "an error, after which the rest of the string is not run",
            vec![
                start(),
                Ask([query(&format!("{PUT}; {other}")), query(PUT)].concat()),
                Answer([error(), ready()].concat()),
                Answer(inserted("3")),
            ],
            vec![
                "1. insert to jobs? 0 bytes",
                "2. insert to others? 0 bytes",
                "3. insert to jobs? 0 bytes",
                "1. 23505",
                "2. 23505",
                "3. placed 0 at:a",
                "3. answered",
            ],
        ),
        (
            "an empty string, and one that is nothing to a queue",
            vec![
                start(),
                Ask([query(""), query("SELECT 1"), query(PUT)].concat()),
                Answer([message(b'I', b""), ready()].concat()),
                Answer([columns(&[("a", 0, 0, 23)]), row(&[Some(b"9")])].concat()),
                Answer([complete("SELECT 1"), ready()].concat()),
                Answer(inserted("1")),
            ],
            vec![
                "1. insert to jobs? 0 bytes",
                "1. placed 0 at:a",
                "1. answered",
            ],
        ),
        (
            "an answer of another kind than its statement: nothing is sure until the server is ready and asked anew",
            vec![
                start(),
                Ask([query(TAKE), query(PUT)].concat()),
                Answer(inserted("1")),
                Answer(inserted("2")),
                Ask(query(PUT)),
                Answer(inserted("3")),
            ],
            vec![
                "Fetching",
                "1. insert to jobs? 0 bytes",
                "Unparsed(\"order\")",
                "2. insert to jobs? 0 bytes",
                "2. placed 0 at:a",
                "2. answered",
            ],
        ),
        (
            "a hole of unknown length",
            vec![
                start(),
                Ask(query(PUT)),
                Lost,
                Ask(query(other)),
                Answer(inserted("1")),
                Answer(inserted("2")),
                Ask(query(PUT)),
                Answer(inserted("3")),
            ],
            vec![
                "1. insert to jobs? 0 bytes",
                "2. insert to others? 0 bytes",
                "3. insert to jobs? 0 bytes",
                "3. placed 0 at:a",
                "3. answered",
            ],
        ),
        (
            "a query whose end was not seen, and a row likewise",
            vec![
                start(),
                Ask(query(PUT)[..20].to_vec()),
                UnseenAsked(query(PUT).len() as u64 - 20),
                Ask(query(TAKE)),
                Answer(inserted("1")),
                Answer(
                    [
                        columns(&[("id", 77, 1, 20)]),
                        row(&[Some(b"12345")])[..12].to_vec(),
                    ]
                    .concat(),
                ),
                Unseen(4),
                Answer([row(&[Some(b"2")]), complete("SELECT 2"), ready()].concat()),
            ],
            vec![
                "Unparsed(\"unseen\")",
                "Fetching",
                "Unparsed(\"unseen\")",
                "select of jobs at:a at:b 1 bytes",
            ],
        ),
    ] {
        assert_eq!(lines(Begin::Boundary, &steps), expected, "{what}");
    }
}

#[test]
fn a_connection_met_in_its_middle_has_keys_only_of_uuids() {
    let uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
    let before = || Answer([complete("SELECT 1"), ready()].concat());
    let with = |id: &str, type_id| {
        let columns = columns(&[("id", 77, 1, type_id)]);
        let row = row(&[Some(id.as_bytes())]);
        Answer([columns, row, complete("INSERT 0 1"), ready()].concat())
    };
    let steps = [
        before(),
        Ask(query(PUT)),
        with("7", 20),
        Ask(query(PUT)),
        with(uuid, 2950),
        Ask(query(&format!(
            "DELETE FROM jobs WHERE id = '{}'",
            uuid.to_uppercase()
        ))),
        Answer([complete("DELETE 1"), ready()].concat()),
        Ask(query("DELETE FROM jobs WHERE id = 7")),
        Answer([complete("DELETE 1"), ready()].concat()),
    ];
    assert_eq!(
        lines(Begin::Midstream, &steps),
        [
            "1. insert to jobs? 0 bytes",
            "1. placed 0 ",
            "1. answered",
            "2. insert to jobs? 0 bytes",
            "2. placed 0 at:a",
            "2. answered",
            "done at:a",
        ]
    );
}

#[test]
fn an_update_settles_only_what_it_touched_and_says() {
    for (sql, tag, expected) in [
        (
            "UPDATE jobs SET status = 'done' WHERE id = 7",
            "UPDATE 1",
            Some("done at:a"),
        ),
        (
            "UPDATE jobs SET status = 'done' WHERE id = 7",
            "UPDATE 0",
            None,
        ),
        (
            "UPDATE jobs SET status = 'failed' WHERE id = 7",
            "UPDATE 1",
            Some("failed at:a"),
        ),
        (
            "UPDATE jobs SET status = 'queued' WHERE id = 7",
            "UPDATE 1",
            Some("back at:a"),
        ),
        (
            "UPDATE jobs SET progress = 3 WHERE id = 7",
            "UPDATE 1",
            None,
        ),
    ] {
        let steps = [
            Ask(startup(b"user\0u\0\0")),
            Ask(query(sql)),
            Answer([complete(tag), ready()].concat()),
        ];
        let seen = lines(Begin::Boundary, &steps);
        assert_eq!(seen, expected.into_iter().collect::<Vec<_>>(), "{sql}");
    }
}

#[test]
fn claims_are_not_allocated_for() {
    let limits = Limits::default();
    let many = "SELECT 1 FROM jobs FOR UPDATE SKIP LOCKED;".repeat(4000);
    let rows = |count| row(&[Some(b"1234567890123456789")]).repeat(count);
    let answer = columns(&[("id", 77, 1, 20)]);
    for (what, asked, answered) in [
        ("a long query", query(&"x".repeat(10 << 20)), Vec::new()),
        ("many statements", query(&many), Vec::new()),
        ("many queries", query(TAKE).repeat(20_000), Vec::new()),
        ("many rows", query(TAKE), [answer, rows(10_000)].concat()),
        ("many columns", query(TAKE), message(b'T', &[0xff, 0xff])),
        ("a name", message(b'P', &vec![b'a'; 1 << 20]), Vec::new()),
        (
            "many names",
            (0..20_000)
                .flat_map(|name| message(b'P', format!("{name}\0{TAKE}\0\0\0").as_bytes()))
                .collect(),
            Vec::new(),
        ),
        (
            "a length",
            b"Q\x7f\xff\xff\xff".to_vec(),
            b"D\x7f\xff\xff\xff\0\x01\x7f\xff\xff\xff".to_vec(),
        ),
    ] {
        let mut client = Client::new(Begin::Boundary, limits, Keyer::new([1; 16]));
        let start = startup(b"user\0u\0\0");
        client.push(Way::ToBroker, Input::Bytes(&start), &mut |_| {});
        client.push(Way::ToBroker, Input::Bytes(&asked), &mut |_| {});
        client.push(Way::ToClient, Input::Bytes(&answered), &mut |_| {});
        for _ in 0..100 {
            client.push(Way::ToBroker, Input::Bytes(&[1; 4096]), &mut |_| {});
            client.push(Way::ToClient, Input::Bytes(&[1; 4096]), &mut |_| {});
        }
        assert!(client.held() < 64 * 1024, "{what}: {} held", client.held());
    }
}
