//! `cargo xtask build`: the BPF object, then the daemon with the object inside.
//!
//! In: the sources. Out: `target/release/suture`. Always holds: the daemon carries the object of these sources; a second
//! run with nothing changed compiles nothing.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    process,
    toolchain::{self, BpfToolchain},
};

/// The name by which `agent/build.rs` gets the object's path.
pub const OBJECT_VARIABLE: &str = "SUTURE_BPF_OBJECT";

/// Builds the BPF object and gives its path.
///
/// # Errors
/// The toolchain could not be installed, or the build failed.
pub fn bpf() -> Result<PathBuf> {
    let toolchain = BpfToolchain::ready()?;
    process::run(toolchain.build().arg("--quiet"))?;
    let object = toolchain::bpf_object();
    if !object.is_file() {
        bail!(
            "the BPF build ended well but left no {}; nothing can be loaded",
            object.display()
        );
    }
    Ok(object)
}

/// Builds the BPF object and the daemon, and gives the daemon's path.
///
/// # Errors
/// As [`bpf`], or the daemon's build failed.
pub fn all() -> Result<PathBuf> {
    let object = bpf()?;
    process::run(
        process::cargo()
            .args(["build", "--release", "--package", "agent"])
            .env(OBJECT_VARIABLE, &object),
    )?;
    let suture = process::target_dir().join("release/suture");
    if !suture.is_file() {
        bail!("the build ended well but left no {}", suture.display());
    }
    Ok(suture)
}
