//! One judgement per thing Suture uses.
//!
//! In: [`Findings`]. Out: rows of the report. Always holds: pure; a row that is not `ok` says what is lost and what would turn it on.
//! Refuses: nothing.

use super::{
    findings::{BtfState, Findings, Holder, Tracefs, Version, cap},
    hooks::tracepoints,
    report::{Row, State},
};
/// Oldest kernel that can work: the first with the BPF ring buffer.
pub const OLDEST: Version = Version(5, 15, 0);
/// Oldest kernel Suture is tested on.
pub const TESTED: Version = Version(6, 1, 0);

/// All rows, in the order they are shown: what a run needs first.
pub(super) fn all(findings: &Findings) -> Vec<Row> {
    let mut rows = vec![
        kernel(findings),
        privileges(findings),
        namespaces(findings),
        lockdown(findings),
    ];
    rows.extend([btf(findings), ring(findings)]);
    rows.push(tracefs(findings));
    rows.extend(tracepoints(findings));
    rows.extend([
        names(findings),
        io_uring(findings),
        units(findings),
        header_injection(findings),
        option_carrier(findings),
    ]);
    rows.extend([
        unprivileged_bpf(findings),
        others(findings),
        instance(findings),
    ]);
    rows
}

pub(super) fn ok(what: &'static str, why: impl Into<String>) -> Row {
    Row {
        what,
        state: State::Ok,
        why: why.into(),
        fix: None,
    }
}

pub(super) fn bad(
    what: &'static str,
    state: State,
    why: impl Into<String>,
    fix: impl Into<String>,
) -> Row {
    Row {
        what,
        state,
        why: why.into(),
        fix: Some(fix.into()),
    }
}

/// The errno's name for people.
pub(super) fn errno_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

fn kernel(findings: &Findings) -> Row {
    let what = "kernel";
    match findings.version {
        None => ok(
            what,
            format!(
                "{:?} is no version number Suture knows; what follows was tried, not deduced",
                findings.release
            ),
        ),
        Some(version) if version < OLDEST => bad(
            what,
            State::Missing,
            format!(
                "{version} is too old: bpf_task_pt_regs, which reads a syscall's arguments at its exit, came with 5.15"
            ),
            "boot a kernel of 5.15 or newer; Suture is tested from 6.1 on",
        ),
        Some(version) if version < TESTED => ok(
            what,
            format!(
                "{version} has what is needed, but Suture is tested from 6.1 on: please report what does not work"
            ),
        ),
        Some(version) => ok(what, format!("{version}; Suture is tested from 6.1 on")),
    }
}

/// What of the privileges is missing, if any.
pub(super) fn missing_privileges(findings: &Findings) -> Vec<&'static str> {
    [(cap::BPF, "CAP_BPF"), (cap::PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(cap, _)| !findings.has(*cap))
        .map(|(_, name)| name)
        .collect()
}

fn privileges(findings: &Findings) -> Row {
    let what = "privileges";
    let missing = missing_privileges(findings);
    if !missing.is_empty() {
        return bad(
            what,
            State::Missing,
            format!(
                "this process (uid {}) lacks {}; without them no program can be loaded",
                findings.uid,
                missing.join(" and ")
            ),
            "run it as root: sudo suture run",
        );
    }
    match findings.program {
        Ok(()) => ok(what, "BPF programs can be loaded"),
        Err(libc::ENOSYS) => bad(
            what,
            State::Missing,
            "this kernel was built without the BPF system call",
            "boot a kernel with CONFIG_BPF_SYSCALL=y",
        ),
        Err(errno) => bad(
            what,
            State::Missing,
            format!(
                "the capabilities are there, yet the kernel refused a BPF program: {}; a container's seccomp profile or a \
                 security module does that",
                errno_text(errno)
            ),
            "run it on the host, or in a container with --privileged --pid=host",
        ),
    }
}

fn namespaces(findings: &Findings) -> Row {
    let what = "namespaces";
    if !findings.initial_userns {
        return bad(
            what,
            State::Missing,
            "this is a user namespace (a rootless container): its root has no power over BPF",
            "run it on the host as root, or in a rootful container with --privileged --pid=host",
        );
    }
    if !findings.initial_pidns {
        return bad(
            what,
            State::Missing,
            "this is a container with process ids of its own: the kernel reports the host's, so no process could be named and \
             Suture could not leave itself out",
            "start the container with --pid=host",
        );
    }
    ok(what, "process ids are the host's")
}

