//! `cargo xtask record`: makes the golden recordings anew, from real programs.
//!
//! In: the scenes `tests/golden/scenes/NAME.sh`, each a script that starts real programs on loopback ports and speaks to
//! them. Out: `tests/golden/NAME.suture`. Always holds: the agent records only the scene's ports and has ended before the
//! file is looked at. Refuses: an empty recording.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{build, process, setup};

/// Ports that scenes may listen on, below the range of ephemeral ports; a scene gets the first one as `$PORT`.
const PORTS: [u16; 4] = [18081, 18082, 18083, 18084];

/// Where golden recordings and the output expected of them are.
pub fn folder() -> PathBuf {
    process::root().join("tests/golden")
}

/// Records the scenes of these names; all if there are none.
///
/// # Errors
/// No such scene, the agent could not record, or the scene failed.
pub fn run(names: &[String]) -> Result<()> {
    setup::victims()?;
    let suture = build::all()?;
    for scene in scenes(names)? {
        let name = scene
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = folder().join(format!("{name}.suture"));
        if file.exists() {
            fs::remove_file(&file)
                .with_context(|| format!("cannot remove the old {}", file.display()))?;
        }
        eprintln!("xtask: recording {name}");
        let mut agent = start(&suture, &file)?;
        let mut script = process::command("bash");
        script.arg(&scene).env("PORT", PORTS[0].to_string());
        let played = process::run(&mut script);
        let ended = stop(&mut agent);
        played.with_context(|| format!("scene {name}"))?;
        ended?;
        own(&file)?;
        let size = fs::metadata(&file)
            .with_context(|| format!("the agent left no {}", file.display()))?
            .len();
        if size == 0 {
            bail!(
                "{} is empty: the agent saw nothing of scene {name}",
                file.display()
            );
        }
        eprintln!(
            "xtask: {} ({size} bytes); now `cargo xtask bless {name}`",
            file.display()
        );
    }
    Ok(())
}

/// The files in `folder` whose names end in `extension` (without the dot), sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|found| found == extension) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn scenes(names: &[String]) -> Result<Vec<PathBuf>> {
    let folder = folder().join("scenes");
    let all = files(&folder, "sh")?;
    if names.is_empty() {
        return Ok(all);
    }
    let named = |name: &String| {
        let path = folder.join(format!("{name}.sh"));
        if all.contains(&path) {
            Ok(path)
        } else {
            bail!("no scene {}", path.display())
        }
    };
    names.iter().map(named).collect()
}

/// Starts the agent and waits until it is attached.
fn start(suture: &Path, file: &Path) -> Result<Child> {
    let mut command = process::as_root(suture);
    command.arg("record").arg(file);
    for port in PORTS {
        command.args(["--port", &port.to_string()]);
    }
    let mut agent = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::shown(&command)))?;
    let Some(stderr) = agent.stderr.take() else {
        bail!("the agent has no stderr")
    };
    let mut lines = BufReader::new(stderr).lines();
    let mut said = vec![];
    for line in lines.by_ref() {
        let line = line.context("cannot read the agent's stderr")?;
        if line
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "ready")
        {
            // What it says later is passed on, so that it never blocks on a full pipe.
            std::thread::spawn(move || {
                lines
                    .map_while(|line| line.ok())
                    .for_each(|line| eprintln!("suture: {line}"))
            });
            return Ok(agent);
        }
        said.push(line);
    }
    let status = agent.wait().context("cannot wait for the agent")?;
    bail!(
        "the agent ended ({status}) before it was ready:\n{}",
        said.join("\n")
    )
}

fn stop(agent: &mut Child) -> Result<()> {
    process::run(process::as_root("kill").args(["-TERM", &agent.id().to_string()]))?;
    let status = agent.wait().context("cannot wait for the agent")?;
    if !status.success() {
        bail!("the agent ended with {status} after SIGTERM");
    }
    Ok(())
}

/// Through sudo the recording belongs to root; it must be ours to be committed.
fn own(file: &Path) -> Result<()> {
    if process::is_root() {
        return Ok(());
    }
    let user = process::output(process::command("id").arg("-u"))?;
    process::run(process::as_root("chown").arg(user.trim()).arg(file))
}
