//! The configuration file: which sections and keys exist, and what each may hold.
//!
//! In: the text of a TOML file. Out: settings over the defaults. Always holds: each key is read in one place below, and
//! that place is what the message about an unknown key lists. Refuses: everything else.

use std::path::PathBuf;
use std::time::Duration;

use agent_common::limits::{DESTINATIONS_MAX, HEAD_CAPTURE_MAX, PORTS_MAX};
use agent_trace::frame::ResourceValue;
use http::HeaderName;
use toml::de::DeValue;

use super::endpoint::Endpoint;
use super::env::{overlay, set};
use super::error::ConfigError;
use super::otlp::{SignalSettings, headers};
use super::reader::{Section, Text, as_integer};
use super::scope::exe_glob;
use super::{Config, networks, value};

/// Smallest head capture that holds a usable request line.
const HEAD_CAPTURE_MIN: u64 = 256;
/// Fewest bytes of a message that are looked at: what its hash is made of (`agent_protocol::queue::HASHED_BYTES`).
const MESSAGE_CAPTURE_MIN: u64 = agent_protocol::queue::HASHED_BYTES as u64;
/// Most correlation keys: each is looked for in all heads, or bodies.
const KEYS_MAX: usize = 8;
/// Longest time a key in milliseconds may mean: one day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads the file's text over `config`.
pub(super) fn apply(config: &mut Config, path: &str, text: &str) -> Result<(), ConfigError> {
    let mut top = Section::parse(Text { path, text })?;
    if let Some(section) = top.section("capture")? {
        capture(config, section)?;
    }
    if let Some(section) = top.section("scope")? {
        scope(config, section)?;
    }
    if let Some(section) = top.section("export")? {
        export(config, section)?;
    }
    if let Some(section) = top.section("http")? {
        http(config, section)?;
    }
    if let Some(section) = top.section("correlation")? {
        correlation(config, section)?;
    }
    if let Some(section) = top.section("propagation")? {
        propagation(config, section)?;
    }
    if let Some(section) = top.section("print")? {
        print(config, section)?;
    }
    if let Some(section) = top.section("sampler")? {
        sampler(config, section)?;
    }
    if let Some(section) = top.section("resource")? {
        resource(config, section)?;
    }
    if let Some(section) = top.section("limits")? {
        limits(config, section)?;
    }
    top.finish()
}

fn capture(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let head_bytes = section.integer("head_bytes", HEAD_CAPTURE_MIN, HEAD_CAPTURE_MAX as u64)?;
    set(
        &mut config.capture.head_bytes,
        head_bytes.map(|bytes| bytes as u32),
    );
    set(
        &mut config.capture.hooks,
        section.parsed("hooks", value::hooks)?,
    );
    let message_bytes = section.integer(
        "message_bytes",
        MESSAGE_CAPTURE_MIN,
        HEAD_CAPTURE_MAX as u64,
    )?;
    set(
        &mut config.capture.message_bytes,
        message_bytes.map(|bytes| bytes as u32),
    );
    set(
        &mut config.capture.queues,
        section.parsed("queues", value::on_or_off)?,
    );
    set(
        &mut config.capture.node_turns,
        section.parsed("node_turns", value::node_turns)?,
    );
    set(
        &mut config.capture.tokio_tasks,
        section.parsed("tokio_tasks", value::on_or_off)?,
    );
    section.finish()
}

fn scope(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let scope = &mut config.scope;
    let pids = section.integers("pids", 1, 4_194_304)?; // PID_MAX_LIMIT on 64 bit, include/linux/threads.h
    set(
        &mut scope.pids,
        pids.map(|pids| pids.into_iter().map(|pid| pid as u32).collect()),
    );
    set(&mut scope.exes, section.strings("exes", exe_glob)?);
    let ports = section.integers("ports", 1, u64::from(u16::MAX))?;
    if ports
        .as_ref()
        .is_some_and(|ports| ports.len() > PORTS_MAX as usize)
    {
        let message = format!("too many ports; allowed: at most {PORTS_MAX}");
        return Err(section.error("ports", message));
    }
    set(
        &mut scope.ports,
        ports.map(|ports| ports.into_iter().map(|port| port as u16).collect()),
    );
    section.finish()
}

