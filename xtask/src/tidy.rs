//! The rules of the repository that no compiler proves: who imports whom, and what a source file looks like.
//!
//! In: `cargo metadata` and the workspace's sources. Out: an error that lists every break. Always holds: every `.rs` file
//! that git knows or would add is read. Refuses: nothing silently; warnings are printed.

mod rules;
#[cfg(test)]
mod rules_tests;
mod source;

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process;

/// What a crate may depend on in the workspace (not for its tests).
const WORKSPACE_EDGES: &[(&str, &[&str])] = &[
    ("agent-common", &[]),
    ("agent-ebpf", &["agent-common"]),
    ("agent-protocol", &[]),
    ("agent-trace", &["agent-common", "agent-protocol"]),
    ("agent", &["agent-common", "agent-protocol", "agent-trace"]),
    ("xtask", &[]),
];

/// A crate from outside that only some of ours may depend on (not for their tests).
const OUTSIDE: &[(&str, &[&str])] = &[
    ("aya", &["agent"]),
    ("aya-log", &["agent"]),
    ("aya-ebpf", &["agent-ebpf"]),
    ("tokio", &["agent", "suture-tests"]),
    ("opentelemetry-proto", &["agent", "suture-tests"]),
];

/// Proves the rules.
///
/// # Errors
/// A rule is broken; the message lists each place.
pub fn run() -> Result<()> {
    let mut broken = dependencies(&metadata()?);
    let listed = process::output(process::command("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.rs",
    ]))?;
    let mut files: Vec<&str> = listed.lines().collect();
    files.sort_unstable();
    files.dedup();
    let mut read = 0;
    for file in files {
        let path = process::root().join(file);
        if !path.is_file() {
            continue; // deleted, not yet committed
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        read += 1;
        for finding in rules::check(file, &text) {
            let line = format!("{file}:{}: {}", finding.line, finding.what);
            if finding.warning {
                eprintln!("xtask: warning: {line}");
            } else {
                broken.push(line);
            }
        }
    }
    if read == 0 {
        bail!("git lists no .rs file, so no rule could be proven");
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "{} rules are broken:\n  {}",
        broken.len(),
        broken.join("\n  ")
    )
}

/// `cargo metadata` of the workspace with everything it depends on.
///
/// # Errors
/// cargo failed, or printed no JSON.
pub fn metadata() -> Result<Value> {
    let text = process::output(process::cargo().args([
        "metadata",
        "--quiet",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
        "--format-version",
        "1",
    ]))?;
    serde_json::from_str(&text).context("`cargo metadata` printed something that is not JSON")
}

/// Breaks of [`WORKSPACE_EDGES`] and [`OUTSIDE`].
fn dependencies(metadata: &Value) -> Vec<String> {
    let none = vec![];
    let members = metadata["workspace_members"].as_array().unwrap_or(&none);
    let packages = metadata["packages"].as_array().unwrap_or(&none);
    let ours: Vec<&Value> = packages
        .iter()
        .filter(|package| members.contains(&package["id"]))
        .collect();
    let mut broken = vec![];
    for package in &ours {
        let name = package["name"].as_str().unwrap_or("?");
        for dependency in package["dependencies"].as_array().unwrap_or(&none) {
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let on = dependency["name"].as_str().unwrap_or("?");
            let is_ours = ours
                .iter()
                .any(|package| package["name"].as_str() == Some(on));
            let allowed = WORKSPACE_EDGES.iter().find(|(from, _)| *from == name);
            if is_ours && allowed.is_some_and(|(_, to)| !to.contains(&on)) {
                broken.push(format!("{name}/Cargo.toml: {name} must not depend on {on}: imports go one way (ARCHITECTURE.md)"));
            }
            if OUTSIDE
                .iter()
                .any(|(outside, by)| *outside == on && !by.contains(&name))
            {
                broken.push(format!(
                    "{name}/Cargo.toml: {name} must not depend on {on} (ARCHITECTURE.md)"
                ));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may panic"
    )]
    use serde_json::json;

    use super::dependencies;

    #[test]
    fn imports_go_one_way() {
        let check = |name: &str, on: &str, kind: Option<&str>, expect: usize| {
            let metadata = json!({
                "workspace_members": ["a", "b"],
                "packages": [
                    {"id": "a", "name": name, "dependencies": [{"name": on, "kind": kind}]},
                    {"id": "b", "name": "agent-common", "dependencies": []},
                ],
            });
            assert_eq!(dependencies(&metadata).len(), expect, "{name} on {on}");
        };
        check("agent-protocol", "agent-common", None, 1);
        check("agent-protocol", "agent-common", Some("dev"), 0);
        check("agent-trace", "agent-common", None, 0);
        check("agent-trace", "tokio", None, 1);
        check("agent", "tokio", None, 0);
        check("agent", "httparse", None, 0);
    }
}
