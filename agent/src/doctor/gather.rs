//! Asks the kernel.
//!
//! In: `/proc`, `/sys`, a few system calls. Out: [`Findings`]. Always holds: nothing on the host is changed: the probe map, program and
//! mount exist only as descriptors that are closed again. Refuses: nothing; what cannot be read is a finding too.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    findings::{BtfState, Findings, Holder, Tracefs, Version, cap},
    instance,
};
use crate::{
    attach::{
        self,
        btf_offsets::{self, KERNEL_BTF},
        sockhash,
    },
    enrich::{
        elf::ElfMarks,
        proc_root::{ProcRoot, read_bounded},
        runtime,
        serving::listens,
    },
};

/// Bound of each file read here; `available_events` of a large kernel has 100 kB.
const FILE: usize = 1 << 20;
/// Descriptors looked at on the whole host.
const FDS_MAX: usize = 500_000;

/// Where programs look for tracefs (kernel `Documentation/trace/ftrace.rst`); a mount elsewhere is not found by them.
const TRACEFS_PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Inode numbers of the initial namespaces (`include/uapi/linux/nsfs.h`, `include/linux/proc_ns.h`).
const INITIAL_USER: &str = "user:[4026531837]";
const INITIAL_PID: &str = "pid:[4026531836]";

/// What can be told in a few milliseconds: enough to decide whether the agent can run.
pub fn quick() -> Findings {
    let kernel = |name: &str| text(&Path::new("/proc/sys/kernel").join(name));
    let release = kernel("osrelease");
    let status = text(Path::new("/proc/self/status"));
    let status_field = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    let namespace =
        |name: &str| std::fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap_or_default();
    let mounts = text(Path::new("/proc/mounts"));
    let (tracefs, events) = look_at_tracefs(&mounts);
    Findings {
        version: Version::running(
            &release,
            &kernel("version"),
            &text(Path::new("/proc/version_signature")),
        ),
        release,
        machine: std::env::consts::ARCH.to_owned(),
        host: kernel("hostname"),
        uid: status_field("Uid:")
            .and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(u32::MAX),
        caps: status_field("CapEff:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or(0),
        initial_userns: namespace("user") == Path::new(INITIAL_USER),
        initial_pidns: namespace("pid") == Path::new(INITIAL_PID),
        lockdown: bracketed(&text(Path::new("/sys/kernel/security/lockdown"))),
        unprivileged_bpf: kernel("unprivileged_bpf_disabled").parse().ok(),
        way: attach::preferred_way(),
        btf: if Path::new(KERNEL_BTF).exists() {
            BtfState::Present
        } else {
            BtfState::Absent
        },
        ring: probe_ring(),
        program: probe_program(),
        tracefs,
        events,
        sockhash: None,
        cgroup2: mount_point(&mounts, "cgroup2"),
        io_uring_disabled: kernel("io_uring_disabled").parse().ok(),
        io_uring: Vec::new(),
        unread: Vec::new(),
        bpf: Vec::new(),
        other_instance: None,
    }
}

/// Everything: also reads BTF and looks at each descriptor of each process.
pub fn thorough() -> Findings {
    let mut findings = quick();
    if findings.btf == BtfState::Present {
        findings.btf = match btf_offsets::read(Path::new(KERNEL_BTF)) {
            Ok(_) => BtfState::Complete,
            Err(error) => BtfState::Unusable(error.to_string()),
        };
    }
    (findings.io_uring, findings.bpf) = descriptors(&ProcRoot::live());
    findings.unread = unread(&ProcRoot::live());
    if findings.has(cap::BPF) {
        findings.sockhash = Some(sockhash::probe().map_err(|unsound| unsound.to_string()));
    }
    findings.other_instance = instance::held_by(Path::new(instance::LOCK_FILE));
    findings
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&read_bounded(path, FILE).unwrap_or_default())
        .trim()
        .to_owned()
}

