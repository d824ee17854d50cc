//! HTTP/1's forms, written byte by byte by a client of our own to Python's http.server: one span at each end.
//!
//! A list of inputs and what is expected of the two spans; one agent sees them all. Short set.

use std::time::Duration;

use suture_tests::check::{Complaints, collect, joined, of_process, unique, well_formed};
use suture_tests::client::request;
use suture_tests::scene::{scaled, unique_id};
use suture_tests::victims::{leaf, python};
use suture_tests::{Kind, Scene};

use crate::scenarios::http1_cases::{cases, connect};

#[test]
fn each_form_gives_one_span_at_each_end() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let cases = cases();
    let ids: Vec<String> = cases.iter().map(|_| unique_id()).collect();
    for (case, id) in cases.iter().zip(&ids) {
        (case.drive)(&victim, id);
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 2);
    let pids = victim.pids();
    let ended = agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (case, id) in cases.iter().zip(&ids) {
        let expect = &case.expect;
        let path = expect.path.replace("{id}", id);
        let named = spans
            .iter()
            .filter(|span| span.path().contains(id.as_str()))
            .count();
        complaints.unless(named == 2, || {
            format!("{}: {named} spans name its id, expected 2", case.what)
        });
        let find = |complaints: &mut Complaints, kind: Kind, pids: &[u32]| {
            complaints
                .only(
                    &format!("{}: {kind:?} span of {path}", case.what),
                    &spans,
                    |span| span.kind == kind && span.path() == path && of_process(span, pids),
                )
                .cloned()
        };
        let client = find(&mut complaints, Kind::Client, &[std::process::id()]);
        let server = find(&mut complaints, Kind::Server, &pids);
        let (Some(client), Some(server)) = (client, server) else {
            continue;
        };
        joined(&mut complaints, &client, &server, None);
        for span in [&client, &server] {
            let what = |field: &str| format!("{}: {field}", case.what);
            well_formed(&mut complaints, span);
            complaints.equal(
                &what("method"),
                span,
                span.text("http.request.method"),
                expect.method,
            );
            complaints.equal(
                &what("status code"),
                span,
                span.status_code(),
                expect.status,
            );
            complaints.equal(
                &what("version"),
                span,
                span.text("network.protocol.version"),
                expect.version,
            );
            if expect.request_size.is_some() {
                let size = span.int("http.request.body.size");
                complaints.equal(&what("request body size"), span, size, expect.request_size);
            }
            if expect.response_size.is_some() {
                let size = span.int("http.response.body.size");
                complaints.equal(
                    &what("response body size"),
                    span,
                    size,
                    expect.response_size,
                );
            }
            let took = Duration::from_nanos(span.duration_ns());
            complaints.unless(
                took >= expect.at_least && took <= scaled(expect.at_most),
                || {
                    format!(
                        "{}: took {took:?}, expected {:?} to {:?}",
                        case.what, expect.at_least, expect.at_most
                    )
                },
            );
        }
    }
    unique(&mut complaints, &spans);
    if let Err(complaints) = complaints.verdict("HTTP/1 forms") {
        panic!(
            "{complaints:#}\n--- the agent's stderr ---\n{}",
            ended.stderr
        );
    }
}

