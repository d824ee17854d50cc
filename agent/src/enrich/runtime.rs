//! Which evidence a process' threads give: its runtime class (DESIGN §5).
//!
//! In: a tgid. Out: one of `agent_common::abi::runtime`, with the fact it stands on. Always holds: a name of a file is
//! taken only where the fact is the file itself (an interpreter's executable, a mapped library); when in doubt the class is the one that
//! trusts less. Refuses: nothing; a process that cannot be read is NATIVE, which trusts threads with blocking sockets only.
//!
//! Classes are looked at again after execve and 1 s and 10 s after a process is first seen, because interpreters map their
//! libraries while they run (gevent is imported by the program, not by Python).
//!
//! ```text
//! first / exec ──> looked ──1 s──> again ──10 s──> settled
//!                    └──── exit at any time ────────> (forgotten)
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    path::Path,
};

use agent_common::abi::{ProcessKey, Runtime, node_variant, runtime};

use super::{
    elf::ElfMarks,
    naming::words::without_version,
    proc_root::ProcRoot,
    units::{self, Follows, cpython::Refusal},
};
use crate::{attach::user::Probe, config::NodeTurns};

/// A runtime and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the programs are told.
    pub runtime: Runtime,
    /// Programs that must be attached before they are told so.
    pub probes: Vec<Probe>,
    /// The fact, for people.
    pub fact: &'static str,
    /// The runtime has units of its own, which are not read in this version or build.
    pub is_unread: bool,
}

impl Finding {
    /// A class that needs no more than its name.
    const fn of(class: u8, fact: &'static str) -> Self {
        Self {
            runtime: Runtime::of(class),
            probes: Vec::new(),
            fact,
            is_unread: false,
        }
    }

    /// The runtime has units of its own, which are not read: `class` is what is safe.
    fn unread(class: u8, fact: &'static str) -> Self {
        Self {
            is_unread: true,
            ..Self::of(class, fact)
        }
    }

    /// One of `agent_common::abi::runtime`.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.runtime.class
    }
}

impl From<units::Units> for Finding {
    fn from(units: units::Units) -> Self {
        Self {
            runtime: units.runtime,
            probes: units.probes,
            fact: units.fact,
            is_unread: false,
        }
    }
}

/// Libraries whose presence in a process decides, in order. Paths are compared by what the file name contains.
const LIBRARIES: &[(&str, u8, &str)] = &[
    // Greenlets run many requests on one thread; gevent and eventlet both stand on this module.
    (
        "_greenlet.",
        runtime::MULTIPLEXING,
        "greenlet is loaded (gevent, eventlet)",
    ),
    // Granian's and Robyn's sockets are served by tokio threads inside CPython.
    (
        "_granian.",
        runtime::MULTIPLEXING,
        "granian's tokio workers are loaded",
    ),
    (
        "robyn.",
        runtime::MULTIPLEXING,
        "robyn's tokio workers are loaded",
    ),
    // Ruby's fiber scheduler (async, falcon) waits in this module.
    (
        "IO_Event.so",
        runtime::MULTIPLEXING,
        "io-event is loaded (async, falcon)",
    ),
    (
        "rubyeventmachine.so",
        runtime::MULTIPLEXING,
        "eventmachine is loaded",
    ),
    // Coroutines of PHP.
    ("swoole.so", runtime::MULTIPLEXING, "swoole is loaded"),
    // An embedded Node.js.
    ("libnode.so", runtime::MULTIPLEXING, "libnode is loaded"),
    // Tasks of .NET move between pool threads at every await.
    (
        "libcoreclr.so",
        runtime::MULTIPLEXING,
        "the .NET runtime is loaded",
    ),
    // A JVM may run blocking servers (one request per thread) or NIO (not): its sockets tell. See also `java`.
    (
        JVM,
        runtime::NATIVE,
        "a JVM is loaded: only blocking sockets tie requests to threads",
    ),
    // Apache's processes and threads, which wait for their connections with poll: one reads a request and answers it. The thread
    // that waits for all connections (mpm_event) does so with epoll and reads none.
    (
        "mod_mpm_prefork.so",
        runtime::THREADED,
        "Apache serves a request in one process",
    ),
    (
        "mod_mpm_worker.so",
        runtime::THREADED,
        "Apache serves a request on one thread",
    ),
    (
        "mod_mpm_event.so",
        runtime::THREADED,
        "Apache serves a request on one thread",
    ),
    // CPython, Ruby and PHP inside another program (uwsgi, mod_wsgi, passenger, mod_php).
    ("libpython3", runtime::THREADED, "CPython is loaded"),
    ("libruby", runtime::THREADED, "Ruby is loaded"),
    ("libphp", runtime::THREADED, "PHP is loaded"),
];

