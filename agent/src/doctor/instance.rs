//! One agent per host.
//!
//! In: the lock file. Out: [`InstanceLock`], held until it is dropped or the process ends, however it ends. Always holds: the lock is
//! the kernel's (flock(2)), so a file that was left behind locks nobody out. Refuses: a second instance, naming the first.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// The lock file.
pub const LOCK_FILE: &str = "/run/suture.lock";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance runs.
    #[error(
        "Suture runs on this host as it is (pid {pid}); two would trace every request twice, so this one does not start; \
         stop the other with `kill {pid}`"
    )]
    Held {
        /// The other one's pid.
        pid: u32,
    },
    /// The file cannot be opened, locked or written.
    #[error(
        "cannot take the lock file {path}: {source}; without it a second instance could start; run Suture as root"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The lock. Dropping it lets another instance start.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Takes the lock at `path`, usually [`LOCK_FILE`].
///
/// # Errors
/// [`LockError`].
pub fn lock(path: &Path) -> Result<InstanceLock, LockError> {
    let failed = |source| LockError::File {
        path: path.to_owned(),
        source,
    };
    // Not truncated here: the pid in it is the other one's until the lock is ours.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(LockError::Held {
                pid: read_pid(&mut file),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(failed)?;
    Ok(InstanceLock { _file: file })
}

/// Pid of the instance that holds the lock now (0 when the file does not tell); none when nobody does.
pub fn held_by(path: &Path) -> Option<u32> {
    let mut file = File::open(path).ok()?;
    // A shared lock for an instant; it is given back when the file is closed at the end.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| read_pid(&mut file))
}

fn read_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    read.ok()
        .and_then(|_| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::{held_by, lock};

    #[test]
    fn a_second_instance_is_refused_by_the_firsts_pid_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(held_by(&path), None);
        let first = lock(&path).unwrap();
        let pid = std::process::id();
        let refused = lock(&path).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("Suture runs on this host as it is (pid {pid})")),
            "{refused}"
        );
        assert_eq!(held_by(&path), Some(pid));
        drop(first);
        assert_eq!(held_by(&path), None);
        lock(&path).unwrap();
    }

    #[test]
    fn a_file_left_behind_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "123456789\nlonger than a pid").unwrap();
        assert_eq!(held_by(&path), None);
        let held = lock(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(held);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_one_sentence() {
        let error = lock(std::path::Path::new("/nonexistent/lock"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot take the lock file /nonexistent/lock: No such file"),
            "{error}"
        );
    }
}
