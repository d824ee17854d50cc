//! A process' place in the cgroup tree: container, pod, systemd unit.
//!
//! In: the text of `/proc/PID/cgroup` (`man 7 cgroups`), v1 or v2 or both. Out: [`Placement`]. Always holds: an id is one
//! only if it has the shape its runtime gives it (64 hexadecimal digits); other software makes cgroups with ids of its own. Refuses: to
//! guess from a name alone.

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `container.id`: 64 hexadecimal digits (docker, containerd, CRI-O, podman).
    pub container_id: Option<String>,
    /// Name of a container that has no id (LXC, systemd-nspawn).
    pub container_name: Option<String>,
    /// `k8s.pod.uid`.
    pub pod_uid: Option<String>,
    /// systemd unit as `systemctl status` names it, e.g. `nginx.service`.
    pub unit: Option<String>,
}

impl Placement {
    /// Reads all lines; the first answer to each question counts, from the deepest group upwards.
    pub fn parse(text: &str) -> Self {
        let mut out = Placement::default();
        for line in text.lines() {
            // hierarchy-ID:controller-list:cgroup-path
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            // systemd keeps units in its own v1 hierarchy and in v2; other v1 hierarchies may lag behind.
            let has_units = controllers.is_empty() || controllers == "name=systemd";
            for segment in path.rsplit('/').filter(|segment| !segment.is_empty()) {
                if out.container_id.is_none() {
                    out.container_id = container_id(segment).map(str::to_owned);
                }
                if out.pod_uid.is_none() {
                    out.pod_uid = pod_uid(segment);
                }
                if out.container_name.is_none() {
                    out.container_name = container_name(segment);
                }
                if has_units && out.unit.is_none() && segment.ends_with(".service") {
                    out.unit = Some(unescape(segment));
                }
            }
        }
        out
    }

    /// True inside any container.
    pub fn in_container(&self) -> bool {
        self.container_id.is_some() || self.container_name.is_some() || self.pod_uid.is_some()
    }

    /// The name an operator gives the unit's service: without `.service`, without a template's instance. None for units that
    /// start other people's programs: there the program itself is the better name.
    pub fn unit_service(&self) -> Option<&str> {
        let name = self.unit.as_deref()?.strip_suffix(".service")?;
        let name = name.split_once('@').map_or(name, |(template, _)| template);
        (!name.is_empty() && !is_launcher(name)).then_some(name)
    }
}

