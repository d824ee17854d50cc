//! A process' Resource: what /proc says about it, put together once.
//!
//! In: a process key. Out: [`ProcessFacts`]. Always holds: the process had the key's start time before and after it was read,
//! else nothing that was read is used; arguments are not attributes, since secrets stand in them. Refuses: nothing; a process that
//! is gone has its thread's name and [`keys::SUTURE_PROCESS_GONE`].

use std::path::{Path, PathBuf};

use agent_common::abi::ProcessKey;
use agent_trace::frame::{ProcessFacts, ResourceValue};

use super::{
    cgroup::Placement,
    docker::Container,
    environ::Environ,
    host::HostFacts,
    keys,
    naming::{Command, names_parent, service_name, words::without_version},
    proc_root::{ProcRoot, Stat},
};

/// What was read of a process.
struct Seen {
    stat: Stat,
    args: Vec<String>,
    exe: Option<PathBuf>,
    cwd: Option<PathBuf>,
    environ: Environ,
    placement: Placement,
    container: Container,
    owner: Option<u32>,
}

/// Describes the process `key`; `comm` is the thread name the kernel gave with its first record.
pub fn describe(key: ProcessKey, comm: &str, root: &ProcRoot, host: &HostFacts) -> ProcessFacts {
    let mut attributes = Attributes::default();
    let seen = look(key, root, host);
    let seen = seen.as_ref();
    let (service, placement) = match seen {
        Some(seen) => {
            attributes.of_environ(&seen.environ);
            (choose_name(seen, root, host), seen.placement.clone())
        }
        None => (
            service_name(&Command {
                args: &[],
                exe: None,
                cwd: None,
                comm,
            }),
            Placement::default(),
        ),
    };
    attributes.text(
        keys::SERVICE_INSTANCE_ID,
        &instance_id(key, host, &placement),
    );
    attributes.int(keys::PROCESS_PID, i64::from(key.tgid));
    match seen {
        Some(seen) => attributes.of_process(seen, host),
        None => attributes.text(keys::SUTURE_PROCESS_GONE, "true"),
    }
    host.push_attributes(&mut |name, value| attributes.text(name, value));
    ProcessFacts {
        tgid: key.tgid,
        start_ns: key.start_ns,
        service_name: service,
        attributes: attributes.list,
    }
}

/// Reads everything, between two looks at the start time. None when the process is gone or is another one.
fn look(key: ProcessKey, root: &ProcRoot, host: &HostFacts) -> Option<Seen> {
    let tgid = key.tgid;
    let alive = || {
        root.stat(tgid)
            .ok()
            .filter(|stat| root.is_same(key, stat) && !matches!(stat.state, b'Z' | b'X'))
    };
    let stat = alive()?;
    let placement = root
        .cgroup(tgid)
        .map(|text| Placement::parse(&text))
        .unwrap_or_default();
    let seen = Seen {
        stat,
        args: root.args(tgid).unwrap_or_default(),
        exe: root.exe(tgid).ok(),
        cwd: root.cwd(tgid).ok(),
        environ: root
            .environ(tgid)
            .map(|raw| Environ::pick(&raw))
            .unwrap_or_default(),
        container: placement
            .container_id
            .as_deref()
            .and_then(|id| Container::read(&host.docker, id))
            .unwrap_or_default(),
        placement,
        owner: root.euid(tgid).ok(),
    };
    alive()?;
    Some(seen)
}

/// The order of DESIGN §7: what the owner wrote, then who started it, then what it is.
fn choose_name(seen: &Seen, root: &ProcRoot, host: &HostFacts) -> String {
    let environ = &seen.environ;
    let written = environ
        .service_name
        .as_deref()
        .or_else(|| environ.attribute(keys::SERVICE_NAME));
    let placement = &seen.placement;
    let placed = || {
        placement
            .unit_service()
            .or_else(|| pod_name(seen, host).map(workload_of_pod))
            .or_else(|| seen.container.service())
            .or_else(|| given_host_name(seen, host))
            .or(placement.container_name.as_deref())
    };
    if let Some(name) = written.or_else(placed) {
        return name.to_owned();
    }
    // A prefork worker whose title does not say what it works for is named like its parent.
    if names_parent(&seen.args)
        && let Ok(args) = root.args(seen.stat.ppid)
        && !names_parent(&args)
    {
        return command_name(seen, &args);
    }
    command_name(seen, &seen.args)
}

fn command_name(seen: &Seen, args: &[String]) -> String {
    service_name(&Command {
        args,
        exe: seen.exe.as_deref(),
        cwd: seen.cwd.as_deref(),
        comm: &seen.stat.comm,
    })
}

/// The pod's name: given by the downward API, else its host name (unless it shares the node's).
fn pod_name<'a>(seen: &'a Seen, host: &HostFacts) -> Option<&'a str> {
    let environ = &seen.environ;
    if !environ.in_kubernetes && seen.placement.pod_uid.is_none() {
        return None;
    }
    let by_host_name = environ
        .host_name
        .as_deref()
        .filter(|name| *name != host.name);
    environ
        .attribute(keys::K8S_POD_NAME)
        .or(environ.pod_name.as_deref())
        .or(by_host_name)
}

/// `docker run --hostname NAME`: a name somebody gave, not the id that is the default.
fn given_host_name<'a>(seen: &'a Seen, host: &HostFacts) -> Option<&'a str> {
    let id = seen.placement.container_id.as_deref()?;
    seen.environ
        .host_name
        .as_deref()
        .filter(|name| *name != host.name && !id.starts_with(name))
}

