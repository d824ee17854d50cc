//! Setting values with a closed set of spellings, and the parsers that all three layers (file, environment, command
//! line) share.
//!
//! In: the text of a value. Out: the typed value, or a sentence that says what is allowed (the caller adds the
//! place). Always holds: a value means the same in every layer. Refuses: everything it does not know.

use std::time::Duration;

use agent_trace::config::{QueryPolicy, Sampler};

use super::{Headers, NodeTurns};
use crate::attach::table::Way;

/// How spans travel to the backend (OpenTelemetry: `OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC: HTTP/2.
    Grpc,
    /// OTLP/HTTP with protobuf bodies: HTTP/1.1.
    HttpProtobuf,
}

/// Compression of export requests (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip.
    Gzip,
}

/// What `suture run --print` shows on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrintFormat {
    /// One waterfall per finished trace.
    Tree,
    /// One OTLP-JSON object per line.
    Json,
    /// Nothing.
    None,
}

/// Parses a protocol.
///
/// # Errors
/// A sentence with the allowed names.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        "http/json" => Err("`http/json` is not offered; allowed: grpc, http/protobuf".to_owned()),
        other => Err(format!(
            "unknown protocol `{other}`; allowed: grpc, http/protobuf"
        )),
    }
}

/// Parses a compression.
///
/// # Errors
/// A sentence with the allowed names.
pub fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        other => Err(format!(
            "unknown compression `{other}`; allowed: gzip, none"
        )),
    }
}

/// Parses a print format.
///
/// # Errors
/// A sentence with the allowed names.
pub fn print_format(text: &str) -> Result<PrintFormat, String> {
    match text {
        "tree" => Ok(PrintFormat::Tree),
        "json" => Ok(PrintFormat::Json),
        "none" => Ok(PrintFormat::None),
        other => Err(format!(
            "unknown format `{other}`; allowed: tree, json, none"
        )),
    }
}

/// Parses a query policy.
///
/// # Errors
/// A sentence with the allowed names.
pub fn query(text: &str) -> Result<QueryPolicy, String> {
    match text {
        "redact" => Ok(QueryPolicy::Redact),
        "keep" => Ok(QueryPolicy::Keep),
        "drop" => Ok(QueryPolicy::Omit),
        other => Err(format!(
            "unknown policy `{other}`; allowed: redact, keep, drop"
        )),
    }
}

/// Parses how bytes are seen (`capture.hooks`).
///
/// # Errors
/// A sentence with the allowed words.
pub fn hooks(text: &str) -> Result<Option<Way>, String> {
    match text {
        "auto" => Ok(None),
        "sockets" => Ok(Some(Way::Sockets)),
        "functions" => Ok(Some(Way::Functions)),
        "syscalls" => Ok(Some(Way::Syscalls)),
        other => Err(format!(
            "unknown way `{other}`; allowed: auto, sockets, functions, syscalls"
        )),
    }
}

/// Parses a switch.
///
/// # Errors
/// A sentence with the allowed words.
pub fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("unknown word `{other}`; allowed: on, off")),
    }
}

/// Parses when Node.js' turns count.
///
/// # Errors
/// A sentence with the allowed words.
pub fn node_turns(text: &str) -> Result<NodeTurns, String> {
    match text {
        "off" => Ok(NodeTurns::Off),
        "auto" => Ok(NodeTurns::Auto),
        "on" => Ok(NodeTurns::On),
        other => Err(format!("unknown word `{other}`; allowed: off, auto, on")),
    }
}

/// Parses when headers are written.
///
/// # Errors
/// A sentence with the allowed words.
pub fn headers(text: &str) -> Result<Headers, String> {
    match text {
        "off" => Ok(Headers::Off),
        "auto" => Ok(Headers::Auto),
        "on" => Ok(Headers::On),
        "force" => Ok(Headers::Force),
        other => Err(format!(
            "unknown word `{other}`; allowed: off, auto, on, force"
        )),
    }
}

/// Parses a sampler's name and its argument.
///
/// # Errors
/// A sentence with the allowed names, or the range of the argument.
pub fn sampler(name: &str, arg: Option<&str>) -> Result<Sampler, String> {
    Sampler::parse(name, arg).map_err(|error| error.to_string())
}

/// Parses a boolean of the environment (OpenTelemetry: only `true`, in any case, is true; this also wants `false`
/// spelled right, because a misspelt `true` must not silently mean the opposite).
///
/// # Errors
/// A sentence with the allowed words.
pub fn boolean(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("`{text}` is not a boolean; allowed: true, false"))
    }
}

/// Parses a whole number in a range.
///
/// # Errors
/// A sentence with the range.
pub fn integer(text: &str, min: u64, max: u64) -> Result<u64, String> {
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| {
            format!("`{text}` is not allowed; allowed: a whole number from {min} to {max}")
        })
}

/// Parses milliseconds in a range.
///
/// # Errors
/// A sentence with the range.
pub fn milliseconds(text: &str, min: u64, max: u64) -> Result<Duration, String> {
    integer(text, min, max).map(Duration::from_millis)
}

/// Parses `key=value,key=value` with percent-encoded values, the form of `OTEL_EXPORTER_OTLP_HEADERS` and
/// `OTEL_RESOURCE_ATTRIBUTES` (W3C Baggage without properties).
///
/// # Errors
/// Says which member (by number, because values may be secret) is not of that form.
pub fn key_values(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut members = Vec::new();
    for (index, member) in text.split(',').enumerate() {
        let member = member.trim();
        if member.is_empty() {
            continue;
        }
        let parsed = member
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .and_then(|(key, value)| Some((percent_decode(key)?, percent_decode(value)?)));
        match parsed {
            Some(pair) => members.push(pair),
            None => {
                return Err(format!(
                    "member {} is not `key=value` (several are separated by commas, special characters percent-encoded)",
                    index + 1
                ));
            }
        }
    }
    Ok(members)
}

/// Undoes percent encoding; `None` when the result is not UTF-8 or an escape is cut.
fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{boolean, integer, key_values, protocol};

    fn check_pairs(input: &str, expect: Option<&[(&str, &str)]>) {
        let expect = expect.map(|pairs| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<Vec<_>>()
        });
        assert_eq!(key_values(input).ok(), expect, "{input}");
    }

    #[test]
    fn header_lists_are_w3c_baggage_members() {
        check_pairs("", Some(&[]));
        check_pairs("a=b", Some(&[("a", "b")]));
        check_pairs(" a = b , c=d,", Some(&[("a", "b"), ("c", "d")]));
        check_pairs(
            "authorization=Basic%20abc%3D",
            Some(&[("authorization", "Basic abc=")]),
        );
        check_pairs("a=b=c", Some(&[("a", "b=c")]));
        check_pairs("a", None);
        check_pairs("=b", None);
        check_pairs("a=%2", None);
        check_pairs("a=%+1", None);
        check_pairs("a=%ff", None);
    }

    #[test]
    fn words_that_are_nearly_right_are_refused() {
        assert!(protocol("GRPC").is_err());
        assert!(boolean("yes").is_err());
        assert_eq!(boolean("True"), Ok(true));
        assert_eq!(integer("300", 256, 400), Ok(300));
        assert!(integer("255", 256, 400).is_err());
        assert!(integer("-1", 0, 400).is_err());
    }
}
