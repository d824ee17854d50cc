//! Why nothing is attached, each a sentence for the user.

use aya::{maps::MapError, programs::ProgramError};

use super::{btf_offsets, table::Place};

/// Why nothing is attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel's layouts are not known.
    #[error(transparent)]
    Offsets(#[from] btf_offsets::OffsetsError),
    /// The kernel refused the object.
    #[error(
        "the kernel refused to load the BPF object: {0}; nothing is traced; `suture doctor` says what this kernel allows"
    )]
    Load(#[from] aya::EbpfError),
    /// The kernel's verifier refused a program.
    #[error(
        "the kernel refused BPF program {program}: {reason}; nothing is traced; please report the kernel version"
    )]
    Program {
        /// The program.
        program: &'static str,
        /// What the kernel said, the last of it: a verifier's log has up to a million lines.
        reason: String,
    },
    /// The kernel's types cannot be read for the tracepoints' arguments.
    #[error(
        "cannot read the kernel's type information: {0}; nothing is traced; `suture doctor` says what this kernel allows"
    )]
    Types(#[from] aya::BtfError),
    /// A required hook is not there.
    #[error(
        "cannot attach {program} to {place:?}: {source}; without it Suture would not see {loss}, so it does not start"
    )]
    Attach {
        /// The program.
        program: &'static str,
        /// Where.
        place: Place,
        /// What would be lost.
        loss: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The object has no such map or program: a build that mixes versions.
    #[error(
        "the BPF object has no `{0}`; the program was built from mixed sources; build it again with `cargo xtask build`"
    )]
    Absent(&'static str),
    /// A map could not be read or filled.
    #[error("cannot use BPF map {name}: {source}; nothing is traced")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
}
