//! Tests of `runtime`: real interpreters and servers, and folders made like /proc for libraries that are not installed.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use agent_common::abi::{ProcessKey, runtime};

use super::{ElfMarks, ProcRoot, find};
use crate::{
    config::NodeTurns,
    enrich::{classes::RuntimeClasses, serving::uses_io_uring, units::Follows},
};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that prints a line when it runs, and waits for the line.
fn spawn(program: &str, args: &[&str]) -> Running {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Running(child.unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty(), "{program} ended at once");
    child
}

#[test]
fn real_programs_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let java = folder.path().join("Wait.java");
    let source = r#"class Wait { public static void main(String[] a) throws Exception { System.out.println("up"); Thread.sleep(60000); } }"#;
    std::fs::write(&java, source).unwrap();
    let mut elf = ElfMarks::default();
    let mut check = |program: &str, args: &[&str], expect: u8| {
        let running = spawn(program, args);
        let found = find(&ProcRoot::live(), &mut elf, running.0.id());
        assert_eq!(found.class(), expect, "{program}: {}", found.fact);
    };
    check(
        "/usr/bin/python3",
        &["-uc", "print(1); import time; time.sleep(60)"],
        runtime::THREADED,
    );
    check(
        "node",
        &["-e", "console.log(1); setTimeout(() => {}, 60000)"],
        runtime::NODE,
    );
    check("java", &[java.to_str().unwrap()], runtime::NATIVE);
    check(
        "ruby",
        &["-e", "$stdout.sync = true; puts 1; sleep 60"],
        runtime::THREADED,
    );
    check(
        "php",
        &["-r", "echo \"1\\n\"; sleep(60);"],
        runtime::THREADED,
    );
    check(
        "perl",
        &["-e", "$| = 1; print \"1\\n\"; sleep 60"],
        runtime::NATIVE,
    );
    check("sh", &["-c", "echo 1; read x"], runtime::NATIVE);
}

#[test]
fn nginx_is_a_turn_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("nginx.conf");
    let socket = folder.path().join("socket");
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr; events {{}} \
         http {{ access_log off; server {{ listen unix:{1}; }} }}",
        folder.path().display(),
        socket.display()
    );
    std::fs::write(&conf, text).unwrap();
    let nginx = Command::new("/usr/sbin/nginx")
        .arg("-c")
        .arg(&conf)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let nginx = Running(nginx);
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let found = find(&ProcRoot::live(), &mut ElfMarks::default(), nginx.0.id());
    assert_eq!(found.class(), runtime::TURN_PROXY, "{}", found.fact);
}

/// A process 42 of `exe` with these files mapped.
fn fixture(exe: &str, mapped: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let process = folder.path().join("42");
    std::fs::create_dir_all(process.join("fd")).unwrap();
    let stat = "42 (x) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 1 1";
    std::fs::write(process.join("stat"), stat).unwrap();
    symlink(exe, process.join("exe")).unwrap();
    let lines: String = mapped
        .iter()
        .map(|path| format!("7f00-7f01 r-xp 00000000 fe:00 1    {path}\n"))
        .collect();
    std::fs::write(
        process.join("maps"),
        format!("5500-5501 rw-p 00000000 00:00 0\n{lines}7f00 rw-p 0 00:00 0 [heap]\n"),
    )
    .unwrap();
    folder
}