/// The chosen word of `none [integrity] confidentiality`.
fn bracketed(line: &str) -> Option<String> {
    Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Mount point of the first file system of this type in `/proc/mounts`.
fn mount_point(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (place, found) = (fields.nth(1)?, fields.next()?);
        (found == kind).then(|| PathBuf::from(place))
    })
}

/// Looks into tracefs where it is mounted, else through a mount that is nowhere in the file system.
fn look_at_tracefs(mounts: &str) -> (Tracefs, Option<BTreeSet<String>>) {
    let read = |path: &Path| {
        let raw = read_bounded(&path.join("available_events"), FILE).ok()?;
        Some(
            String::from_utf8_lossy(&raw)
                .lines()
                .map(str::to_owned)
                .collect::<BTreeSet<String>>(),
        )
    };
    for place in TRACEFS_PLACES {
        if mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(place) && line.contains(" tracefs "))
        {
            return (
                Tracefs::Mounted(PathBuf::from(place)),
                read(Path::new(place)),
            );
        }
    }
    match detached_mount(c"tracefs") {
        Ok(mount) => {
            let events = read(Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())));
            (Tracefs::Mountable, events)
        }
        Err(errno) => (Tracefs::Refused(errno), None),
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Takes the descriptor a system call returned.
fn descriptor(returned: libc::c_long) -> Result<OwnedFd, i32> {
    let fd = i32::try_from(returned)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(errno)?;
    // SAFETY: the kernel has just given this descriptor to us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Mounts a file system for this descriptor alone (fsopen(2), 5.2+).
fn detached_mount(kind: &CStr) -> Result<OwnedFd, i32> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: `kind` is a string that ends with zero; the kernel only reads it.
    let context =
        descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    let made = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    };
    if made < 0 {
        return Err(errno());
    }
    // SAFETY: takes a descriptor and two numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// Room for `union bpf_attr`; the kernel accepts any size whose unknown rest is zero.
type Attr = [u64; 16];

/// bpf(2) with a command that returns a descriptor, which is closed.
fn bpf(command: libc::c_long, attr: &Attr) -> Result<(), i32> {
    // SAFETY: the kernel reads size_of::<Attr>() bytes of `attr`; pointers in it are to memory that outlives the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of::<Attr>()) };
    descriptor(returned).map(drop)
}

/// Makes a ring buffer map of one page.
fn probe_ring() -> Result<(), i32> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_RINGBUF: u32 = 27;
    // SAFETY: sysconf only reads its argument.
    let page = u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut attr: Attr = [0; 16];
    // map_type, key_size, value_size, max_entries
    attr[0] = two(BPF_MAP_TYPE_RINGBUF, 0);
    attr[1] = two(0, page);
    bpf(BPF_MAP_CREATE, &attr)
}

/// Loads `r0 = 0; exit` as a tracepoint program.
fn probe_program() -> Result<(), i32> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_TRACEPOINT: u32 = 5;
    // struct bpf_insn: opcode, registers, offset, immediate
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let license = c"GPL";
    let mut attr: Attr = [0; 16];
    // prog_type, insn_cnt, insns, license
    attr[0] = two(BPF_PROG_TYPE_TRACEPOINT, instructions.len() as u32);
    attr[1] = instructions.as_ptr().expose_provenance() as u64;
    attr[2] = license.as_ptr().expose_provenance() as u64;
    bpf(BPF_PROG_LOAD, &attr)
}

