//! Contexts in TCP options between two agents, and agents that come and go while options are sent.
//!
//! Two agents on one kernel are two programs on the same cgroup, both of which want room for options: each sees only its own
//! service, as on two hosts.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suture_tests::check::{Complaints, collect};
use suture_tests::client::{Connection, request};
use suture_tests::hosts::{Host, Hosts, RIGHT};
use suture_tests::process::{Folder, Running, program, source};
use suture_tests::scene::{times, unique_id};
use suture_tests::talk;
use suture_tests::victims::python::interpreter;
use suture_tests::{Kind, Scene};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The carrier is off unless it is asked for.
const ON: &str = "[propagation]\noption = \"on\"\n";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// nginx on the left that passes everything on to 10.213.7.2:8081.
fn proxy(hosts: &Hosts, folder: &Folder) -> Running {
    let at = folder.path().display().to_string();
    let conf = folder
        .write(
            "nginx.conf",
            format!(
                "user root; worker_processes 1; pid {at}/pid; error_log stderr; daemon off;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
                 fastcgi_temp_path {at}/fcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
                 upstream behind {{ server {RIGHT}:8081; keepalive 8; }}\n\
                 server {{ listen 8080; location / {{ proxy_pass http://behind; proxy_http_version 1.1;\n\
                 proxy_set_header Connection \"\"; }} }} }}\n"
            ),
        )
        .unwrap();
    let mut command = hosts
        .command(Host::Left, &program(&["nginx"], "nginx-light").unwrap())
        .unwrap();
    command.arg("-e").arg("stderr").arg("-c").arg(conf);
    Running::start("nginx", &mut command).unwrap()
}

fn ask(hosts: &Hosts, path: &str, header: Option<&str>) -> bool {
    let answered = hosts.on(Host::Left, || {
        let headers: Vec<(&str, &str)> = header
            .map(|value| ("traceparent", value))
            .into_iter()
            .collect();
        let mut open = Connection::tcp(([127, 0, 0, 1], 8080))?;
        open.send(&request("GET", path, &headers, b""))?;
        anyhow::Ok(open.answer(false)?.status == 200)
    });
    matches!(answered, Ok(Ok(true)))
}

#[test]
fn a_proxy_and_a_service_with_an_agent_each_are_one_trace() {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let near = scene
        .agent()
        .configured(&folder, ON)
        .unwrap()
        .args(&["--exe", "nginx", "curl"])
        .start()
        .unwrap();
    let far = scene
        .agent()
        .apart()
        .configured(&folder, ON)
        .unwrap()
        .args(&["--exe", "python3*"])
        .start()
        .unwrap();
    let hosts = Hosts::by_veth().unwrap();
    let mut command = hosts.command(Host::Right, &interpreter().unwrap()).unwrap();
    command
        .arg(source("python/threading_app.py"))
        .args(["8081", RIGHT]);
    let _leaf = Running::start("http.server", &mut command).unwrap();
    let mut nginx = proxy(&hosts, &folder);
    nginx
        .wait_for("an answer", || ask(&hosts, "/leaf/up/0", None))
        .unwrap();

    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let damaged = format!("00-{TRACE}-{PARENT}-01-extra");
    let (plain, passed, silent, torn, own) = (
        unique_id(),
        unique_id(),
        unique_id(),
        unique_id(),
        unique_id(),
    );
    for (id, header) in [
        (&plain, None),
        (&passed, Some(sampled.as_str())),
        (&silent, Some(unsampled.as_str())),
        (&torn, Some(damaged.as_str())),
        (&plain, None),
    ] {
        assert!(ask(&hosts, &format!("/leaf/{id}/0"), header), "{header:?}");
    }
    // A client with a header of its own.
    let done = hosts
        .command(Host::Left, &program(&["curl"], "curl").unwrap())
        .unwrap()
        .args(["-sS", "-H", &format!("traceparent: {sampled}")])
        .arg(format!("http://{RIGHT}:8081/leaf/{own}/0"))
        .output()
        .unwrap();
    assert!(done.status.success());

    let ids = [plain.as_str(), passed.as_str(), torn.as_str(), own.as_str()];
    let spans = collect(scene.receiver(), &ids, 3);
    let all = scene.receiver().settle(Duration::from_millis(600));
    let (near, far) = (near.stop().unwrap(), far.stop().unwrap());
    let mut complaints = Complaints::default();
    for (id, trace) in [(&plain, None), (&passed, Some(bytes(TRACE)))] {
        let clients = spans
            .iter()
            .filter(|span| span.kind == Kind::Client && span.path().contains(id.as_str()));
        for client in clients {
            let served = complaints.only(&format!("SERVER span behind {id}"), &spans, |span| {
                span.parent.as_ref() == Some(&client.span_id)
            });
            let Some(served) = served else { continue };
            complaints.equal("evidence", served, served.evidence(), "option");
            complaints.equal("trace", served, &served.trace_id, &client.trace_id);
            complaints.equal("is remote", served, served.flags & 0x300, 0x300);
            if let Some(trace) = &trace {
                complaints.equal("trace", served, &served.trace_id, trace);
            }
            complaints.unless(client.parent.is_some(), || {
                format!("nginx' call is a root: {}", client.line())
            });
        }
    }
    let of_leaf = |id: &str| {
        let is_server = |span: &&suture_tests::ReceivedSpan| {
            span.kind == Kind::Server
                && span.path().contains(id)
                && span.resource_text("service.name") == "threading_app"
        };
        spans.iter().find(is_server).cloned()
    };
    if let Some(served) = of_leaf(&torn) {
        complaints.equal("evidence", &served, served.evidence(), "none");
    }
    if let Some(served) = of_leaf(&own) {
        complaints.equal("evidence", &served, served.evidence(), "header");
        complaints.equal("parent", &served, &served.parent, &Some(bytes(PARENT)));
    }
    let plain_spans = spans
        .iter()
        .filter(|span| span.path().contains(&plain))
        .count();
    complaints.unless(plain_spans == 6, || {
        format!("{plain_spans} spans of {plain}")
    });
    complaints.unless(of_leaf(&torn).is_some() && of_leaf(&own).is_some(), || {
        "a span of the service is missing".to_owned()
    });
    complaints.unless(
        !all.iter().any(|span| span.path().contains(&silent)),
        || "a trace that is not sampled was exported".to_owned(),
    );
    complaints.unless(near.stderr.contains("option_context_uncertain"), || {
        format!("an uncertain context is not counted:\n{}", near.stderr)
    });
    if let Err(complaints) = complaints.verdict("two agents") {
        panic!("{complaints:#}\n{}\n{}", near.stderr, far.stderr);
    }
}

/// Programs of this name that the kernel has.
fn loaded(name: &str) -> usize {
    let shown = Command::new(program(&["bpftool"], "bpftool").unwrap())
        .args(["prog", "show", "name", name])
        .output()
        .unwrap();
    String::from_utf8_lossy(&shown.stdout)
        .matches(" name ")
        .count()
}

#[test]
fn an_agent_that_ends_or_is_killed_under_load_leaves_nothing_and_disturbs_nothing() {
    let scene = Scene::open().unwrap();
    let hosts = Hosts::by_veth().unwrap();
    let folder = Folder::new().unwrap();
    for is_killed in [false, true, false] {
        let agent = scene.agent().configured(&folder, ON).unwrap();
        let agent = agent.start().unwrap();
        let connections = 6;
        let listener = hosts
            .on(Host::Right, || TcpListener::bind((RIGHT, 0)).unwrap())
            .unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let is_gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let served = hosts.spawn(scope, Host::Right, || talk::serve(&listener, connections));
            let asked: Vec<_> = (0..connections)
                .map(|number| {
                    let is_gone = &is_gone;
                    hosts.spawn(scope, Host::Left, move || {
                        let mut open = Connection::tcp(address)?;
                        let mut from = 0;
                        // Over the end of the agent, and a good while after it.
                        let mut left = times(40);
                        while left > 0 {
                            talk::ask(&mut open, "load", number, from..from + 8, &[])?;
                            from += 8;
                            left -= usize::from(is_gone.load(Ordering::Relaxed));
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(loaded("option"), 1);
            if is_killed {
                agent.kill().unwrap();
            } else {
                agent.stop().unwrap();
            }
            is_gone.store(true, Ordering::Relaxed);
            for thread in asked {
                thread.join().unwrap().unwrap().unwrap();
            }
            served.join().unwrap().unwrap().unwrap();
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while loaded("option") != 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(loaded("option"), 0, "after kill -9: {is_killed}");
    }
}

/// `bpf(2)` with a command that returns a descriptor or nothing.
fn bpf(command: libc::c_long, words: [u64; 16]) -> std::io::Result<i32> {
    // SAFETY: the kernel reads 128 bytes; pointers in them are to memory that outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), 128_u32) };
    match i32::try_from(done) {
        Ok(done) if done >= 0 => Ok(done),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn a_cgroup_that_somebody_keeps_for_himself_is_left_to_him() {
    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    const PROG_DETACH: libc::c_long = 9;
    const SOCK_OPS: u64 = 13;
    const CGROUP_SOCK_OPS: u64 = 3;
    let scene = Scene::open().unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .and_then(|line| line.split(' ').nth(1))
        .unwrap();
    let root = std::fs::File::open(root).unwrap();
    // r0 = 1; exit
    let instructions: [u64; 2] = [0x1_0000_00b7, 0x95];
    let license = c"GPL";
    let mut load = [0; 16];
    load[0] = SOCK_OPS | 2 << 32;
    load[1] = instructions.as_ptr().expose_provenance() as u64;
    load[2] = license.as_ptr().expose_provenance() as u64;
    // SAFETY: the kernel has just given this descriptor to us.
    let theirs = unsafe { OwnedFd::from_raw_fd(bpf(PROG_LOAD, load).unwrap()) };
    let mut attach = [0; 16];
    attach[0] = root.as_raw_fd() as u64 | (theirs.as_raw_fd() as u64) << 32;
    // No flags: nobody else.
    attach[1] = CGROUP_SOCK_OPS;
    bpf(PROG_ATTACH, attach).unwrap();
    let folder = Folder::new().unwrap();
    let started = scene.agent().configured(&folder, ON).unwrap().start();
    bpf(PROG_DETACH, attach).unwrap();
    let ended = started.unwrap().stop().unwrap();
    assert!(ended.stderr.contains("option is off"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("contexts of other hosts"),
        "{}",
        ended.stderr
    );
}
