//! What is in scope and what is not: filters, traffic that is not HTTP, service names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use suture_tests::check::{Complaints, collect, of_process};
use suture_tests::curl::curl_ok;
use suture_tests::process::{free_port, program, source};
use suture_tests::scene::unique_id;
use suture_tests::span::listing;
use suture_tests::victims::python::interpreter;
use suture_tests::victims::scripts::{NodeFramework, node};
use suture_tests::victims::{Serving, Victim, leaf};
use suture_tests::{Kind, Scene};

#[test]
fn filters_by_port_pid_and_exe() {
    for filter in ["port", "pid", "exe"] {
        let scene = Scene::open().unwrap();
        let wanted = leaf().unwrap();
        let other = node(NodeFramework::Http, None).unwrap();
        let (port, pid) = (wanted.port.to_string(), wanted.pid().to_string());
        let arguments = match filter {
            "port" => ["--port", port.as_str()],
            "pid" => ["--pid", pid.as_str()],
            _ => ["--exe", "*python*"],
        };
        let agent = scene.agent().args(&arguments).start().unwrap();
        let id = unique_id();
        for victim in [&wanted, &other] {
            curl_ok(&format!("{}/leaf/{id}", victim.url()), &[], 200).unwrap();
        }
        let spans = collect(scene.receiver(), &[&id], 1);
        let (inside, outside) = (wanted.pids(), other.pids());
        agent.stop().unwrap();
        let mut complaints = Complaints::default();
        complaints.only(
            &format!("--{filter}: SERVER span of the wanted process"),
            &spans,
            |span| span.kind == Kind::Server && of_process(span, &inside),
        );
        let surplus: Vec<_> = spans
            .iter()
            .filter(|span| of_process(span, &outside))
            .collect();
        complaints.unless(surplus.is_empty(), || {
            format!("--{filter}: {}", listing(surplus.iter().copied()))
        });
        complaints.verdict("filters").unwrap();
    }
}

/// Sends `up` and then `down` over a loopback connection, both ends in this process; returns the port.
fn talk(up: &[u8], down: &[u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for _ in 0..3 {
        client.write_all(up).unwrap();
        let mut got = vec![0; up.len()];
        server.read_exact(&mut got).unwrap();
        server.write_all(down).unwrap();
        let mut got = vec![0; down.len()];
        client.read_exact(&mut got).unwrap();
    }
    port
}

#[test]
fn traffic_that_is_not_http_gives_no_spans() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    let redis_port = free_port().unwrap();
    let mut command = Command::new(program(&["redis-server"], "redis-server").unwrap());
    command.args([
        "--port",
        &redis_port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    let redis = Victim::start("redis", Serving::Loop, redis_port, &mut command, None).unwrap();
    let cli = program(&["redis-cli"], "redis-tools").unwrap();
    // The value looks like HTTP; the protocol around it does not.
    for arguments in [
        vec!["PING"],
        vec!["SET", "key", "GET /not/http HTTP/1.1"],
        vec!["GET", "key"],
    ] {
        let done = Command::new(&cli)
            .args(["-p", &redis_port.to_string()])
            .args(&arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "redis-cli {arguments:?}");
    }
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let random: Vec<u8> = (0..20_000)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .collect();
    let client_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &random[..506]].concat();
    let server_hello = [
        &[0x16, 3, 3, 0, 0x7a, 2, 0, 0, 0x76, 3, 3][..],
        &random[506..620],
    ]
    .concat();
    let ports = [
        redis_port,
        talk(&client_hello, &server_hello),
        talk(&random, &random),
        talk(b"GETX nothing of the kind\r\n", b"HTTPS? no\r\n"),
        talk(b"EHLO mail.test\r\n", b"250 mail.test\r\n"),
    ];
    let id = unique_id();
    let control = leaf().unwrap();
    curl_ok(&format!("{}/leaf/{id}", control.url()), &[], 200).unwrap();
    assert_eq!(
        collect(scene.receiver(), &[&id], 2).len(),
        2,
        "the control request must give two spans"
    );
    let spans = scene.receiver().settle(Duration::from_millis(1000));
    let redis_pids = redis.pids();
    agent.stop().unwrap();
    let wrong: Vec<_> = spans
        .iter()
        // The launcher knocks at redis' port until it listens: those refused connects are spans, and rightly so.
        .filter(|span| span.name != "connect")
        .filter(|span| {
            let of_port = |key: &str| {
                ports
                    .iter()
                    .any(|port| span.int(key) == Some(i64::from(*port)))
            };
            of_port("server.port")
                || of_port("network.peer.port")
                || of_port("network.local.port")
                || of_process(span, &redis_pids)
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "spans of traffic that is not HTTP: {}",
        listing(wrong.iter().copied())
    );
}

#[test]
fn services_are_named_by_their_own_environment_first() {
    let scene = Scene::open().unwrap();
    let port = free_port().unwrap();
    let mut command = Command::new(interpreter().unwrap());
    command
        .arg(source("python/threading_app.py"))
        .arg(port.to_string())
        .env("OTEL_SERVICE_NAME", "checkout")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=staging,service.version=1.2.3",
        );
    let victim = Victim::start(
        "named http.server",
        Serving::Thread,
        port,
        &mut command,
        None,
    )
    .unwrap();
    let unnamed = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    for server in [&victim, &unnamed] {
        curl_ok(&format!("{}/leaf/{id}", server.url()), &[], 200).unwrap();
    }
    let spans = collect(scene.receiver(), &[&id], 4);
    let (named_pids, unnamed_pids) = (victim.pids(), unnamed.pids());
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let named = complaints.only("SERVER span of the named service", &spans, |span| {
        span.kind == Kind::Server && of_process(span, &named_pids)
    });
    if let Some(span) = named {
        for (key, value) in [
            ("service.name", "checkout"),
            ("deployment.environment.name", "staging"),
            ("service.version", "1.2.3"),
        ] {
            complaints.equal(key, span, span.resource_text(key), value);
        }
    }
    let by_script = complaints.only("SERVER span of the unnamed service", &spans, |span| {
        span.kind == Kind::Server && of_process(span, &unnamed_pids)
    });
    if let Some(span) = by_script {
        complaints.equal(
            "service.name from the script",
            span,
            span.resource_text("service.name"),
            "threading_app",
        );
    }
    complaints.verdict("service names").unwrap();
}
