//! `traceparent` written into requests: by whom, for whom, and that no other byte changes.
//!
//! The servers here are this test's own or real ones; `propagation.socket_pair = "off"` makes the loopback a destination like another host.
//! A connection's first request is given a header on every kernel; later ones too where the probe passes and the client never waits
//! in its calls, which the agent says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use suture_tests::client::{Connection, request};
use suture_tests::exact::{self, Client, Counts};
use suture_tests::process::{Folder, program};
use suture_tests::scene::{times, unique_id};
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::python::{self, EventLoop};
use suture_tests::victims::scripts::{NodeFramework, node};
use suture_tests::victims::{self, compiled};
use suture_tests::{Agent, Kind, ReceivedSpan, Scene};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const ON: &str = "[propagation]\nheader = \"on\"\nsocket_pair = \"off\"\n";
const FORCED: &str = "[propagation]\nheader = \"force\"\nsocket_pair = \"off\"\n";

fn agent(scene: &Scene, folder: &Folder, text: &str, arguments: &[&str]) -> Agent {
    // Under other kernels each way of seeing bytes is tried.
    let hooks = std::env::var("SUTURE_TEST_HOOKS")
        .map(|way| format!("[capture]\nhooks = \"{way}\"\n"))
        .unwrap_or_default();
    scene
        .agent()
        .configured(folder, &format!("{text}{hooks}"))
        .unwrap()
        .args(arguments)
        .start()
        .unwrap()
}

/// A server of this test's own, which keeps the heads that it read.
struct Leaf {
    port: u16,
    heads: Arc<Mutex<Vec<Vec<String>>>>,
}

fn read_head(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

impl Leaf {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || Self::serve(stream, &kept));
            }
        });
        Self { port, heads }
    }

    fn serve(mut stream: TcpStream, heads: &Mutex<Vec<Vec<String>>>) {
        let Ok(read) = stream.try_clone() else { return };
        let mut input = BufReader::new(read);
        while let Some(head) = read_head(&mut input) {
            heads.lock().unwrap().push(head);
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_err()
            {
                return;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The header of each request whose path has `id` in it, by path.
    fn headers(&self, id: &str) -> BTreeMap<String, Vec<String>> {
        let heads = self.heads.lock().unwrap();
        heads
            .iter()
            .filter_map(|head| {
                let path = head.first()?.split(' ').nth(1)?;
                path.contains(id).then(|| {
                    let values = head
                        .iter()
                        .filter_map(|line| line.strip_prefix("traceparent: "))
                        .map(str::to_owned);
                    (path.to_owned(), values.collect())
                })
            })
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each header names the client span of its own request; says how many requests of `id` had one, and how many did not.
fn compare(scene: &Scene, leaf: &Leaf, id: &str) -> (usize, usize) {
    let headers = leaf.headers(id);
    scene
        .receiver()
        .wait_until(
            |spans| {
                headers.keys().all(|path| {
                    spans
                        .iter()
                        .any(|span| span.kind == Kind::Client && span.path() == *path)
                })
            },
            Duration::from_secs(20),
        )
        .unwrap();
    let spans = scene.receiver().spans();
    let (mut with, mut without) = (0, 0);
    for (path, values) in &headers {
        let own: Vec<String> = spans
            .iter()
            .filter(|span| span.kind == Kind::Client && span.path() == *path)
            .map(|span| format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)))
            .collect();
        match values.as_slice() {
            [] => without += 1,
            [value] => {
                assert!(own.contains(value), "{path}: {value} names none of {own:?}");
                with += 1;
            }
            several => panic!("{path} has {several:?}"),
        }
    }
    (with, without)
}

#[test]
fn vm_the_first_request_of_a_connection_names_its_client_span() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let agent = agent(&scene, &folder, ON, &[]);
    let leaf = Leaf::start();
    let id = unique_id();
    let curl = Command::new(program(&["curl"], "curl").unwrap())
        .args(["-s", &format!("{}/{id}/curl", leaf.url())])
        .output()
        .unwrap();
    assert_eq!(curl.stdout, b"ok");
    let script = format!(
        "import urllib.request as u\nfor n in range(3): u.urlopen('{}/{id}/urllib/%d' % n).read()",
        leaf.url()
    );
    let python = Command::new(python::interpreter().unwrap())
        .args(["-c", &script])
        .status()
        .unwrap();
    assert!(python.success());
    let counts = compare(&scene, &leaf, &id);
    assert_eq!(counts, (4, 0), "{}", agent.stop().unwrap().stderr);
}

/// Whether later requests of a connection are given a header, too: what the agent said when it started.
fn keeps(agent: &Agent) -> bool {
    !agent
        .stderr()
        .contains("the first request of a connection only")
}

/// Server spans of `path`s with `id` at the leaf: with the right parent, by a header; roots. All others are wrong.
fn parents(scene: &Scene, id: &str, count: usize) -> (usize, usize) {
    let is_leaf =
        |span: &ReceivedSpan| span.path().starts_with("/leaf/") && span.path().contains(id);
    scene
        .receiver()
        .wait_until(
            |spans| spans.iter().filter(|span| is_leaf(span)).count() >= 2 * count,
            Duration::from_secs(20),
        )
        .unwrap();
    let spans = scene.receiver().settle(Duration::from_millis(500));
    let (mut right, mut roots) = (0, 0);
    for server in spans
        .iter()
        .filter(|span| is_leaf(span) && span.kind == Kind::Server)
    {
        let Some(parent) = &server.parent else {
            roots += 1;
            continue;
        };
        let is_right = spans.iter().any(|client| {
            client.kind == Kind::Client
                && client.span_id == *parent
                && client.trace_id == server.trace_id
                && client.path() == server.path()
        });
        assert!(
            is_right && server.evidence() == "header",
            "{}",
            server.line()
        );
        right += 1;
    }
    (right, roots)
}

#[test]
fn clients_of_all_kinds_are_the_parents_of_who_they_call() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let agent = agent(&scene, &folder, ON, &[]);
    for kind in ["go", "node", "aiohttp", "java"] {
        let leaf = victims::leaf().unwrap();
        let victim = match kind {
            "go" => compiled::go(Some(&leaf)),
            "node" => node(NodeFramework::Http, Some(&leaf)),
            "java" => compiled::java(Some(&leaf)),
            _ => python::event_loop(EventLoop::Aiohttp, Some(&leaf)),
        }
        .unwrap();
        let (id, count) = (unique_id(), times(10));
        for number in 0..count {
            let mut open = Connection::local(victim.port).unwrap();
            open.send(&request("GET", &format!("/work/{id}-{number}"), &[], b""))
                .unwrap();
            assert_eq!(open.answer(false).unwrap().status, 200, "{kind}");
        }
        let (right, roots) = parents(&scene, &id, count);
        println!("{kind}: {right} right, {roots} roots");
        assert!(
            right > 0 && right + roots >= count,
            "{kind}: {right} right, {roots} roots"
        );
        if keeps(&agent) && kind != "java" {
            assert_eq!(roots, 0, "{kind}");
        }
    }
    agent.stop().unwrap();
}

