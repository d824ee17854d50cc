//! The judgement on hooks: how bytes are seen, and which hooks this kernel lacks.
//!
//! In: [`Findings`], the attach table. Out: rows of the report. Always holds: pure; a hook that is not there is named with what is lost
//! without it. Refuses: to judge uprobes, whose places are known only when a file that has them is met.

use super::{
    findings::Findings,
    report::{Row, State},
    rows::{bad, ok},
};
use crate::attach::{
    SOCKETS_NEED,
    table::{HOOKS, Hook, Need, Place, Way},
};

/// How bytes are seen.
fn seen(way: Way) -> Row {
    let what = "bytes";
    match way {
        Way::Sockets => ok(
            what,
            "are seen inside of the socket calls; other syscalls pay nothing until something needs their hooks",
        ),
        Way::Functions => ok(
            what,
            "are seen at functions of the socket layer; other syscalls pay nothing until something needs their hooks",
        ),
        Way::Syscalls => ok(
            what,
            "are seen at the syscalls; on Linux 6.16 to 6.18 or with CONFIG_DYNAMIC_FTRACE that costs half as much",
        ),
    }
}

/// How bytes are seen, and one row when all is there for it, else a row for each loss.
pub(super) fn tracepoints(findings: &Findings) -> Vec<Row> {
    let what = "tracepoints";
    let Some(events) = &findings.events else {
        return vec![bad(
            what,
            State::Off,
            "could not be looked at",
            "see tracefs",
        )];
    };
    let way = findings.way;
    let is_there = |place: Place| match place {
        // No event of tracefs; the kernel's types were asked for them.
        Place::Btf(name) if SOCKETS_NEED.contains(&name) => way == Way::Sockets,
        // They were looked for where the way was chosen.
        Place::Entry(_) | Place::Exit(_) => true,
        Place::Syscall(name) => events.contains(&format!("syscalls:{name}")),
        // Whether a file has the function is known when it is met.
        Place::User(_) => true,
        // See the rows on the TCP option and on headers.
        Place::RootCgroup(_) | Place::Members => true,
        Place::Raw(name) | Place::Btf(name) => events.iter().any(|event| {
            event
                .split_once(':')
                .is_some_and(|(_, event)| event == name)
        }),
    };
    let is_users = |hook: &&Hook| matches!(hook.place, Place::User(_));
    let hooks = HOOKS.iter().filter(|hook| hook.serves(way));
    let hooks: Vec<_> = hooks.filter(|hook| !is_users(hook)).collect();
    let absent: Vec<_> = hooks.iter().filter(|hook| !is_there(hook.place)).collect();
    let mut rows = vec![seen(way)];
    if absent.is_empty() {
        rows.push(ok(
            what,
            format!("those of all {} hooks are there", hooks.len()),
        ));
        return rows;
    }
    let mut losses: Vec<(Need, &str)> = Vec::new();
    for hook in &absent {
        if losses.contains(&(hook.need, hook.loss)) {
            continue;
        }
        losses.push((hook.need, hook.loss));
        let names: Vec<&str> = absent
            .iter()
            .filter(|other| other.need == hook.need && other.loss == hook.loss)
            .map(|other| match other.place {
                Place::Syscall(name)
                | Place::Raw(name)
                | Place::Btf(name)
                | Place::Entry(name)
                | Place::Exit(name)
                | Place::User(name) => name,
                Place::RootCgroup(_) => "cgroup v2",
                Place::Members => "SockHash",
            })
            .collect();
        let (state, verb) = match hook.need {
            Need::Required => (State::Missing, "this kernel lacks"),
            Need::Optional => (State::Off, "this kernel has no"),
        };
        rows.push(bad(
            what,
            state,
            format!("{verb} {}; lost: {}", names.join(", "), hook.loss),
            match hook.place {
                Place::Syscall(_) => {
                    "boot a kernel with CONFIG_FTRACE_SYSCALLS=y, as distribution kernels are"
                }
                Place::Raw(_)
                | Place::Btf(_)
                | Place::Entry(_)
                | Place::Exit(_)
                | Place::User(_)
                | Place::RootCgroup(_)
                | Place::Members => "boot a distribution kernel, and report this one's version",
            },
        ));
    }
    rows
}
