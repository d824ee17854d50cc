//! The victims themselves, without an agent: each one serves the paths the scenarios count on.

use suture_tests::client::get_all;
use suture_tests::curl::curl_ok;
use suture_tests::scene::{unique_id, unique_ids};
use suture_tests::victims::nginx::{Behind, PhpFpm, nginx};
use suture_tests::victims::python::{Worker, gunicorn, http_server, plain_http_server};
use suture_tests::victims::scripts::{NodeFramework, node, webrick};
use suture_tests::victims::{Victim, compiled, leaf};

fn check_serves(victim: &Victim) {
    let (url, id) = (victim.url(), unique_id());
    let worked = curl_ok(&format!("{url}/work/{id}"), &[], 200).unwrap();
    let leaf_says = if worked.body.contains("leaf /leaf/") {
        format!("leaf /leaf/{id}/0")
    } else {
        format!("leaf {id} 0")
    };
    assert_eq!(
        worked.body,
        format!("worked {leaf_says}"),
        "{}",
        victim.name
    );
    for status in [200, 404, 500, 204] {
        curl_ok(&format!("{url}/status/{status}"), &[], status).unwrap();
    }
    assert_eq!(
        curl_ok(&format!("{url}/echo"), &["--data-binary", "12345"], 200)
            .unwrap()
            .body,
        "5",
        "{}",
        victim.name
    );
    assert_eq!(
        curl_ok(&format!("{url}/slow/{id}?ms=10"), &[], 200)
            .unwrap()
            .body,
        "slow",
        "{}",
        victim.name
    );
    let chunks = "part 0\npart 1\npart 2\npart 3\npart 4\n";
    assert_eq!(
        curl_ok(&format!("{url}/chunked"), &[], 200).unwrap().body,
        chunks,
        "{}",
        victim.name
    );
    let paths: Vec<String> = unique_ids(16)
        .iter()
        .map(|id| format!("/work/{id}"))
        .collect();
    get_all(victim.port, &paths, 8).unwrap();
    assert!(victim.pids().contains(&victim.pid()));
}

#[test]
fn every_victim_serves_what_the_scenarios_ask() {
    let leaf = leaf().unwrap();
    check_serves(&http_server(Some(&leaf)).unwrap());
    for worker in [Worker::Sync, Worker::Gthread] {
        for client in ["requests", "urllib"] {
            check_serves(&gunicorn(worker, client, Some(&leaf)).unwrap());
        }
    }
    check_serves(&node(NodeFramework::Http, Some(&leaf)).unwrap());
    check_serves(&node(NodeFramework::Express, Some(&leaf)).unwrap());
    check_serves(&webrick(Some(&leaf)).unwrap());
    check_serves(&compiled::go(Some(&leaf)).unwrap());
    check_serves(&compiled::java(Some(&leaf)).unwrap());
    let fpm = PhpFpm::start(Some(&leaf)).unwrap();
    check_serves(&nginx(1, &Behind::FastCgi(&fpm)).unwrap());
    let behind = http_server(Some(&leaf)).unwrap();
    check_serves(&nginx(2, &Behind::Proxy(&behind)).unwrap());
    check_serves(&nginx(1, &Behind::ProxyKeepAlive(&behind)).unwrap());
    let plain = plain_http_server().unwrap();
    assert_eq!(
        curl_ok(&format!("{}/static/hello.txt", plain.url()), &[], 200)
            .unwrap()
            .body,
        "hello\n"
    );
}
