//! Uprobes: programs at places in executables and libraries, attached when a process is found that needs them.
//!
//! In: a [`Probe`]. Out: it is attached, once for each file. Always holds: a probe is on the file, so it fires in every process that maps it
//! (the programs look up the process' class first); a file stays probed until the agent ends. Refuses: more than
//! `limits::USER_PROBES_MAX` places: the kernel takes them away one after the other, under one lock (`perf_uprobe_destroy`), and waits each time
//! until no processor can run it (seen on 6.18: 304 took 65 s on two cores with 34 runnable tasks, threads side by side gained nothing).

use std::{collections::HashSet, io, os::unix::fs::MetadataExt, path::PathBuf};

use agent_common::limits::USER_PROBES_MAX;
use aya::programs::{UProbe, uprobe::UProbeScope};

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
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Program, device, inode, offset.
    places: HashSet<(&'static str, u64, u64, u64)>,
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
        <&mut UProbe>::try_from(program)
            .and_then(|program| {
                program.attach(probe.offset, &probe.file, UProbeScope::AllProcesses)
            })
            .map_err(|source| ProbeError::Refused {
                program: probe.program,
                file: probe.file.clone(),
                source: Box::new(source),
            })?;
        self.placed.places.insert(place);
        Ok(())
    }
}
