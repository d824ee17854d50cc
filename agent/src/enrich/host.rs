//! What is the same for every process of this host.
//!
//! In: `/etc/machine-id`, `/etc/os-release`, `/etc/passwd`, uname(2). Out: [`HostFacts`]. Always holds: read once when the agent starts; what
//! cannot be read is left out. Refuses: to ask the network or NSS, which may block for seconds.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{docker, keys, proc_root::read_bounded};

/// Bound of each file read here. User tables of large hosts are longer; users beyond are shown by number.
const FILE: usize = 1 << 20;

/// The host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `host.name`: the node name of uname(2).
    pub name: String,
    /// `host.id`: `/etc/machine-id`; empty when there is none.
    pub id: String,
    /// `host.arch`, one of the registry's words.
    pub arch: String,
    /// `os.name`, `os.version`: `NAME` and `VERSION_ID` of os-release(5).
    pub os: Option<(String, Option<String>)>,
    /// `os.description`.
    pub os_description: String,
    /// Names of users by number.
    pub users: HashMap<u32, String>,
    /// Docker's folder of containers.
    pub docker: PathBuf,
}

impl HostFacts {
    /// This host.
    pub fn live() -> Self {
        let uname = |name: &str| {
            let raw =
                read_bounded(&Path::new("/proc/sys/kernel").join(name), FILE).unwrap_or_default();
            String::from_utf8_lossy(&raw).trim().to_owned()
        };
        Self::of(
            Path::new("/etc"),
            &uname("hostname"),
            &uname("osrelease"),
            std::env::consts::ARCH,
        )
    }

    /// A host with these files and words. `arch` is Rust's word.
    pub fn of(etc: &Path, name: &str, kernel: &str, arch: &str) -> Self {
        let read = |file: &str| {
            read_bounded(&etc.join(file), FILE)
                .map(|raw| String::from_utf8_lossy(&raw).into_owned())
                .unwrap_or_default()
        };
        let release = read("os-release");
        let field = |key: &str| {
            release.lines().find_map(|line| {
                let value = line
                    .strip_prefix(key)?
                    .strip_prefix('=')?
                    .trim()
                    .trim_matches(['"', '\'']);
                (!value.is_empty()).then(|| value.to_owned())
            })
        };
        let description = field("PRETTY_NAME").or_else(|| field("NAME"));
        HostFacts {
            name: name.to_owned(),
            id: read("machine-id").trim().to_owned(),
            arch: semconv_arch(arch).to_owned(),
            os: field("NAME").map(|name| (name, field("VERSION_ID"))),
            os_description: match description {
                Some(name) => format!("{name}, Linux {kernel}"),
                None => format!("Linux {kernel}"),
            },
            users: read("passwd").lines().filter_map(user).collect(),
            docker: PathBuf::from(docker::CONTAINERS),
        }
    }

    /// Attributes of every Resource, in order.
    pub(super) fn push_attributes(&self, push: &mut impl FnMut(&'static str, &str)) {
        push(keys::HOST_NAME, &self.name);
        push(keys::HOST_ID, &self.id);
        push(keys::HOST_ARCH, &self.arch);
        push(keys::OS_TYPE, "linux");
        if let Some((name, version)) = &self.os {
            push(keys::OS_NAME, name);
            push(keys::OS_VERSION, version.as_deref().unwrap_or_default());
        }
        push(keys::OS_DESCRIPTION, &self.os_description);
        push(keys::TELEMETRY_DISTRO_NAME, "suture");
        push(keys::TELEMETRY_DISTRO_VERSION, env!("CARGO_PKG_VERSION"));
    }
}

/// The registry's word for an architecture (attribute registry, `host.arch`).
fn semconv_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "powerpc" => "ppc32",
        other => other, // s390x and x86 are the registry's words; others have none
    }
}

/// `name:password:uid:…` (passwd(5)).
fn user(line: &str) -> Option<(u32, String)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, name.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::HostFacts;

    #[test]
    fn a_host_is_read_from_its_files() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(
            etc.path().join("machine-id"),
            "0123456789abcdef0123456789abcdef\n",
        )
        .unwrap();
        std::fs::write(
            etc.path().join("passwd"),
            "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbad\n",
        )
        .unwrap();
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        std::fs::write(etc.path().join("os-release"), release).unwrap();
        let host = HostFacts::of(etc.path(), "vm", "6.1.0", "x86_64");
        assert_eq!(host.id, "0123456789abcdef0123456789abcdef");
        assert_eq!(host.arch, "amd64");
        assert_eq!(
            host.os,
            Some(("Debian GNU/Linux".into(), Some("12".into())))
        );
        assert_eq!(
            host.os_description,
            "Debian GNU/Linux 12 (bookworm), Linux 6.1.0"
        );
        assert_eq!(host.users.get(&1000).map(String::as_str), Some("ada"));
        assert_eq!(host.users.len(), 2);
    }

    #[test]
    fn a_host_without_files_still_has_a_name() {
        let host = HostFacts::of(
            std::path::Path::new("/nonexistent"),
            "vm",
            "6.1.0",
            "riscv64",
        );
        assert_eq!(
            (host.name.as_str(), host.arch.as_str(), host.id.as_str()),
            ("vm", "riscv64", "")
        );
        assert_eq!(host.os_description, "Linux 6.1.0");
    }
}
