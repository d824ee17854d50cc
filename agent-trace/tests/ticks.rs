//! Commands that a scheduler begins: what they call is their span's child, and nothing else is.
//!
//! In: records as the kernel side writes them. Out: spans. Always holds: a process that serves, or outlives its tick, calls for itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_common::abi::{evidence, kind, protocol, tick};
use agent_trace::counters::Counter;
use agent_trace::tracer::Command;
use support::{Outcome, World, ids, pair, process, text};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A call by `client` on a connection of its own, with the span `span` and what the kernel side says of its parent.
fn call(world: &mut World, client: u32, span: u8, parent: Option<(u8, u8)>) {
    let trace = parent.map_or(span, |(parent, _)| parent);
    let (mut end, _) = pair(span, client, 900);
    world.conn(&end);
    world.write(&mut end, REQUEST, Some(ids(trace, span, parent)));
    world.read(&mut end, RESPONSE, None);
}

const TICK: Option<(u8, u8)> = Some((9, evidence::TICK));

/// cron began a shell as process 10, in the tick with the span 9.
fn begun() -> World {
    let mut world = World::default();
    world.scheduled(tick::BEGUN, 9, process(10), 0, "sh");
    world.lives(kind::EXEC, process(10), "sh", 0);
    world
}

fn forks(world: &mut World, by: u32, child: u32, comm: &str) {
    world.scheduled(tick::JOINED, 9, process(child), by, "sh");
    world.lives(kind::EXEC, process(child), comm, 0);
}

fn left(outcome: &Outcome) -> Vec<u32> {
    let of = |command: &Command| match command {
        Command::LeaveTick(process) => Some(process.tgid),
        _ => None,
    };
    outcome.commands.iter().filter_map(of).collect()
}

fn evidence_and_parent(outcome: &Outcome, span: u8) -> (String, Option<u8>) {
    let span = outcome.span(span);
    let parent = span.parent_span_id.map(|id| id.0[0]);
    (text(span, "suture.parent.evidence"), parent)
}

#[test]
fn what_a_command_and_its_children_call_is_under_its_tick() {
    let mut world = begun();
    world.lives(kind::EXEC, process(10), "backup.sh", 0);
    forks(&mut world, 10, 11, "curl");
    call(&mut world, 11, 1, TICK);
    world.lives(kind::EXIT, process(11), "curl", 0);
    forks(&mut world, 10, 12, "sh");
    forks(&mut world, 12, 13, "curl");
    world.lives(kind::EXIT, process(10), "backup.sh", 3 << 8);
    call(&mut world, 13, 2, TICK);
    world.lives(kind::EXIT, process(13), "curl", 0);
    world.lives(kind::EXIT, process(12), "sh", 0);
    let last = world.now;
    world.wait(500);
    let outcome = world.run();
    let tick = outcome.span(9);
    assert_eq!(
        outcome.lines(),
        [
            "Client GET /a 200 - t09 s01 p09 tick",
            "Client GET /a 200 - t09 s02 p09 tick",
            "Internal cron backup.sh - exit_code t09 s09 p- none",
        ]
    );
    assert_eq!(text(tick, "process.exit.code"), "3");
    assert_eq!(text(tick, "process.pid"), "10");
    assert_eq!(text(tick, "process.executable.name"), "backup.sh");
    assert_eq!(text(tick, "suture.tick.scheduler"), "cron");
    assert_eq!(text(tick, "network.protocol.name"), "-");
    assert_eq!(tick.end_unix_ns, last + support::EPOCH);
    assert_eq!(left(&outcome), [0; 0]);
}

