//! Network namespaces: services inside of them, and connects that fail before a packet is answered.

use std::time::Duration;

use suture_tests::check::{Complaints, collect, of_process};
use suture_tests::hosts::{Host, Hosts, RIGHT, ip};
use suture_tests::process::{Running, program, source};
use suture_tests::scene::unique_ids;
use suture_tests::victims::leaf;
use suture_tests::victims::python::interpreter;
use suture_tests::{Kind, Scene};

use crate::scenarios::sockets::{Sent, check_sent};

#[test]
fn other_network_namespaces() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let spaces = Hosts::by_veth().unwrap();
    let port = 8080;
    let mut command = spaces
        .command(Host::Right, &interpreter().unwrap())
        .unwrap();
    command
        .arg(source("python/threading_app.py"))
        .arg(port.to_string())
        .arg("0.0.0.0");
    let mut server = Running::start("http.server in a namespace", &mut command).unwrap();
    let curl_path = program(&["curl"], "curl").unwrap();
    let fetch = |space: Host, url: &str| {
        let mut command = spaces.command(space, &curl_path).unwrap();
        let child = command
            .args(["-sS", "--max-time", "30", url])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        (pid, child.wait_with_output().unwrap().status.success())
    };
    server
        .wait_for("its port", || {
            fetch(Host::Right, "http://127.0.0.1:8080/up").1
        })
        .unwrap();
    let ids = unique_ids(2);
    let mut sent = Vec::new();
    for (id, space, host) in [
        (&ids[0], Host::Right, "127.0.0.1"),
        (&ids[1], Host::Left, RIGHT),
    ] {
        let path = format!("/leaf/{id}");
        let (client, done) = fetch(space, &format!("http://{host}:{port}{path}"));
        assert!(done, "curl in {space:?} to {host}");
        let servers = server.pids();
        sent.push(Sent {
            what: format!("{host} from {space:?}"),
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
        check_sent(&mut complaints, &spans, sent);
    }
    complaints.verdict("network namespaces").unwrap();
}

#[test]
fn a_connect_without_a_route_and_one_without_a_neighbour_are_one_span_each() {
    let scene = Scene::open().unwrap();
    // A service whose threads may wait with epoll: connect()'s own hooks are on from here.
    let _served = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let spaces = Hosts::by_veth().unwrap();
    ip(&[
        "-n",
        spaces.name(Host::Left),
        "route",
        "add",
        "10.213.8.0/24",
        "dev",
        "vl",
    ])
    .unwrap();
    let curl_path = program(&["curl"], "curl").unwrap();
    let mut complaints = Complaints::default();
    // The first fails inside of connect() before TCP changes its state, the second when nobody answered ARP (3 s).
    let asked: Vec<(u32, &str)> = [
        ("192.0.2.1", "network_unreachable"),
        ("10.213.8.9", "host_unreachable"),
    ]
    .into_iter()
    .map(|(host, error)| {
        let mut command = spaces.command(Host::Left, &curl_path).unwrap();
        let mut child = command
            .args(["-s", "--max-time", "20", &format!("http://{host}/x")])
            .spawn()
            .unwrap();
        let pid = child.id();
        assert_eq!(child.wait().unwrap().code(), Some(7), "curl to {host}");
        (pid, error)
    })
    .collect();
    let spans = scene.receiver().settle(Duration::from_millis(2500));
    agent.stop().unwrap();
    for (pid, error) in asked {
        let span = complaints.only(&format!("span of the connect: {error}"), &spans, |span| {
            span.kind == Kind::Client && of_process(span, &[pid])
        });
        if let Some(span) = span {
            complaints.equal("error.type", span, span.text("error.type"), error);
        }
    }
    complaints.verdict("connects that fail").unwrap();
}
