//! systemd as the first process of namespaces of its own, with nothing but our units.
//!
//! In: units as (name, text). Out: a running systemd. Always holds: the host's units are not seen and its cgroups not touched: it has a cgroup of
//! its own, removed on drop; all that it began ends with it. Refuses: to start with anything missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Folder, Running, program};

/// A running systemd, and the folder of its units.
pub struct Systemd {
    running: Option<Running>,
    cgroup: PathBuf,
    /// Units, and what else the caller puts there.
    pub folder: Folder,
}

/// `$1`: its cgroup, `$2`: the folder of units, `$3`: systemd.
const INSIDE: &str = "set -e; mount --make-rprivate /; mount -t proc proc /proc; mount -t tmpfs own /run; \
                      mount -t cgroup2 own /sys/fs/cgroup; export container=suture SYSTEMD_UNIT_PATH=\"$2\"; \
                      exec \"$3\" --system --unit=test.target --log-target=console --log-level=info";
const OUTSIDE: &str = "set -e; echo $$ >\"$1/cgroup.procs\"; \
                       exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -c \"$4\" systemd \"$1\" \"$2\" \"$3\"";

/// Where cgroups v2 are mounted.
fn cgroups() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let at = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(at))
    });
    found.context("this scenario needs cgroup v2, which is not mounted")
}

/// Starts it; `target` are the units that it begins at once. `FOLDER` in texts stands for the folder's path.
///
/// # Errors
/// When it cannot be started.
pub fn start(units: &[(&str, String)], script: &str, target: &str) -> Result<Systemd> {
    let folder = super::cron::folder_of(script)?;
    let at = folder.path().display().to_string();
    let wants = format!("[Unit]\nDefaultDependencies=no\nWants={target}\n");
    folder.write("test.target", wants)?;
    for (name, text) in units {
        folder.write(name, text.replace("FOLDER", &at))?;
    }
    let cgroup = cgroups()?.join(format!("suture-tests-{}", std::process::id()));
    fs::create_dir_all(&cgroup)?;
    let mut command = Command::new(program(&["sh"], "dash")?);
    command
        .args(["-c", OUTSIDE, "systemd"])
        .arg(&cgroup)
        .arg(folder.path())
        .arg(program(
            &["/lib/systemd/systemd", "/usr/lib/systemd/systemd"],
            "systemd",
        )?)
        .arg(INSIDE);
    let running = Running::start("systemd", &mut command)?;
    Ok(Systemd {
        running: Some(running),
        cgroup,
        folder,
    })
}

impl Systemd {
    /// What it wrote.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::log).unwrap_or_default()
    }
}

/// Removes a cgroup and those in it.
fn remove(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}

impl Drop for Systemd {
    fn drop(&mut self) {
        drop(self.running.take());
        // The namespace's other processes are killed after its first one.
        for _ in 0..100 {
            if remove(&self.cgroup) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