#[test]
fn a_tick_is_named_by_its_command_and_not_by_the_shell() {
    /// What the first process becomes, what another one becomes, the name, the status, error.type, process.exit.code.
    type Case = (
        &'static [&'static str],
        &'static str,
        &'static str,
        u32,
        &'static str,
        &'static str,
    );
    let cases: [Case; 5] = [
        (&["sh"], "", "cron sh", 0, "-", "0"),
        (&["sh"], "report", "cron report", 0, "-", "0"),
        (&["bash"], "bash", "cron bash", 1 << 8, "exit_code", "1"),
        (&["sh", "php"], "curl", "cron php", 9, "SIGKILL", "-"),
        (
            &["sh", "php"],
            "curl",
            "cron php",
            0x80 | 11,
            "SIGSEGV",
            "-",
        ),
    ];
    for (first, other, name, status, error, code) in cases {
        let mut world = begun();
        for program in first {
            world.lives(kind::EXEC, process(10), program, 0);
        }
        if !other.is_empty() {
            forks(&mut world, 10, 11, other);
            world.lives(kind::EXIT, process(11), other, 0);
        }
        world.lives(kind::EXIT, process(10), "sh", status);
        let outcome = world.run();
        let tick = outcome.span(9);
        assert_eq!(tick.name, name);
        assert_eq!(text(tick, "error.type"), error, "{name}");
        assert_eq!(text(tick, "process.exit.code"), code, "{name}");
    }
}

#[test]
fn a_command_in_an_interpreter_is_named_as_its_service_is() {
    let mut world = begun();
    world.described_as(process(10), "sh", &[]);
    forks(&mut world, 10, 11, "python3.11");
    world.described_as(process(11), "report", &[]);
    world.lives(kind::EXIT, process(11), "python3.11", 0);
    world.lives(kind::EXIT, process(10), "sh", 0);
    let outcome = world.run();
    let tick = outcome.span(9);
    assert_eq!(tick.name, "cron report");
    assert_eq!(text(tick, "process.executable.name"), "python3.11");
    assert_eq!(
        (tick.process, text(tick, "process.pid")),
        (process(11), "11".to_owned())
    );
}

#[test]
fn what_is_left_behind_belongs_to_the_tick_for_a_minute() {
    let mut world = begun();
    forks(&mut world, 10, 11, "poller");
    world.lives(kind::EXIT, process(10), "sh", 0);
    let ended = world.now;
    world.wait(59_000);
    call(&mut world, 11, 1, TICK);
    world.wait(2_000);
    call(&mut world, 11, 2, TICK);
    world.wait(1_000);
    let outcome = world.run();
    assert_eq!(
        outcome.span(9).end_unix_ns,
        ended + support::EPOCH,
        "it ends with its first process"
    );
    assert_eq!(evidence_and_parent(&outcome, 1), ("tick".into(), Some(9)));
    assert_eq!(evidence_and_parent(&outcome, 2), ("none".into(), None));
    assert_ne!(outcome.span(2).trace_id, outcome.span(9).trace_id);
    assert_eq!(left(&outcome), [11]);
}

#[test]
fn a_server_that_a_command_begins_leaves_the_tick() {
    let mut world = begun();
    forks(&mut world, 10, 11, "server");
    call(&mut world, 11, 1, TICK);
    world.lives(kind::LISTEN, process(11), "server", 8080);
    call(&mut world, 11, 2, TICK);
    // A child of it, which the kernel side took in before it knew.
    forks(&mut world, 11, 12, "worker");
    call(&mut world, 12, 3, TICK);
    call(&mut world, 10, 4, TICK);
    world.lives(kind::EXIT, process(10), "sh", 0);
    let outcome = world.run();
    for (span, expect) in [
        (1, ("tick", Some(9))),
        (2, ("none", None)),
        (3, ("none", None)),
        (4, ("tick", Some(9))),
    ] {
        let found = evidence_and_parent(&outcome, span);
        assert_eq!((found.0.as_str(), found.1), expect, "{span}");
    }
    assert_eq!(left(&outcome), [11, 12]);
}

