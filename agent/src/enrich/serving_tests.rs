//! Tests of `serving`: trees made like /proc, and real processes with real sockets.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::{
            fs::symlink,
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    process::{Command, Stdio},
};

use agent_common::abi::runtime;

use super::{FDS_MAX, ProcRoot, TABLE, listens, needs_loops};
use crate::enrich::nginx::tests::{CONF, SERVICE, Tree};

#[test]
fn only_threads_and_the_turns_of_a_proxy_depend_on_loops() {
    let check = |conf: &str, class: u8, expect: bool| {
        let tree = Tree::new(SERVICE, &[(CONF, conf)]);
        assert_eq!(
            needs_loops(&tree.root(), 42, class),
            expect,
            "{class} {conf}"
        );
    };
    let (quiet, calls) = (
        "pid /a;",
        "http { server { location / { proxy_pass http://a; } } }",
    );
    check(quiet, runtime::NATIVE, false);
    check(quiet, runtime::THREADED, true);
    check(quiet, runtime::TURN_PROXY, false);
    check(calls, runtime::TURN_PROXY, true);
    check("http {", runtime::TURN_PROXY, true); // in doubt
    check(calls, runtime::MULTIPLEXING, false);
}

#[test]
fn a_process_that_is_gone_needs_nothing() {
    let tree = Tree::new(SERVICE, &[]);
    let needs = || needs_loops(&tree.root(), 42, runtime::TURN_PROXY);
    assert!(needs());
    let dead = "42 (nginx) Z 41 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 1 1";
    fs::write(tree.proc(42, "stat"), dead).unwrap();
    assert!(!needs());
    fs::remove_dir_all(tree.proc(42, "")).unwrap();
    assert!(!needs());
    assert!(!listens(&tree.root(), 42));
}

#[test]
fn listening_sockets_are_found_in_the_kernels_tables() {
    let tcp = |state: &str, inode: u32| {
        format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0 0 10 0\n"
        )
    };
    let unix = |flags: &str, kind: &str, inode: u32| {
        format!(
            "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 {flags} {kind} 01 {inode} /run/a b\n"
        )
    };
    let check = |fds: &[&str], tables: &[(&str, String)], expect: bool| {
        let tree = tempfile::tempdir().unwrap();
        let process = tree.path().join("42");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::create_dir(process.join("net")).unwrap();
        for (at, target) in fds.iter().enumerate() {
            symlink(target, process.join("fd").join(at.to_string())).unwrap();
        }
        for (name, text) in tables {
            fs::write(process.join("net").join(name), text).unwrap();
        }
        assert_eq!(
            listens(&ProcRoot::at(tree.path()), 42),
            expect,
            "{fds:?} {tables:?}"
        );
    };
    let fds = [
        "/dev/null",
        "pipe:[7]",
        "socket:[5]",
        "anon_inode:[eventpoll]",
    ];
    check(&fds, &[("tcp", tcp("0A", 5))], true);
    check(&fds, &[("tcp", tcp("01", 5))], false);
    check(&fds, &[("tcp", tcp("0A", 7))], false);
    check(&fds, &[("tcp", tcp("0A", 6)), ("tcp6", tcp("0A", 5))], true);
    check(
        &fds,
        &[("tcp", tcp("0A", 6)), ("unix", unix("00010000", "0001", 5))],
        true,
    );
    check(&fds, &[("unix", unix("00000000", "0001", 5))], false);
    check(&fds, &[("unix", unix("00010000", "0005", 5))], false); // SOCK_SEQPACKET
    check(&fds, &[("tcp", "one\n\u{fffd} 2 3 0A\n".to_owned())], false);
    check(&fds, &[("tcp", " ".repeat(TABLE))], false);
    check(&fds, &[("tcp", " ".repeat(TABLE + 1))], true);
    check(&fds[..2], &[("tcp", " ".repeat(TABLE + 1))], false); // has no socket
}

#[test]
fn more_descriptors_than_are_looked_at_are_a_doubt() {
    let tree = tempfile::tempdir().unwrap();
    let fds = tree.path().join("42/fd");
    fs::create_dir_all(&fds).unwrap();
    let root = ProcRoot::at(tree.path());
    for at in 0..FDS_MAX {
        fs::write(fds.join(at.to_string()), "").unwrap();
    }
    assert!(!listens(&root, 42));
    fs::write(fds.join("more"), "").unwrap();
    assert!(listens(&root, 42));
}

#[test]
fn this_process_listens_when_it_has_a_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(listens(&ProcRoot::live(), std::process::id()));
    drop(listener);
}

#[test]
fn real_processes_listen_by_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, socket: Stdio, expect: bool| {
        // It has this one socket, as its input.
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(socket)
            .spawn()
            .unwrap();
        let found = listens(&ProcRoot::live(), child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, expect, "{name}");
    };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    check("none", Stdio::null(), false);
    check("tcp connection", OwnedFd::from(stream).into(), false);
    check("tcp", OwnedFd::from(tcp).into(), true);
    check(
        "udp",
        OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()).into(),
        false,
    );
    let unix = UnixListener::bind(folder.path().join("a")).unwrap();
    let stream = UnixStream::connect(folder.path().join("a")).unwrap();
    check("unix", OwnedFd::from(unix).into(), true);
    check("unix connection", OwnedFd::from(stream).into(), false);
    let datagrams = UnixDatagram::bind(folder.path().join("b")).unwrap();
    check("unix datagrams", OwnedFd::from(datagrams).into(), false);
}
