//! `cargo xtask bless`: takes what `suture replay` prints for the golden recordings as the output to expect.
//!
//! In: `tests/golden/NAME.suture`. Out: `tests/golden/NAME.json`, and the difference to what it was, for a person to read
//! before committing. Always holds: a recording is replayed twice and must print the same bytes both times.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{build, process, record};

/// Blesses the recordings of these names; all if there are none.
///
/// # Errors
/// No such recording, the replay failed or differed from itself, or a file could not be written.
pub fn run(names: &[String]) -> Result<()> {
    let suture = build::all()?;
    let recordings = recordings(names)?;
    if recordings.is_empty() {
        bail!(
            "no recording in {}; make one with `cargo xtask record`",
            record::folder().display()
        );
    }
    for recording in &recordings {
        let replay = || {
            process::output(
                process::command(&suture)
                    .arg("replay")
                    .arg(recording)
                    .args(["--print", "json"]),
            )
        };
        let printed = replay()?;
        if printed != replay()? {
            bail!(
                "two replays of {} differ; nothing was blessed",
                recording.display()
            );
        }
        let expected = recording.with_extension("json");
        let fresh = recording.with_extension("json.new");
        fs::write(&fresh, &printed).with_context(|| format!("cannot write {}", fresh.display()))?;
        if expected.is_file() {
            // diff ends with 1 when there are differences, which is what it is called for.
            let shown = process::command("diff")
                .arg("-u")
                .arg(&expected)
                .arg(&fresh)
                .status();
            let same = shown.context("cannot start diff")?.success();
            eprintln!(
                "xtask: {}: {}",
                expected.display(),
                if same {
                    "unchanged"
                } else {
                    "changed, see above"
                }
            );
        } else {
            eprintln!(
                "xtask: {}: new, {} lines",
                expected.display(),
                printed.lines().count()
            );
        }
        fs::rename(&fresh, &expected)
            .with_context(|| format!("cannot replace {}", expected.display()))?;
    }
    Ok(())
}

fn recordings(names: &[String]) -> Result<Vec<PathBuf>> {
    let folder = record::folder();
    if !names.is_empty() {
        return names
            .iter()
            .map(|name| {
                let file = folder.join(format!("{name}.suture"));
                if file.is_file() {
                    Ok(file)
                } else {
                    bail!("no recording {}", file.display())
                }
            })
            .collect();
    }
    record::files(&folder, "suture")
}
