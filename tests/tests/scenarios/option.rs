//! Contexts in TCP options, between two hosts on one kernel.
//!
//! One agent sees both, so that it must not find the caller by the pair of sockets (`propagation.socket_pair`); what two
//! agents make of it is the last scenarios' matter. The truth is in the paths, the bytes are checked by who reads them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::time::Duration;

use suture_tests::hosts::{Host, Hosts, RIGHT};
use suture_tests::process::Folder;
use suture_tests::scene::{times, unique_id};
use suture_tests::talk;
use suture_tests::wire::{Faults, Strips};
use suture_tests::{Kind, ReceivedSpan, Scene};

/// How a server span's parent was found, over all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parents {
    right: usize,
    root: usize,
    wrong: usize,
    missing: usize,
}

fn parents(spans: &[ReceivedSpan], paths: &[String]) -> Parents {
    let mut counts = Parents::default();
    for path in paths {
        let of = |kind| {
            let found: BTreeMap<&[u8], &ReceivedSpan> = spans
                .iter()
                .filter(|span| span.kind == kind && span.path() == *path)
                // An export whose answer came late is repeated.
                .map(|span| (span.span_id.as_slice(), span))
                .collect();
            (found.len() == 1)
                .then(|| found.into_values().next())
                .flatten()
        };
        let (Some(client), Some(server)) = (of(Kind::Client), of(Kind::Server)) else {
            counts.missing += 1;
            continue;
        };
        match &server.parent {
            None => counts.root += 1,
            Some(parent) if *parent == client.span_id && server.trace_id == client.trace_id => {
                assert_eq!(server.evidence(), "option", "{path}");
                counts.right += 1;
            }
            Some(_) => counts.wrong += 1,
        }
    }
    counts
}

/// What two hosts say to each other, and what the agent makes of it.
fn speak(hosts: &Hosts, connections: usize, requests: usize) -> (Parents, String) {
    let scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let config = folder
        .write(
            "suture.toml",
            "[propagation]\noption = \"on\"\nsocket_pair = \"off\"\n",
        )
        .unwrap();
    let agent = scene
        .agent()
        .args(&["--config", &config.display().to_string()])
        .start()
        .unwrap();
    let id = unique_id();
    let listener = hosts
        .on(Host::Right, || TcpListener::bind((RIGHT, 0)).unwrap())
        .unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let served = hosts.spawn(scope, Host::Right, || talk::serve(&listener, connections));
        talk::ask_all(address, &id, connections, requests, || {
            hosts.enter(Host::Left)
        })
        .unwrap();
        served.join().unwrap().unwrap().unwrap();
    });
    let paths: Vec<String> = (0..connections)
        .flat_map(|connection| (0..requests).map(move |number| (connection, number)))
        .map(|(connection, number)| talk::path(&id, connection, number))
        .collect();
    let _ = scene.receiver().wait_until(
        |spans| {
            let ours = spans.iter().filter(|span| span.path().contains(&id));
            ours.count() >= 2 * paths.len()
        },
        Duration::from_secs(20),
    );
    let spans = scene.receiver().settle(Duration::from_millis(800));
    let ended = agent.stop().unwrap();
    let counts = parents(&spans, &paths);
    println!("{counts:?}");
    (counts, ended.stderr)
}

/// Nothing wrong, nothing missing, and at least this share right.
fn check(counts: Parents, stderr: &str, per_cent: usize) {
    let total = counts.right + counts.root + counts.wrong + counts.missing;
    assert!(
        counts.wrong == 0 && counts.missing == 0 && counts.right * 100 >= total * per_cent,
        "{counts:?}, at least {per_cent} % must be right\n{stderr}"
    );
}

#[test]
fn every_request_to_another_host_has_its_caller_as_parent() {
    let hosts = Hosts::by_veth().unwrap();
    let (counts, stderr) = speak(&hosts, 8, times(160));
    check(counts, &stderr, 100);
}

#[test]
fn segments_one_by_one_each_with_a_copy_of_the_option() {
    let hosts = Hosts::by_wire(Faults::default()).unwrap();
    let (counts, stderr) = speak(&hosts, 4, times(80));
    check(counts, &stderr, 100);
    let passed = hosts.wire().unwrap().passed();
    assert!(passed.options.load(Ordering::Relaxed) > counts.right as u64);
}

#[test]
fn a_clamped_segment_size_is_kept() {
    let faults = Faults {
        segment_size: Some(1_000),
        ..Faults::default()
    };
    let hosts = Hosts::by_wire(faults).unwrap();
    let (counts, stderr) = speak(&hosts, 4, times(80));
    check(counts, &stderr, 100);
    let passed = hosts.wire().unwrap().passed();
    assert_eq!(passed.too_long.load(Ordering::Relaxed), 0);
}

#[test]
fn loss_reordering_and_duplication_cost_parents_and_never_make_wrong_ones() {
    let faults = Faults {
        lost: 50,
        twice: 50,
        late: 50,
        ..Faults::default()
    };
    let hosts = Hosts::by_wire(faults).unwrap();
    let (counts, stderr) = speak(&hosts, 8, times(80));
    check(counts, &stderr, 80);
}

#[test]
fn middleboxes_that_strip_or_drop_options_leave_roots() {
    for (strips, announced) in [
        (Strips::All, true),
        (Strips::AfterSyn, true),
        (Strips::DropsSyn, true),
        (Strips::DropsAfterSyn, true),
    ] {
        let faults = Faults {
            strips,
            ..Faults::default()
        };
        let hosts = Hosts::by_wire(faults).unwrap();
        let (counts, stderr) = speak(&hosts, 3, 16);
        assert_eq!(
            (counts.right, counts.wrong, counts.missing),
            (0, 0, 0),
            "{strips:?}\n{stderr}"
        );
        let passed = hosts.wire().unwrap().passed();
        assert_eq!(
            passed.announcements.load(Ordering::Relaxed) > 0,
            announced,
            "{strips:?}"
        );
        let sent = passed.options.load(Ordering::Relaxed) > 0;
        let agreed = matches!(strips, Strips::AfterSyn | Strips::DropsAfterSyn);
        assert_eq!(sent, agreed, "{strips:?}: options only to who announced");
    }
}

#[test]
fn nothing_is_announced_where_the_carrier_is_off_or_the_destination_is_not_listed() {
    for config in [
        "[propagation]\noption = \"off\"\n",
        "[propagation]\noption = \"on\"\ndestinations = [\"192.168.0.0/16\"]\n",
    ] {
        let scene = Scene::open().unwrap();
        let folder = Folder::new().unwrap();
        let path = folder.write("suture.toml", config).unwrap();
        let agent = scene
            .agent()
            .args(&["--config", &path.display().to_string()])
            .start()
            .unwrap();
        let hosts = Hosts::by_wire(Faults::default()).unwrap();
        let listener = hosts
            .on(Host::Right, || TcpListener::bind((RIGHT, 0)).unwrap())
            .unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let served = hosts.spawn(scope, Host::Right, || talk::serve(&listener, 1));
            let enter = || hosts.enter(Host::Left);
            talk::ask_all(address, &unique_id(), 1, 4, enter).unwrap();
            served.join().unwrap().unwrap().unwrap();
        });
        agent.stop().unwrap();
        let passed = hosts.wire().unwrap().passed();
        assert_eq!(passed.announcements.load(Ordering::Relaxed), 0, "{config}");
        assert_eq!(passed.options.load(Ordering::Relaxed), 0, "{config}");
    }
}
