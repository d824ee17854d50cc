//! What may be taken from a process' environment: OpenTelemetry's variables and a closed list.
//!
//! In: the bytes of `/proc/PID/environ`. Out: [`Environ`]. Always holds: no value of any other variable leaves this module;
//! a watched program's secrets are in its environment. Refuses: values beyond [`VALUE_MAX`], names twice (the first counts,
//! as for getenv(3)).

/// Longest value taken, bytes.
pub const VALUE_MAX: usize = 4096;
/// Most resource attributes taken from one process.
pub const ATTRIBUTES_MAX: usize = 64;

/// The values on the list. All are what the process' owner wrote to describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environ {
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded, in its order, each key once (the last value counts).
    pub attributes: Vec<(String, String)>,
    /// `HOSTNAME`; in a pod its name, in a container its id unless one was given.
    pub host_name: Option<String>,
    /// `KUBERNETES_SERVICE_HOST` is set: the process runs in a pod. Its value is not taken.
    pub in_kubernetes: bool,
    /// Name of the pod, by the downward API under one of the usual names.
    pub pod_name: Option<String>,
    /// Namespace of the pod, the same way.
    pub pod_namespace: Option<String>,
    /// UID of the pod, the same way.
    pub pod_uid: Option<String>,
    /// Name of the node, the same way.
    pub node_name: Option<String>,
    /// Name of the container in its pod, the same way.
    pub pod_container: Option<String>,
    /// `TRIGGER_UNIT`: the timer or path unit for which systemd (252 and later) began its service.
    pub trigger: Option<String>,
}

impl Environ {
    /// Picks from `NAME=value` entries that end with a zero byte each.
    pub fn pick(raw: &[u8]) -> Self {
        let mut out = Environ::default();
        let mut attributes = None;
        for entry in raw.split(|byte| *byte == 0) {
            let Some(at) = entry.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = (&entry[..at], &entry[at + 1..]);
            let place = match name {
                b"OTEL_SERVICE_NAME" => &mut out.service_name,
                b"OTEL_RESOURCE_ATTRIBUTES" => &mut attributes,
                b"HOSTNAME" => &mut out.host_name,
                b"POD_NAME"
                | b"K8S_POD_NAME"
                | b"MY_POD_NAME"
                | b"OTEL_RESOURCE_ATTRIBUTES_POD_NAME" => &mut out.pod_name,
                b"POD_NAMESPACE" | b"K8S_NAMESPACE_NAME" | b"MY_POD_NAMESPACE" => {
                    &mut out.pod_namespace
                }
                b"POD_UID" | b"K8S_POD_UID" => &mut out.pod_uid,
                b"NODE_NAME"
                | b"K8S_NODE_NAME"
                | b"MY_NODE_NAME"
                | b"OTEL_RESOURCE_ATTRIBUTES_NODE_NAME" => &mut out.node_name,
                b"K8S_CONTAINER_NAME" | b"CONTAINER_NAME" => &mut out.pod_container,
                b"TRIGGER_UNIT" => &mut out.trigger,
                b"KUBERNETES_SERVICE_HOST" => {
                    out.in_kubernetes = true;
                    continue;
                }
                _ => continue,
            };
            let text = String::from_utf8_lossy(value);
            let text = text.trim();
            if place.is_none() && !text.is_empty() && text.len() <= VALUE_MAX {
                *place = Some(text.to_owned());
            }
        }
        out.attributes = attributes
            .map(|text| parse_attributes(&text))
            .unwrap_or_default();
        out
    }

    /// Value of a resource attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// `key=value,key=value`, values percent-encoded (OpenTelemetry specification, resource/sdk.md, "Specifying resource
/// information via an environment variable"). The specification has the whole variable ignored when any part is bad; what is
/// read here is somebody else's, so a bad pair costs only itself.
fn parse_attributes(text: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let (key, Some(value)) = (key.trim(), percent_decode(value.trim())) else {
            continue;
        };
        if key.is_empty() || key.len() > 255 {
            continue;
        }
        if let Some(known) = out.iter_mut().find(|(name, _)| name == key) {
            known.1 = value;
        } else if out.len() < ATTRIBUTES_MAX {
            out.push((key.to_owned(), value));
        }
    }
    out
}

/// None when an escape is not one or the bytes are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            let digit = |byte: u8| char::from(byte).to_digit(16);
            out.push((digit(high)? * 16 + digit(low)?) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{Environ, parse_attributes};

    #[test]
    fn only_listed_variables_are_taken() {
        let raw = b"AWS_SECRET_ACCESS_KEY=hunter2\0OTEL_SERVICE_NAME=shop\0DATABASE_URL=postgres://u:hunter2@db\0\
            KUBERNETES_SERVICE_HOST=10.0.0.1\0POD_NAMESPACE=live\0OTEL_EXPORTER_OTLP_HEADERS=key=hunter2\0\
            OTEL_SERVICE_NAME=second\0NAME=hunter2\0=hunter2\0hunter2";
        let found = Environ::pick(raw);
        assert_eq!(found.service_name.as_deref(), Some("shop"));
        assert_eq!(found.pod_namespace.as_deref(), Some("live"));
        assert!(found.in_kubernetes);
        let text = format!("{found:?}");
        assert!(
            !text.contains("hunter2") && !text.contains("10.0.0.1"),
            "{text}"
        );
    }

    #[test]
    fn resource_attributes_are_decoded_pair_by_pair() {
        let check = |text: &str, expect: &[(&str, &str)]| {
            let found = parse_attributes(text);
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check(
            "service.namespace=shop,service.version=1.2",
            &[("service.namespace", "shop"), ("service.version", "1.2")],
        );
        check(" a = b%2Cc%3Dd ", &[("a", "b,c=d")]);
        check("a=1,a=2", &[("a", "2")]);
        check("a=%zz,b=ok,nonsense,=x", &[("b", "ok")]);
        check("a=%C3%28", &[]); // not UTF-8
        check("", &[]);
    }

    proptest! {
        #[test]
        fn any_environment_is_read_within_bounds(raw in any::<Vec<u8>>()) {
            prop_assert!(Environ::pick(&raw).attributes.len() <= super::ATTRIBUTES_MAX);
        }
    }
}