#[test]
fn a_proxy_is_the_parent_unless_what_it_received_is_passed_on() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    // The client is not followed: what nginx receives has a header where this test writes it alone.
    let agent = agent(&scene, &folder, ON, &["--exe", "nginx", "python3*"]);
    let behind = victims::leaf().unwrap();
    let proxy = nginx(1, &Behind::Proxy(&behind)).unwrap();
    let id = unique_id();
    let sent = format!("00-{TRACE}-{PARENT}-01");
    for number in 0..6 {
        let mut open = Connection::local(proxy.port).unwrap();
        let headers: &[(&str, &str)] = if number < 4 {
            &[]
        } else {
            &[("traceparent", &sent)]
        };
        open.send(&request(
            "GET",
            &format!("/leaf/{id}-{number}/0"),
            headers,
            b"",
        ))
        .unwrap();
        assert_eq!(open.answer(false).unwrap().status, 200);
    }
    let spans = scene.receiver().settle(Duration::from_millis(1_000));
    let at_leaf = |number: usize| {
        let path = format!("/leaf/{id}-{number}/0");
        let found = spans.iter().find(|span| {
            span.kind == Kind::Server
                && span.path() == path
                && span
                    .resource_text("process.executable.name")
                    .starts_with("python")
        });
        found.unwrap_or_else(|| panic!("no span of {path}")).clone()
    };
    for number in 0..4 {
        let server = at_leaf(number);
        let parent = server.parent.clone().unwrap_or_default();
        let client = spans
            .iter()
            .find(|span| span.kind == Kind::Client && span.span_id == parent);
        // nginx reads the first head before it is known whom it calls.
        assert!(
            client.is_some_and(|span| span.trace_id == server.trace_id),
            "{}",
            server.line()
        );
    }
    for number in 4..6 {
        assert_eq!(hex(&at_leaf(number).trace_id), TRACE);
        assert_eq!(
            at_leaf(number).parent.map(|id| hex(&id)).as_deref(),
            Some(PARENT)
        );
    }
    agent.stop().unwrap();
}

