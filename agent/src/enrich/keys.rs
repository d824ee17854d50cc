//! Keys of Resource attributes, once. Those without `suture.` are OpenTelemetry's (semantic conventions, pages
//! "Service", "Process", "Container", "K8s", "Host", "OS", "Telemetry distro").

/// `service.name`
pub const SERVICE_NAME: &str = "service.name";
/// `service.instance.id`
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// `process.pid`: in the initial pid namespace.
pub const PROCESS_PID: &str = "process.pid";
/// `process.parent_pid`
pub const PROCESS_PARENT_PID: &str = "process.parent_pid";
/// `process.executable.name`
pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
/// `process.executable.path`: as the process' mount namespace names it.
pub const PROCESS_EXECUTABLE_PATH: &str = "process.executable.path";
/// `process.owner`: name of the effective user in the host's user table, else its number.
pub const PROCESS_OWNER: &str = "process.owner";
/// `process.runtime.name`
pub const PROCESS_RUNTIME_NAME: &str = "process.runtime.name";
/// `process.runtime.version`
pub const PROCESS_RUNTIME_VERSION: &str = "process.runtime.version";
/// `container.id`
pub const CONTAINER_ID: &str = "container.id";
/// `container.name`
pub const CONTAINER_NAME: &str = "container.name";
/// `container.image.name`
pub const CONTAINER_IMAGE_NAME: &str = "container.image.name";
/// `container.image.tags`
pub const CONTAINER_IMAGE_TAGS: &str = "container.image.tags";
/// `service.namespace`: the compose project, unless the owner wrote another.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// `k8s.pod.name`
pub const K8S_POD_NAME: &str = "k8s.pod.name";
/// `k8s.pod.uid`
pub const K8S_POD_UID: &str = "k8s.pod.uid";
/// `k8s.namespace.name`
pub const K8S_NAMESPACE_NAME: &str = "k8s.namespace.name";
/// `k8s.node.name`
pub const K8S_NODE_NAME: &str = "k8s.node.name";
/// `k8s.container.name`
pub const K8S_CONTAINER_NAME: &str = "k8s.container.name";
/// `host.name`
pub const HOST_NAME: &str = "host.name";
/// `host.id`: `/etc/machine-id`.
pub const HOST_ID: &str = "host.id";
/// `host.arch`
pub const HOST_ARCH: &str = "host.arch";
/// `os.type`
pub const OS_TYPE: &str = "os.type";
/// `os.name`
pub const OS_NAME: &str = "os.name";
/// `os.version`
pub const OS_VERSION: &str = "os.version";
/// `os.description`: with the kernel's release.
pub const OS_DESCRIPTION: &str = "os.description";
/// `telemetry.distro.name`
pub const TELEMETRY_DISTRO_NAME: &str = "telemetry.distro.name";
/// `telemetry.distro.version`
pub const TELEMETRY_DISTRO_VERSION: &str = "telemetry.distro.version";
/// systemd unit the process belongs to.
pub const SUTURE_SYSTEMD_UNIT: &str = agent_trace::semconv::SUTURE_SYSTEMD_UNIT;
/// The timer or path unit for which systemd began it, or an ancestor.
pub const SUTURE_SYSTEMD_TRIGGER: &str = agent_trace::semconv::SUTURE_SYSTEMD_TRIGGER;
/// `true`: the process had ended (or was another one) before it could be looked at; only its thread's name is known.
pub const SUTURE_PROCESS_GONE: &str = "suture.process.gone";
