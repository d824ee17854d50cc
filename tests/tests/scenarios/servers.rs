//! The other server victims in the chain caller -> victim -> leaf.

use std::time::Duration;

use suture_tests::check::{Complaints, of_process, well_formed};
use suture_tests::curl::curl_ok;
use suture_tests::scene::times;
use suture_tests::victims::compiled;
use suture_tests::victims::python::{Worker, gunicorn, plain_http_server};
use suture_tests::victims::scripts::{NodeFramework, node, webrick};
use suture_tests::{Kind, Scene};

use crate::scenarios::chain::check_victim;

#[test]
fn gunicorn_gthread_calls_with_urllib() {
    check_victim(|leaf| gunicorn(Worker::Gthread, "urllib", leaf));
}

#[test]
fn gunicorn_gthread_calls_with_requests() {
    check_victim(|leaf| gunicorn(Worker::Gthread, "requests", leaf));
}

#[test]
fn node_http() {
    check_victim(|leaf| node(NodeFramework::Http, leaf));
}

#[test]
fn node_express() {
    check_victim(|leaf| node(NodeFramework::Express, leaf));
}

#[test]
fn go_net_http() {
    check_victim(compiled::go);
}

#[test]
fn java_com_sun_net_httpserver() {
    check_victim(compiled::java);
}

#[test]
fn ruby_webrick() {
    check_victim(webrick);
}

#[test]
fn python_m_http_server() {
    let scene = Scene::open().unwrap();
    let victim = plain_http_server().unwrap();
    let agent = scene.agent().start().unwrap();
    let count = times(20);
    for _ in 0..count {
        curl_ok(&format!("{}/static/hello.txt", victim.url()), &[], 200).unwrap();
    }
    curl_ok(&format!("{}/static/missing.txt", victim.url()), &[], 404).unwrap();
    let pids = victim.pids();
    let served =
        |span: &suture_tests::ReceivedSpan| span.kind == Kind::Server && of_process(span, &pids);
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(|span| served(span)).count() > count,
        Duration::from_secs(8),
    );
    let spans: Vec<_> = scene
        .receiver()
        .settle(Duration::from_millis(600))
        .into_iter()
        .filter(served)
        .collect();
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    complaints.unless(spans.len() == count + 1, || {
        format!("{} spans, {} requests", spans.len(), count + 1)
    });
    for span in &spans {
        well_formed(&mut complaints, span);
        let found = span.path() == "/static/hello.txt";
        complaints.equal(
            "status",
            span,
            span.status_code(),
            Some(if found { 200 } else { 404 }),
        );
        complaints.equal(
            "version",
            span,
            span.text("network.protocol.version"),
            "1.1",
        );
        if found {
            complaints.equal(
                "response size",
                span,
                span.int("http.response.body.size"),
                Some(6),
            );
        }
    }
    complaints.verdict("python -m http.server").unwrap();
}
