//! Attributes that say where a request went: `url.*`, `server.*`, `client.*`, `network.*`.
//!
//! In: the request's head and the socket's addresses. Out: attributes. Always holds: values of a query and the user
//! part of an authority leave only as the policy says. Refuses: ports and addresses of unix sockets, which have none.

use std::fmt::Write;
use std::net::SocketAddr;

use super::attributes::Attributes;
use super::message::protocol_name;
use crate::config::QueryPolicy;
use crate::exchange::{AF_UNIX, Endpoints, Exchange, Outcome, Wire};
use crate::graph::Side;
use crate::message::Part;
use crate::semconv as key;

/// Default port of http.
const HTTP_PORT: u16 = 80;
/// Default port of https.
const HTTPS_PORT: u16 = 443;

/// `url.*`.
pub(super) fn url(
    attributes: &mut Attributes,
    exchange: &Exchange,
    scheme: &'static str,
    policy: QueryPolicy,
) {
    let texts = &exchange.texts;
    let path = texts.get(Part::Path).unwrap_or_default();
    let query = texts
        .get(Part::Query)
        .filter(|_| policy != QueryPolicy::Omit);
    match exchange.side {
        Side::Server => {
            attributes.fixed(key::URL_SCHEME, scheme);
            attributes.text(key::URL_PATH, path);
            if let Some(query) = query {
                let mut shown = attributes.buffer();
                show_query(&mut shown, query, policy);
                attributes.written(key::URL_QUERY, shown);
            }
        }
        Side::Client => {
            let mut full = attributes.buffer();
            full.push_str(scheme);
            full.push_str("://");
            match (texts.get(Part::Authority), ip_ends(exchange)) {
                (Some(authority), _) => full.push_str(authority),
                (None, Some(ends)) => {
                    let _ = write!(full, "{}", SocketAddr::new(ends.remote(), ends.remote_port));
                }
                (None, None) => {}
            }
            full.push_str(if path == "*" { "" } else { path });
            if let Some(query) = query {
                full.push('?');
                show_query(&mut full, query, policy);
            }
            attributes.written(key::URL_FULL, full);
        }
    }
}

/// Appends a query as the policy lets it leave.
fn show_query(out: &mut String, query: &str, policy: QueryPolicy) {
    if policy == QueryPolicy::Keep {
        out.push_str(query);
        return;
    }
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) => {
                out.push_str(name);
                out.push('=');
                out.push_str(key::REDACTED);
            }
            // A pair without `=` may be a token on its own.
            None if pair.is_empty() => {}
            None => out.push_str(key::REDACTED),
        }
    }
}

/// The addresses of a socket that has some.
fn ip_ends(exchange: &Exchange) -> Option<&Endpoints> {
    exchange
        .endpoints
        .as_deref()
        .filter(|ends| ends.family != AF_UNIX)
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_authority(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, port)) => (
                host,
                port.strip_prefix(':').and_then(|port| port.parse().ok()),
            ),
            None => (authority, None),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// `server.*` and `client.*`.
pub(super) fn server_and_client(attributes: &mut Attributes, exchange: &Exchange, scheme: &str) {
    match (exchange.texts.get(Part::Authority), ip_ends(exchange)) {
        (Some(authority), _) => {
            let (host, port) = split_authority(authority);
            let default = if scheme == "https" {
                HTTPS_PORT
            } else {
                HTTP_PORT
            };
            attributes.text(key::SERVER_ADDRESS, host);
            attributes.int(key::SERVER_PORT, port.unwrap_or(default));
        }
        (None, Some(ends)) if exchange.side == Side::Server => {
            attributes.text(key::SERVER_ADDRESS, &ends.local_text);
            attributes.int(key::SERVER_PORT, ends.local_port);
        }
        (None, ends) => server_of_socket(attributes, ends),
    }
    if exchange.side == Side::Server {
        let told = exchange.texts.get(Part::RemoteAddr);
        if let Some(address) =
            told.or_else(|| ip_ends(exchange).map(|ends| ends.remote_text.as_str()))
        {
            attributes.text(key::CLIENT_ADDRESS, address);
        }
    }
}

/// `server.*` of a client from its socket.
pub(super) fn server_of_socket(attributes: &mut Attributes, ends: Option<&Endpoints>) {
    if let Some(ends) = ends.filter(|ends| ends.family != AF_UNIX) {
        attributes.text(key::SERVER_ADDRESS, &ends.remote_text);
        attributes.int(key::SERVER_PORT, ends.remote_port);
    }
}

/// `network.*`.
pub(super) fn network(attributes: &mut Attributes, exchange: &Exchange) {
    if !matches!(exchange.outcome, Outcome::Connect(_)) {
        attributes.fixed(
            key::NETWORK_PROTOCOL_NAME,
            match exchange.wire {
                Wire::Http1 => "http",
                Wire::FastCgi => "fastcgi",
                Wire::Broker => protocol_name(
                    exchange
                        .message
                        .as_deref()
                        .map_or(0, |parcel| parcel.protocol),
                ),
            },
        );
    }
    match exchange.endpoints.as_deref() {
        Some(ends) if ends.family == AF_UNIX => attributes.fixed(key::NETWORK_TRANSPORT, "unix"),
        Some(ends) => {
            attributes.fixed(key::NETWORK_TRANSPORT, "tcp");
            attributes.text(key::NETWORK_PEER_ADDRESS, &ends.remote_text);
            attributes.int(key::NETWORK_PEER_PORT, ends.remote_port);
            if ends.local_port != 0 {
                attributes.text(key::NETWORK_LOCAL_ADDRESS, &ends.local_text);
                attributes.int(key::NETWORK_LOCAL_PORT, ends.local_port);
            }
        }
        None => {}
    }
}