/// Two neighbouring 32-bit fields.
fn two(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Who listens with a runtime whose units are not read.
fn unread(root: &ProcRoot) -> Vec<(Holder, &'static str)> {
    let mut elf = ElfMarks::default();
    let mut found = Vec::new();
    for tgid in root.tgids().unwrap_or_default() {
        if !listens(root, tgid) {
            continue;
        }
        let finding = runtime::find(root, &mut elf, tgid);
        if finding.is_unread {
            let name = text(&root.file(tgid, "comm"));
            let holder = Holder {
                name,
                tgid,
                count: 1,
            };
            found.push((holder, finding.fact));
        }
    }
    found.sort();
    found
}

/// Who holds an io_uring, and who holds BPF programs or links; this process excepted.
fn descriptors(root: &ProcRoot) -> (Vec<Holder>, Vec<Holder>) {
    let (mut rings, mut programs) = (Vec::new(), Vec::new());
    let mut left = FDS_MAX;
    for tgid in root.tgids().unwrap_or_default() {
        let Ok(fds) = std::fs::read_dir(root.file(tgid, "fd")) else {
            continue;
        };
        if tgid == std::process::id() {
            continue;
        }
        let (mut ring, mut program) = (0, 0);
        for fd in fds.flatten().take(left) {
            left -= 1;
            let Ok(target) = std::fs::read_link(fd.path()) else {
                continue;
            };
            match target.to_str() {
                Some("anon_inode:[io_uring]") => ring += 1,
                Some("anon_inode:bpf-prog" | "anon_inode:bpf_link" | "anon_inode:bpf-link") => {
                    program += 1
                }
                _ => {}
            }
        }
        let name = || root.stat(tgid).map(|stat| stat.comm).unwrap_or_default();
        for (list, count) in [(&mut rings, ring), (&mut programs, program)] {
            if count > 0 {
                list.push(Holder {
                    name: name(),
                    tgid,
                    count,
                });
            }
        }
    }
    rings.sort();
    programs.sort();
    (rings, programs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::{os::unix::fs::symlink, path::Path};

    use super::{
        BtfState, Holder, ProcRoot, bracketed, descriptors, detached_mount, mount_point, thorough,
    };

    #[test]
    fn mounts_and_lockdown_are_read() {
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nx /y ext4 rw 0 0\n";
        assert_eq!(
            mount_point(mounts, "cgroup2").as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(mount_point(mounts, "tracefs"), None);
        assert_eq!(
            bracketed("none [integrity] confidentiality").as_deref(),
            Some("integrity")
        );
        assert_eq!(bracketed(""), None);
    }

    #[test]
    fn holders_are_named_and_counted() {
        let tree = tempfile::tempdir().unwrap();
        let fd = tree.path().join("42/fd");
        std::fs::create_dir_all(&fd).unwrap();
        let stat = "42 (falco) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 1 1";
        std::fs::write(tree.path().join("42/stat"), stat).unwrap();
        for (number, target) in [
            "anon_inode:bpf-prog",
            "anon_inode:bpf_link",
            "anon_inode:[io_uring]",
            "socket:[1]",
        ]
        .iter()
        .enumerate()
        {
            symlink(target, fd.join(number.to_string())).unwrap();
        }
        let holder = |count| {
            vec![Holder {
                name: "falco".into(),
                tgid: 42,
                count,
            }]
        };
        assert_eq!(
            descriptors(&ProcRoot::at(tree.path())),
            (holder(1), holder(2))
        );
    }

    /// Needs root, as all tests that load BPF do.
    #[test]
    fn this_machine_can_be_examined() {
        let findings = thorough();
        assert_eq!(findings.ring, Ok(()));
        assert_eq!(findings.program, Ok(()));
        assert_eq!(findings.btf, BtfState::Complete);
        assert!(
            findings
                .events
                .unwrap()
                .contains("sock:inet_sock_set_state")
        );
        assert!(findings.version.is_some());
    }

    #[test]
    fn tracefs_can_be_looked_at_without_mounting_it() {
        let before = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = detached_mount(c"tracefs").unwrap();
        let path = format!(
            "/proc/self/fd/{}/available_events",
            std::os::fd::AsRawFd::as_raw_fd(&mount)
        );
        assert!(
            std::fs::read_to_string(path)
                .unwrap()
                .contains("sched:sched_process_exec")
        );
        assert_eq!(std::fs::read_to_string("/proc/mounts").unwrap(), before);
        assert!(detached_mount(c"no such file system").is_err());
    }
}
