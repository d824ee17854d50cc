//! Ways bytes and sockets travel: every syscall, unix sockets, IPv6, forks, passed fds.

use std::process::Command;
use std::time::Duration;

use suture_tests::check::{Complaints, collect, joined, of_process, unique, well_formed};
use suture_tests::client::{Connection, request};
use suture_tests::curl::{curl, curl_ok};
use suture_tests::process::{Folder, free_port};
use suture_tests::scene::{times, unique_id, unique_ids};
use suture_tests::victims::python::{Bind, Worker, gunicorn_on, http_server_on};
use suture_tests::victims::{Serving, Victim};
use suture_tests::{Kind, ReceivedSpan, Scene};

/// Starts `oddio WAY`.
fn oddio(way: &str) -> Victim {
    let port = free_port().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oddio"));
    command.arg(way).arg(port.to_string());
    Victim::start("oddio", Serving::Thread, port, &mut command, None).unwrap()
}

/// What a request must have left.
pub struct Sent {
    /// In messages.
    pub what: String,
    /// Its path.
    pub path: String,
    /// The process that sent it.
    pub client: u32,
    /// The processes that may have served it.
    pub servers: Vec<u32>,
    /// Bytes of its body.
    pub request_size: Option<i64>,
    /// Bytes of the response's body.
    pub response_size: Option<i64>,
}

/// A CLIENT and a SERVER span of what was sent, joined.
pub fn check_sent(
    complaints: &mut Complaints,
    spans: &[ReceivedSpan],
    sent: &Sent,
) -> Option<(ReceivedSpan, ReceivedSpan)> {
    let named = spans.iter().filter(|span| span.path() == sent.path).count();
    complaints.unless(named == 2, || {
        format!("{}: {named} spans of {}, expected 2", sent.what, sent.path)
    });
    let client = complaints.only(
        &format!("{}: CLIENT span of {}", sent.what, sent.path),
        spans,
        |span| {
            span.kind == Kind::Client
                && span.path() == sent.path
                && of_process(span, &[sent.client])
        },
    );
    let server = complaints.only(
        &format!("{}: SERVER span of {}", sent.what, sent.path),
        spans,
        |span| {
            span.kind == Kind::Server && span.path() == sent.path && of_process(span, &sent.servers)
        },
    );
    let (client, server) = (client?, server?);
    joined(complaints, client, server, None);
    for span in [client, server] {
        well_formed(complaints, span);
        complaints.equal(&sent.what, span, span.status_code(), Some(200));
        if sent.request_size.is_some() {
            let size = span.int("http.request.body.size");
            complaints.equal(
                &format!("{}: request size", sent.what),
                span,
                size,
                sent.request_size,
            );
        }
        if sent.response_size.is_some() {
            let size = span.int("http.response.body.size");
            complaints.equal(
                &format!("{}: response size", sent.what),
                span,
                size,
                sent.response_size,
            );
        }
    }
    Some((client.clone(), server.clone()))
}

