//! Uprobes: programs at places in executables and libraries, attached when a process is found that needs them.
//!
//! In: a [`Probe`]. Out: it is attached, once for each file. Always holds: a probe is on the file, so it fires in every process that maps it
//! (the programs look up the process' class first); a file stays probed until the agent ends. Refuses: more than
//! `limits::USER_PROBES_MAX` places.

use std::{
    collections::HashSet,
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use agent_common::limits::USER_PROBES_MAX;
use aya::programs::{
    UProbe,
    uprobe::{UProbeLink, UProbeScope},
};

use super::{AttachError, Attached};

/// A place for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program in the BPF object; it has a row in the attach table.
    pub program: &'static str,
    /// The file; a path through `/proc/PID` reaches other mount namespaces.
    pub file: PathBuf,
    /// Offset of the instruction in the file, bytes.
    pub offset: u64,
}

/// What is attached.
#[derive(Default)]
pub(super) struct Placed {
    /// Program, device, inode, offset.
    places: HashSet<(&'static str, u64, u64, u64)>,
    links: Vec<UProbeLink>,
}

/// Threads that detach at most.
const DETACHING_MAX: usize = 32;

impl Drop for Placed {
    fn drop(&mut self) {
        // Each that goes waits until no processor can run it any more (`uprobe_unregister_sync`): tens of milliseconds on a busy machine,
        // which hundreds one after the other would make longer than a service may take to end. Side by side they wait at once.
        let links = Mutex::new(std::mem::take(&mut self.links));
        let next = || links.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let detach = || {
            while let Some(link) = next() {
                drop(link);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..DETACHING_MAX.min(self.places.len()) {
                // Where no thread can be had, those that there are do it.
                let _ = std::thread::Builder::new().spawn_scoped(scope, detach);
            }
            detach();
        });
    }
}

/// Why a probe is not attached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The object has no such program, or it is no uprobe.
    #[error(transparent)]
    Object(#[from] AttachError),
    /// The file is gone.
    #[error("cannot look at {file}: {source}; its process may have ended")]
    File {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The table is full.
    #[error("{USER_PROBES_MAX} places are probed already; {file} is not")]
    Full {
        /// The file.
        file: PathBuf,
    },
    /// The kernel refused it.
    #[error("cannot attach {program} to {file}: {source}")]
    Refused {
        /// The program.
        program: &'static str,
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: Box<aya::programs::ProgramError>,
    },
}

impl Attached {
    /// Attaches a uprobe unless that file has it at that place already.
    ///
    /// # Errors
    /// [`ProbeError`]; what was attached before stays.
    pub fn probe(&mut self, probe: &Probe) -> Result<(), ProbeError> {
        let meta = std::fs::metadata(&probe.file).map_err(|source| ProbeError::File {
            file: probe.file.clone(),
            source,
        })?;
        let place = (probe.program, meta.dev(), meta.ino(), probe.offset);
        if self.placed.places.contains(&place) {
            return Ok(());
        }
        if self.placed.places.len() >= USER_PROBES_MAX {
            return Err(ProbeError::Full {
                file: probe.file.clone(),
            });
        }
        let program = self
            .ebpf
            .program_mut(probe.program)
            .ok_or(AttachError::Absent(probe.program))?;
        let link = <&mut UProbe>::try_from(program)
            .and_then(|program| {
                let id = program.attach(probe.offset, &probe.file, UProbeScope::AllProcesses)?;
                program.take_link(id)
            })
            .map_err(|source| ProbeError::Refused {
                program: probe.program,
                file: probe.file.clone(),
                source: Box::new(source),
            })?;
        self.placed.places.insert(place);
        self.placed.links.push(link);
        Ok(())
    }
}
