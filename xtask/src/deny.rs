//! Licences, banned crates and sources of everything we depend on, by `deny.toml`.
//!
//! In: `deny.toml` (cargo-deny's format, of which the keys used here are read) and `cargo metadata`. Out: an error that
//! lists every crate that may not be used. Always holds: it needs no network and no other program. Refuses: what
//! needs the network, the advisory database, and says so.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, tidy};

/// What `deny.toml` allows.
struct Policy {
    licences: Vec<String>,
    exceptions: Vec<(String, Vec<String>)>,
    banned: Vec<String>,
    registries: Vec<String>,
}

/// Checks the dependencies.
///
/// # Errors
/// `deny.toml` could not be read, or a crate breaks it.
pub fn run() -> Result<()> {
    let path = process::root().join("deny.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let policy = Policy::read(&text).with_context(|| format!("cannot use {}", path.display()))?;
    let broken = broken(&policy, &tidy::metadata()?);
    eprintln!(
        "xtask: deny: advisories are not checked, because their database needs the network (`cargo deny check advisories`)"
    );
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "{} dependencies may not be used:\n  {}",
        broken.len(),
        broken.join("\n  ")
    )
}

impl Policy {
    fn read(text: &str) -> Result<Policy> {
        let table: toml::Table = text.parse().context("not TOML")?;
        let list = |section: &str, key: &str| -> Result<Vec<String>> {
            let value = table.get(section).and_then(|section| section.get(key));
            let array = value
                .and_then(toml::Value::as_array)
                .with_context(|| format!("no list {section}.{key}"))?;
            Ok(array
                .iter()
                .filter_map(toml::Value::as_str)
                .map(str::to_owned)
                .collect())
        };
        let of_tables = |section: &str, key: &str| -> Vec<toml::Value> {
            let value = table.get(section).and_then(|section| section.get(key));
            value
                .and_then(toml::Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let name = |entry: &toml::Value| {
            entry
                .get("crate")
                .and_then(toml::Value::as_str)
                .map(str::to_owned)
        };
        let exceptions = of_tables("licenses", "exceptions")
            .iter()
            .filter_map(|entry| {
                let allowed = entry.get("allow")?.as_array()?;
                Some((
                    name(entry)?,
                    allowed
                        .iter()
                        .filter_map(toml::Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                ))
            })
            .collect();
        Ok(Policy {
            licences: list("licenses", "allow")?,
            exceptions,
            banned: of_tables("bans", "deny").iter().filter_map(name).collect(),
            registries: list("sources", "allow-registry")?,
        })
    }
}

fn broken(policy: &Policy, metadata: &Value) -> Vec<String> {
    let none = vec![];
    let mut broken = vec![];
    for package in metadata["packages"].as_array().unwrap_or(&none) {
        let name = package["name"].as_str().unwrap_or("?");
        let version = package["version"].as_str().unwrap_or("?");
        let licence = package["license"].as_str().unwrap_or("");
        let own: &[String] = policy
            .exceptions
            .iter()
            .find(|(exception, _)| exception == name)
            .map_or(&[], |(_, allowed)| allowed);
        let allowed = |id: &str| {
            policy
                .licences
                .iter()
                .chain(own)
                .any(|licence| licence == id)
        };
        if !satisfied(licence, &allowed) {
            broken.push(format!(
                "{name} {version}: licence \"{licence}\" is not allowed"
            ));
        }
        if policy.banned.iter().any(|banned| banned == name) {
            broken.push(format!("{name} {version}: is banned"));
        }
        if let Some(source) = package["source"].as_str()
            && !policy
                .registries
                .iter()
                .any(|registry| source.ends_with(registry.as_str()))
        {
            broken.push(format!("{name} {version}: comes from {source}"));
        }
    }
    broken
}

/// Is an SPDX licence expression (<https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>) satisfied by what is
/// allowed? `/` is cargo's old spelling of OR. An empty or broken expression is not.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let answer = any_of(&tokens, &mut at, allowed);
    answer == Some(true) && at == tokens.len()
}

fn any_of(tokens: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut answer = all_of(tokens, at, allowed)?;
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        answer |= all_of(tokens, at, allowed)?;
    }
    Some(answer)
}

fn all_of(tokens: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut answer = one(tokens, at, allowed)?;
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        answer &= one(tokens, at, allowed)?;
    }
    Some(answer)
}

fn one(tokens: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let token = *tokens.get(*at)?;
    *at += 1;
    if token == "(" {
        let answer = any_of(tokens, at, allowed)?;
        let closed = tokens.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(answer);
    }
    if tokens.get(*at) == Some(&"WITH") {
        let exception = tokens.get(*at + 1)?;
        *at += 2;
        return Some(allowed(&format!("{token} WITH {exception}")));
    }
    Some(allowed(token))
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

    use super::{Policy, broken, satisfied};

    #[test]
    fn licence_expressions_are_understood() {
        let check = |expression: &str, expect: bool| {
            let allowed =
                |id: &str| ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].contains(&id);
            assert_eq!(satisfied(expression, &allowed), expect, "{expression}");
        };
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT", true);
        check("GPL-3.0-only/MIT", true);
        check("MIT AND GPL-3.0-only", false);
        check("(MIT OR GPL-3.0-only) AND Apache-2.0", true);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-2.0-only WITH Classpath-exception-2.0", false);
        check("", false);
        check("MIT OR", false);
        check("(MIT", false);
        check("MIT MIT", false);
    }

    #[test]
    fn licences_bans_and_sources_are_found() {
        let policy = Policy::read(
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"c\", allow = [\"ISC\"] }]\n\
             [bans]\ndeny = [{ crate = \"b\" }]\n[sources]\nallow-registry = [\"https://here/index\"]\n",
        )
        .unwrap();
        let check = |name: &str, licence: &str, source: Option<&str>, expect: usize| {
            let metadata = json!({"packages": [{"name": name, "version": "1", "license": licence, "source": source}]});
            assert_eq!(
                broken(&policy, &metadata).len(),
                expect,
                "{name} {licence} {source:?}"
            );
        };
        check("a", "MIT", Some("registry+https://here/index"), 0);
        check("a", "MIT", None, 0);
        check("a", "ISC", None, 1);
        check("c", "ISC", None, 0);
        check("b", "MIT", None, 1);
        check("a", "MIT", Some("git+https://elsewhere/a"), 1);
    }

    #[test]
    fn a_policy_without_a_list_is_refused() {
        assert!(Policy::read("[licenses]\n").is_err());
        assert!(Policy::read("not toml").is_err());
    }
}