#[test]
fn a_process_that_reads_a_request_or_is_a_scheduler_leaves_the_tick() {
    for is_server in [true, false] {
        let mut world = begun();
        forks(&mut world, 10, 11, "worker");
        if is_server {
            let (_, mut server) = pair(20, 900, 11);
            world.conn(&server);
            world.read(&mut server, REQUEST, Some(ids(21, 21, None)));
            world.write(&mut server, RESPONSE, None);
        } else {
            world.lives(kind::EXEC, process(11), "cron", 0);
        }
        call(&mut world, 11, 1, TICK);
        forks(&mut world, 11, 12, "job");
        call(&mut world, 12, 2, TICK);
        let outcome = world.run();
        for span in 1..=2 {
            assert_eq!(evidence_and_parent(&outcome, span), ("none".into(), None));
        }
        assert_eq!(left(&outcome), [11, 12]);
    }
}

#[test]
fn a_command_that_is_a_server_itself_ends_the_tick_for_all_its_processes() {
    let mut world = begun();
    forks(&mut world, 10, 11, "worker");
    world.lives(kind::LISTEN, process(10), "server", 8080);
    let served = world.now;
    world.wait(1_000);
    call(&mut world, 11, 1, TICK);
    let outcome = world.run();
    assert_eq!(outcome.span(9).end_unix_ns, served + support::EPOCH);
    assert_eq!(evidence_and_parent(&outcome, 1), ("none".into(), None));
    assert_eq!(left(&outcome), [10, 11]);
}

#[test]
fn a_call_within_a_request_keeps_the_request_as_its_parent() {
    let mut world = begun();
    let (mut client, mut server) = pair(20, 900, 10);
    world.conn(&server);
    world.read(&mut server, REQUEST, Some(ids(21, 21, None)));
    call(&mut world, 10, 1, Some((21, evidence::THREAD)));
    world.write(&mut server, RESPONSE, None);
    world.conn(&client);
    world.write(&mut client, REQUEST, None);
    let outcome = world.run();
    assert_eq!(
        evidence_and_parent(&outcome, 1),
        ("thread".into(), Some(21))
    );
}

#[test]
fn an_hour_after_its_begin_a_command_calls_for_itself_and_still_has_its_exit_code() {
    let mut world = begun();
    world.wait(3_599_000);
    call(&mut world, 10, 1, TICK);
    world.wait(2_000);
    call(&mut world, 10, 2, None);
    call(&mut world, 10, 3, TICK);
    world.lives(kind::EXIT, process(10), "sh", 2 << 8);
    let outcome = world.run();
    assert_eq!(evidence_and_parent(&outcome, 1), ("tick".into(), Some(9)));
    assert_eq!(evidence_and_parent(&outcome, 2), ("none".into(), None));
    assert_eq!(evidence_and_parent(&outcome, 3), ("none".into(), None));
    assert_eq!(text(outcome.span(9), "process.exit.code"), "2");
}

#[test]
fn a_command_that_runs_when_the_tracer_ends_is_unfinished() {
    let outcome = begun().run();
    assert_eq!(text(outcome.span(9), "suture.unfinished"), "true");
    assert_eq!(outcome.count(Counter::OpenAtFinish), 1);
}

/// A client of Redis in process 10, whose reads have contexts.
fn redis(span: u8) -> support::End {
    let (mut end, _) = pair(span, 10, 900);
    end.protocol = protocol::REDIS;
    end.remote.1 = 6379;
    end
}

#[test]
fn what_a_command_calls_behind_a_put_is_its_own() {
    let mut world = begun();
    let mut end = redis(30);
    world.conn(&end);
    let put = b"*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$3\r\none\r\n";
    world.write(&mut end, put, Some(ids(9, 31, TICK)));
    let answer = ids(32, 32, Some((0, evidence::THREAD)));
    world.read(&mut end, b":1\r\n", Some(answer));
    call(&mut world, 10, 1, Some((32, evidence::THREAD)));
    world.lives(kind::EXIT, process(10), "sh", 0);
    let outcome = world.run();
    assert_eq!(evidence_and_parent(&outcome, 1), ("tick".into(), Some(9)));
    assert_eq!(outcome.span(1).trace_id, outcome.span(9).trace_id);
}

