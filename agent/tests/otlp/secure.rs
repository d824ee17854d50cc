//! TLS with self-made certificates, and client certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::config::{Protocol, Target};
use agent::export::{Drop, ExportError, ExportThread, TraceExporter};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::deliver::QUICK;
use crate::receiver::Receiver;
use crate::samples::{facts, queue, small, target};

/// A certificate authority, a server's and a client's certificate, as files.
struct Pki {
    dir: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

impl Pki {
    fn new(name: &str, ask_client: bool, protocol: Protocol) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str, usage| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let certificate = params.signed_by(&key, &authority).unwrap();
            (certificate, key)
        };
        let (server, server_key) = issue(name, ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = issue("client", ExtendedKeyUsagePurpose::ClientAuth);
        let write = |file: &str, text: String| std::fs::write(dir.path().join(file), text).unwrap();
        write("ca.pem", authority.pem());
        write("client.pem", client.pem());
        write("client.key", client_key.serialize_pem());

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if ask_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
        let mut server = builder
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        server.alpn_protocols = match protocol {
            Protocol::Grpc => vec![b"h2".to_vec()],
            Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
        };
        Self {
            dir,
            server: Arc::new(server),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Settings for this server, which trust its authority.
    fn serve(
        &self,
        receiver: &Receiver,
        runtime: &tokio::runtime::Runtime,
        protocol: Protocol,
    ) -> Target {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut target = target(listener.local_addr().unwrap(), protocol);
        target.uri = format!("https://localhost:{port}{}", target.uri.path())
            .parse()
            .unwrap();
        target.timeout = Duration::from_secs(2);
        target.tls.certificate = Some(self.file("ca.pem"));
        let (acceptor, receiver) = (
            TlsAcceptor::from(Arc::clone(&self.server)),
            receiver.clone(),
        );
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, receiver) = (acceptor.clone(), receiver.clone());
                tokio::spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else {
                        return;
                    };
                    match protocol {
                        Protocol::Grpc => receiver.speak_grpc(TokioIo::new(socket)).await,
                        Protocol::HttpProtobuf => receiver.speak_http(TokioIo::new(socket)).await,
                    }
                });
            }
        });
        target
    }
}

/// Sends one span; says whether it arrived.
fn arrives(target: &Target) -> bool {
    let thread = ExportThread::start().unwrap();
    let exporter = TraceExporter::start(&thread, target, &queue(), Vec::new(), QUICK).unwrap();
    exporter.handle().enqueue(small(1), facts(1));
    let counters = exporter.counters();
    exporter.shutdown(&thread, Duration::from_secs(3));
    assert_eq!(
        counters.sent() + counters.dropped(Drop::Shutdown) + counters.dropped(Drop::Refused),
        1
    );
    counters.sent() == 1
}

#[test]
fn a_server_is_trusted_by_its_authority_and_its_name() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let pki = Pki::new("localhost", false, protocol);
        let mut target = pki.serve(&receiver, &runtime, protocol);
        assert!(arrives(&target), "{protocol:?}");
        let other = Pki::new("localhost", false, protocol);
        target.tls.certificate = Some(other.file("ca.pem"));
        assert!(!arrives(&target), "{protocol:?}: an unknown authority");
        target.tls.certificate = None;
        assert!(
            !arrives(&target),
            "{protocol:?}: the system's roots do not know it"
        );
        let stranger = Pki::new("stranger", false, protocol);
        let target = stranger.serve(&receiver, &runtime, protocol);
        assert!(!arrives(&target), "{protocol:?}: another name");
        assert_eq!(receiver.look(|kept| kept.spans().len()), 1);
    }
}

#[test]
fn a_client_certificate_is_shown_when_it_is_set() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let pki = Pki::new("localhost", true, protocol);
        let mut target = pki.serve(&receiver, &runtime, protocol);
        assert!(!arrives(&target), "{protocol:?}");
        target.tls.client = Some((pki.file("client.pem"), pki.file("client.key")));
        assert!(arrives(&target), "{protocol:?}");
    }
}

#[test]
fn unusable_files_are_an_error_at_start_up() {
    let pki = Pki::new("localhost", false, Protocol::Grpc);
    std::fs::write(pki.file("empty.pem"), "no certificate").unwrap();
    let check = |certificate: &str, client: Option<(&str, &str)>, expect: &str| {
        let mut target = target("127.0.0.1:1".parse().unwrap(), Protocol::Grpc);
        target.uri = "https://localhost:1/".parse().unwrap();
        target.tls.certificate = Some(pki.file(certificate));
        target.tls.client = client.map(|(certificate, key)| (pki.file(certificate), pki.file(key)));
        let thread = ExportThread::start().unwrap();
        let started = TraceExporter::start(&thread, &target, &queue(), Vec::new(), QUICK);
        let Err(ExportError::Tls(message)) = started.map(|_| ()) else {
            panic!("{certificate} was taken")
        };
        assert!(message.contains(expect), "{message}");
    };
    check("missing.pem", None, "missing.pem: ");
    check(
        "empty.pem",
        None,
        "empty.pem: the file holds no PEM certificate",
    );
    check(
        "ca.pem",
        Some(("missing.pem", "client.key")),
        "client certificate ",
    );
    check("ca.pem", Some(("client.pem", "empty.pem")), "client key ");
}
