//! The other server victims in the chain caller -> victim -> leaf.

use std::time::Duration;

use suture_tests::check::{Complaints, collect, joined, of_process, well_formed};
use suture_tests::curl::curl_ok;
use suture_tests::scene::{times, unique_ids};
use suture_tests::victims::compiled;
use suture_tests::victims::nginx::{Behind, nginx};
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
