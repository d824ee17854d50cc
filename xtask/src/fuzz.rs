//! `cargo xtask fuzz`: the fuzz targets of every parser, each for some seconds.
//!
//! In: a target's name, or none for all of them; how long. Out: an error with the crashing input's place. Always holds:
//! what was found before is kept in `fuzz/corpus`. Refuses: to pass when it cannot fuzz.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{process, setup};

/// Runs one target, or all.
///
/// # Errors
/// No nightly toolchain, no cargo-fuzz, no such target, or a crash.
pub fn run(target: Option<&str>, seconds: u32) -> Result<()> {
    let folder = process::root().join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        bail!("there is no fuzz/Cargo.toml, so NOTHING WAS FUZZED");
    }
    // libFuzzer's sanitizer flags are unstable.
    if process::probe(process::command("rustup").args(["run", "nightly", "rustc", "-vV"])).is_none()
    {
        eprintln!(
            "xtask: installing a nightly toolchain (rustup), for the sanitizer that fuzzing needs"
        );
        process::run(process::command("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
        ]))
        .context("fuzzing needs a nightly toolchain, so NOTHING WAS FUZZED")?;
    }
    setup::cargo_install("cargo-fuzz", "running libFuzzer")
        .context("fuzzing needs cargo-fuzz, so NOTHING WAS FUZZED")?;
    let listed = process::output(cargo_fuzz(&folder).arg("list"))?;
    let targets: Vec<&str> = match target {
        Some(target) if listed.lines().any(|known| known == target) => vec![target],
        Some(target) => bail!(
            "no fuzz target {target}; there are: {}",
            listed.lines().collect::<Vec<_>>().join(", ")
        ),
        None => listed.lines().collect(),
    };
    if targets.is_empty() {
        bail!("fuzz/Cargo.toml names no target, so NOTHING WAS FUZZED");
    }
    for target in &targets {
        eprintln!("xtask: fuzzing {target} for {seconds} s");
        let mut fuzz = cargo_fuzz(&folder);
        fuzz.args(["run", target, "--", "-print_final_stats=1"])
            .arg(format!("-max_total_time={seconds}"));
        process::run(&mut fuzz)
            .with_context(|| format!("fuzz target {target}: see fuzz/artifacts/{target}"))?;
    }
    eprintln!(
        "xtask: fuzzed {} for {seconds} s each, no crash",
        targets.join(", ")
    );
    Ok(())
}

fn cargo_fuzz(folder: &Path) -> std::process::Command {
    let mut cargo = process::command("rustup");
    cargo
        .args(["run", "nightly", "cargo", "fuzz"])
        .current_dir(folder);
    // fuzz/ is a workspace of its own with its own flags: its builds must not evict ours.
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo
}
