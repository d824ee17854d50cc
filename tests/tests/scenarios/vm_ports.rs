//! Several connections that share their client's address and port: each is its own.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use suture_tests::check::{Complaints, collect};
use suture_tests::client::{Connection, Port, request, tcp_from};
use suture_tests::process::signal;
use suture_tests::scene::unique_id;
use suture_tests::victims::Victim;
use suture_tests::victims::python::http_server;
use suture_tests::{Kind, Scene};

use super::sockets::{Sent, check_sent};

fn sent(what: &str, id: &str, server: &Victim) -> Sent {
    Sent {
        what: what.to_owned(),
        path: format!("/leaf/{id}/0"),
        client: std::process::id(),
        servers: server.pids(),
        request_size: None,
        response_size: None,
    }
}

fn ask(connection: &mut Connection, id: &str) {
    connection
        .send(&request("GET", &format!("/leaf/{id}/0"), &[], b""))
        .unwrap();
}

#[test]
fn two_connections_of_one_client_port_are_told_apart_whoever_is_faster() {
    let scene = Scene::open().unwrap();
    let (slow, quick) = (http_server(None).unwrap(), http_server(None).unwrap());
    let agent = scene.agent().start().unwrap();
    let (first, second, third) = (unique_id(), unique_id(), unique_id());

    let mut to_slow = Connection::over(tcp_from(Port::Shared(0), slow.port).unwrap()).unwrap();
    let port = to_slow.local_addr().unwrap().port();
    // The slow server cannot read this request before the quick one has answered the same port.
    signal(slow.pid(), libc::SIGSTOP);
    ask(&mut to_slow, &first);
    let mut to_quick = Connection::over(tcp_from(Port::Shared(port), quick.port).unwrap()).unwrap();
    assert_eq!(to_quick.local_addr().unwrap().port(), port);
    ask(&mut to_quick, &second);
    assert_eq!(to_quick.answer(false).unwrap().status, 200);
    drop(to_quick);
    signal(slow.pid(), libc::SIGCONT);
    assert_eq!(to_slow.answer(false).unwrap().status, 200);
    ask(&mut to_slow, &third);
    assert_eq!(to_slow.answer(false).unwrap().status, 200);

    let spans = collect(scene.receiver(), &[&first, &second, &third], 2);
    let mut complaints = Complaints::default();
    for (what, id, server) in [
        ("first of the slow one", &first, &slow),
        ("the quick one", &second, &quick),
        ("second of the slow one", &third, &slow),
    ] {
        check_sent(&mut complaints, &spans, &sent(what, id, server));
    }
    complaints.verdict("one client port, two servers").unwrap();
    agent.stop().unwrap();
}

#[test]
fn a_client_on_the_port_that_the_agent_exports_from_is_traced() {
    let scene = Scene::open().unwrap();
    let victim = http_server(None).unwrap();
    let agent = scene.agent().start().unwrap();
    // Something to export, so that the agent is connected.
    let before = unique_id();
    let mut connection = Connection::local(victim.port).unwrap();
    ask(&mut connection, &before);
    connection.answer(false).unwrap();
    let is_there = |spans: &[suture_tests::ReceivedSpan]| {
        spans
            .iter()
            .any(|span| span.kind == Kind::Server && span.path().contains(&before))
    };
    scene
        .receiver()
        .wait_until(is_there, Duration::from_secs(10))
        .unwrap();
    let endpoint = scene.receiver().grpc_endpoint();
    let own = port_towards(endpoint.rsplit(':').next().unwrap().parse().unwrap());

    let id = unique_id();
    let mut same = Connection::over(on_port(own, victim.port)).unwrap();
    assert_eq!(same.local_addr().unwrap().port(), own);
    ask(&mut same, &id);
    assert_eq!(same.answer(false).unwrap().status, 200);
    let spans = collect(scene.receiver(), &[&id], 2);
    let mut complaints = Complaints::default();
    check_sent(
        &mut complaints,
        &spans,
        &sent("the same port", &id, &victim),
    );
    complaints.verdict("the agent's own port").unwrap();
    agent.stop().unwrap();
}

/// The local port of an established connection to `port`.
fn port_towards(port: u16) -> u16 {
    // local_address rem_address st, addresses as hex of the bytes in memory, 01 is ESTABLISHED (proc_net_tcp.rst).
    let rest = format!(" 0100007F:{port:04X} 01 ");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&rest));
    let line = line.unwrap_or_else(|| panic!("no connection to {port} in\n{table}"));
    let local = line.split_whitespace().nth(1).unwrap();
    u16::from_str_radix(local.split(':').nth(1).unwrap(), 16).unwrap()
}

/// A connection to 127.0.0.1 from `port`, which a connection to somewhere else has already: the kernel gives it out again
/// only by itself. By IP_LOCAL_PORT_RANGE (6.3+), else by asking until it comes around.
fn on_port(port: u16, to: u16) -> TcpStream {
    if let Ok(stream) = tcp_from(Port::Given(port), to) {
        return stream;
    }
    let mut asked = Vec::new();
    for _ in 0..70_000 {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
        if stream.local_addr().unwrap().port() == port {
            return stream;
        }
        asked.push(Connection::over(stream).unwrap());
        if asked.len() == 64 {
            for connection in asked.drain(..) {
                connection.reset_on_close().unwrap();
            }
        }
    }
    panic!("port {port} was not given out");
}
