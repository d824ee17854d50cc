//! Tells the daemon where the BPF object is that it carries.
//!
//! In: `$SUTURE_BPF_OBJECT`, else the place where `cargo xtask build` puts the object. Out: the same variable for the
//! compiler. Refuses: to build without an object.

use std::{env, path::PathBuf, process::ExitCode};

const VARIABLE: &str = "SUTURE_BPF_OBJECT";
const PLACE: &str = "../target/bpf/bpfel-unknown-none/release/suture-ebpf";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let object = match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => here.join(PLACE),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    // One spelling of the path, so that xtask's builds and plain cargo builds are the same build.
    match object.canonicalize() {
        Ok(path) => {
            println!("cargo::rustc-env={VARIABLE}={}", path.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!(
                "cargo::error=no BPF object at {} ({why}); the daemon carries it; build it with `cargo xtask build`",
                object.display()
            );
            ExitCode::FAILURE
        }
    }
}