#[test]
fn mapped_libraries_decide() {
    let check = |exe: &str, mapped: &[&str], expect: u8| {
        let tree = fixture(exe, mapped);
        let found = find(&ProcRoot::at(tree.path()), &mut ElfMarks::default(), 42);
        assert_eq!(found.class(), expect, "{exe} {mapped:?}: {}", found.fact);
    };
    let python = "/usr/bin/python3.11";
    let greenlet =
        "/usr/lib/python3/dist-packages/greenlet/_greenlet.cpython-311-x86_64-linux-gnu.so";
    check(python, &[], runtime::THREADED);
    check(python, &[greenlet], runtime::MULTIPLEXING);
    check(
        python,
        &["/usr/lib/granian/_granian.cpython-311-x86_64-linux-gnu.so"],
        runtime::MULTIPLEXING,
    );
    check(
        "/usr/bin/uwsgi-core",
        &["/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"],
        runtime::THREADED,
    );
    check(
        "/usr/bin/uwsgi-core",
        &["/lib/libpython3.11.so.1.0", greenlet],
        runtime::MULTIPLEXING,
    );
    check(
        "/usr/bin/ruby3.1",
        &["/usr/lib/libruby-3.1.so.3.1"],
        runtime::THREADED,
    );
    check(
        "/usr/bin/ruby3.1",
        &["/lib/libruby-3.1.so", "/gems/io-event-1.6/lib/IO_Event.so"],
        runtime::MULTIPLEXING,
    );
    check("/usr/sbin/php-fpm8.2", &[], runtime::THREADED);
    check(
        "/usr/sbin/php-fpm8.2",
        &["/usr/lib/php/20220829/swoole.so"],
        runtime::MULTIPLEXING,
    );
    check(
        "/usr/lib/erlang/erts-13/bin/beam.smp",
        &[],
        runtime::MULTIPLEXING,
    );
    check(
        "/usr/lib/jvm/bin/java",
        &["/usr/lib/jvm/lib/server/libjvm.so"],
        runtime::NATIVE,
    );
    check("/usr/sbin/nginx", &[], runtime::TURN_PROXY);
    check(
        "/usr/sbin/nginx",
        &["/usr/lib/libluajit-5.1.so.2"],
        runtime::MULTIPLEXING,
    );
    check(
        "/usr/sbin/nginx",
        &["/usr/lib/nginx/modules/ngx_http_js_module.so"],
        runtime::MULTIPLEXING,
    );
    check("/usr/local/go/bin/go", &[], runtime::GO);
    check("/usr/bin/curl", &[], runtime::NATIVE);
    // A file called nginx that is not nginx.
    check("/nonexistent/nginx", &[], runtime::NATIVE);
}

fn polled(classes: &mut RuntimeClasses, ktime_ns: u64) -> Option<(ProcessKey, u8)> {
    let (key, finding) = classes.poll(ktime_ns)?;
    Some((key, finding.class()))
}

fn first(classes: &mut RuntimeClasses, key: ProcessKey, ktime_ns: u64) -> Option<u8> {
    Some(classes.first(key, ktime_ns)?.class())
}

#[test]
fn classes_are_looked_at_again_after_one_and_ten_seconds_and_after_execve() {
    let tree = fixture("/usr/bin/python3.11", &[]);
    let process = tree.path().join("42");
    let key = ProcessKey {
        start_ns: 5,
        tgid: 42,
        zero: 0,
    };
    let second = 1_000_000_000;
    let mut classes = RuntimeClasses::new(ProcRoot::at(tree.path()), 1);
    assert_eq!(classes.look(key, 0).class(), runtime::THREADED);
    assert_eq!(polled(&mut classes, second - 1), None);
    let library = "7f00-7f01 r-xp 0 fe:00 1 /x/greenlet/_greenlet.cpython-311.so\n";
    std::fs::write(process.join("maps"), library).unwrap();
    assert_eq!(
        polled(&mut classes, second - 1),
        None,
        "not before it is due"
    );
    assert_eq!(
        polled(&mut classes, second),
        Some((key, runtime::MULTIPLEXING))
    );
    assert_eq!(classes.next_due_ns(), Some(10 * second));
    std::fs::write(process.join("maps"), "").unwrap();
    assert_eq!(
        polled(&mut classes, 10 * second),
        Some((key, runtime::THREADED))
    );
    assert_eq!(classes.next_due_ns(), None, "settled");

    std::fs::remove_file(process.join("exe")).unwrap();
    symlink("/usr/bin/curl", process.join("exe")).unwrap();
    assert_eq!(
        classes.look(key, 20 * second).class(),
        runtime::NATIVE,
        "execve"
    );

    assert_eq!(first(&mut classes, key, 20 * second), None, "known already");

    let other = ProcessKey { tgid: 43, ..key };
    assert_eq!(classes.look(other, 20 * second).class(), runtime::NATIVE);
    assert_eq!(classes.refused(), 1, "the table is full");
    classes.exit(key);
    assert_eq!(classes.next_due_ns(), None);
    assert_eq!(
        first(&mut classes, other, 20 * second),
        Some(runtime::NATIVE)
    );
    assert_eq!(classes.refused(), 1);
}

