//! Attributes that say where a request went: `url.*`, `server.*`, `client.*`, `network.*`.
//!
//! In: the request's head and the socket's addresses. Out: attributes. Always holds: values of a query and the user
//! part of an authority leave only as the policy says. Refuses: ports and addresses of unix sockets, which have none.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_protocol::http1::RequestHead;

use super::Attributes;
use crate::config::QueryPolicy;
use crate::exchange::{AF_UNIX, Endpoints, Exchange, Outcome, Wire};
use crate::graph::Side;
use crate::semconv as key;

/// Default port of http.
const HTTP_PORT: u16 = 80;
/// Default port of https.
const HTTPS_PORT: u16 = 443;

/// `url.*`.
pub(super) fn url(
    attributes: &mut Attributes,
    head: &RequestHead,
    exchange: &Exchange,
    scheme: &'static str,
    policy: QueryPolicy,
) {
    let path = head.target.path();
    let query = head.target.query().and_then(|query| redact(query, policy));
    match exchange.side {
        Side::Server => {
            attributes.text(key::URL_SCHEME, scheme);
            attributes.text(key::URL_PATH, path.to_owned());
            if let Some(query) = query {
                attributes.text(key::URL_QUERY, query.into_owned());
            }
        }
        Side::Client => {
            let authority = authority(head).map(Cow::Borrowed).or_else(|| {
                let ends = exchange.endpoints.filter(|ends| ends.family != AF_UNIX)?;
                let address = ip(ends.remote_addr);
                Some(Cow::Owned(
                    SocketAddr::new(address, ends.remote_port).to_string(),
                ))
            });
            let mut full = String::with_capacity(
                16 + authority.as_ref().map_or(0, |text| text.len())
                    + path.len()
                    + query.as_ref().map_or(0, |text| text.len()),
            );
            full.push_str(scheme);
            full.push_str("://");
            full.push_str(authority.as_deref().unwrap_or(""));
            full.push_str(if path == "*" { "" } else { path });
            if let Some(query) = &query {
                full.push('?');
                full.push_str(query);
            }
            attributes.text(key::URL_FULL, full);
        }
    }
}

/// The query as the policy lets it leave.
fn redact(query: &str, policy: QueryPolicy) -> Option<Cow<'_, str>> {
    match policy {
        QueryPolicy::Omit => None,
        QueryPolicy::Keep => Some(Cow::Borrowed(query)),
        QueryPolicy::Redact => {
            if query.is_empty() {
                return Some(Cow::Borrowed(query));
            }
            let mut out = String::with_capacity(query.len());
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
            Some(Cow::Owned(out))
        }
    }
}

/// The authority the request names: of its target, else of `Host`.
fn authority(head: &RequestHead) -> Option<&str> {
    head.target
        .authority()
        .or(head.host.as_deref())
        .map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host))
        .filter(|text| !text.is_empty())
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
pub(super) fn server_and_client(
    attributes: &mut Attributes,
    head: &mut RequestHead,
    exchange: &Exchange,
    scheme: &str,
) {
    match authority(head) {
        Some(authority) => {
            let (host, port) = split_authority(authority);
            let default = if scheme == "https" {
                HTTPS_PORT
            } else {
                HTTP_PORT
            };
            attributes.text(key::SERVER_ADDRESS, host.to_owned());
            attributes.int(key::SERVER_PORT, port.unwrap_or(default));
        }
        None => match (exchange.side, &exchange.endpoints) {
            (Side::Server, Some(ends)) if ends.family != AF_UNIX => {
                attributes.text(key::SERVER_ADDRESS, ip(ends.local_addr).to_string());
                attributes.int(key::SERVER_PORT, ends.local_port);
            }
            (_, ends) => server_of_socket(attributes, ends.as_ref()),
        },
    }
    if exchange.side == Side::Server {
        match (head.remote_addr.take(), &exchange.endpoints) {
            (Some(address), _) => attributes.text(key::CLIENT_ADDRESS, address),
            (None, Some(ends)) if ends.family != AF_UNIX => {
                attributes.text(key::CLIENT_ADDRESS, ip(ends.remote_addr).to_string())
            }
            (None, _) => {}
        }
    }
}

/// `server.*` of a client from its socket.
pub(super) fn server_of_socket(attributes: &mut Attributes, ends: Option<&Endpoints>) {
    if let Some(ends) = ends.filter(|ends| ends.family != AF_UNIX) {
        attributes.text(key::SERVER_ADDRESS, ip(ends.remote_addr).to_string());
        attributes.int(key::SERVER_PORT, ends.remote_port);
    }
}

/// `network.*`.
pub(super) fn network(attributes: &mut Attributes, exchange: &Exchange) {
    if !matches!(exchange.outcome, Outcome::Connect(_)) {
        attributes.text(
            key::NETWORK_PROTOCOL_NAME,
            match exchange.wire {
                Wire::Http1 => "http",
                Wire::FastCgi => "fastcgi",
            },
        );
    }
    match &exchange.endpoints {
        Some(ends) if ends.family == AF_UNIX => attributes.text(key::NETWORK_TRANSPORT, "unix"),
        Some(ends) => {
            attributes.text(key::NETWORK_TRANSPORT, "tcp");
            attributes.text(key::NETWORK_PEER_ADDRESS, ip(ends.remote_addr).to_string());
            attributes.int(key::NETWORK_PEER_PORT, ends.remote_port);
            if ends.local_port != 0 {
                attributes.text(key::NETWORK_LOCAL_ADDRESS, ip(ends.local_addr).to_string());
                attributes.int(key::NETWORK_LOCAL_PORT, ends.local_port);
            }
        }
        None => {}
    }
}

/// An address, IPv4 where it is an IPv4-mapped one.
fn ip(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}
