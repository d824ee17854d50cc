//! What the doctor knows: plain facts about kernel and privileges.
//!
//! In and out: [`Findings`], filled by `gather`, judged by `report` and `preflight`. Always holds: facts only, no judgement, so
//! that every judgement can be tested with made-up ones.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use crate::attach::table::Way;

/// A kernel version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first `N.N.N` (or `N.N`) in a text such as `6.12.117+deb12-amd64`.
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.')
            .find_map(|word| {
                let mut numbers = word.split('.').map(str::parse);
                let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
                Some(Version(
                    major,
                    minor,
                    numbers.next().and_then(Result::ok).unwrap_or(0),
                ))
            })
    }

    /// The version of the stable tree a running kernel was built from. Debian's 6.1 and Ubuntu's kernels name
    /// themselves `6.1.0-56` whatever they hold; the true number stands in uname's `version` (`Debian 6.1.192-2`) or in
    /// `/proc/version_signature` (`Ubuntu 6.8.0-45.45-generic 6.8.12`).
    pub fn running(release: &str, version: &str, signature: &str) -> Option<Self> {
        let plain = Self::find(release)?;
        let told = version
            .split_once("Debian ")
            .and_then(|(_, rest)| Self::find(rest));
        let told = told.or_else(|| Self::find(signature.split_whitespace().nth(2)?));
        // Only the last number may differ; anything else is not about this kernel.
        Some(
            told.filter(|told| (told.0, told.1) == (plain.0, plain.1))
                .unwrap_or(plain),
        )
    }
}

/// BTF of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfState {
    /// No `/sys/kernel/btf/vmlinux`.
    Absent,
    /// There, not looked into.
    Present,
    /// All fields were found.
    Complete,
    /// Something is missing or damaged; the sentence says what.
    Unusable(String),
}

/// tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracefs {
    /// Mounted here.
    Mounted(PathBuf),
    /// The kernel has it and this process may mount it.
    Mountable,
    /// The kernel refused; an errno.
    Refused(i32),
}

/// A process and something it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Name of its main thread.
    pub name: String,
    /// Its tgid.
    pub tgid: u32,
    /// How many it has.
    pub count: u32,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// `uname -r`.
    pub release: String,
    /// Stable version.
    pub version: Option<Version>,
    /// `uname -m`.
    pub machine: String,
    /// `uname -n`.
    pub host: String,
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities, a bit per capability (`include/uapi/linux/capability.h`).
    pub caps: u64,
    /// This process is in the initial user namespace; BPF of this kind is allowed only there.
    pub initial_userns: bool,
    /// This process is in the initial pid namespace, whose ids the kernel reports.
    pub initial_pidns: bool,
    /// The word in brackets in `/sys/kernel/security/lockdown`; none without lockdown.
    pub lockdown: Option<String>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf: Option<u32>,
    /// BTF.
    pub btf: BtfState,
    /// How bytes will be seen where the configuration does not say it.
    pub way: Way,
    /// Outcome of making a ring buffer map of one page; the error is an errno.
    pub ring: Result<(), i32>,
    /// Outcome of loading a program of two instructions; the error is an errno.
    pub program: Result<(), i32>,
    /// tracefs.
    pub tracefs: Tracefs,
    /// `group:event` of every tracepoint; none when tracefs could not be read.
    pub events: Option<BTreeSet<String>>,
    /// Whether sockets in a SockHash are treated well; none where it was not tried.
    pub sockhash: Option<Result<(), String>>,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// `kernel.io_uring_disabled` (6.6+): 2 is off for everybody.
    pub io_uring_disabled: Option<u32>,
    /// Processes that hold an io_uring.
    pub io_uring: Vec<Holder>,
    /// Processes that listen and whose units are not read, and why.
    pub unread: Vec<(Holder, &'static str)>,
    /// Processes that hold BPF programs or links.
    pub bpf: Vec<Holder>,
    /// Tgid of a running `suture run` (0 when it cannot be read).
    pub other_instance: Option<u32>,
}

/// Capabilities by bit number.
pub mod cap {
    /// CAP_SYS_PTRACE: read other users' `/proc/PID/environ`, `exe` and `maps`.
    pub const SYS_PTRACE: u32 = 19;
    /// CAP_SYS_ADMIN: everything here, and mounts.
    pub const SYS_ADMIN: u32 = 21;
    /// CAP_PERFMON: read kernel memory in BPF programs, open tracepoints.
    pub const PERFMON: u32 = 38;
    /// CAP_BPF: make maps, load programs.
    pub const BPF: u32 = 39;
}

impl Findings {
    /// True if the process has the capability, or CAP_SYS_ADMIN, which stands for it.
    pub fn has(&self, cap: u32) -> bool {
        let bit = |cap: u32| self.caps >> cap & 1 == 1;
        bit(cap) || (matches!(cap, cap::BPF | cap::PERFMON) && bit(cap::SYS_ADMIN))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn the_true_stable_version_is_found() {
        let check = |release: &str, version: &str, signature: &str, expect: Option<Version>| {
            assert_eq!(
                Version::running(release, version, signature),
                expect,
                "{release} {version} {signature}"
            );
        };
        check(
            "6.18.44-fc-v657",
            "#1 SMP PREEMPT_DYNAMIC @0",
            "",
            Some(Version(6, 18, 44)),
        );
        check(
            "6.1.0-56-amd64",
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-01)",
            "",
            Some(Version(6, 1, 192)),
        );
        check(
            "6.12.117+deb12-amd64",
            "#1 SMP Debian 6.12.117-1~deb12u1",
            "",
            Some(Version(6, 12, 117)),
        );
        check(
            "6.8.0-45-generic",
            "#45-Ubuntu SMP",
            "Ubuntu 6.8.0-45.45-generic 6.8.12",
            Some(Version(6, 8, 12)),
        );
        check(
            "6.8.0-45-generic",
            "#45-Ubuntu SMP",
            "Ubuntu 5.15.0-1.1-generic 5.15.9",
            Some(Version(6, 8, 0)),
        );
        check("6.13-rc1", "", "", Some(Version(6, 13, 0)));
        check("linux", "", "", None);
    }
}
