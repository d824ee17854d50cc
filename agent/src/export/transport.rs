//! One attempt to deliver one request, over gRPC or HTTP, and what its answer means.
//!
//! In: an encoded request. Out: [`Accepted`] or a [`Failure`] that says whether trying again makes sense (OTLP
//! specification 1.9, "Failures" and "OTLP/HTTP Throttling"). Always holds: an attempt ends within the target's timeout.
//! Refuses: to follow redirects; answers over 64 KiB are not read.

use std::time::Duration;

use bytes::Bytes;

use super::ExportError;
use super::grpc::GrpcTransport;
use super::http::HttpTransport;
use crate::config::{Protocol, Target};

/// Longest message of a backend that is repeated in our log.
const MESSAGE_MAX: usize = 300;

/// The backend took the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Spans it rejected all the same (partial success).
    pub rejected: u64,
    /// What it says about them, or a warning with `rejected` 0.
    pub message: String,
}

/// The request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What a sender should do.
    pub action: Action,
    /// One sentence for the log.
    pub message: String,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try again, not before this time if the backend named one.
    Retry(Option<Duration>),
    /// Try again; nobody answered at all (refused, unreachable, no name).
    RetryUnreachable,
    /// Trying again would give the same answer.
    Drop,
}

impl Failure {
    /// A failure; `message` is cut and made one line.
    pub(super) fn new(action: Action, message: &str) -> Self {
        let message = message
            .chars()
            .take(MESSAGE_MAX)
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        Self { action, message }
    }

    /// Nothing came back in time.
    pub(super) fn timed_out(after: Duration) -> Self {
        Self::new(
            Action::Retry(None),
            &format!("no answer within {} ms", after.as_millis()),
        )
    }
}

/// A way to the backend.
#[derive(Clone)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc(GrpcTransport),
    /// OTLP/HTTP, protobuf.
    Http(HttpTransport),
}

impl Transport {
    /// Makes ready to connect; connections are opened when first needed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used.
    pub fn new(target: &Target) -> Result<Self, ExportError> {
        Ok(match target.protocol {
            Protocol::Grpc => Self::Grpc(GrpcTransport::new(target)?),
            Protocol::HttpProtobuf => Self::Http(HttpTransport::new(target)?),
        })
    }

    /// Tries once.
    ///
    /// # Errors
    /// [`Failure`], with what to do.
    pub async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        match self {
            Self::Grpc(transport) => transport.send(body).await,
            Self::Http(transport) => transport.send(body).await,
        }
    }
}

/// All causes of an error, outermost first: the inner ones say "connection refused".
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use std::io::{Read, Write};

    use super::{Bytes, Failure, Protocol, Target, Transport};
    use crate::config::{Compression, TlsFiles};

    /// What a client says about a server that answers every connection with `answer`.
    fn failure(protocol: Protocol, answer: &'static [u8]) -> Failure {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(answer);
            // Until the client gives up: closing with unread bytes would reset the connection, and the answer with it.
            while matches!(socket.read(&mut [0; 1024]), Ok(read) if read > 0) {}
        });
        let target = Target {
            uri: format!("http://{address}/v1/traces").parse().unwrap(),
            protocol,
            headers: http::HeaderMap::new(),
            timeout: std::time::Duration::from_secs(2),
            compression: Compression::None,
            tls: TlsFiles::default(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            Transport::new(&target)
                .unwrap()
                .send(Bytes::new())
                .await
                .unwrap_err()
        })
    }

    #[test]
    fn a_server_that_speaks_the_other_protocol_is_named() {
        // What a gRPC server sends first: an empty HTTP/2 SETTINGS frame (RFC 9113, section 3.4).
        let grpc_server = failure(Protocol::HttpProtobuf, &[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert!(
            grpc_server.message.contains("set the protocol to grpc"),
            "{}",
            grpc_server.message
        );
        // hyper tells a request that was waiting when its connection broke either why or only that it was cancelled, as
        // its tasks happen to run (seen once in some hundred runs); the exporter tries again and then says why.
        let messages: Vec<String> = (0..5)
            .map(|_| {
                let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                failure(Protocol::Grpc, answer).message
            })
            .collect();
        assert!(
            messages
                .iter()
                .any(|message| message.contains("set the protocol to http/protobuf")),
            "{messages:?}"
        );
    }
}
