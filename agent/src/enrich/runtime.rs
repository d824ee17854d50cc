//! Which evidence a process' threads give: its runtime class (DESIGN §5).
//!
//! In: a tgid. Out: one of `agent_common::abi::runtime`, with the fact it stands on. Always holds: a name of a file is
//! taken only where the fact is the file itself (an interpreter's executable, a mapped library); when in doubt the class is the one that
//! trusts less. Refuses: nothing; a process that cannot be read is NATIVE, which trusts threads with blocking sockets only.

use std::{ffi::OsStr, path::Path};

use agent_common::abi::{Runtime, node_variant, runtime};

use super::{
    elf::ElfMarks,
    naming::words::without_version,
    proc_root::ProcRoot,
    units::{self, cpython::Refusal},
};
use crate::attach::user::Probe;

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
    pub(super) const fn of(class: u8, fact: &'static str) -> Self {
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
        Ok((Some(places), looked)) => {
            let units = places.units(&looked);
            Finding {
                is_unread: units.runtime.variant & node_variant::AWAITS == 0,
                ..Finding::from(units)
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "runtime_tests.rs"]
mod tests;
