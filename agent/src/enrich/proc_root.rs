//! Reads of `/proc/PID/*`, each bounded.
//!
//! In: a tgid. Out: the few fields the agent needs (`man 5 proc`). Always holds: no file is read beyond its bound, a
//! process that is gone or foreign is an `io::Error`, never a panic. Refuses: to keep a process' environment: the bytes live
//! only while [`crate::enrich::environ`] picks from them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use agent_common::abi::ProcessKey;

/// `/proc`, or a folder made like it.
#[derive(Clone, Debug)]
pub struct ProcRoot {
    path: PathBuf,
    /// USER_HZ: units of `starttime` per second.
    user_hz: u64,
    /// CLOCK_BOOTTIME - CLOCK_MONOTONIC (time suspended, ns) when it is fixed, as in a test; else read when needed.
    suspended_ns: Option<u64>,
}

/// The fields of `/proc/PID/stat` that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the main thread, at most 15 bytes.
    pub comm: String,
    /// State letter; `Z` and `X` are dead.
    pub state: u8,
    /// Parent's tgid.
    pub ppid: u32,
    /// Start time in USER_HZ ticks of CLOCK_BOOTTIME.
    pub start_ticks: u64,
}

/// Bound of `stat`, `status` and `cgroup`.
const SMALL: usize = 16 << 10;
/// Bound of `cmdline`: what names a service stands at its front.
const CMDLINE: usize = 32 << 10;
/// Arguments looked at.
const ARGS: usize = 512;
/// Bound of `environ`.
const ENVIRON: usize = 512 << 10;
/// Bound of `maps`; a JVM with thousands of mappings stays below.
const MAPS: usize = 8 << 20;

