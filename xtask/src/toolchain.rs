//! The compiler and the linker for BPF.
//!
//! In: what this machine has. Out: a [`BpfToolchain`] that can build `agent-ebpf`. Always holds: the compiler has the
//! sources of `core` and an LLVM that bpf-linker can read; what is there is preferred to what would be downloaded.
//! Refuses: a compiler with a newer LLVM than the linker's, whose bitcode the linker could not read.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    process,
    setup::{self, package},
};

/// The LLVM that our bpf-linker is built with. It reads bitcode of this version and older.
const LLVM: u32 = 22;
/// The bpf-linker that was tried.
const BPF_LINKER: &str = "0.13.0";

/// Which compiler builds BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// rustup's toolchain of this name, or the one in use.
    Rustup(Option<&'static str>),
    /// Debian's rustc-web, cargo-web and rust-web-src.
    Debian,
}

impl Compiler {
    fn rustc(&self) -> Command {
        match self {
            Compiler::Rustup(None) => process::command("rustc"),
            Compiler::Rustup(Some(name)) => {
                let mut rustc = process::command("rustup");
                rustc.args(["run", name, "rustc"]);
                rustc
            }
            Compiler::Debian => process::command("/usr/bin/rustc"),
        }
    }

    /// Can it build `core` for BPF, with bitcode that the linker reads?
    fn works(&self) -> bool {
        let Some(sysroot) = process::probe(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        let has_src = Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .is_file();
        if !has_src {
            return false;
        }
        let llvm = process::probe(self.rustc().arg("-vV")).and_then(|v| llvm_major(&v));
        llvm.is_some_and(|llvm| llvm <= LLVM)
    }
}

/// The major number in the line "LLVM version: 22.1.2" of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.trim().parse().ok()
}

/// What builds `agent-ebpf`.
#[derive(Debug)]
pub struct BpfToolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl BpfToolchain {
    /// Finds or installs compiler and linker.
    ///
    /// # Errors
    /// Something is missing and could not be installed.
    pub fn ready() -> Result<BpfToolchain> {
        let compiler = compiler()?;
        Ok(BpfToolchain {
            compiler,
            linker: linker()?,
        })
    }

    /// `cargo build` of `agent-ebpf`, with the target and the flags for it.
    pub fn build(&self) -> Command {
        let mut cargo = match &self.compiler {
            Compiler::Rustup(None) => process::command("cargo"),
            Compiler::Rustup(Some(name)) => {
                let mut cargo = process::command("rustup");
                cargo.args(["run", name, "cargo"]);
                cargo
            }
            Compiler::Debian => {
                let mut cargo = process::command("/usr/bin/cargo");
                cargo.env("RUSTC", "/usr/bin/rustc");
                cargo
            }
        };
        cargo.arg("build");
        self.for_bpf(&mut cargo);
        cargo
    }

    /// `cargo clippy` of `agent-ebpf`, by the same compiler that builds it.
    ///
    /// # Errors
    /// clippy is missing and could not be installed.
    pub fn clippy(&self) -> Result<Command> {
        let mut clippy = match &self.compiler {
            Compiler::Rustup(None) => {
                let mut cargo = process::command("cargo");
                cargo.arg("clippy");
                cargo
            }
            Compiler::Rustup(Some(name)) => {
                process::run(process::command("rustup").args([
                    "component",
                    "add",
                    "clippy",
                    "--toolchain",
                    name,
                ]))?;
                let mut cargo = process::command("rustup");
                cargo.args(["run", name, "cargo", "clippy"]);
                cargo
            }
            Compiler::Debian => {
                setup::packages(&[package("rust-web-clippy", "checking the BPF programs")])?;
                // By its path: rustup's cargo-clippy of the same name comes first in $PATH and is of another version.
                let mut clippy = process::command("/usr/bin/cargo-clippy");
                clippy
                    .arg("clippy")
                    .env("CARGO", "/usr/bin/cargo")
                    .env("RUSTC", "/usr/bin/rustc");
                clippy
            }
        };
        self.for_bpf(&mut clippy);
        Ok(clippy)
    }