fn lockdown(findings: &Findings) -> Row {
    let what = "lockdown";
    match findings.lockdown.as_deref() {
        Some("confidentiality") => bad(
            what,
            State::Missing,
            "the kernel is locked down for confidentiality: no program may read kernel memory",
            "boot with lockdown=integrity or none (kernel command line)",
        ),
        Some(level) => ok(what, format!("{level}; does not limit Suture")),
        None => ok(what, "this kernel has none"),
    }
}

fn btf(findings: &Findings) -> Row {
    let what = "BTF";
    match &findings.btf {
        BtfState::Complete => ok(what, "all kernel struct fields Suture reads were found"),
        BtfState::Present => ok(what, "present"),
        BtfState::Absent => bad(
            what,
            State::Missing,
            "/sys/kernel/btf/vmlinux is not there: the layout of kernel structs is unknown, so nothing can be read",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)",
        ),
        BtfState::Unusable(sentence) => bad(
            what,
            State::Missing,
            sentence.clone(),
            "boot another kernel, and report this one's version",
        ),
    }
}

fn ring(findings: &Findings) -> Row {
    let what = "ring buffer";
    match findings.ring {
        Ok(()) => ok(what, "the kernel has it"),
        Err(libc::EPERM) => bad(
            what,
            State::Missing,
            "could not be tried: not permitted",
            "see privileges",
        ),
        Err(errno) => bad(
            what,
            State::Missing,
            format!("the kernel refused to make one: {}", errno_text(errno)),
            "boot a kernel of 5.15 or newer with CONFIG_BPF_SYSCALL=y",
        ),
    }
}

fn tracefs(findings: &Findings) -> Row {
    let what = "tracefs";
    let absent = |why: String| {
        bad(
            what,
            State::Missing,
            why + "; without it no system call can be hooked",
            "as root: mount -t tracefs tracefs /sys/kernel/tracing",
        )
    };
    match (&findings.tracefs, findings.events.is_some()) {
        (Tracefs::Mounted(place), true) => ok(what, format!("mounted at {}", place.display())),
        (Tracefs::Mounted(place), false) => absent(format!(
            "mounted at {}, but this process (uid {}) may not read it",
            place.display(),
            findings.uid
        )),
        (Tracefs::Mountable, _) => ok(
            what,
            "not mounted; `suture run` mounts it at /sys/kernel/tracing",
        ),
        (Tracefs::Refused(libc::ENODEV), _) => bad(
            what,
            State::Missing,
            "this kernel has no tracefs; without it no system call can be hooked",
            "boot a kernel with CONFIG_FTRACE=y and CONFIG_FTRACE_SYSCALLS=y",
        ),
        (Tracefs::Refused(errno), _) => absent(format!(
            "not mounted, and mounting was refused: {}",
            errno_text(*errno)
        )),
    }
}

fn names(findings: &Findings) -> Row {
    let what = "service names";
    if findings.has(cap::SYS_PTRACE) {
        return ok(
            what,
            "other processes' OTEL_ variables, executables and libraries can be read",
        );
    }
    bad(
        what,
        State::Off,
        "without CAP_SYS_PTRACE the OTEL_SERVICE_NAME and executable of other users' processes cannot be read; they are named by \
         their command line, and no thread of theirs gives evidence",
        "run it as root",
    )
}

fn list(holders: &[Holder]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = holders
        .iter()
        .take(SHOWN)
        .map(|one| format!("{} (pid {})", one.name, one.tgid))
        .collect();
    if holders.len() > SHOWN {
        shown.push(format!("{} more", holders.len() - SHOWN));
    }
    shown.join(", ")
}

/// Descriptors of other users' processes are hidden from those without CAP_SYS_PTRACE.
fn unseen(what: &'static str) -> Row {
    bad(
        what,
        State::Off,
        "unknown: the descriptors of other users' processes cannot be looked at",
        "run the doctor as root",
    )
}

