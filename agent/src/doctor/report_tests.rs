//! Reports on made-up machines, as snapshots (`cargo insta review` or INSTA_UPDATE=always changes them).

use std::{collections::BTreeSet, path::PathBuf};

use super::Report;
use crate::{
    attach::table::{HOOKS, Place, Way},
    doctor::findings::{BtfState, Findings, Holder, Tracefs, Version},
};

/// A machine where everything works: root on Debian's 6.1.
pub(in crate::doctor) fn good() -> Findings {
    let events = HOOKS.iter().filter_map(|hook| match hook.place {
        Place::Syscall(name) => Some(format!("syscalls:{name}")),
        Place::Raw(name)
        | Place::Btf(name)
        | Place::Entry(name)
        | Place::Exit(name)
        | Place::User(name) => Some(format!("group:{name}")),
        Place::RootCgroup(_) | Place::Members => None,
    });
    Findings {
        release: "6.1.0-56-amd64".into(),
        version: Some(Version(6, 1, 192)),
        machine: "x86_64".into(),
        host: "vm".into(),
        uid: 0,
        caps: 0x1ff_ffff_ffff,
        initial_userns: true,
        initial_pidns: true,
        lockdown: Some("none".into()),
        unprivileged_bpf: Some(2),
        btf: BtfState::Complete,
        way: Way::Syscalls,
        ring: Ok(()),
        program: Ok(()),
        tracefs: Tracefs::Mounted(PathBuf::from("/sys/kernel/tracing")),
        events: Some(events.collect()),
        cgroup2: Some(PathBuf::from("/sys/fs/cgroup")),
        sockhash: Some(Ok(())),
        io_uring_disabled: Some(0),
        io_uring: Vec::new(),
        unread: Vec::new(),
        bpf: Vec::new(),
        other_instance: None,
    }
}

fn snapshot(name: &str, findings: &Findings, can_run: bool) {
    let report = Report::of(findings);
    let text = report.to_string();
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100,
            "longer than 100 columns: {line}"
        );
    }
    assert_eq!(report.exit_code(), if can_run { 0 } else { 2 }, "{text}");
    insta::assert_snapshot!(name, text);
}

#[test]
fn a_good_machine() {
    snapshot("good", &good(), true);
}

#[test]
fn a_kernel_with_tracepoints_inside_of_the_socket_calls() {
    let findings = Findings {
        way: Way::Sockets,
        ..good()
    };
    snapshot("sockets", &findings, true);
}

#[test]
fn an_ordinary_user() {
    let findings = Findings {
        uid: 1000,
        caps: 0,
        ring: Err(libc::EPERM),
        program: Err(libc::EPERM),
        tracefs: Tracefs::Refused(libc::EPERM),
        events: None,
        ..good()
    };
    snapshot("ordinary_user", &findings, false);
}

#[test]
fn an_old_kernel_without_btf() {
    let findings = Findings {
        release: "4.19.0-27-amd64".into(),
        version: Some(Version(4, 19, 316)),
        btf: BtfState::Absent,
        ring: Err(libc::EINVAL),
        io_uring_disabled: None,
        ..good()
    };
    snapshot("old_kernel", &findings, false);
}

#[test]
fn a_rootless_container() {
    let findings = Findings {
        initial_userns: false,
        initial_pidns: false,
        program: Err(libc::EPERM),
        ..good()
    };
    snapshot("rootless_container", &findings, false);
}

#[test]
fn a_busy_host_with_a_recent_kernel() {
    let holder = |name: &str, tgid, count| Holder {
        name: name.into(),
        tgid,
        count,
    };
    let findings = Findings {
        release: "6.18.44".into(),
        version: Some(Version(6, 18, 44)),
        tracefs: Tracefs::Mountable,
        io_uring: (1..=10).map(|tgid| holder("node", tgid, 1)).collect(),
        unread: vec![(
            holder("python", 11, 1),
            "this version or build of CPython is not known: its Contexts are not read",
        )],
        bpf: vec![holder("cilium-agent", 900, 31)],
        cgroup2: None,
        unprivileged_bpf: Some(0),
        lockdown: None,
        ..good()
    };
    snapshot("busy_host", &findings, true);
}

#[test]
fn a_kernel_without_some_tracepoints() {
    let without = |names: &[&str]| -> BTreeSet<String> {
        let events = good().events.unwrap_or_default();
        events
            .into_iter()
            .filter(|event| !names.iter().any(|name| event.ends_with(name)))
            .collect()
    };
    let optional = Findings {
        events: Some(without(&["epoll_pwait2", ":fork", "sched_process_fork"])),
        ..good()
    };
    snapshot("tracepoints_optional", &optional, true);
    let required = Findings {
        events: Some(without(&["enter_write", "inet_sock_set_state"])),
        ..good()
    };
    snapshot("tracepoints_required", &required, false);
}

#[test]
fn a_second_instance() {
    let findings = Findings {
        other_instance: Some(4242),
        ..good()
    };
    snapshot("second_instance", &findings, true);
}

#[test]
fn a_locked_down_kernel() {
    let findings = Findings {
        lockdown: Some("confidentiality".into()),
        ..good()
    };
    snapshot("locked_down", &findings, false);
}

#[test]
fn capabilities_without_root_are_enough_where_they_cover_what_is_used() {
    let caps = 1 << 38 | 1 << 39;
    let findings = Findings {
        uid: 1000,
        caps,
        ..good()
    };
    snapshot("capabilities", &findings, true);
}
