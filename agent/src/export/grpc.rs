//! OTLP/gRPC: one unary call per request, on one HTTP/2 connection that heals itself.
//!
//! In: an encoded `ExportTraceServiceRequest`. Out: the answer's meaning. Always holds: the request's bytes are sent as
//! they are, not decoded and encoded again. Refuses: TLS files and headers that cannot be used, at start-up.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::ExportError;
use super::tls::connector;
use super::transport::{Accepted, Action, Failure, causes};
use crate::config::{Compression, Target};

/// The method of `opentelemetry/proto/collector/trace/v1/trace_service.proto`.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A gRPC client for one target.
#[derive(Clone)]
pub struct GrpcTransport {
    channel: Channel,
    metadata: MetadataMap,
    compression: Compression,
    timeout: Duration,
}

/// An HTTP/2 connection to `target`, opened when first needed and again after it broke.
///
/// # Errors
/// The URL or its TLS files cannot be used.
pub(super) fn channel(target: &Target) -> Result<Channel, ExportError> {
    let endpoint = Endpoint::from(target.uri.clone())
        .user_agent(super::USER_AGENT)
        .map_err(|error| ExportError::Target(causes(&error)))?
        .connect_timeout(target.timeout);
    Ok(endpoint.connect_with_connector_lazy(connector(target)?))
}

impl GrpcTransport {
    /// A client for `target`.
    ///
    /// # Errors
    /// The URL or its TLS files cannot be used.
    pub fn new(target: &Target) -> Result<Self, ExportError> {
        Ok(Self {
            channel: channel(target)?,
            metadata: MetadataMap::from_headers(target.headers.clone()),
            compression: target.compression,
            timeout: target.timeout,
        })
    }

    /// Tries once.
    ///
    /// # Errors
    /// [`Failure`], with what to do.
    pub async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        match tokio::time::timeout(self.timeout, self.call(body)).await {
            Ok(Ok(response)) => Ok(accepted(response)),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(Failure::timed_out(self.timeout)),
        }
    }

    async fn call(&self, body: Bytes) -> Result<ExportTraceServiceResponse, Status> {
        let mut client =
            Grpc::new(self.channel.clone()).accept_compressed(CompressionEncoding::Gzip);
        if self.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client
            .ready()
            .await
            .map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let path = PathAndQuery::from_static(EXPORT);
        client
            .unary(request, path, RawCodec)
            .await
            .map(tonic::Response::into_inner)
    }
}

fn accepted(response: ExportTraceServiceResponse) -> Accepted {
    response
        .partial_success
        .map_or_else(Accepted::default, |partial| Accepted {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: partial.error_message,
        })
}

/// Reads a gRPC status by the table of the OTLP specification.
fn failure(status: &Status) -> Failure {
    let wait = status
        .get_details_retry_info()
        .and_then(|retry| retry.retry_delay);
    let broken = std::error::Error::source(status).is_some();
    let action = match status.code() {
        // Made by this side: nobody was reached, or the connection broke. No backend said anything.
        _ if broken && is_connect_error(status) => Action::RetryUnreachable,
        _ if broken => Action::Retry(None),
        Code::ResourceExhausted if wait.is_none() => Action::Drop,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Action::Retry(wait),
        _ => Action::Drop,
    };
    let cause = std::error::Error::source(status)
        .map(causes)
        .unwrap_or_default();
    let hint = if broken && status.code() == Code::Internal {
        " (does this port speak OTLP/HTTP? then set the protocol to http/protobuf)"
    } else {
        ""
    };
    Failure::new(
        action,
        &format!("{:?}: {} {cause}{hint}", status.code(), status.message()),
    )
}

/// The status was made by this side because no connection could be opened.
fn is_connect_error(status: &Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(cause) = next {
        if cause.is::<tonic::ConnectError>()
            || cause.downcast_ref::<std::io::Error>().is_some_and(refused)
        {
            return true;
        }
        next = cause.source();
    }
    false
}

fn refused(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// Sends bytes that already are a message; decodes the answer.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let bytes = src.copy_to_bytes(src.remaining());
        // The request was taken; an answer nobody can read does not change that.
        Ok(Some(
            ExportTraceServiceResponse::decode(bytes).unwrap_or_default(),
        ))
    }
}