fn io_uring(findings: &Findings) -> Row {
    let what = "io_uring";
    if findings.io_uring_disabled == Some(2) {
        return ok(
            what,
            "switched off on this host, so nothing can pass unseen through it",
        );
    }
    if findings.io_uring.is_empty() && !findings.has(cap::SYS_PTRACE) {
        return unseen(what);
    }
    if findings.io_uring.is_empty() {
        return ok(
            what,
            "no process uses it now; one that starts to will be counted and named",
        );
    }
    bad(
        what,
        State::Off,
        format!(
            "used by {}; what they send and receive through it is not seen",
            list(&findings.io_uring)
        ),
        "an io_uring option of these programs, or kernel.io_uring_disabled=2 (sysctl, 6.6 and newer) and a restart of them",
    )
}

fn units(findings: &Findings) -> Row {
    let what = "execution units";
    let Some((_, fact)) = findings.unread.first() else {
        return ok(
            what,
            "no process that listens now has a runtime whose units are not known",
        );
    };
    let holders: Vec<Holder> = findings
        .unread
        .iter()
        .map(|(holder, _)| holder.clone())
        .collect();
    bad(
        what,
        State::Off,
        format!(
            "not read in {}: {fact}; calls made there while serving are roots where threads do not tell",
            list(&holders)
        ),
        "nothing is needed for spans that are right; please report the program's version",
    )
}

fn header_injection(findings: &Findings) -> Row {
    let what = "header injection";
    match &findings.sockhash {
        Some(Ok(())) => ok(
            what,
            "with propagation.header = \"on\" requests to private networks get a traceparent: all of them where the client never waits in \
             its calls, because this kernel treats sockets in a SockHash well, else the first of a connection",
        ),
        Some(Err(reason)) => bad(
            what,
            State::Off,
            format!(
                "this kernel mishandles sockets in a SockHash: {reason}; with propagation.header = \"on\" only the first request of a \
                 connection gets a traceparent, because its socket is in one no longer than that"
            ),
            "a kernel without commit 929e30f93125, or with what mended it (Debian's 6.1 and 6.12.117 are sound)",
        ),
        None => bad(
            what,
            State::Off,
            "whether this kernel treats sockets in a SockHash well was not tried",
            "run the doctor as root",
        ),
    }
}

fn option_carrier(findings: &Findings) -> Row {
    let what = "TCP option";
    match &findings.cgroup2 {
        Some(place) => ok(
            what,
            format!(
                "cgroup v2 is mounted at {}: with propagation.option = \"on\" contexts are carried to hosts that run Suture, too; services \
                 that listened before Suture's first start do not take part until they are restarted",
                place.display()
            ),
        ),
        None => bad(
            what,
            State::Off,
            "cgroup v2 is not mounted: contexts are carried to other hosts only where programs send traceparent",
            "mount it (mkdir -p /sys/fs/cgroup/unified; mount -t cgroup2 none /sys/fs/cgroup/unified), then start Suture again",
        ),
    }
}

fn unprivileged_bpf(findings: &Findings) -> Row {
    let what = "BPF for users";
    match findings.unprivileged_bpf {
        Some(0) => ok(
            what,
            "any user may load BPF programs (kernel.unprivileged_bpf_disabled=0); Suture does not need that, and most hosts forbid it",
        ),
        Some(_) => ok(
            what,
            "forbidden without privileges, as it should be; does not limit Suture",
        ),
        None => ok(what, "this kernel does not say who may load BPF programs"),
    }
}

fn others(findings: &Findings) -> Row {
    let what = "other BPF users";
    if findings.bpf.is_empty() && !findings.has(cap::SYS_PTRACE) {
        return unseen(what);
    }
    if findings.bpf.is_empty() {
        return ok(what, "none holds programs now");
    }
    ok(
        what,
        format!(
            "{}; they and Suture do not disturb each other, but each adds its cost to the same system calls",
            list(&findings.bpf)
        ),
    )
}

/// That the agent runs is no obstacle to its running: the row says so without making the report one of failure.
fn instance(findings: &Findings) -> Row {
    let what = "second instance";
    match findings.other_instance {
        None => ok(what, "no other Suture runs on this host"),
        Some(pid) => ok(
            what,
            format!(
                "Suture is running now (pid {pid}); a second `suture run` would trace every request twice and is refused"
            ),
        ),
    }
}