fn check_way(way: &str) {
    let scene = Scene::open().unwrap();
    let victim = oddio(way);
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    let mut sent = Vec::new();
    if way == "recvmmsg-sendmmsg" {
        // Where bytes are seen inside of the socket calls, the hooks of these two are attached once one was made: what
        // that one moved is counted as unseen.
        let mut connection = Connection::local(victim.port).unwrap();
        connection.get("/small/before/0").unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    // Three connections, each kept alive over small, posted and multi-megabyte messages.
    for round in 0..3 {
        let mut connection = Connection::local(victim.port).unwrap();
        let small = format!("/small/{id}/{round}");
        let posted = format!("/posted/{id}/{round}");
        let big = format!("/big/3000000/{id}/{round}");
        assert_eq!(connection.get(&small).unwrap().body, b"hello");
        connection
            .send(&request("POST", &posted, &[], &[b'b'; 100_000]))
            .unwrap();
        assert_eq!(connection.answer(false).unwrap().body, b"100000");
        assert_eq!(connection.get(&big).unwrap().body.len(), 3_000_000);
        for (path, request_size, response_size) in [
            (small, None, 5),
            (posted, Some(100_000), 6),
            (big, None, 3_000_000),
        ] {
            let servers = victim.pids();
            let client = std::process::id();
            sent.push(Sent {
                what: way.to_owned(),
                path,
                client,
                servers,
                request_size,
                response_size: Some(response_size),
            });
        }
    }
    let spans = collect(scene.receiver(), &[&id], 2 * sent.len());
    let ended = agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for sent in &sent {
        check_sent(&mut complaints, &spans, sent);
    }
    unique(&mut complaints, &spans);
    if let Err(complaints) = complaints.verdict(way) {
        panic!(
            "{complaints:#}\n--- the agent's stderr ---\n{}",
            ended.stderr
        );
    }
}

macro_rules! ways {
    ($($test:ident = $way:literal,)+) => { $(#[test] fn $test() { check_way($way); })+ };
}

ways! {
    bytes_by_read_and_write = "read-write",
    bytes_by_readv_and_writev = "readv-writev",
    bytes_by_recvfrom_and_sendto = "recvfrom-sendto",
    bytes_by_recvmsg_and_sendmsg = "recvmsg-sendmsg",
    bytes_by_recvmmsg_and_sendmmsg = "recvmmsg-sendmmsg",
    bytes_peeked_at_twice_count_once = "peek",
    bytes_by_partial_writes_and_eagain = "partial",
    bytes_by_sendfile = "sendfile",
    bytes_by_splice_both_ways = "splice",
    socket_used_through_two_duplicates = "dup",
    socket_inherited_by_a_forked_child = "fork",
    socket_passed_by_scm_rights = "pass-fd",
}

#[test]
fn http_over_a_unix_socket() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let socket = folder.path().join("app.sock");
    let victim = gunicorn_on(&Bind::Unix(&socket), Worker::Sync, "urllib", None).unwrap();
    let agent = scene.agent().start().unwrap();
    let at = socket.display().to_string();
    let mut sent = Vec::new();
    let ids = unique_ids(times(10));
    for id in &ids {
        let path = format!("/leaf/{id}/0");
        let outcome = curl_ok(
            &format!("http://victim.test{path}"),
            &["--unix-socket", &at],
            200,
        )
        .unwrap();
        let (client, servers) = (outcome.pid, victim.pids());
        sent.push(Sent {
            what: "unix".to_owned(),
            path,
            client,
            servers,
            request_size: None,
            response_size: None,
        });
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 2);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for sent in &sent {
        if let Some((_, server)) = check_sent(&mut complaints, &spans, sent) {
            complaints.equal(
                "transport",
                &server,
                server.text("network.transport"),
                "unix",
            );
        }
    }
    complaints.verdict("unix socket").unwrap();
}

#[test]
fn ipv6_and_ipv4_mapped_addresses() {
    // (where the server listens, how curl reaches it, the peer address both must show)
    let cases = [
        ("::1", "[::1]", "::1"),
        ("::", "127.0.0.1", "127.0.0.1"),
        ("::", "[::1]", "::1"),
    ];
    for (listens, reached, peer) in cases {
        let scene = Scene::open().unwrap();
        let victim = http_server_on(listens, None).unwrap();
        let agent = scene.agent().start().unwrap();
        let id = unique_id();
        let path = format!("/leaf/{id}");
        let outcome =
            curl_ok(&format!("http://{reached}:{}{path}", victim.port), &[], 200).unwrap();
        let spans = collect(scene.receiver(), &[&id], 2);
        agent.stop().unwrap();
        let mut complaints = Complaints::default();
        let what = format!("{listens} by {reached}");
        let (client, servers) = (outcome.pid, victim.pids());
        let sent = Sent {
            what,
            path,
            client,
            servers,
            request_size: None,
            response_size: None,
        };
        if let Some((client, server)) = check_sent(&mut complaints, &spans, &sent) {
            for span in [&client, &server] {
                complaints.equal("peer", span, span.text("network.peer.address"), peer);
            }
        }
        complaints.verdict(&sent.what).unwrap();
    }
}

#[test]
fn connections_opened_before_the_agent_are_met_midstream() {
    let scene = Scene::open().unwrap();
    let victim = suture_tests::victims::leaf().unwrap();
    let before = unique_id();
    let mut old = Connection::local(victim.port).unwrap();
    assert_eq!(old.get(&format!("/leaf/{before}")).unwrap().status, 200);
    let agent = scene.agent().start().unwrap();
    let ids = unique_ids(5);
    let mut sent = Vec::new();
    for id in &ids {
        let path = format!("/leaf/{id}");
        assert_eq!(old.get(&path).unwrap().status, 200);
        let (client, servers) = (std::process::id(), victim.pids());
        sent.push(Sent {
            what: "midstream".to_owned(),
            path,
            client,
            servers,
            request_size: None,
            response_size: None,
        });
    }
    let mut names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let _ = collect(scene.receiver(), &names, 2);
    names.push(&before);
    let spans = collect(scene.receiver(), &names, 0);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    complaints.unless(
        !spans.iter().any(|span| span.path().contains(&before)),
        || "a request from before the agent became a span".to_owned(),
    );
    for sent in &sent {
        check_sent(&mut complaints, &spans, sent);
    }
    complaints
        .verdict("a connection from before the agent")
        .unwrap();
}

#[test]
fn a_refused_connect_and_a_client_that_gives_up_are_spans() {
    let scene = Scene::open().unwrap();
    let victim = suture_tests::victims::leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let closed = free_port().unwrap();
    let refused = curl(&format!("http://127.0.0.1:{closed}/never"), &[]).unwrap();
    assert_eq!(
        refused.code, 7,
        "curl must say it could not connect: {refused:?}"
    );
    let id = unique_id();
    let flags = [
        "--max-time",
        &(0.4 * suture_tests::scene::time_scale()).to_string(),
    ];
    let wait_ms = 1500.0 * suture_tests::scene::time_scale();
    let gave_up = curl(&format!("{}/slow/{id}?ms={wait_ms}", victim.url()), &flags).unwrap();
    assert_eq!(gave_up.code, 28, "curl must say it timed out: {gave_up:?}");
    let spans = collect(scene.receiver(), &[&id], 2);
    let all = scene.receiver().settle(Duration::from_millis(1500));
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let refused_span = complaints.only("CLIENT span of the refused connect", &all, |span| {
        span.kind == Kind::Client && of_process(span, &[refused.pid])
    });
    if let Some(span) = refused_span {
        complaints.equal(
            "error.type",
            span,
            span.text("error.type"),
            "connection_refused",
        );
        complaints.equal(
            "status",
            span,
            span.status,
            suture_tests::span::StatusCode::Error,
        );
        complaints.equal(
            "peer",
            span,
            span.int("server.port").or(span.int("network.peer.port")),
            Some(i64::from(closed)),
        );
    }
    let client = complaints.only("CLIENT span of the client that gave up", &spans, |span| {
        span.kind == Kind::Client && of_process(span, &[gave_up.pid])
    });
    if let Some(span) = client {
        well_formed(&mut complaints, span);
        complaints.equal("status code", span, span.status_code(), None);
        let limit_ns = (0.4e9 * suture_tests::scene::time_scale()) as u64;
        complaints.unless(span.duration_ns() >= limit_ns * 3 / 4, || {
            format!("ended before curl did: {}", span.line())
        });
    }
    complaints.only("SERVER span of the client that gave up", &spans, |span| {
        span.kind == Kind::Server && of_process(span, &victim.pids())
    });
    complaints.verdict("failed calls").unwrap();
}
