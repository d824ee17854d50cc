//! Carrying contexts to other hosts: what the programs need to know of it, and the cgroup that all sockets are in.
//!
//! In: the user's choices. Out: settings and map entries for the programs; the descriptor of the root of cgroup v2. Always
//! holds: where the hierarchy is not mounted, nothing is mounted for it and the carrier is off, with that reason. Refuses:
//! nothing.

use std::{fs::File, io, path::PathBuf};

use agent_common::offsets::sampled;
use agent_trace::config::Sampler;

/// What contexts are carried to other hosts by, and how far.
#[derive(Clone, Debug, PartialEq)]
pub struct Carriers {
    /// TCP options are on.
    pub option: bool,
    /// Headers are written into requests; none: they are not.
    pub header: Option<Members>,
    /// A server finds its client on this host by the pair of sockets: off only in tests of the others.
    pub socket_pair: bool,
    /// Which traces are sampled.
    pub sampler: Sampler,
    /// Networks contexts may be carried to.
    pub destinations: Vec<Network>,
}

/// How long sockets are in the map in which their messages are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Until their first bytes: only a connection's first request is given a header.
    First,
    /// Those that never wait stay.
    NonBlocking,
    /// All stay: blocking reads can fail. For tests.
    All,
}

impl Members {
    /// The setting of the programs.
    pub(super) const fn stay(self) -> u32 {
        match self {
            Self::First => 0,
            Self::NonBlocking => 1,
            Self::All => 2,
        }
    }
}

impl Default for Carriers {
    fn default() -> Self {
        Self {
            option: false,
            header: None,
            socket_pair: true,
            sampler: Sampler::ParentBasedAlwaysOn,
            destinations: Vec::new(),
        }
    }
}

/// Addresses with a common beginning, IPv4 as IPv4-mapped IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub addr: [u8; 16],
    /// Bits they have in common, at most 128.
    pub bits: u32,
}

/// The sampler as the programs know it: which roots, whether parents count, and the bound of a ratio.
pub(super) fn sampling(sampler: Sampler) -> (u32, u32, u64) {
    let bound = |ratio: f64| match ratio {
        ratio if ratio >= 1.0 => (sampled::ALWAYS, 0),
        ratio => (
            sampled::RATIO,
            (ratio.max(0.0) * (1_u64 << 63) as f64) as u64,
        ),
    };
    match sampler {
        Sampler::AlwaysOn => (sampled::ALWAYS, 0, 0),
        Sampler::AlwaysOff => (sampled::NEVER, 0, 0),
        Sampler::TraceIdRatio(ratio) => {
            let (roots, bound) = bound(ratio);
            (roots, 0, bound)
        }
        Sampler::ParentBasedAlwaysOn => (sampled::ALWAYS, 1, 0),
        Sampler::ParentBasedAlwaysOff => (sampled::NEVER, 1, 0),
        Sampler::ParentBasedTraceIdRatio(ratio) => {
            let (roots, bound) = bound(ratio);
            (roots, 1, bound)
        }
    }
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
fn mounted_at(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// The root of cgroup v2.
///
/// # Errors
/// It is not mounted, or cannot be opened.
pub(super) fn root() -> io::Result<File> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let place = mounted_at(&mounts).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)",
        )
    })?;
    File::open(&place)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", place.display())))
}

#[cfg(test)]
mod tests {
    use super::{Sampler, mounted_at, sampled, sampling};
    use std::path::Path;

    #[test]
    fn the_hierarchy_is_found_alone_and_beside_version_1() {
        for (mounts, place) in [
            (
                "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
                Some("/sys/fs/cgroup"),
            ),
            (
                "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
                Some("/sys/fs/cgroup/unified"),
            ),
            ("proc /proc proc rw 0 0\n", None),
        ] {
            assert_eq!(mounted_at(mounts).as_deref(), place.map(Path::new));
        }
    }

    #[test]
    fn samplers_are_told_as_the_programs_understand_them() {
        for (sampler, told) in [
            (Sampler::AlwaysOn, (sampled::ALWAYS, 0, 0)),
            (Sampler::AlwaysOff, (sampled::NEVER, 0, 0)),
            (Sampler::ParentBasedAlwaysOn, (sampled::ALWAYS, 1, 0)),
            (Sampler::TraceIdRatio(0.5), (sampled::RATIO, 0, 1 << 62)),
            (
                Sampler::ParentBasedTraceIdRatio(1.0),
                (sampled::ALWAYS, 1, 0),
            ),
            (
                Sampler::ParentBasedTraceIdRatio(0.0),
                (sampled::RATIO, 1, 0),
            ),
        ] {
            assert_eq!(sampling(sampler), told, "{sampler:?}");
        }
    }
}
