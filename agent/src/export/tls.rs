//! TLS for export connections: rustls with ring, roots from the system or from a PEM file.
//!
//! In: PEM file names. Out: a connector for plain and TLS connections. Always holds: certificates are verified; there
//! is no switch that turns it off. Refuses: files that cannot be read or hold no certificate or key, at start-up.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::ExportError;
use crate::config::{Protocol, Target, TlsFiles};

/// Opens TCP connections, with TLS when the URL says https.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// A connector for `target`. Names are resolved and connections made on the export thread.
///
/// # Errors
/// A PEM file that cannot be used.
pub(super) fn connector(target: &Target) -> Result<Connector, ExportError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false); // https URLs come here too
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(target.timeout));
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    // A path that swallows packets is noticed after this, not after the kernel's 15 minutes of retransmission.
    tcp.set_tcp_user_timeout(Some(Duration::from_secs(20)));
    let https = target.uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    let tls = if https {
        client_config(&target.tls)?
    } else {
        // Never used for http URLs, so the system's roots need not be read.
        finish(
            builder()?.with_root_certificates(RootCertStore::empty()),
            None,
        )?
    };
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    Ok(match target.protocol {
        Protocol::Grpc => builder.enable_http2().wrap_connector(tcp),
        Protocol::HttpProtobuf => builder.enable_http1().wrap_connector(tcp),
    })
}

type Roots = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;
type Client = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder() -> Result<Roots, ExportError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ExportError::Tls(format!("TLS cannot be set up: {error}")))
}

fn finish(
    builder: Client,
    client: Option<&(std::path::PathBuf, std::path::PathBuf)>,
) -> Result<ClientConfig, ExportError> {
    let Some((certificate, key)) = client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate, "client certificate")?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| ExportError::Tls(format!("client key {}: {error}", key.display())))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| {
            ExportError::Tls(format!(
                "client certificate {} and key {} do not fit: {error}",
                certificate.display(),
                key.display()
            ))
        })
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, ExportError> {
    let mut roots = RootCertStore::empty();
    match &files.certificate {
        Some(path) => {
            for certificate in certificates(path, "certificate")? {
                roots.add(certificate).map_err(|error| {
                    ExportError::Tls(format!("certificate {}: {error}", path.display()))
                })?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(ExportError::Tls(
                    "this host has no root certificates; install ca-certificates or set OTEL_EXPORTER_OTLP_CERTIFICATE"
                        .to_owned(),
                ));
            }
        }
    }
    finish(
        builder()?.with_root_certificates(roots),
        files.client.as_ref(),
    )
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, ExportError> {
    let failed = |error: &dyn std::fmt::Display| {
        ExportError::Tls(format!("{what} {}: {error}", path.display()))
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(&error))?;
    if found.is_empty() {
        return Err(failed(&"the file holds no PEM certificate"));
    }
    Ok(found)
}
