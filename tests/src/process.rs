//! Programs that are ended whatever happens, folders that are removed whatever happens, free ports.
//!
//! Always holds: a [`Running`] leads its own process group and the whole group is killed on drop (workers too),
//! and reaped. Refuses: to wait for a port of a program that has already ended; its output is in the error.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::scene::scaled;

/// A folder of our own under the system's temporary folder, removed with all it holds on drop.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it, readable and searchable by all (php-fpm and nginx may drop privileges).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "suture-tests-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("making the folder {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and returns the file's path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What remains of a temporary folder harms nobody, and a drop has nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A loopback TCP port that was free a moment ago.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a free port")?;
    Ok(probe.local_addr()?.port())
}

/// A started program and its log file.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    _folder: Folder,
}

impl Running {
    /// Starts the program as the leader of its own group, its stdout and stderr in a log file.
    ///
    /// # Errors
    /// When it cannot be started; the message names the program.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let folder = Folder::new()?;
        let log = folder.path().join("log");
        let out = File::create(&log)?;
        let err = out.try_clone()?;
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting the victim {name} ({}); tests/victims/setup.sh and `cargo xtask test` install what victims need", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
            _folder: folder,
        })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its pid and those of its descendants that are still in its process group.
    pub fn pids(&self) -> Vec<u32> {
        let group = self.pid();
        processes()
            .into_iter()
            .filter(|pid| *pid == group || group_of(*pid) == Some(group))
            .collect()
    }

    /// The file that has its stdout and stderr.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until somebody accepts on the loopback port.
    ///
    /// # Errors
    /// When the program ended, or 20 s (scaled) passed; the message has its output.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_for(&format!("port {port}"), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
    }

    /// Waits until somebody accepts on the unix socket.
    ///
    /// # Errors
    /// As [`Running::wait_for_port`].
    pub fn wait_for_socket(&mut self, path: &Path) -> Result<()> {
        self.wait_for(&path.display().to_string(), || {
            UnixStream::connect(path).is_ok()
        })
    }

    /// Waits until `there` holds; `what` names it in the error.
    ///
    /// # Errors
    /// As [`Running::wait_for_port`].
    pub fn wait_for(&mut self, what: &str, there: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + scaled(Duration::from_secs(20));
        loop {
            if there() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                bail!(
                    "{} ended ({status}) before {what} was there; it wrote:\n{}",
                    self.name,
                    self.log()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not open {what} in time; it wrote:\n{}",
                    self.name,
                    self.log()
                );
            }
            sleep(Duration::from_millis(15));
        }
    }

    /// Waits for its own end, at most `timeout` (scaled).
    ///
    /// # Errors
    /// When it is still running then.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + scaled(timeout);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} still runs after {timeout:?}; it wrote:\n{}",
                    self.name,
                    self.log()
                );
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal_group(self.pid(), libc::SIGKILL);
        if self.ended.is_none() {
            // Reaps the leader; a child that cannot be waited for is already gone.
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, number: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours; a pid that is gone gives ESRCH, which is fine.
    unsafe { libc::kill(pid as i32, number) };
}

/// Sends a signal to the process group that `leader` leads. Only for groups this program made.
pub fn signal_group(leader: u32, number: i32) {
    // SAFETY: as in `signal`; the group was made by `process_group(0)`, so the negative id names our children only.
    unsafe { libc::kill(-(leader as i32), number) };
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn group_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields after the command's closing parenthesis: state, ppid, pgrp (proc_pid_stat(5)).
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(2)?
        .parse()
        .ok()
}

/// The first of the paths that exists, or the program as found in PATH.
///
/// # Errors
/// When there is none; the message says which Debian package has it.
pub fn program(candidates: &[impl AsRef<str> + std::fmt::Debug], package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    for candidate in candidates.iter().map(AsRef::as_ref) {
        let as_path = Path::new(candidate);
        if as_path.is_absolute() && as_path.exists() {
            return Ok(as_path.to_owned());
        }
        if let Some(found) = folders
            .iter()
            .map(|folder| folder.join(candidate))
            .find(|path| path.is_file())
        {
            return Ok(found);
        }
    }
    bail!(
        "this scenario needs {candidates:?}, which is not here: install Debian's {package} (`cargo xtask test` does)"
    )
}

/// The folder `tests/victims/setup.sh` fills, or a file in it.
///
/// # Errors
/// When it is not there.
pub fn built(name: &str) -> Result<PathBuf> {
    let cache = match std::env::var_os("SUTURE_VICTIMS") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(
            std::env::var_os("HOME").unwrap_or_else(|| OsStr::new("/root").to_owned()),
        )
        .join(".cache/suture/victims"),
    };
    let path = cache.join(name);
    if !path.exists() {
        bail!(
            "this scenario needs {}, which is not built: run tests/victims/setup.sh (`cargo xtask test` does)",
            path.display()
        );
    }
    Ok(path)
}

/// A file under `tests/victims` of this repository.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("victims")
        .join(name)
}