#[test]
fn a_command_that_works_off_a_queue_calls_for_its_jobs_and_for_nobody_between_them() {
    let mut world = begun();
    let mut end = redis(30);
    world.conn(&end);
    let fetch = b"*3\r\n$5\r\nBRPOP\r\n$1\r\nq\r\n$1\r\n0\r\n";
    world.write(&mut end, fetch, Some(ids(9, 31, TICK)));
    let message = b"*2\r\n$1\r\nq\r\n$3\r\none\r\n";
    let taken = ids(32, 32, Some((0, evidence::THREAD)));
    world.read(&mut end, message, Some(taken));
    call(&mut world, 10, 1, Some((32, evidence::THREAD)));
    world.write(
        &mut end,
        fetch,
        Some(ids(33, 33, Some((32, evidence::THREAD)))),
    );
    let nothing = ids(34, 34, Some((32, evidence::THREAD)));
    world.read(&mut end, b"*-1\r\n", Some(nothing));
    call(&mut world, 10, 2, Some((34, evidence::THREAD)));
    let outcome = world.run();
    assert_eq!(
        evidence_and_parent(&outcome, 1),
        ("thread".into(), Some(32))
    );
    assert_eq!(evidence_and_parent(&outcome, 2), ("none".into(), None));
    assert_eq!(left(&outcome), [10]);
}

/// systemd began a service as process 10, in what may be the tick with the span 9; what triggered its unit is read from /proc. It calls before
/// and after that, and a child of it does.
fn by_systemd(trigger: &str, unit: &str) -> Outcome {
    let mut world = World::default();
    world.scheduled_by("systemd", tick::BEGUN, 9, process(10), 0, "sh");
    world.scheduled(tick::JOINED, 9, process(11), 10, "sh");
    call(&mut world, 11, 1, None);
    let attributes = [
        ("suture.systemd.unit", unit),
        ("suture.systemd.trigger", trigger),
    ];
    world.described(
        process(10),
        &attributes[..1 + usize::from(!trigger.is_empty())],
    );
    world.lives(kind::EXEC, process(11), "welcome", 0);
    call(&mut world, 11, 2, TICK);
    call(&mut world, 10, 3, None);
    world.lives(kind::EXIT, process(11), "welcome", 0);
    world.lives(kind::EXIT, process(10), "sh", 0);
    world.run()
}

#[test]
fn a_unit_that_a_timer_of_systemd_began_is_a_tick_from_its_begin_on() {
    for (unit, name) in [
        ("welcome.service", "systemd welcome.service"),
        ("backup@host7.service", "systemd backup@.service"),
        ("run-u12.service", "systemd welcome"),
    ] {
        let outcome = by_systemd("welcome.timer", unit);
        assert_eq!(outcome.span(9).name, name);
        for span in 1..=3 {
            let found = evidence_and_parent(&outcome, span);
            assert_eq!(found, ("tick".into(), Some(9)), "{span} of {unit}");
        }
        let said = |command: &Command| matches!(command, Command::CountTick(span) | Command::EndTick(span) if span.0 == [9; 8]);
        assert_eq!(
            outcome
                .commands
                .iter()
                .filter(|command| said(command))
                .count(),
            2
        );
    }
}

#[test]
fn a_unit_that_systemd_began_otherwise_is_no_tick() {
    for trigger in ["", "welcome.path"] {
        let outcome = by_systemd(trigger, "welcome.service");
        assert_eq!(outcome.spans.len(), 3, "{:#?}", outcome.lines());
        for span in 1..=3 {
            assert_eq!(evidence_and_parent(&outcome, span), ("none".into(), None));
            assert_ne!(outcome.span(span).trace_id.0, [9; 16]);
        }
        assert_eq!(left(&outcome), [10, 11]);
    }
}