/// Units whose purpose is to start programs of any kind.
fn is_launcher(unit: &str) -> bool {
    const LAUNCHERS: &[&str] = &[
        "actions.runner",
        "anacron",
        "atd",
        "containerd",
        "cri-docker",
        "crio",
        "cron",
        "crond",
        "docker",
        "getty",
        "gitlab-runner",
        "init",
        "k3s",
        "kubelet",
        "lxc",
        "lxd",
        "monit",
        "nomad",
        "podman",
        "rc-local",
        "rke2-server",
        "runit",
        "serial-getty",
        "ssh",
        "sshd",
        "supervisor",
        "supervisord",
        "systemd-nspawn",
        "user",
    ];
    LAUNCHERS.contains(&unit)
        || unit.starts_with("actions.runner.")
        || unit.starts_with("pm2-")
        // systemd-run's transient units: run-u12, run-r<hex>, run-p1-i2
        || unit.strip_prefix("run-").is_some_and(|rest| {
            rest.starts_with(['u', 'r', 'p']) && rest.bytes().skip(1).all(|b| b.is_ascii_hexdigit() || b"-i".contains(&b))
        })
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope`,
/// `kubepods-….slice:cri-containerd:<id>`.
fn container_id(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    // conmon is the container's monitor, outside of it, in a group named after it.
    if name.contains("conmon") {
        return None;
    }
    let id = name.rsplit(['-', ':']).next()?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (id.len() == 64 && id.bytes().all(is_hex)).then_some(id)
}

/// `pod<uid>`, or `kubepods-burstable-pod<uid with _>.slice`.
fn pod_uid(segment: &str) -> Option<String> {
    let name = segment.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let at = name
        .rfind("pod")
        .filter(|at| *at == 0 || name.starts_with("kubepods"))?;
    let uid = name.get(at + 3..)?.replace('_', "-");
    // 8-4-4-4-12 digits; static pods have 32 digits (a hash of their manifest).
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    (digits == 32 && (dashes == 4 || dashes == 0) && digits + dashes == uid.len()).then_some(uid)
}

/// `lxc.payload.<name>` (LXC 4+), `machine-<name>.scope` and `systemd-nspawn@<name>.service` (systemd).
fn container_name(segment: &str) -> Option<String> {
    let name = segment
        .strip_prefix("lxc.payload.")
        .or_else(|| segment.strip_prefix("machine-")?.strip_suffix(".scope"))
        .or_else(|| {
            segment
                .strip_prefix("systemd-nspawn@")?
                .strip_suffix(".service")
        })?;
    (!name.is_empty()).then(|| unescape(name))
}

/// Undoes systemd's `\x2d` escapes (`man systemd-escape`).
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after
            .first_chunk::<3>()
            .filter(|next| *byte == b'\\' && next[0] == b'x')
            .and_then(|next| {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                Some((digit(next[1])? * 16 + digit(next[2])?) as u8)
            });
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::Placement;

    const ID: &str = "3f4e5d6c7b8a9f0e1d2c3b4a5f6e7d8c9b0a1f2e3d4c5b6a7f8e9d0c1b2a3f4e";

    fn parse(line: &str) -> Placement {
        Placement::parse(&line.replace("ID", ID))
    }

    #[test]
    fn container_ids_of_every_runtime_are_found() {
        let check =
            |line: &str| assert_eq!(parse(line).container_id.as_deref(), Some(ID), "{line}");
        check("4:memory:/docker/ID");
        check("0::/system.slice/docker-ID.scope");
        check("0::/system.slice/docker-ID.scope/init.scope");
        check(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ID.scope",
        );
        check("5:cpu:/kubepods/besteffort/pod0a1b/ID");
        check("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:ID");
        check("0::/kubepods.slice/kubepods-podx.slice/crio-ID.scope");
        check("0::/machine.slice/libpod-ID.scope/container");
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        );
        check("0::/../../system.slice/nerdctl-ID.scope");
    }

    #[test]
    fn other_long_names_are_no_containers() {
        let check = |line: &str| assert_eq!(parse(line).container_id, None, "{line}");
        check("4:memory:/process_api/a04e86b069aa58460baeadaeaf2c70df");
        check("0::/machine.slice/libpod-conmon-ID.scope");
        check("0::/system.slice/IDf");
        check("0::/");
        check("");
        check("garbage");
    }

    #[test]
    fn pods_are_known_by_their_uid() {
        let check = |line: &str, expect: Option<&str>| {
            assert_eq!(parse(line).pod_uid.as_deref(), expect, "{line}")
        };
        let uid = "0a1b2c3d-0000-4000-8000-0123456789ab";
        check(
            "0::/kubepods/burstable/pod0a1b2c3d-0000-4000-8000-0123456789ab/ID",
            Some(uid),
        );
        check(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_0000_4000_8000_0123456789ab.slice/x",
            Some(uid),
        );
        check("0::/kubepods/pod/x", None);
        check("0::/system.slice/podman.service", None);
    }

    #[test]
    fn units_become_service_names_unless_they_start_other_peoples_programs() {
        let check = |line: &str, unit: Option<&str>, service: Option<&str>| {
            let found = parse(line);
            assert_eq!(
                (found.unit.as_deref(), found.unit_service()),
                (unit, service),
                "{line}"
            );
        };
        check(
            "0::/system.slice/nginx.service",
            Some("nginx.service"),
            Some("nginx"),
        );
        check(
            "1:name=systemd:/system.slice/shop.service/worker",
            Some("shop.service"),
            Some("shop"),
        );
        check(
            "0::/system.slice/system-shop.slice/shop@8080.service",
            Some("shop@8080.service"),
            Some("shop"),
        );
        check(
            "0::/system.slice/my\\x2dshop.service",
            Some("my-shop.service"),
            Some("my-shop"),
        );
        check(
            "0::/user.slice/user-0.slice/user@0.service/app.slice/api.service",
            Some("api.service"),
            Some("api"),
        );
        check("0::/user.slice/user-1000.slice/session-3.scope", None, None);
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
            Some("user@1000.service"),
            None,
        );
        check("0::/system.slice/cron.service", Some("cron.service"), None);
        check(
            "0::/system.slice/run-r0123abcd.service",
            Some("run-r0123abcd.service"),
            None,
        );
        check(
            "0::/system.slice/runner.service",
            Some("runner.service"),
            Some("runner"),
        );
        check("4:memory:/system.slice/stale.service", None, None); // only systemd's own hierarchies hold units
    }

    #[test]
    fn containers_without_ids_have_names() {
        let check = |line: &str, expect: &str| {
            assert_eq!(
                parse(line).container_name.as_deref(),
                Some(expect),
                "{line}"
            )
        };
        check("0::/lxc.payload.shop/system.slice/nginx.service", "shop");
        check(
            "0::/machine.slice/machine-my\\x2dshop.scope/payload",
            "my-shop",
        );
        check(
            "0::/machine.slice/systemd-nspawn@shop.service/payload",
            "shop",
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = Placement::parse(&text);
        }

        #[test]
        fn any_path_is_read_without_panic(text in "0::(/[a-z\\\\.:@x0-9-]{0,20}){0,6}") {
            let _ = Placement::parse(&text).unit_service();
        }
    }
}