/// HotSpot.
const JVM: &str = "libjvm.so";

/// Modules with which nginx does more than one thing in a turn of its loop: Lua code and JavaScript wait for sockets of their
/// own and go on when those are ready, among other requests' events.
const NGINX_SCRIPTING: &[&str] = &["libluajit", "ngx_http_lua_module", "ngx_http_js_module"];

/// Finds the class of the process `tgid`.
pub fn find(root: &ProcRoot, elf: &mut ElfMarks, tgid: u32) -> Finding {
    let unknown = Finding::of(runtime::NATIVE, "nothing speaks for a known runtime");
    let Ok(exe) = root.exe(tgid) else {
        return unknown;
    };
    let name = exe.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let file = root.file(tgid, "exe");
    let maps = root.maps(tgid).unwrap_or_default();
    let mapped = |part: &str| mapped_files(&maps).any(|file| file.contains(part));
    let found = Finding::of;

    if elf.is_go(&file).unwrap_or(false) {
        // The scheduler moves goroutines between threads, its netpoller makes all sockets non-blocking.
        let facts = elf.go(&file).ok();
        return facts
            .and_then(|(facts, looked)| units::go::units(&looked, &facts))
            .map_or_else(
                || {
                    Finding::unread(
                        runtime::MULTIPLEXING,
                        "the executable was linked by Go, but its goroutines cannot be told apart",
                    )
                },
                Finding::from,
            );
    }
    // Both the name and the text: other programs print nginx' version too, and a file may be called anything.
    let nginx = (name == "nginx")
        .then(|| elf.marks(&file).unwrap_or_default())
        .filter(|marks| marks.nginx);
    if let Some(marks) = nginx {
        return if marks.nginx_lua || NGINX_SCRIPTING.iter().any(|part| mapped(part)) {
            found(
                runtime::MULTIPLEXING,
                "nginx runs Lua or JavaScript, which waits in the middle of a request",
            )
        } else {
            found(runtime::TURN_PROXY, "the executable is nginx")
        };
    }
    if name == "haproxy" {
        return units::haproxy::find(&file, &maps).map_or_else(
            || {
                Finding::unread(
                    runtime::MULTIPLEXING,
                    "the executable is haproxy of a version whose streams are not known",
                )
            },
            Finding::from,
        );
    }
    match without_version(name) {
        "node" | "nodejs" => return node(elf, &file),
        // Bun's and Deno's loops serve all requests on one thread.
        "bun" | "deno" => {
            return found(
                runtime::MULTIPLEXING,
                "the executable is a JavaScript runtime",
            );
        }
        // Erlang's processes move between scheduler threads.
        "beam.smp" => return found(runtime::MULTIPLEXING, "the executable is the Erlang VM"),
        _ => {}
    }
    let mut refusal = None;
    // Requests of these are read by threads that are not Python's.
    let is_python = mapped("libpython3") || without_version(name) == "python";
    if is_python && !mapped("_granian.") && !mapped("robyn.") {
        match units::cpython::find(root, tgid, &maps) {
            Ok(units) => return units.into(),
            Err(Refusal::WithoutAsyncio) => {}
            Err(reason) => refusal = Some(reason.as_str()),
        }
    }
    let safe = |class, fact| match refusal {
        Some(reason) => Finding::unread(class, reason),
        None => found(class, fact),
    };
    for (part, class, fact) in LIBRARIES {
        if !mapped(part) {
            continue;
        }
        if *part == JVM {
            match units::java::find(root, tgid, &maps) {
                Ok(units) => return units.into(),
                Err(units::java::Refusal::WithoutVirtualThreads) => {}
                Err(reason) => return Finding::unread(*class, reason.as_str()),
            }
        }
        return safe(*class, fact);
    }
    match without_version(name) {
        // One thread, one request, unless the thread waits in epoll (asyncio), which the kernel side sees.
        "python" => return safe(runtime::THREADED, "the executable is CPython"),
        // Puma, WEBrick, unicorn: the same.
        "ruby" => return found(runtime::THREADED, "the executable is Ruby"),
        // A process of php-fpm serves one request at a time.
        "php" | "php-fpm" | "php-cgi" => return found(runtime::THREADED, "the executable is PHP"),
        _ => {}
    }
    // Only for programs nothing else is known of: the search takes milliseconds, once for each file.
    let marks = elf.marks(&file).unwrap_or_default();
    if marks.node {
        return node(elf, &file);
    }
    if marks.tokio {
        return tokio(elf, &file);
    }
    unknown
}