/// `shop-7d9f8b6c5d-x2x4z` (Deployment), `shop-x2x4z` (DaemonSet, Job), `shop-0` (StatefulSet) are `shop`.
///
/// Generated parts are made of these letters only (k8s.io/apimachinery, `util/rand`): no vowels, no 0, 1, 3.
fn workload_of_pod(pod: &str) -> &str {
    let generated = |part: &str| {
        part.bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    };
    let Some((front, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && last.len() <= 4 {
        return front;
    }
    if last.len() != 5 || !generated(last) {
        return pod;
    }
    match front.rsplit_once('-') {
        Some((name, hash)) if (6..=10).contains(&hash.len()) && generated(hash) => name,
        _ => front,
    }
}

/// `service.instance.id`: a UUID that is the same whenever the same process is described, and different for any two processes
/// of any two hosts. Version 8 of RFC 9562 §5.8: 122 bits of our own making, here FNV-1a of what identifies the process.
fn instance_id(key: ProcessKey, host: &HostFacts, placement: &Placement) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let start = key.start_ns.to_le_bytes();
    let tgid = key.tgid.to_le_bytes();
    let container = placement.container_id.as_deref().unwrap_or_default();
    for part in [
        host.id.as_bytes(),
        host.name.as_bytes(),
        container.as_bytes(),
        &tgid,
        &start,
    ] {
        // The length keeps parts apart.
        for byte in (part.len() as u32).to_le_bytes().iter().chain(part) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    let uuid = (hash & !(0xf000_u128 << 64) & !(0xc000_u128 << 48))
        | (0x8000_u128 << 64)
        | (0x8000_u128 << 48);
    let hex = format!("{uuid:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// Attributes in order, each key once: the first value counts, so what the owner wrote wins over what was found.
#[derive(Default)]
struct Attributes {
    list: Vec<(String, ResourceValue)>,
}

impl Attributes {
    fn add(&mut self, key: &str, value: ResourceValue) {
        if !self.list.iter().any(|(name, _)| name == key) {
            self.list.push((key.to_owned(), value));
        }
    }

    /// Adds a text unless it is empty.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.add(key, ResourceValue::Str(value.to_owned()));
        }
    }

    fn int(&mut self, key: &str, value: i64) {
        self.add(key, ResourceValue::Int(value));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        self.text(key, value.unwrap_or_default());
    }

    /// What the owner wrote, except what only the agent can know.
    fn of_environ(&mut self, environ: &Environ) {
        for (key, value) in &environ.attributes {
            let ours = key == keys::SERVICE_NAME
                || ["telemetry.", "process.", "suture."]
                    .iter()
                    .any(|prefix| key.starts_with(prefix));
            if !ours {
                self.text(key, value);
            }
        }
    }

    fn of_process(&mut self, seen: &Seen, host: &HostFacts) {
        self.int(keys::PROCESS_PARENT_PID, i64::from(seen.stat.ppid));
        let exe = seen.exe.as_deref();
        self.maybe(
            keys::PROCESS_EXECUTABLE_NAME,
            exe.and_then(Path::file_name).and_then(|name| name.to_str()),
        );
        self.maybe(keys::PROCESS_EXECUTABLE_PATH, exe.and_then(Path::to_str));
        if let Some(uid) = seen.owner {
            let name = host
                .users
                .get(&uid)
                .cloned()
                .unwrap_or_else(|| uid.to_string());
            self.text(keys::PROCESS_OWNER, &name);
        }
        self.maybe(keys::PROCESS_RUNTIME_NAME, exe.and_then(runtime_name));
        let (environ, placement) = (&seen.environ, &seen.placement);
        self.maybe(keys::CONTAINER_ID, placement.container_id.as_deref());
        let container = &seen.container;
        self.maybe(
            keys::CONTAINER_NAME,
            container
                .name
                .as_deref()
                .or(placement.container_name.as_deref()),
        );
        self.maybe(keys::CONTAINER_IMAGE_NAME, container.image.as_deref());
        if let Some(tag) = &container.tag {
            self.add(
                keys::CONTAINER_IMAGE_TAGS,
                ResourceValue::List(vec![tag.clone()]),
            );
        }
        self.maybe(
            keys::SERVICE_NAMESPACE,
            container.compose_project.as_deref(),
        );
        self.maybe(keys::K8S_POD_NAME, pod_name(seen, host));
        self.maybe(
            keys::K8S_POD_UID,
            environ.pod_uid.as_deref().or(placement.pod_uid.as_deref()),
        );
        if environ.in_kubernetes || placement.pod_uid.is_some() {
            self.maybe(keys::K8S_NAMESPACE_NAME, environ.pod_namespace.as_deref());
            self.maybe(keys::K8S_NODE_NAME, environ.node_name.as_deref());
            self.maybe(keys::K8S_CONTAINER_NAME, environ.pod_container.as_deref());
        }
        self.maybe(keys::SUTURE_SYSTEMD_UNIT, placement.unit.as_deref());
        self.maybe(keys::SUTURE_SYSTEMD_TRIGGER, environ.trigger.as_deref());
    }
}

/// `process.runtime.name` as the language's SDK would give it, where the executable's name is certain.
fn runtime_name(exe: &Path) -> Option<&'static str> {
    Some(match without_version(exe.file_name()?.to_str()?) {
        "python" => "cpython",
        "pypy" => "pypy",
        "node" | "nodejs" => "nodejs",
        "deno" => "deno",
        "bun" => "bun",
        "ruby" => "ruby",
        "php" => "cli",
        "php-fpm" => "fpm-fcgi",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing test may panic"
)]
#[path = "facts_tests.rs"]
mod tests;
