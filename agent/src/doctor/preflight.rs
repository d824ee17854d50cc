//! What `suture run` makes sure of before it attaches anything.
//!
//! In: [`Findings`]. Out: nothing, or one sentence. Always holds: the sentence names the one thing to change first; when
//! it is returned nothing was attached. tracefs is mounted and old kernels' memory limit raised here, as programs cannot be attached without.
//! Refuses: to start where the agent would see nothing.

use std::path::Path;

use super::{
    findings::{BtfState, Findings, Tracefs, Version},
    gather,
    rows::{OLDEST, errno_text, missing_privileges},
};

/// Why the agent cannot run here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// No ring buffer.
    #[error(
        "Linux {0} is too old for Suture: it needs 5.15 or newer (the BPF helper that reads a syscall's arguments at its exit), and is tested from 6.1 on"
    )]
    KernelTooOld(Version),
    /// No `/sys/kernel/btf/vmlinux`.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux), so its structs cannot be read; boot one built with \
         CONFIG_DEBUG_INFO_BTF=y, as all current distribution kernels are"
    )]
    NoBtf,
    /// Capabilities are missing.
    #[error(
        "Suture needs root to trace other programs (uid {uid} lacks {missing}); run `sudo suture run`"
    )]
    Privileges {
        /// Effective user id.
        uid: u32,
        /// Names of capabilities.
        missing: String,
    },
    /// In a user or pid namespace.
    #[error(
        "Suture runs in a container with {0} of its own and cannot trace the host from there; run it on the host, or in a \
         container with --privileged --pid=host"
    )]
    Namespace(&'static str),
    /// Lockdown.
    #[error(
        "the kernel is locked down for confidentiality, which forbids all tracing; boot with lockdown=integrity or none"
    )]
    Lockdown,
    /// The kernel refused BPF though the capabilities are there.
    #[error(
        "the kernel refused a BPF program though the privileges are there: {0}; a container's seccomp profile or a security \
         module does that; `suture doctor` says more"
    )]
    Bpf(String),
    /// No tracefs.
    #[error(
        "tracefs is not there and could not be mounted: {0}; system calls cannot be hooked without it; try `mount -t tracefs \
         tracefs /sys/kernel/tracing`"
    )]
    NoTracefs(String),
}

/// Checks this machine, and mounts tracefs where it is not.
///
/// # Errors
/// The first [`PreflightError`]; nothing was attached.
pub fn preflight() -> Result<(), PreflightError> {
    let findings = gather::quick();
    judge(&findings)?;
    if findings.tracefs == Tracefs::Mountable {
        mount_tracefs().map_err(PreflightError::NoTracefs)?;
    }
    Ok(())
}

/// The decision, from facts alone. What the user can change first comes first.
///
/// # Errors
/// The first [`PreflightError`].
pub fn judge(findings: &Findings) -> Result<(), PreflightError> {
    if let Some(version) = findings.version.filter(|version| *version < OLDEST) {
        return Err(PreflightError::KernelTooOld(version));
    }
    let missing = missing_privileges(findings);
    if !missing.is_empty() {
        return Err(PreflightError::Privileges {
            uid: findings.uid,
            missing: missing.join(" and "),
        });
    }
    if !findings.initial_userns {
        return Err(PreflightError::Namespace("user ids"));
    }
    if !findings.initial_pidns {
        return Err(PreflightError::Namespace("process ids"));
    }
    if findings.lockdown.as_deref() == Some("confidentiality") {
        return Err(PreflightError::Lockdown);
    }
    if findings.btf == BtfState::Absent {
        return Err(PreflightError::NoBtf);
    }
    findings
        .ring
        .and(findings.program)
        .map_err(|errno| PreflightError::Bpf(errno_text(errno)))?;
    match (&findings.tracefs, findings.events.is_some()) {
        (Tracefs::Refused(errno), _) => Err(PreflightError::NoTracefs(errno_text(*errno))),
        (Tracefs::Mounted(_), false) => Err(PreflightError::NoTracefs(
            "mounted, but not readable".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Mounts tracefs where the kernel has made a place for it.
fn mount_tracefs() -> Result<(), String> {
    const PLACE: &std::ffi::CStr = c"/sys/kernel/tracing";
    let kind = c"tracefs";
    // SAFETY: three strings that end with zero, and no options.
    let done = unsafe {
        libc::mount(
            kind.as_ptr(),
            PLACE.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let error = std::io::Error::last_os_error();
    // EBUSY: somebody mounted it since it was looked for.
    if done == 0
        || error.raw_os_error() == Some(libc::EBUSY)
        || Path::new("/sys/kernel/tracing/events").exists()
    {
        return Ok(());
    }
    Err(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Findings, PreflightError, Tracefs, Version, judge};
    use crate::doctor::{findings::BtfState, report::tests::good};

    #[test]
    fn each_obstacle_is_one_sentence() {
        let check = |findings: Findings, expect: &str| {
            let found = judge(&findings).map_err(|error| error.to_string());
            assert_eq!(found.as_ref().err().map_or("", String::as_str), expect);
        };
        check(good(), "");
        check(
            Findings {
                tracefs: Tracefs::Mountable,
                ..good()
            },
            "",
        );
        check(
            Findings {
                version: Some(Version(5, 4, 0)),
                ..good()
            },
            "Linux 5.4.0 is too old for Suture: it needs 5.15 or newer (the BPF helper that reads a syscall's arguments at its exit), and is tested from 6.1 on",
        );
        check(
            Findings {
                uid: 1000,
                caps: 1 << 39,
                ..good()
            },
            "Suture needs root to trace other programs (uid 1000 lacks CAP_PERFMON); run `sudo suture run`",
        );
        check(
            Findings {
                btf: BtfState::Absent,
                ..good()
            },
            "this kernel has no BTF (/sys/kernel/btf/vmlinux), so its structs cannot be read; boot one built with \
             CONFIG_DEBUG_INFO_BTF=y, as all current distribution kernels are",
        );
        check(
            Findings {
                tracefs: Tracefs::Refused(libc::ENODEV),
                events: None,
                ..good()
            },
            "tracefs is not there and could not be mounted: No such device (os error 19); system calls cannot be hooked \
             without it; try `mount -t tracefs tracefs /sys/kernel/tracing`",
        );
        check(
            Findings {
                program: Err(libc::EPERM),
                ..good()
            },
            "the kernel refused a BPF program though the privileges are there: Operation not permitted (os error 1); a \
             container's seccomp profile or a security module does that; `suture doctor` says more",
        );
    }

    #[test]
    fn containers_and_lockdown_are_refused() {
        let check = |findings: Findings, expect: Option<PreflightError>| {
            assert_eq!(judge(&findings).err(), expect)
        };
        check(
            Findings {
                initial_userns: false,
                ..good()
            },
            Some(PreflightError::Namespace("user ids")),
        );
        check(
            Findings {
                initial_pidns: false,
                ..good()
            },
            Some(PreflightError::Namespace("process ids")),
        );
        check(
            Findings {
                lockdown: Some("confidentiality".into()),
                ..good()
            },
            Some(PreflightError::Lockdown),
        );
        check(
            Findings {
                lockdown: Some("integrity".into()),
                ..good()
            },
            None,
        );
    }

    /// Needs root, as all tests that load BPF do.
    #[test]
    fn this_machine_passes() {
        assert_eq!(super::preflight(), Ok(()));
    }
}