/// tokio in the file `file`: its tasks move between worker threads at every await.
fn tokio(elf: &mut ElfMarks, file: &Path) -> Finding {
    let (facts, looked) = elf.tokio(file).unwrap_or_default();
    let limit = facts.limit();
    match facts.units(&looked) {
        None => Finding::unread(runtime::MULTIPLEXING, limit.unwrap_or_default()),
        Some(units) => Finding {
            is_unread: limit.is_some(),
            ..Finding::from(units)
        },
    }
}

/// Node.js in the file `file`.
fn node(elf: &mut ElfMarks, file: &Path) -> Finding {
    match elf.node(file) {
        Ok((Some(places), looked)) => Finding::from(places.units(&looked)),
        _ => Finding::unread(
            runtime::MULTIPLEXING,
            "this version or build of Node.js is not known: the turns of its event loop are not told apart",
        ),
    }
}

/// File names of the mapped files. A line is `ADDRESSES PERMS OFFSET DEV INODE PATH` (`man 5 proc_pid_maps`).
fn mapped_files(maps: &[u8]) -> impl Iterator<Item = &str> {
    maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().rposition(|byte| *byte == b'/')?;
        std::str::from_utf8(line.get(at + 1..)?).ok()
    })
}

/// True if the process holds an io_uring: what it does through it passes no hooked syscall.
pub fn uses_io_uring(root: &ProcRoot, tgid: u32) -> bool {
    /// Descriptors looked at; processes with more are proxies whose ring, if any, was made early and has a low number.
    const FDS_MAX: usize = 65_536;
    let Ok(fds) = std::fs::read_dir(root.file(tgid, "fd")) else {
        return false;
    };
    fds.flatten().take(FDS_MAX).any(|fd| {
        std::fs::read_link(fd.path())
            .is_ok_and(|target| target == Path::new("anon_inode:[io_uring]"))
    })
}

/// How long after it is first seen a process is looked at again, ns.
const AGAIN_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];

/// Two start times this close are one process': a key made from `/proc` is cut to ticks of 10 ms, and no pid comes round so fast.
const SAME_START_NS: u64 = 30_000_000;

/// Runtime classes of the processes seen, and when to look again. By tgid, as in the kernel's map.
#[derive(Debug)]
pub struct RuntimeClasses {
    root: ProcRoot,
    elf: ElfMarks,
    capacity: usize,
    known: HashMap<u32, Known>,
    /// The same as in `known`, by time: (CLOCK_MONOTONIC ns, tgid).
    due: BTreeSet<(u64, u32)>,
    /// Processes not classified because the table was full.
    refused: u64,
    follows: Follows,
}

/// One process.
#[derive(Clone, Debug)]
struct Known {
    key: ProcessKey,
    finding: Finding,
    /// When it was first looked at, CLOCK_MONOTONIC ns.
    first_ns: u64,
    /// Times it was looked at again.
    again: usize,
}

impl Known {
    /// When to look again; none when the class is settled.
    fn due_ns(&self) -> Option<u64> {
        AGAIN_NS
            .get(self.again)
            .map(|wait_ns| self.first_ns.saturating_add(*wait_ns))
    }
}

impl RuntimeClasses {
    /// Keeps at most `capacity` processes; those beyond are NATIVE and counted.
    pub fn new(root: ProcRoot, capacity: usize) -> Self {
        let (known, due) = (HashMap::new(), BTreeSet::new());
        RuntimeClasses {
            root,
            elf: ElfMarks::default(),
            capacity,
            known,
            due,
            refused: 0,
            follows: Follows {
                node_turns: NodeTurns::Off,
                tokio_tasks: false,
            },
        }
    }

