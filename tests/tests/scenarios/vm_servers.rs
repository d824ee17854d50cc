//! The servers every machine has: http.server, gunicorn, nginx. Short set.

use std::time::Duration;

use suture_tests::check::{Asked, Complaints, Hop, collect, joined, of_process, well_formed};
use suture_tests::curl::curl_ok;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::leaf;
use suture_tests::victims::nginx::{BIG, Behind, HELLO, nginx};
use suture_tests::victims::python::{Worker, gunicorn, http_server};
use suture_tests::{Kind, Scene};

use crate::scenarios::chain::{check_hops, check_victim};

#[test]
fn http_server_started_before_the_agent() {
    check_victim(http_server);
}

#[test]
fn http_server_started_after_the_agent() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let leaf = leaf().unwrap();
    let victim = http_server(Some(&leaf)).unwrap();
    check_hops(
        &scene,
        agent,
        &victim,
        &[Hop::of(&victim, Asked::Work), Hop::of(&leaf, Asked::Leaf)],
    );
}

#[test]
fn gunicorn_sync_calls_with_requests() {
    check_victim(|leaf| gunicorn(Worker::Sync, "requests", leaf));
}

#[test]
fn nginx_answers_by_itself_have_their_attributes() {
    let scene = Scene::open().unwrap();
    let victim = nginx(2, &Behind::Nothing).unwrap();
    let agent = scene.agent().start().unwrap();
    let mut complaints = Complaints::default();
    let ids = unique_ids(times(20));
    for id in &ids {
        curl_ok(
            &format!("{}/hello/{id}", victim.url()),
            &["-A", "probe/1"],
            200,
        )
        .unwrap();
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 2);
    for id in &ids {
        let path = format!("/hello/{id}");
        let client = complaints.only("curl's CLIENT span", &spans, |s| {
            s.kind == Kind::Client && s.path() == path
        });
        let server = complaints.only("nginx's SERVER span", &spans, |s| {
            s.kind == Kind::Server && s.path() == path
        });
        let (Some(client), Some(server)) = (client, server) else {
            continue;
        };
        joined(&mut complaints, client, server, None);
        complaints.equal(
            "service",
            client,
            client.resource_text("service.name"),
            "curl",
        );
        complaints.equal(
            "service",
            server,
            server.resource_text("service.name"),
            "nginx",
        );
        for span in [client, server] {
            well_formed(&mut complaints, span);
            complaints.equal("status", span, span.status_code(), Some(200));
            complaints.equal(
                "version",
                span,
                span.text("network.protocol.version"),
                "1.1",
            );
            complaints.equal(
                "server.address",
                span,
                span.text("server.address"),
                "127.0.0.1",
            );
            complaints.equal(
                "server.port",
                span,
                span.int("server.port"),
                Some(i64::from(victim.port)),
            );
            complaints.equal(
                "user agent",
                span,
                span.text("user_agent.original"),
                "probe/1",
            );
            complaints.equal(
                "peer address",
                span,
                span.text("network.peer.address"),
                "127.0.0.1",
            );
            complaints.equal(
                "response size",
                span,
                span.int("http.response.body.size"),
                Some(6),
            );
        }
        complaints.equal("scheme", server, server.text("url.scheme"), "http");
        complaints.equal(
            "client.address",
            server,
            server.text("client.address"),
            "127.0.0.1",
        );
        complaints.equal(
            "url",
            client,
            client.text("url.full"),
            &format!("http://127.0.0.1:{}{path}", victim.port),
        );
        complaints.equal(
            "peer port",
            client,
            client.int("network.peer.port"),
            Some(i64::from(victim.port)),
        );
        complaints.equal("instance", server, of_process(server, &victim.pids()), true);
    }
    agent.stop().unwrap();
    complaints.verdict("nginx").unwrap();
}

#[test]
fn nginx_static_files_with_and_without_sendfile() {
    let scene = Scene::open().unwrap();
    let victim = nginx(1, &Behind::Nothing).unwrap();
    let agent = scene.agent().start().unwrap();
    let count = times(20);
    let files = [
        ("/static/hello.txt", HELLO.len()),
        ("/sendfile/big.bin", BIG),
    ];
    for (path, size) in files {
        for _ in 0..count {
            let outcome = curl_ok(
                &format!("{}{path}", victim.url()),
                &["-o", "/dev/null", "-w", "%{size_download}\n%{http_code}"],
                200,
            );
            assert!(outcome.unwrap().body.ends_with(&size.to_string()));
        }
    }
    let pids = victim.pids();
    let served =
        |span: &suture_tests::ReceivedSpan| span.kind == Kind::Server && of_process(span, &pids);
    // The count is checked below, after the stream has settled: fewer spans fail there with a listing.
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(|span| served(span)).count() >= 2 * count,
        Duration::from_secs(8),
    );
    let spans = scene.receiver().settle(Duration::from_millis(600));
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (path, size) in files {
        for kind in [Kind::Server, Kind::Client] {
            let of_file: Vec<_> = spans
                .iter()
                .filter(|span| span.kind == kind && span.path() == path)
                .filter(|span| {
                    span.text("url.full").is_empty()
                        || span
                            .text("url.full")
                            .contains(&format!(":{}/", victim.port))
                })
                .filter(|span| span.kind == Kind::Client || served(span))
                .collect();
            complaints.unless(of_file.len() == count, || {
                format!(
                    "{} {kind:?} spans of {path}, {count} requests: {}",
                    of_file.len(),
                    suture_tests::span::listing(of_file.iter().copied())
                )
            });
            for span in of_file {
                well_formed(&mut complaints, span);
                complaints.equal(
                    "response size",
                    span,
                    span.int("http.response.body.size"),
                    Some(size as i64),
                );
            }
        }
    }
    complaints.verdict("nginx files").unwrap();
}
