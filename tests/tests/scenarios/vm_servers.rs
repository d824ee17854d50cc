//! The servers every machine has: http.server, gunicorn, nginx. Short set.

use std::time::Duration;

use suture_tests::check::{Asked, Complaints, Hop, of_process, well_formed};
use suture_tests::curl::curl_ok;
use suture_tests::scene::times;
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