#[test]
fn kept_alive_and_pipelined_requests_are_told_apart() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    let mut paths = Vec::new();
    let mut add = |group: &str, count: usize| -> Vec<String> {
        let group: Vec<String> = (0..count)
            .map(|n| format!("/leaf/{id}/{group}{n}"))
            .collect();
        paths.extend(group.iter().cloned());
        group
    };
    let mut kept = connect(&victim);
    for path in add("kept", 12) {
        assert_eq!(kept.get(&path).unwrap().status, 200);
    }
    // Three requests in one write, then three answers.
    let mut piped = connect(&victim);
    let group = add("piped", 3);
    piped
        .send(
            &group
                .iter()
                .flat_map(|path| request("GET", path, &[], b""))
                .collect::<Vec<u8>>(),
        )
        .unwrap();
    for _ in &group {
        assert_eq!(piped.answer(false).unwrap().status, 200);
    }
    // Three requests, cut inside the second head; a POST in the middle.
    let mut cut = connect(&victim);
    let group = add("cut", 3);
    let mut bytes = request("GET", &group[0], &[], b"");
    bytes.extend(request("POST", &group[1], &[], b"body of a pipelined post"));
    bytes.extend(request("GET", &group[2], &[], b""));
    let (first, second) = bytes.split_at(130);
    cut.send(first).unwrap();
    std::thread::sleep(scaled(Duration::from_millis(50)));
    cut.send(second).unwrap();
    for _ in &group {
        assert_eq!(cut.answer(false).unwrap().status, 200);
    }
    // Written byte by byte, twice on one connection.
    let mut slow = connect(&victim);
    for path in add("bytes", 2) {
        slow.send_bytewise(&request("GET", &path, &[], b""))
            .unwrap();
        assert_eq!(slow.answer(false).unwrap().status, 200);
    }
    drop((kept, piped, cut, slow));
    let _ = collect(scene.receiver(), &[id.as_str()], 2 * paths.len());
    let spans = collect(scene.receiver(), &[id.as_str()], 2 * paths.len());
    let pids = victim.pids();
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    complaints.unless(spans.len() == 2 * paths.len(), || {
        format!("{} spans, {} requests", spans.len(), paths.len())
    });
    for path in &paths {
        let client = complaints.only(&format!("CLIENT span of {path}"), &spans, |span| {
            span.kind == Kind::Client
                && span.path() == path
                && of_process(span, &[std::process::id()])
        });
        let server = complaints.only(&format!("SERVER span of {path}"), &spans, |span| {
            span.kind == Kind::Server && span.path() == path && of_process(span, &pids)
        });
        let (Some(client), Some(server)) = (client, server) else {
            continue;
        };
        // Of pipelined requests only the first is told by the direction change; the others are joined or roots.
        if path.contains("piped") || path.contains("cut") {
            let root = server.parent.is_none();
            let right = server.parent.as_ref() == Some(&client.span_id);
            complaints.unless(root || right, || {
                format!(
                    "WRONG PARENT: {} is not of {}",
                    server.line(),
                    client.line()
                )
            });
        } else {
            joined(&mut complaints, client, server, None);
        }
        for span in [client, server] {
            well_formed(&mut complaints, span);
            complaints.equal("status code", span, span.status_code(), Some(200));
        }
    }
    unique(&mut complaints, &spans);
    complaints.verdict("keep-alive and pipelining").unwrap();
}

#[test]
fn connect_is_a_span_and_its_tunnel_is_not() {
    let scene = Scene::open().unwrap();
    let target = leaf().unwrap();
    let proxy = python::http_server(None).unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    let mut connection = connect(&proxy);
    let authority = format!("127.0.0.1:{}", target.port);
    connection
        .send(
            format!(
                "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {id}\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    assert_eq!(connection.answer(true).unwrap().status, 200);
    let inside = request(
        "GET",
        &format!("/leaf/{id}"),
        &[("Connection", "close")],
        b"",
    );
    connection.send(&inside).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 200);
    drop(connection);
    let mine = |span: &suture_tests::ReceivedSpan| span.text("user_agent.original") == id;
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(|span| mine(span)).count() >= 2,
        Duration::from_secs(8),
    );
    let spans = scene.receiver().settle(Duration::from_millis(600));
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (kind, pids) in [
        (Kind::Client, vec![std::process::id()]),
        (Kind::Server, proxy.pids()),
    ] {
        let span = complaints.only(&format!("{kind:?} span of CONNECT"), &spans, |span| {
            span.kind == kind && mine(span)
        });
        let Some(span) = span else { continue };
        complaints.equal("process", span, of_process(span, &pids), true);
        complaints.equal("method", span, span.text("http.request.method"), "CONNECT");
        complaints.equal("name", span, span.name.as_str(), "CONNECT");
        complaints.equal("status code", span, span.status_code(), Some(200));
    }
    let inside: Vec<_> = spans
        .iter()
        .filter(|span| span.path().contains(&id) && of_process(span, &[std::process::id()]))
        .collect();
    complaints.unless(inside.is_empty(), || {
        format!(
            "bytes inside the tunnel became spans: {}",
            suture_tests::span::listing(inside.iter().copied())
        )
    });
    complaints.verdict("CONNECT").unwrap();
}