impl ProcRoot {
    /// The kernel's `/proc`.
    pub fn live() -> Self {
        // SAFETY: sysconf only reads its argument.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        ProcRoot {
            path: PathBuf::from("/proc"),
            user_hz: u64::try_from(ticks)
                .ok()
                .filter(|ticks| *ticks > 0)
                .unwrap_or(100),
            suspended_ns: None,
        }
    }

    /// A folder made like `/proc`, on a machine that was never suspended, with 100 ticks per second.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        ProcRoot {
            path: path.into(),
            user_hz: 100,
            suspended_ns: Some(0),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `/proc/PID/name`.
    pub fn file(&self, tgid: u32, name: &str) -> PathBuf {
        let mut path = self.path.join(tgid.to_string());
        path.push(name);
        path
    }

    fn bytes(&self, tgid: u32, name: &str, bound: usize) -> io::Result<Vec<u8>> {
        read_bounded(&self.file(tgid, name), bound)
    }

    /// `/proc/PID/stat`.
    ///
    /// # Errors
    /// The process is gone, or the line is not one.
    pub fn stat(&self, tgid: u32) -> io::Result<Stat> {
        let raw = self.bytes(tgid, "stat", SMALL)?;
        parse_stat(&raw).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "not a line of /proc/PID/stat")
        })
    }

    /// The process' arguments; one string with blanks where the program wrote a title over them.
    ///
    /// # Errors
    /// The process is gone.
    pub fn args(&self, tgid: u32) -> io::Result<Vec<String>> {
        let raw = self.bytes(tgid, "cmdline", CMDLINE)?;
        let end = raw
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let text = raw.get(..end).unwrap_or_default();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text
            .split(|byte| *byte == 0)
            .take(ARGS)
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect())
    }

    /// The environment as it was at execve (a program may have overwritten it).
    ///
    /// # Errors
    /// The process is gone, or belongs to somebody else and CAP_SYS_PTRACE is missing.
    pub fn environ(&self, tgid: u32) -> io::Result<Vec<u8>> {
        let mut raw = self.bytes(tgid, "environ", ENVIRON)?;
        if raw.len() == ENVIRON {
            // Cut: the last entry may be half a value.
            let whole = raw.iter().rposition(|byte| *byte == 0).unwrap_or(0);
            raw.truncate(whole);
        }
        Ok(raw)
    }

    /// `/proc/PID/cgroup`.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cgroup(&self, tgid: u32) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(tgid, "cgroup", SMALL)?).into_owned())
    }

    /// `/proc/PID/maps`.
    ///
    /// # Errors
    /// The process is gone or foreign.
    pub fn maps(&self, tgid: u32) -> io::Result<Vec<u8>> {
        self.bytes(tgid, "maps", MAPS)
    }

    /// Effective user id.
    ///
    /// # Errors
    /// The process is gone.
    pub fn euid(&self, tgid: u32) -> io::Result<u32> {
        let raw = self.bytes(tgid, "status", SMALL)?;
        let text = String::from_utf8_lossy(&raw);
        text.lines()
            .find_map(|line| {
                line.strip_prefix("Uid:")?
                    .split_whitespace()
                    .nth(1)?
                    .parse()
                    .ok()
            })
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "no Uid line in /proc/PID/status",
                )
            })
    }

    /// Path of the executable as the process' mount namespace names it.
    ///
    /// # Errors
    /// The process is gone, foreign, or a kernel thread.
    pub fn exe(&self, tgid: u32) -> io::Result<PathBuf> {
        let link = std::fs::read_link(self.file(tgid, "exe"))?;
        match link
            .to_str()
            .and_then(|text| text.strip_suffix(" (deleted)"))
        {
            Some(kept) => Ok(PathBuf::from(kept)),
            None => Ok(link),
        }
    }

    /// Working directory.
    ///
    /// # Errors
    /// The process is gone or foreign.
    pub fn cwd(&self, tgid: u32) -> io::Result<PathBuf> {
        std::fs::read_link(self.file(tgid, "cwd"))
    }

    /// All tgids, in no order.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn tgids(&self) -> io::Result<Vec<u32>> {
        let entries = std::fs::read_dir(&self.path)?;
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect())
    }

    /// The processes that `tgid` and its children made, as far as they are still there.
    #[must_use]
    pub fn descendants(&self, tgid: u32) -> Vec<u32> {
        let mut found = self.children(tgid);
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            at += 1;
            found.extend(self.children(parent));
        }
        found
    }

    /// Those that its threads made; by the parents of all processes where the kernel has no lists of children (without
    /// `CONFIG_PROC_CHILDREN`).
    fn children(&self, tgid: u32) -> Vec<u32> {
        let threads = std::fs::read_dir(self.file(tgid, "task"));
        let threads: Vec<_> = threads.into_iter().flatten().flatten().collect();
        let lists = threads
            .iter()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let lists: Vec<String> = lists.collect();
        if lists.is_empty() && !threads.is_empty() {
            let all = self.tgids().unwrap_or_default().into_iter();
            let is_child = |other: &u32| self.stat(*other).is_ok_and(|stat| stat.ppid == tgid);
            return all.filter(is_child).collect();
        }
        let words = lists.iter().flat_map(|list| list.split_ascii_whitespace());
        words.filter_map(|child| child.parse().ok()).collect()
    }

    /// True if `stat` describes the process `key` names and not one that got its pid later.
    ///
    /// The key holds `task->start_time` (CLOCK_MONOTONIC); `stat` shows `task->start_boottime` cut to ticks
    /// (`fs/proc/array.c`). Their distance is the time the machine had been suspended when the process started:
    /// between 0 and what it is now.
    pub fn is_same(&self, key: ProcessKey, stat: &Stat) -> bool {
        let tick_ns = 1_000_000_000 / self.user_hz;
        let boot_ns = stat.start_ticks.saturating_mul(tick_ns);
        let suspended_ns = self.suspended_ns.unwrap_or_else(suspended_ns);
        // Cut to ticks: boot_ns may lie up to a tick before the true value; one more for the two clocks' adjustment.
        boot_ns.saturating_add(2 * tick_ns) >= key.start_ns
            && boot_ns
                <= key
                    .start_ns
                    .saturating_add(suspended_ns)
                    .saturating_add(2 * tick_ns)
    }

    /// When a process started, by the wall clock as it is set now: ns since 1970, cut to ticks of USER_HZ.
    pub fn started_unix_ns(&self, stat: &Stat) -> u64 {
        let boot_unix_ns =
            clock_ns(libc::CLOCK_REALTIME).saturating_sub(clock_ns(libc::CLOCK_BOOTTIME));
        let since_boot_ns = stat
            .start_ticks
            .saturating_mul(1_000_000_000 / self.user_hz);
        boot_unix_ns.saturating_add(since_boot_ns)
    }

    /// The key of a running process as far as `/proc` tells it: exact to a tick of USER_HZ, on a machine that was not suspended
    /// after the process started.
    ///
    /// # Errors
    /// The process is gone.
    pub fn approximate_key(&self, tgid: u32) -> io::Result<ProcessKey> {
        let boot_ns = self
            .stat(tgid)?
            .start_ticks
            .saturating_mul(1_000_000_000 / self.user_hz);
        let suspended_ns = self.suspended_ns.unwrap_or_else(suspended_ns);
        Ok(ProcessKey {
            start_ns: boot_ns.saturating_sub(suspended_ns),
            tgid,
            zero: 0,
        })
    }
}

