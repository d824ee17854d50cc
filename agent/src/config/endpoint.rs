//! The address of an OTLP backend, by the rules of OpenTelemetry's "OTLP exporter configuration".
//!
//! In: a URL as the user wrote it. Out: the URL to send one signal's requests to. Always holds: a base endpoint gets
//! `/v1/traces` or `/v1/metrics` for OTLP/HTTP, a signal's own endpoint is used as it is, gRPC uses scheme, host and
//! port only. Refuses: other schemes, no host, user names in the URL (secrets belong in headers).

use http::Uri;

use super::value::Protocol;

/// A checked URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `None`: the user wrote `host:port`, which only gRPC allows; `INSECURE` then decides.
    scheme: Option<&'static str>,
    authority: String,
    /// Path and query, begins with `/`.
    path: String,
}

impl Endpoint {
    /// Checks a URL.
    ///
    /// # Errors
    /// A sentence with what is wrong and an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let example =
            "allowed: http://HOST:PORT or https://HOST:PORT, for example http://127.0.0.1:4317";
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some("http"), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some("https"), rest),
            Some((scheme, _)) => {
                return Err(format!("scheme `{scheme}` is not offered; {example}"));
            }
            None => (None, text),
        };
        let uri: Uri = format!("{}://{rest}", scheme.unwrap_or("http"))
            .parse()
            .map_err(|error| format!("`{text}` is not a URL ({error}); {example}"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| format!("`{text}` names no host; {example}"))?;
        if authority.host().is_empty() {
            return Err(format!("`{text}` names no host; {example}"));
        }
        if authority.as_str().contains('@') {
            return Err(format!(
                "a user name or password in the URL is not offered (use headers); {example}"
            ));
        }
        let port = authority
            .as_str()
            .get(authority.host().len()..)
            .unwrap_or_default();
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("`{text}` has no usable port; {example}"));
        }
        if scheme.is_none() && authority.port().is_none() {
            return Err(format!(
                "`{text}` is neither a URL nor HOST:PORT; {example}"
            ));
        }
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        Ok(Self {
            scheme,
            authority: authority.as_str().to_owned(),
            path,
        })
    }

    /// The protocol when the user named none: port 4317 is registered for OTLP/gRPC; otherwise `http/protobuf`, the
    /// specification's default.
    #[must_use]
    pub fn usual_protocol(&self) -> Protocol {
        if self.scheme.is_none() || self.authority.ends_with(":4317") {
            Protocol::Grpc
        } else {
            Protocol::HttpProtobuf
        }
    }

    /// Where requests of a signal go. `signal_path` (`/v1/traces`) is appended unless `as_is`.
    ///
    /// # Errors
    /// The URL does not fit the protocol.
    pub fn uri(
        &self,
        protocol: Protocol,
        insecure: bool,
        signal_path: &str,
        as_is: bool,
    ) -> Result<Uri, String> {
        let url = match (protocol, self.scheme) {
            (Protocol::Grpc, scheme) => {
                let scheme = scheme.unwrap_or(if insecure { "http" } else { "https" });
                format!("{scheme}://{}/", self.authority)
            }
            (Protocol::HttpProtobuf, None) => {
                return Err(format!(
                    "`{}` has no scheme, which OTLP/HTTP needs; allowed: http://{0}, https://{0}",
                    self.authority
                ));
            }
            (Protocol::HttpProtobuf, Some(scheme)) if as_is => {
                format!("{scheme}://{}{}", self.authority, self.path)
            }
            (Protocol::HttpProtobuf, Some(scheme)) => {
                format!(
                    "{scheme}://{}{}{signal_path}",
                    self.authority,
                    self.path.trim_end_matches('/')
                )
            }
        };
        url.parse()
            .map_err(|error| format!("`{url}` is not a URL ({error})"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]
mod tests {
    use super::{Endpoint, Protocol};

    #[test]
    fn a_base_endpoint_gets_the_signals_path_and_a_signals_own_does_not() {
        let check = |url: &str, protocol, insecure, as_is, expect: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(
                endpoint
                    .uri(protocol, insecure, "/v1/traces", as_is)
                    .unwrap()
                    .to_string(),
                expect,
                "{url}"
            );
        };
        check(
            "http://h:4318",
            Protocol::HttpProtobuf,
            false,
            false,
            "http://h:4318/v1/traces",
        );
        check(
            "http://h:4318/",
            Protocol::HttpProtobuf,
            false,
            false,
            "http://h:4318/v1/traces",
        );
        check(
            "https://h/otlp/",
            Protocol::HttpProtobuf,
            false,
            false,
            "https://h/otlp/v1/traces",
        );
        check(
            "http://h:4318/my",
            Protocol::HttpProtobuf,
            false,
            true,
            "http://h:4318/my",
        );
        check(
            "http://h:4318",
            Protocol::HttpProtobuf,
            false,
            true,
            "http://h:4318/",
        );
        check(
            "http://h:4317/x",
            Protocol::Grpc,
            false,
            false,
            "http://h:4317/",
        );
        check(
            "http://[::1]:4317",
            Protocol::Grpc,
            false,
            false,
            "http://[::1]:4317/",
        );
        check("h:4317", Protocol::Grpc, true, false, "http://h:4317/");
        check("h:4317", Protocol::Grpc, false, false, "https://h:4317/");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for url in [
            "",
            "h",
            "ftp://h",
            "unix:///run/x",
            "http://",
            "http://:4317",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://u:p@h",
            "http://h ost",
            "://h",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
        assert!(
            Endpoint::parse("h:4318")
                .unwrap()
                .uri(Protocol::HttpProtobuf, true, "/v1/traces", false)
                .is_err()
        );
    }

    #[test]
    fn port_4317_means_grpc_when_nobody_says() {
        let check = |url: &str, expect| {
            assert_eq!(
                Endpoint::parse(url).unwrap().usual_protocol(),
                expect,
                "{url}"
            )
        };
        check("http://h:4317", Protocol::Grpc);
        check("http://h:4318", Protocol::HttpProtobuf);
        check("https://h", Protocol::HttpProtobuf);
        check("h:9000", Protocol::Grpc);
    }
}
