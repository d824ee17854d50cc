//! `cargo xtask dist`: a release archive.
//!
//! In: the sources. Out: `target/dist/suture-VERSION-x86_64-linux.tar.gz` and its sha256 beside it. Always holds: the
//! same sources give the same archive (owner, order and times are fixed). Refuses: another architecture.

use std::{env::consts::ARCH, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{build, process};

/// Files of the repository that go into the archive.
const FILES: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "LICENSE-GPL-2.0",
    "packaging/suture.service",
    "packaging/suture.toml",
];

/// Makes it.
///
/// # Errors
/// The build failed, or a file is missing.
pub fn run() -> Result<()> {
    if ARCH != "x86_64" {
        bail!("releases are made on x86_64 only, this is {ARCH}");
    }
    let suture = build::all()?;
    let version = process::output(process::command(&suture).arg("--version"))?;
    let version = version
        .split_whitespace()
        .last()
        .context("`suture --version` printed nothing")?
        .to_owned();
    let name = format!("suture-{version}-{ARCH}-linux");
    let dist = process::target_dir().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the old {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in FILES {
        let from = process::root().join(file);
        let to = folder.join(Path::new(file).file_name().unwrap_or_default());
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let binary = folder.join("suture");
    process::run(
        process::command("strip")
            .arg("-o")
            .arg(&binary)
            .arg(&suture),
    )?;

    let epoch = process::output(process::command("git").args(["log", "-1", "--format=%ct"]))?;
    let archive = format!("{name}.tar.gz");
    let mut tar = process::command("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u+rwX,go+rX,go-w",
    ])
    .arg(format!("--mtime=@{}", epoch.trim()))
    .args(["-I", "gzip -n -9", "-cf", &archive, &name]);
    process::run(tar.current_dir(&dist))?;
    let mut sum = process::command("sha256sum");
    let sum = process::output(sum.arg(&archive).current_dir(&dist))?;
    let sum_file = dist.join(format!("{archive}.sha256"));
    fs::write(&sum_file, &sum).with_context(|| format!("cannot write {}", sum_file.display()))?;
    eprintln!(
        "xtask: {} ({})",
        dist.join(archive).display(),
        sum.split_whitespace().next().unwrap_or_default()
    );
    Ok(())
}