/// Reads at most `bound` bytes of a file.
///
/// # Errors
/// As open(2) and read(2).
pub fn read_bounded(path: &Path, bound: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    File::open(path)?.take(bound as u64).read_to_end(&mut out)?;
    Ok(out)
}

/// Nanoseconds this machine has been suspended since boot.
fn suspended_ns() -> u64 {
    let monotonic = clock_ns(libc::CLOCK_MONOTONIC);
    clock_ns(libc::CLOCK_BOOTTIME).saturating_sub(monotonic)
}

/// What a clock says, ns.
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the kernel to write.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// `PID (COMM) STATE PPID …`; COMM may hold blanks and parentheses, so it ends at the last `)`.
fn parse_stat(raw: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(raw);
    let (front, rest) = text.rsplit_once(')')?;
    let comm = front.split_once('(')?.1.to_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.bytes().next()?;
    let ppid = fields.next()?.parse().ok()?;
    // Field 22 is starttime; after COMM come the fields from 3 on, two are taken.
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        comm,
        state,
        ppid,
        start_ticks,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use agent_common::abi::ProcessKey;
    use proptest::prelude::{any, proptest};

    use super::{ProcRoot, Stat, parse_stat};

    const LINE: &str = "42 (we) i(rd) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";

    #[test]
    fn what_a_process_forked_is_known_to_the_last_generation() {
        // The outer shell waits for the inner one, which waits for `sleep`.
        let mut outer = std::process::Command::new("sh")
            .args(["-c", "sh -c 'sleep 30; true'; true"])
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        let mut found = Vec::new();
        while found.len() < 2 && begun.elapsed().as_secs() < 10 {
            found = ProcRoot::live().descendants(outer.id());
        }
        let names: Vec<String> = found
            .iter()
            .filter_map(|tgid| ProcRoot::live().stat(*tgid).ok())
            .map(|stat| stat.comm)
            .collect();
        for tgid in found.iter().rev() {
            // SAFETY: a signal to a process that this test made.
            unsafe { libc::kill(*tgid as i32, libc::SIGKILL) };
        }
        outer.wait().unwrap();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(names[0], "sh");
    }

    #[test]
    fn stat_survives_parentheses_in_the_name() {
        let expect = Stat {
            comm: "we) i(rd".into(),
            state: b'S',
            ppid: 7,
            start_ticks: 12345,
        };
        assert_eq!(parse_stat(LINE.as_bytes()), Some(expect));
    }

    #[test]
    fn a_process_is_the_same_only_at_the_same_start_time() {
        let root = ProcRoot::at("/nonexistent");
        let stat = parse_stat(LINE.as_bytes()).unwrap();
        let check = |start_ns, suspended_ns, expect: bool| {
            let root = ProcRoot {
                suspended_ns: Some(suspended_ns),
                ..root.clone()
            };
            assert_eq!(
                root.is_same(
                    ProcessKey {
                        start_ns,
                        tgid: 42,
                        zero: 0
                    },
                    &stat
                ),
                expect,
                "{start_ns}"
            );
        };
        check(123_450_000_000, 0, true);
        check(123_459_999_999, 0, true); // cut to the tick below
        check(123_500_000_000, 0, false); // started later
        check(123_400_000_000, 0, false); // started earlier
        check(100_000_000_000, 23_450_000_000, true); // 23 s of suspend before it started
        check(123_450_000_000, 23_450_000_000, true); // all of the suspend after it started
        check(90_000_000_000, 23_450_000_000, false);
    }

    #[test]
    fn this_process_is_itself() {
        let root = ProcRoot::live();
        let key = root.approximate_key(std::process::id()).unwrap();
        assert!(root.is_same(key, &root.stat(key.tgid).unwrap()));
        assert!(!root.is_same(key, &root.stat(1).unwrap()));
    }

    proptest! {
        #[test]
        fn stat_lines_of_any_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse_stat(&bytes);
        }
    }
}
