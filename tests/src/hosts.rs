//! Two hosts on one kernel: network namespaces with a link between them.
//!
//! In: what the link is: a veth pair, or a [`Wire`] that this process carries packets over. Out: commands and threads on either
//! host. Always holds: both namespaces go on drop, and the link with them. Refuses: to run without iproute2 and root.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::{Context, Result, bail};

use crate::process::program;
use crate::wire::{Faults, Wire, tun};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// 10.213.7.1, where clients are.
    Left,
    /// 10.213.7.2, where servers are.
    Right,
}

/// The address of [`Host::Left`].
pub const LEFT: &str = "10.213.7.1";
/// The address of [`Host::Right`].
pub const RIGHT: &str = "10.213.7.2";

/// Runs `ip` with these arguments.
///
/// # Errors
/// It is not there, or says no.
pub fn ip(arguments: &[&str]) -> Result<()> {
    let done = Command::new(program(&["ip"], "iproute2")?)
        .args(arguments)
        .output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("ip {arguments:?}: {said}");
    }
    Ok(())
}

/// See the module.
pub struct Hosts {
    left: String,
    right: String,
    wire: Option<Wire>,
}

impl Hosts {
    fn apart() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tag = format!(
            "{:x}x{:x}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let made = Self {
            left: format!("sutl{tag}"),
            right: format!("sutr{tag}"),
            wire: None,
        };
        for name in [&made.left, &made.right] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(made)
    }

    fn up(&self, links: [&str; 2]) -> Result<()> {
        let ends = [(&self.left, links[0], LEFT), (&self.right, links[1], RIGHT)];
        for (name, link, address) in ends {
            ip(&[
                "-n",
                name,
                "addr",
                "add",
                &format!("{address}/30"),
                "dev",
                link,
            ])?;
            ip(&["-n", name, "link", "set", link, "up"])?;
        }
        Ok(())
    }

    /// Joined by a veth pair, `vl` on the left and `vr` on the right.
    ///
    /// # Errors
    /// The namespaces or the pair cannot be made.
    pub fn by_veth() -> Result<Self> {
        let made = Self::apart()?;
        let (left, right) = (made.left.as_str(), made.right.as_str());
        ip(&[
            "-n", left, "link", "add", "vl", "type", "veth", "peer", "name", "vr", "netns", right,
        ])?;
        made.up(["vl", "vr"])?;
        Ok(made)
    }

    /// Joined by a wire with faults.
    ///
    /// # Errors
    /// The namespaces or the wire's ends cannot be made.
    pub fn by_wire(faults: Faults) -> Result<Self> {
        let mut made = Self::apart()?;
        let left = made.on(Host::Left, || tun("tl"))??;
        let right = made.on(Host::Right, || tun("tr"))??;
        made.up(["tl", "tr"])?;
        made.wire = Some(Wire::between(left, right, faults)?);
        Ok(made)
    }

    /// The wire, if that is what joins them.
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// The namespace of a host.
    pub fn name(&self, host: Host) -> &str {
        match host {
            Host::Left => &self.left,
            Host::Right => &self.right,
        }
    }

    /// A command that will run on a host.
    ///
    /// # Errors
    /// There is no `ip`.
    pub fn command(&self, host: Host, path: &Path) -> Result<Command> {
        let mut command = Command::new(program(&["ip"], "iproute2")?);
        command.args(["netns", "exec", self.name(host)]).arg(path);
        Ok(command)
    }

    /// Moves the current thread to a host: sockets that it makes are there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self, host: Host) -> Result<()> {
        let path = format!("/run/netns/{}", self.name(host));
        let space = File::open(&path).with_context(|| format!("opening {path}"))?;
        // SAFETY: takes a descriptor that is open, and a flag.
        if unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error()).context("setns");
        }
        Ok(())
    }

    /// Runs something on a host, on a thread of its own.
    ///
    /// # Errors
    /// The thread could not get there, or panicked.
    pub fn on<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| match self.spawn(scope, host, work).join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread on {host:?} panicked"),
        })
    }

    /// Starts a thread on a host.
    pub fn spawn<'scope, T: Send + 'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        host: Host,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Result<T>> {
        scope.spawn(move || {
            self.enter(host)?;
            Ok(work())
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.wire = None;
        for name in [&self.left, &self.right] {
            // One that is already gone is as good.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
