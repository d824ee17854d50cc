//! The OpenTelemetry environment variables the agent honours.
//!
//! In: a function from names to values. Out: settings over those of the file. Always holds: an empty value is the
//! same as none (OpenTelemetry, "Environment variable specification"). Refuses: values it does not understand.

use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::error::{ConfigError, Source};
use super::otlp::{SignalSettings, headers};
use super::{Config, value};

/// Longest time a variable in milliseconds may mean: one day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads variables and names them in errors.
struct Env<'a> {
    get: &'a dyn Fn(&str) -> Result<Option<String>, ConfigError>,
}

impl Env<'_> {
    /// The parsed value of `name`, `None` when it is not set or empty.
    fn read<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = (self.get)(name)?.filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        parse(text.trim())
            .map(Some)
            .map_err(|message| ConfigError::new(Source::Env(name.to_owned()), message))
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        self.read(name, |text| value::milliseconds(text, 1, DAY_MS))
    }

    fn count(&self, name: &str, max: u64) -> Result<Option<usize>, ConfigError> {
        self.read(name, |text| {
            value::integer(text, 1, max).map(|count| count as usize)
        })
    }

    /// The variables that exist once in general and once per signal; `infix` is "" or "TRACES_".
    fn signal(&self, infix: &str) -> Result<SignalSettings, ConfigError> {
        let name = |setting: &str| format!("OTEL_EXPORTER_OTLP_{infix}{setting}");
        let path = |setting: &str| self.read(&name(setting), |text| Ok(PathBuf::from(text)));
        Ok(SignalSettings {
            endpoint: self.read(&name("ENDPOINT"), Endpoint::parse)?,
            protocol: self.read(&name("PROTOCOL"), value::protocol)?,
            headers: self.read(&name("HEADERS"), |text| headers(value::key_values(text)?))?,
            timeout: self.duration(&name("TIMEOUT"))?,
            compression: self.read(&name("COMPRESSION"), value::compression)?,
            certificate: path("CERTIFICATE")?,
            client_certificate: path("CLIENT_CERTIFICATE")?,
            client_key: path("CLIENT_KEY")?,
            insecure: self.read(&name("INSECURE"), value::boolean)?,
        })
    }
}

/// Sets `slot` when the layer has a value.
pub(super) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Lays `over` over `under`.
pub(super) fn overlay(under: &mut SignalSettings, over: SignalSettings) {
    let SignalSettings {
        endpoint,
        protocol,
        headers,
        timeout,
        compression,
        certificate,
        client_certificate,
        client_key,
        insecure,
    } = over;
    under.endpoint = endpoint.or_else(|| under.endpoint.take());
    under.protocol = protocol.or(under.protocol);
    under.headers = headers.or_else(|| under.headers.take());
    under.timeout = timeout.or(under.timeout);
    under.compression = compression.or(under.compression);
    under.certificate = certificate.or_else(|| under.certificate.take());
    under.client_certificate = client_certificate.or_else(|| under.client_certificate.take());
    under.client_key = client_key.or_else(|| under.client_key.take());
    under.insecure = insecure.or(under.insecure);
}

impl Config {
    /// Applies the environment over the settings so far.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub(super) fn apply_env(
        &mut self,
        get: &dyn Fn(&str) -> Result<Option<String>, ConfigError>,
    ) -> Result<(), ConfigError> {
        let env = Env { get };
        let export = &mut self.export;
        overlay(&mut export.general, env.signal("")?);
        overlay(&mut export.traces, env.signal("TRACES_")?);
        overlay(&mut export.metrics, env.signal("METRICS_")?);
        let queue = &mut export.queue;
        set(
            &mut queue.max_spans,
            env.count("OTEL_BSP_MAX_QUEUE_SIZE", 10_000_000)?,
        );
        set(
            &mut queue.max_batch_spans,
            env.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1_000_000)?,
        );
        set(
            &mut queue.schedule_delay,
            env.duration("OTEL_BSP_SCHEDULE_DELAY")?,
        );
        set(
            &mut queue.give_up_after,
            env.duration("OTEL_BSP_EXPORT_TIMEOUT")?,
        );
        set(
            &mut export.metric_interval,
            env.duration("OTEL_METRIC_EXPORT_INTERVAL")?,
        );
        set(
            &mut export.disabled,
            env.read("OTEL_SDK_DISABLED", value::boolean)?,
        );
        if let Some(attributes) = env.read("OTEL_RESOURCE_ATTRIBUTES", value::key_values)? {
            self.agent_resource.extend(attributes);
        }
        if let Some(name) = env.read("OTEL_SERVICE_NAME", |text| Ok(text.to_owned()))? {
            self.agent_resource.retain(|(key, _)| key != "service.name");
            self.agent_resource.push(("service.name".to_owned(), name));
        }
        let argument = env.read("OTEL_TRACES_SAMPLER_ARG", |text| Ok(text.to_owned()))?;
        let sampler = env.read("OTEL_TRACES_SAMPLER", |text| {
            value::sampler(text, argument.as_deref())
        })?;
        set(&mut self.sampler, sampler);
        Ok(())
    }
}