#[test]
fn units_of_a_program_that_is_no_more_are_void() {
    let tree = fixture("/usr/sbin/haproxy", &[]);
    let exe = tree.path().join("42/exe");
    let key = |start_ns| ProcessKey {
        start_ns,
        tgid: 42,
        zero: 0,
    };
    let turn_to = |program: &str| {
        std::fs::remove_file(&exe).unwrap();
        symlink(program, &exe).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("node");
    let copy = || {
        let _ = std::fs::remove_file(&node);
        std::fs::copy("/usr/bin/node", &node).unwrap();
    };
    copy();
    turn_to(node.to_str().unwrap());
    let mut classes = RuntimeClasses::new(ProcRoot::at(tree.path()), 8).following(Follows {
        node_turns: NodeTurns::On,
        tokio_tasks: true,
    });
    assert_eq!(classes.look(key(5), 0).class(), runtime::NODE);
    assert_eq!(classes.void(), None);
    assert_eq!(classes.look(key(5), 0).class(), runtime::NODE);
    assert_eq!(classes.void(), None, "the same program in the same process");
    // The records of an end and a beginning were lost.
    assert_eq!(
        first(&mut classes, key(9_000_000_000), 0),
        Some(runtime::NODE)
    );
    assert_eq!((classes.void(), classes.void()), (Some(42), None));
    copy();
    assert_eq!(classes.look(key(9_000_000_000), 0).class(), runtime::NODE);
    assert_eq!(classes.void(), Some(42), "another file of the same program");
    turn_to("/bin/sh");
    assert_eq!(classes.look(key(9_000_000_000), 0).class(), runtime::NATIVE);
    assert_eq!(classes.void(), Some(42), "another program");
    turn_to(node.to_str().unwrap());
    assert_eq!(classes.look(key(9_000_000_000), 0).class(), runtime::NODE);
    assert_eq!(classes.void(), None, "the old program had no units");
}

#[test]
fn a_key_read_from_proc_and_the_kernels_are_one_process() {
    let tree = fixture("/usr/bin/python3.11", &[]);
    let mut classes = RuntimeClasses::new(ProcRoot::at(tree.path()), 8);
    let key = |start_ns| ProcessKey {
        start_ns,
        tgid: 42,
        zero: 0,
    };
    let (by_proc, by_kernel, later) = (key(1_000_000_000), key(1_009_999_999), key(9_000_000_000));
    classes.look(by_proc, 0);
    assert_eq!(first(&mut classes, by_kernel, 0), None, "known already");
    assert_eq!(
        first(&mut classes, later, 0),
        Some(runtime::THREADED),
        "another process with its pid"
    );
    classes.exit(by_kernel);
    assert_eq!(
        first(&mut classes, later, 0),
        None,
        "a late exit of the old one does not touch the new one"
    );
    classes.exit(later);
    assert_eq!(classes.next_due_ns(), None);
}

#[test]
fn a_ring_is_seen_among_descriptors() {
    let tree = fixture("/usr/bin/x", &[]);
    let root = ProcRoot::at(tree.path());
    symlink("socket:[1]", tree.path().join("42/fd/0")).unwrap();
    assert!(!uses_io_uring(&root, 42));
    symlink("anon_inode:[io_uring]", tree.path().join("42/fd/7")).unwrap();
    assert!(uses_io_uring(&root, 42));
    assert!(!uses_io_uring(&root, 43));
}

#[test]
fn a_real_ring_is_seen() {
    // SAFETY: io_uring_setup(2) with one entry and a zeroed parameter block of the size the kernel writes (120 bytes).
    let ring = unsafe {
        let mut params = [0u8; 120];
        libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr())
    };
    assert!(
        ring >= 0,
        "io_uring_setup: {}",
        std::io::Error::last_os_error()
    );
    assert!(uses_io_uring(&ProcRoot::live(), std::process::id()));
    // SAFETY: the descriptor was made above and is used by nobody else.
    unsafe { libc::close(i32::try_from(ring).unwrap()) };
}

#[test]
fn haproxy_has_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("haproxy.cfg");
    let socket = folder.path().join("socket");
    let text = format!(
        "defaults\n mode http\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n\
         frontend front\n bind {}\n http-request return status 200\n",
        socket.display()
    );
    std::fs::write(&conf, text).unwrap();
    let haproxy = Command::new("/usr/sbin/haproxy")
        .args(["-db", "-f"])
        .arg(&conf)
        .spawn()
        .unwrap();
    let haproxy = Running(haproxy);
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let found = find(&ProcRoot::live(), &mut ElfMarks::default(), haproxy.0.id());
    assert_eq!(found.class(), runtime::HAPROXY, "{}", found.fact);
    // What the addresses name is told by the maps: code of the executable.
    let maps = ProcRoot::live().maps(haproxy.0.id()).unwrap();
    for address in found.runtime.addresses {
        let is_code = String::from_utf8_lossy(&maps).lines().any(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let hex = |text| u64::from_str_radix(text, 16).unwrap();
            rest.starts_with("r-x")
                && rest.ends_with("/haproxy")
                && (hex(from)..hex(to)).contains(&address)
        });
        assert!(is_code, "{address:x}");
    }
}
