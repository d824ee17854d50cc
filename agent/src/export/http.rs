//! OTLP/HTTP with protobuf bodies: one POST per request, kept-alive HTTP/1.1 connections.
//!
//! In: an encoded `ExportTraceServiceRequest`. Out: the answer's meaning. Always holds: at most 64 KiB of an answer are
//! read. Refuses: redirects (a backend's address is a setting, not an answer).

use std::io::Write;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::ExportError;
use super::tls::{Connector, connector};
use super::transport::{Accepted, Action, Failure, causes};
use crate::config::{Compression, Target};

/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Requests larger than this are compressed beside the event loop.
const COMPRESS_INLINE_MAX: usize = 64 * 1024;

/// An HTTP client for one target.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

impl HttpTransport {
    /// A client for `target`.
    ///
    /// # Errors
    /// TLS files that cannot be used.
    pub fn new(target: &Target) -> Result<Self, ExportError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(super::CONCURRENT_REQUESTS)
            .build(connector(target)?);
        let mut headers = target.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        if target.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            client,
            uri: target.uri.clone(),
            headers,
            compression: target.compression,
            timeout: target.timeout,
        })
    }

    /// Tries once.
    ///
    /// # Errors
    /// [`Failure`], with what to do.
    pub async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        let body = match self.compression {
            Compression::None => body,
            Compression::Gzip if body.len() <= COMPRESS_INLINE_MAX => gzip(&body),
            Compression::Gzip => tokio::task::spawn_blocking(move || gzip(&body))
                .await
                .map_err(|error| Failure::new(Action::Drop, &error.to_string()))?,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        match tokio::time::timeout(self.timeout, self.call(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::timed_out(self.timeout)),
        }
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Accepted, Failure> {
        let (status, headers, body) = exchange(&self.client, request).await?;
        outcome(status, &headers, body, SystemTime::now())
    }

    /// Sends any request over this client's connections; for the self-metrics, whose exporter builds its own requests.
    pub(super) async fn forward(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Failure> {
        let answer = exchange(&self.client, request.map(Full::new));
        let (status, headers, body) = tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| Failure::timed_out(self.timeout))??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

async fn exchange(
    client: &Client<Connector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
    let response = client.request(request).await.map_err(|error| {
        let action = if error.is_connect() {
            Action::RetryUnreachable
        } else {
            Action::Retry(None)
        };
        let parse = std::error::Error::source(&error)
            .and_then(|cause| cause.downcast_ref::<hyper::Error>())
            .is_some_and(hyper::Error::is_parse);
        let hint = if parse {
            " (does this port speak gRPC? then set the protocol to grpc)"
        } else {
            ""
        };
        Failure::new(action, &format!("{}{hint}", causes(&error)))
    })?;
    let (head, body) = response.into_parts();
    // An answer that is too long or breaks off is judged by its status alone.
    let body = match Limited::new(body, ANSWER_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    Ok((head.status, head.headers, body))
}

/// Level 1: on span batches it is within a few percent of level 6 and takes a third of the time.
fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(body.len() / 6),
        flate2::Compression::fast(),
    );
    // Writing to memory cannot fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.map(Bytes::from).unwrap_or_default()
}

/// Reads an answer by the OTLP specification's rules for HTTP.
fn outcome(
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
    now: SystemTime,
) -> Result<Accepted, Failure> {
    if status.is_success() {
        let partial = ExportTraceServiceResponse::decode(body)
            .unwrap_or_default()
            .partial_success;
        return Ok(partial.map_or_else(Accepted::default, |partial| Accepted {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: partial.error_message,
        }));
    }
    let action = match status.as_u16() {
        429 | 502 | 503 | 504 => Action::Retry(retry_after(headers, now)),
        _ => Action::Drop,
    };
    // Failures carry a google.rpc.Status; other servers on that port answer with text.
    let said = match tonic_types::pb::Status::decode(body.clone()) {
        Ok(decoded) if !decoded.message.is_empty() => decoded.message,
        _ => String::from_utf8_lossy(&body).into_owned(),
    };
    let hint = if status.is_redirection() {
        " (redirects are not followed; set the final URL)"
    } else {
        ""
    };
    Err(Failure::new(action, &format!("HTTP {status}{hint} {said}")))
}

/// `Retry-After` in either of its forms (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{
        Accepted, Action, Bytes, HeaderMap, HeaderValue, RETRY_AFTER, StatusCode, outcome,
    };
    use std::time::{Duration, SystemTime};

    fn check(status: u16, retry_after: Option<&str>, expect: Result<Accepted, Action>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(RETRY_AFTER, value);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let seen = outcome(status, &headers, Bytes::new(), now).map_err(|failure| failure.action);
        assert_eq!(seen, expect, "{status} {retry_after:?}");
    }

    #[test]
    fn only_the_statuses_of_the_specification_are_retried() {
        check(200, None, Ok(Accepted::default()));
        for status in [429, 502, 503, 504] {
            check(status, None, Err(Action::Retry(None)));
        }
        for status in [301, 307, 400, 401, 403, 404, 405, 408, 413, 500, 501] {
            check(status, None, Err(Action::Drop));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wait = |seconds| Err(Action::Retry(Some(Duration::from_secs(seconds))));
        check(503, Some("7"), wait(7));
        check(429, Some("Sun, 06 Nov 1994 08:49:47 GMT"), wait(10));
        check(429, Some("Sun, 06 Nov 1994 08:49:27 GMT"), wait(0));
        check(429, Some("soon"), Err(Action::Retry(None)));
        check(400, Some("7"), Err(Action::Drop));
    }
}