fn export(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let path = |text: &str| Ok(PathBuf::from(text));
    let mut settings = SignalSettings {
        endpoint: section.parsed("endpoint", Endpoint::parse)?,
        protocol: section.parsed("protocol", value::protocol)?,
        headers: None,
        timeout: section
            .integer("timeout_ms", 1, DAY_MS)?
            .map(Duration::from_millis),
        compression: section.parsed("compression", value::compression)?,
        certificate: section.parsed("certificate", path)?,
        client_certificate: section.parsed("client_certificate", path)?,
        client_key: section.parsed("client_key", path)?,
        insecure: section.boolean("insecure")?,
    };
    if let Some(table) = section.section("headers")? {
        let pairs = table.entries(|key, value| match value {
            DeValue::String(text) => headers(vec![(key.to_owned(), text.to_string())]),
            other => Err(format!(
                "found a TOML {}; allowed: a string",
                other.type_str()
            )),
        })?;
        let mut all = ::http::HeaderMap::new();
        for map in pairs {
            all.extend(map);
        }
        settings.headers = Some(all);
    }
    overlay(&mut config.export.general, settings);
    let metric_interval = section.integer("metric_interval_ms", 1, DAY_MS)?;
    set(
        &mut config.export.metric_interval,
        metric_interval.map(Duration::from_millis),
    );
    let queue = &mut config.export.queue;
    let millis = |number: Option<u64>| number.map(Duration::from_millis);
    let count = |number: Option<u64>| number.map(|number| number as usize);
    set(
        &mut queue.schedule_delay,
        millis(section.integer("schedule_delay_ms", 1, DAY_MS)?),
    );
    set(
        &mut queue.give_up_after,
        millis(section.integer("give_up_after_ms", 1, DAY_MS)?),
    );
    set(
        &mut queue.max_batch_spans,
        count(section.integer("batch_spans", 1, 1_000_000)?),
    );
    section.finish()
}

/// The name of a header, in lower case.
fn header(text: &str) -> Result<String, String> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(format!("`{text}` is not a header name")),
    }
}

const fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn correlation(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let key = |text: &str| match text.strip_prefix("$.") {
        Some(field) if field.bytes().all(is_field_byte) && !field.is_empty() => Ok(text.to_owned()),
        Some(_) => Err(format!(
            "`{text}` is not a field at the top of a JSON body; allowed: $. and letters, digits, - and _"
        )),
        None => header(text),
    };
    let keys = section.strings("keys", key)?;
    let ids = section.strings("request_ids", header)?;
    for (name, what, list) in [("keys", "keys", &keys), ("request_ids", "headers", &ids)] {
        if list.as_ref().is_some_and(|list| list.len() > KEYS_MAX) {
            let message = format!("too many {what}; allowed: at most {KEYS_MAX}");
            return Err(section.error(name, message));
        }
    }
    set(&mut config.correlation_keys, keys);
    set(&mut config.request_ids, ids);
    section.finish()
}

fn http(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let path = |text: &str| match text.strip_suffix('*').unwrap_or(text) {
        stem if stem.starts_with('/') && !stem.contains('*') => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is not a path; allowed: /exact or /prefix*"
        )),
    };
    let http = &mut config.http;
    set(
        &mut http.ignore_paths,
        section.strings("ignore_paths", path)?,
    );
    set(
        &mut http.keep_headers,
        section.strings("keep_headers", header)?,
    );
    set(&mut http.query, section.parsed("query", value::query)?);
    section.finish()
}

fn propagation(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let propagation = &mut config.propagation;
    set(
        &mut propagation.option,
        section.parsed("option", value::on_or_off)?,
    );
    set(
        &mut propagation.header,
        section.parsed("header", value::headers)?,
    );
    set(
        &mut propagation.socket_pair,
        section.parsed("socket_pair", value::on_or_off)?,
    );
    let lists = section.strings("destinations", networks::parse)?;
    let destinations = lists.map(|lists| lists.into_iter().flatten().collect::<Vec<_>>());
    if destinations
        .as_ref()
        .is_some_and(|networks| networks.len() > DESTINATIONS_MAX as usize)
    {
        let message = format!("too many networks; allowed: at most {DESTINATIONS_MAX}");
        return Err(section.error("destinations", message));
    }
    set(&mut propagation.destinations, destinations);
    section.finish()
}

fn print(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    if let Some(format) = section.parsed("format", value::print_format)? {
        config.print.format = Some(format);
    }
    section.finish()
}

fn sampler(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let argument = section.number("arg")?;
    set(
        &mut config.sampler,
        section.parsed("name", |name| {
            value::sampler(name, argument.map(|number| number.to_string()).as_deref())
        })?,
    );
    section.finish()
}

fn resource(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    if let Some(table) = section.section("attributes")? {
        config.resource = table.entries(|key, value| match value {
            DeValue::String(text) => Ok((key.to_owned(), ResourceValue::Str(text.to_string()))),
            DeValue::Integer(_) => as_integer(value)
                .and_then(|number| i64::try_from(number).ok())
                .map(|number| (key.to_owned(), ResourceValue::Int(number)))
                .ok_or_else(|| "the number does not fit 64 bits".to_owned()),
            other => Err(format!(
                "found a TOML {}; allowed: a string or a whole number",
                other.type_str()
            )),
        })?;
    }
    section.finish()
}

fn limits(config: &mut Config, mut section: Section<'_>) -> Result<(), ConfigError> {
    let count = |number: Option<u64>| number.map(|number| number as usize);
    let queue = &mut config.export.queue;
    set(
        &mut queue.max_spans,
        count(section.integer("queue_spans", 1, 10_000_000)?),
    );
    set(
        &mut queue.max_bytes,
        count(section.integer("queue_bytes", 1 << 20, 1 << 32)?),
    );
    let print = &mut config.print;
    set(
        &mut print.traces_held,
        count(section.integer("tree_traces", 1, 1_000_000)?),
    );
    set(
        &mut print.spans_held,
        count(section.integer("tree_spans", 1, 10_000_000)?),
    );
    section.finish()
}