/// What the kernel side must have written: into the first request of each connection, or into all. A connection that the agent does not
/// follow any more is left alone from there on, which takes a few of them.
fn judge(counts: Counts, is_all: bool) {
    println!("{counts:?}");
    let expected = if is_all { counts.due } else { counts.first };
    assert!(
        counts.written <= expected && counts.written * 100 >= expected * 95,
        "{counts:?}"
    );
}

#[test]
fn every_byte_arrives_as_it_was_sent_but_for_the_header() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let asked = times(20_000) / 2;
    let on = agent(&scene, &folder, ON, &[]);
    let keeps = keeps(&on);
    for (client, is_all) in [(Client::Blocks, false), (Client::Polls, keeps)] {
        let counts = exact::run(client, asked, 8, 1).unwrap();
        assert_eq!(counts.woken, 0, "{counts:?}");
        judge(counts, is_all);
    }
    on.stop().unwrap();
    // Whatever that does to reads: every rule is tried on every kernel.
    let forced = agent(&scene, &folder, FORCED, &[]);
    for client in [Client::Blocks, Client::Polls] {
        judge(exact::run(client, asked / 2, 8, 2).unwrap(), true);
    }
    forced.stop().unwrap();
}

#[test]
fn an_agent_killed_under_load_leaves_no_stall_and_nothing_behind() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    for text in [ON, FORCED] {
        for round in 0..3 {
            let agent = agent(&scene, &folder, text, &[]);
            std::thread::scope(|scope| {
                let load = scope.spawn(move || exact::run(Client::Polls, times(6_000), 8, round));
                std::thread::sleep(Duration::from_millis(150));
                agent.kill().unwrap();
                load.join().unwrap().unwrap();
            });
        }
    }
    // It would not start beside what one before left.
    agent(&scene, &folder, ON, &[]).stop().unwrap();
}

#[test]
fn other_protocols_pass() {
    /// TLS both ways, blocking and not, each a megabyte.
    const TLS: &str = "
import ssl, socket, threading, subprocess, sys, os, asyncio
d = sys.argv[1]
subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', d + '/k', '-out', d + '/c',
    '-subj', '/CN=localhost', '-days', '2'], check=True, capture_output=True)
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); server.load_cert_chain(d + '/c', d + '/k')
client = ssl.create_default_context(cafile=d + '/c'); client.check_hostname = False
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen()
def serve():
    while True:
        plain, _ = listener.accept()
        with server.wrap_socket(plain, server_side=True) as s:
            got = b''
            while len(got) < 1 << 20: got += s.recv(65536)
            s.sendall(got[::-1])
threading.Thread(target=serve, daemon=True).start()
body = os.urandom(1 << 20)
for n in range(4):
    with client.wrap_socket(socket.create_connection(listener.getsockname())) as s:
        s.sendall(body); got = b''
        while len(got) < len(body): got += s.recv(65536)
        assert got == body[::-1]
async def main():
    r, w = await asyncio.open_connection(*listener.getsockname(), ssl=client)
    w.write(body); await w.drain()
    assert await r.readexactly(len(body)) == body[::-1]
    w.close()
asyncio.run(main())
";
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let agent = agent(&scene, &folder, ON, &[]);
    let tls = Command::new(python::interpreter().unwrap())
        .args(["-c", TLS])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        tls.status.success(),
        "{}",
        String::from_utf8_lossy(&tls.stderr)
    );
    agent.stop().unwrap();
}

#[test]
fn nothing_is_written_where_headers_are_off_or_the_destination_is_not_listed() {
    for text in [
        "[propagation]\nsocket_pair = \"off\"\n",
        "[propagation]\nheader = \"on\"\nsocket_pair = \"off\"\ndestinations = [\"private\"]\n",
        "[propagation]\nheader = \"on\"\n",
    ] {
        let scene = Scene::open().unwrap();
        let folder = Folder::new().unwrap();
        let agent = agent(&scene, &folder, text, &[]);
        let counts = exact::run(Client::Polls, 200, 4, 3).unwrap();
        assert_eq!(counts.written, 0, "{text}");
        agent.stop().unwrap();
    }
}