    /// What is followed.
    #[must_use]
    pub fn following(mut self, follows: Follows) -> Self {
        self.follows = follows;
        self
    }

    fn find(&mut self, tgid: u32) -> Finding {
        let mut finding = find(&self.root, &mut self.elf, tgid);
        if let Some(fact) = self.follows.refusal(finding.class()) {
            return Finding::of(runtime::MULTIPLEXING, fact);
        }
        if finding.class() == runtime::NODE && self.follows.node_turns == NodeTurns::Auto {
            finding.runtime.variant |= node_variant::ALONE;
        }
        finding
    }

    /// The runtime of a process that listens now, or that ran before the agent. `ktime_ns` is CLOCK_MONOTONIC now.
    pub fn look(&mut self, key: ProcessKey, ktime_ns: u64) -> Finding {
        self.forget(key.tgid);
        if self.known.len() >= self.capacity {
            self.refused += 1;
            return Finding::of(runtime::NATIVE, "the table of processes is full");
        }
        let finding = self.find(key.tgid);
        let known = Known {
            key,
            finding: finding.clone(),
            first_ns: ktime_ns,
            again: 0,
        };
        self.due
            .extend(known.due_ns().map(|due_ns| (due_ns, key.tgid)));
        self.known.insert(key.tgid, known);
        finding
    }

    /// The class of a process met for the first time by a traced record; none when it is known already.
    ///
    /// A worker forked from a server never calls execve: it has the class its parent had when it forked, which may be older than
    /// what both have loaded since (gunicorn imports gevent, then forks).
    pub fn first(&mut self, key: ProcessKey, ktime_ns: u64) -> Option<Finding> {
        let known = self.known.get(&key.tgid);
        let is_known =
            known.is_some_and(|known| known.key.start_ns.abs_diff(key.start_ns) <= SAME_START_NS);
        (!is_known).then(|| self.look(key, ktime_ns))
    }

    /// The runtime of a process that serves already, if it is not the one that is known of it.
    pub fn changed(&mut self, key: ProcessKey, ktime_ns: u64) -> Option<Finding> {
        let before = self.known.get(&key.tgid).map(|known| known.finding.clone());
        let finding = self.look(key, ktime_ns);
        (before.as_ref() != Some(&finding)).then_some(finding)
    }

    /// The process ended. Returns whether it may have had units that are no threads.
    pub fn exit(&mut self, key: ProcessKey) -> bool {
        // A later process with the same pid stays.
        let ended =
            |known: &Known| known.key.start_ns <= key.start_ns.saturating_add(SAME_START_NS);
        let Some(known) = self.known.get(&key.tgid).filter(|known| ended(known)) else {
            return false;
        };
        let had_units = known.finding.class() >= runtime::GO;
        self.forget(key.tgid);
        had_units
    }

    fn forget(&mut self, tgid: u32) {
        if let Some(due_ns) = self.known.remove(&tgid).and_then(|known| known.due_ns()) {
            self.due.remove(&(due_ns, tgid));
        }
    }

    /// The next process whose runtime changed by now, with the new one; none when all that was due is unchanged.
    pub fn poll(&mut self, ktime_ns: u64) -> Option<(ProcessKey, Finding)> {
        while let Some((_, tgid)) = self
            .due
            .first()
            .copied()
            .filter(|(due_ns, _)| *due_ns <= ktime_ns)
        {
            self.due.pop_first();
            let Some(known) = self.known.get_mut(&tgid) else {
                continue;
            };
            known.again += 1;
            self.due.extend(known.due_ns().map(|due_ns| (due_ns, tgid)));
            // A process that has ended says nothing; its class stays, and a later one's with its pid is its own.
            let root = &self.root;
            if !root
                .stat(tgid)
                .is_ok_and(|stat| root.is_same(known.key, &stat))
            {
                continue;
            }
            let finding = self.find(tgid);
            let Some(known) = self.known.get_mut(&tgid) else {
                continue;
            };
            if finding != known.finding {
                known.finding = finding.clone();
                return Some((known.key, finding));
            }
        }
        None
    }

    /// When [`Self::poll`] has something to look at, CLOCK_MONOTONIC ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.first().map(|(due_ns, _)| *due_ns)
    }

    /// Processes not classified because the table was full, absolute.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "runtime_tests.rs"]
mod tests;
