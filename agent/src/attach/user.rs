//! Uprobes: programs at places in executables and libraries, attached when a process is found that needs them.
//!
//! In: a [`Probe`]. Out: it is attached, once for each file. Always holds: the file is the one that was looked into, unchanged; a probe is on the file, so it fires in every process that maps it
//! (the programs look up the process' class first); a file stays probed until the agent ends. Refuses: more than
//! `limits::USER_PROBES_MAX` places: the kernel takes them away one after the other, under one lock (`perf_uprobe_destroy`), and waits each time
//! until no processor can run it (seen on 6.18: 304 took 65 s on two cores with 34 runnable tasks, threads side by side gained nothing).

use std::{collections::HashSet, fs::File, io, path::PathBuf};

use agent_common::limits::USER_PROBES_MAX;
use aya::programs::{UProbe, uprobe::UProbeScope};

use super::{AttachError, Attached};
use crate::enrich::foreign::{FileId, Looked, by_descriptor, regular};

/// A place for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program in the BPF object; it has a row in the attach table.
    pub program: &'static str,
    /// The file that was looked into; a path through `/proc/PID` reaches other mount namespaces.
    pub file: Looked,
    /// Offset of the instruction in the file, bytes.
    pub offset: u64,
}

impl Probe {
    /// The file itself, whatever its path leads to now.
    fn open(&self) -> Result<File, ProbeError> {
        let path = &self.file.path;
        let opened = regular(path).and_then(|file| Ok((FileId::of(&file.metadata()?), file)));
        let (id, file) = opened.map_err(|source| ProbeError::File {
            file: path.clone(),
            source,
        })?;
        if id != self.file.id {
            return Err(ProbeError::Changed { file: path.clone() });
        }
        Ok(file)
    }
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
    /// The path leads to another file by now, or the file was changed: at that place may be the middle of an instruction.
    #[error(
        "{file} is another file than the one that was looked into; its process may have become another program"
    )]
    Changed {
        /// The file.
        file: PathBuf,
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
        let file = probe.open()?;
        let path = &probe.file.path;
        let id = probe.file.id;
        let place = (probe.program, id.dev, id.ino, probe.offset);
        if self.placed.places.contains(&place) {
            return Ok(());
        }
        if self.placed.places.len() >= USER_PROBES_MAX {
            return Err(ProbeError::Full { file: path.clone() });
        }
        let program = self
            .ebpf
            .program_mut(probe.program)
            .ok_or(AttachError::Absent(probe.program))?;
        <&mut UProbe>::try_from(program)
            .and_then(|program| {
                program.attach(
                    probe.offset,
                    by_descriptor(&file),
                    UProbeScope::AllProcesses,
                )
            })
            .map_err(|source| ProbeError::Refused {
                program: probe.program,
                file: path.clone(),
                source: Box::new(source),
            })?;
        self.placed.places.insert(place);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::{fs, fs::File, io::Write, os::unix::fs::symlink, path::Path};

    use super::{Looked, Probe, ProbeError};

    #[test]
    fn a_file_that_is_another_one_by_now_is_not_probed() {
        type Change = fn(&Path);
        let changes: [(&str, Change, bool); 5] = [
            ("nothing", |_| {}, true),
            (
                "written into",
                |exe| {
                    let mut file = File::options().append(true).open(exe).unwrap();
                    file.write_all(b"x").unwrap();
                },
                false,
            ),
            (
                "written over, with its old times",
                |exe| {
                    let times = fs::metadata(exe).unwrap().modified().unwrap();
                    let bytes = vec![0; fs::metadata(exe).unwrap().len() as usize];
                    let mut file = File::options().write(true).open(exe).unwrap();
                    file.write_all(&bytes).unwrap();
                    file.set_modified(times).unwrap();
                },
                false,
            ),
            (
                "replaced",
                |exe| {
                    fs::copy(exe, exe.with_extension("new")).unwrap();
                    fs::rename(exe.with_extension("new"), exe).unwrap();
                },
                false,
            ),
            ("gone", |exe| fs::remove_file(exe).unwrap(), false),
        ];
        for (what, change, expect) in changes {
            let folder = tempfile::tempdir().unwrap();
            let (exe, link) = (folder.path().join("sh"), folder.path().join("exe"));
            fs::copy("/bin/sh", &exe).unwrap();
            symlink(&exe, &link).unwrap();
            let probe = Probe {
                program: "go_spawn",
                file: Looked::at(&link, &File::open(&link).unwrap()).unwrap(),
                offset: 0,
            };
            // A ctime is as exact as the kernel's ticks.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(&exe);
            let opened = probe.open();
            assert_eq!(opened.is_ok(), expect, "{what}");
            if what == "gone" {
                assert!(matches!(opened, Err(ProbeError::File { .. })));
            } else if !expect {
                assert!(matches!(opened, Err(ProbeError::Changed { .. })), "{what}");
            }
        }
    }
}