    fn for_bpf(&self, cargo: &mut Command) {
        cargo
            .args([
                "--package",
                "agent-ebpf",
                "--release",
                "--target",
                "bpfel-unknown-none",
            ])
            .args(["-Z", "build-std=core", "--target-dir"])
            .arg(bpf_target_dir())
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET")
            // build-std is unstable; on a nightly compiler the variable changes nothing.
            .env("RUSTC_BOOTSTRAP", "1")
            .env(
                "RUSTFLAGS",
                format!(
                    "-C linker={} -C debuginfo=2 -C link-arg=--btf",
                    self.linker.display()
                ),
            );
    }
}

/// Where BPF builds go: apart from the host's, because two compilers in one folder would rebuild each other's work. In
/// this workspace even when `$CARGO_TARGET_DIR` is shared, because the object's layout must match these sources.
pub fn bpf_target_dir() -> PathBuf {
    process::root().join("target/bpf")
}

/// The object that `cargo xtask build` makes.
pub fn bpf_object() -> PathBuf {
    bpf_target_dir().join("bpfel-unknown-none/release/suture-ebpf")
}

fn compiler() -> Result<Compiler> {
    let known = [
        Compiler::Rustup(None),
        Compiler::Rustup(Some("nightly")),
        Compiler::Debian,
    ];
    if let Some(found) = known.iter().find(|compiler| compiler.works()) {
        return Ok(found.clone());
    }
    if process::find_program("rustup").is_some() {
        eprintln!("xtask: installing rust-src (rustup), for building core for the BPF target");
        let added =
            process::probe(process::command("rustup").args(["component", "add", "rust-src"]))
                .is_some();
        if added && Compiler::Rustup(None).works() {
            return Ok(Compiler::Rustup(None));
        }
        eprintln!("xtask: installing a nightly toolchain with rust-src (rustup), for the same");
        let mut nightly = process::command("rustup");
        nightly.args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]);
        if process::probe(&mut nightly).is_some() && Compiler::Rustup(Some("nightly")).works() {
            return Ok(Compiler::Rustup(Some("nightly")));
        }
        eprintln!(
            "xtask: rustup has no usable rust-src; taking Debian's compiler for the BPF programs"
        );
    }
    setup::packages(&[
        package("rustc-web", "compiling the BPF programs"),
        package("cargo-web", "compiling the BPF programs"),
        package("rust-web-src", "building core for the BPF target"),
    ])?;
    if Compiler::Debian.works() {
        return Ok(Compiler::Debian);
    }
    bail!(
        "no compiler can build the BPF programs: needed is a rustc with the rust-src component and LLVM {LLVM} or older, for \
         example by `rustup component add rust-src`"
    )
}

fn linker() -> Result<PathBuf> {
    let own = process::cargo_home().join("bin/bpf-linker");
    if let Some(found) =
        process::find_program("bpf-linker").or_else(|| own.is_file().then(|| own.clone()))
    {
        return Ok(found);
    }
    setup::packages(&[
        package("llvm-22-dev", "building bpf-linker"),
        package("libpolly-22-dev", "building bpf-linker"),
        package("zlib1g-dev", "building bpf-linker"),
        package("libzstd-dev", "building bpf-linker"),
        package("g++", "linking bpf-linker with LLVM"),
    ])?;
    eprintln!(
        "xtask: installing bpf-linker {BPF_LINKER} (cargo install), for linking the BPF programs"
    );
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let mut path = OsString::from(format!("{prefix}/bin:"));
    path.push(env::var_os("PATH").unwrap_or_default());
    process::run(
        process::cargo()
            .args([
                "install",
                "--quiet",
                "bpf-linker",
                "--version",
                BPF_LINKER,
                "--locked",
            ])
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_SYS_221_PREFIX", &prefix)
            // Its build script calls llvm-config, which Debian installs outside of $PATH.
            .env("PATH", path)
            .env("RUSTFLAGS", format!("-L native={prefix}/lib")),
    )?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may panic"
    )]
    use super::llvm_major;

    #[test]
    fn llvm_version_is_read_from_rustc() {
        assert_eq!(llvm_major("rustc 1.95.0\nLLVM version: 22.1.2\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.95.0\n"), None);
        assert_eq!(llvm_major("LLVM version: x.1\n"), None);
    }
}
