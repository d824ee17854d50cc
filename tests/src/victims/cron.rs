//! Schedulers: Debian's cron in a mount namespace of its own, and busybox' crond.
//!
//! In: lines of a crontab. Out: a running scheduler. Always holds: the host's own crontabs are neither read nor changed; what the scheduler
//! begins ends with its own programs, or by the process ids that they leave in the folder. Refuses: to start with anything missing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::Result;

use crate::process::{Folder, Running, program, signal};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Debian's `cron`.
    Cron,
    /// busybox' `crond`.
    Crond,
}

impl Scheduler {
    /// The name of its process.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Crond => "crond",
        }
    }
}

/// A running scheduler and the folder of its commands.
pub struct Cron {
    _running: Running,
    /// Where its commands lie.
    pub folder: Folder,
}

/// What cron reads and writes, hidden by what is the test's own: crontab in `$1`.
const APART: &str = "set -e; mount --make-rprivate /; for at in /var/spool/cron/crontabs /etc/cron.d /run; do mount -t tmpfs own $at; done; \
                     mount --bind /dev/null /etc/crontab; cp \"$1\" /var/spool/cron/crontabs/root; chmod 600 /var/spool/cron/crontabs/root; \
                     exec \"$2\" -f";

/// A folder with the script `job.sh`.
pub(super) fn folder_of(script: &str) -> Result<Folder> {
    let folder = Folder::new()?;
    let job = folder.write("job.sh", script)?;
    fs::set_permissions(job, Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Starts it with these lines, in which `FOLDER` stands for the folder's path.
///
/// # Errors
/// When it cannot be started.
pub fn start(scheduler: Scheduler, script: &str, lines: &[String]) -> Result<Cron> {
    let folder = folder_of(script)?;
    let at = folder.path().display().to_string();
    let mut table = String::from("MAILTO=\"\"\n");
    if scheduler == Scheduler::Crond {
        table.clear();
    }
    for line in lines {
        table.push_str(&line.replace("FOLDER", &at));
        table.push('\n');
    }
    let tabs = folder.path().join("tabs");
    fs::create_dir(&tabs)?;
    let tab = tabs.join("root");
    fs::write(&tab, table)?;
    let mut command = match scheduler {
        Scheduler::Cron => {
            let mut command = Command::new(program(&["unshare"], "util-linux")?);
            command
                .args(["--mount", "sh", "-c", APART, "cron"])
                .arg(&tab)
                .arg(program(&["cron"], "cron")?);
            command
        }
        Scheduler::Crond => {
            // It is named as where it is installed for good; `busybox crond` would be named busybox.
            let named = folder.path().join("crond");
            symlink(program(&["busybox"], "busybox-static")?, &named)?;
            let mut command = Command::new(named);
            command.args(["-f", "-c"]).arg(&tabs);
            command
        }
    };
    Ok(Cron {
        _running: Running::start(scheduler.name(), &mut command)?,
        folder,
    })
}

impl Drop for Cron {
    fn drop(&mut self) {
        // Commands have sessions of their own, which a scheduler's end does not end.
        let left = fs::read_dir(self.folder.path()).into_iter().flatten();
        for entry in left.flatten() {
            let is_pid = entry.path().extension().is_some_and(|end| end == "pid");
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if let (true, Ok(pid)) = (is_pid, text.trim().parse()) {
                signal(pid, libc::SIGKILL);
            }
        }
    }
}
