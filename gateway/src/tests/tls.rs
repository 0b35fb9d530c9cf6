//! HTTPS: both protocols by negotiation, and a certificate that is replaced while the server runs.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{pattern, wire};
use crate::server::ListenerOptions;
use crate::testing::{TestServer, TestServerOptions};
use crate::tls::TlsCertificate;

const FIRST: &str = "localhost";
const SECOND: &str = "replacement";

/// Where the server finds its certificate.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn with(name: &str) -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        files.replace_by(name);
        files
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    fn replace_by(&self, name: &str) {
        std::fs::copy(fixture(name, "cert"), self.certificate()).unwrap();
        std::fs::copy(fixture(name, "key"), self.key()).unwrap();
    }

    async fn server(&self) -> (TestServer, Arc<TlsCertificate>) {
        let certificate = TlsCertificate::load(&self.certificate(), &self.key()).unwrap();
        let options = TestServerOptions {
            listener: ListenerOptions {
                certificate: Some(Arc::clone(&certificate)),
                ..ListenerOptions::default()
            },
            ..TestServerOptions::default()
        };
        (TestServer::start_with(options).await, certificate)
    }
}

fn fixture(name: &str, what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/tests/fixtures/{name}.{what}.pem"))
}

/// Connects and insists on the certificate `trusted`.
async fn connect(
    server: &TestServer,
    trusted: &str,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(fixture(trusted, "cert")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(server.address).await?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await?;
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(protocol.as_bytes())
    );
    Ok(stream)
}

async fn over_http1(server: &TestServer, request: http::Request<Full<Bytes>>) -> (u16, Bytes) {
    let stream = connect(server, FIRST, "http/1.1").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    status_and_body(answer).await
}

async fn over_http2(server: &TestServer, request: http::Request<Full<Bytes>>) -> (u16, Bytes) {
    let stream = connect(server, FIRST, "h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    status_and_body(answer).await
}

async fn status_and_body(answer: http::Response<Incoming>) -> (u16, Bytes) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    (head.status.as_u16(), body.to_bytes())
}

#[tokio::test]
async fn objects_are_served_over_both_protocols() {
    let files = Files::with(FIRST);
    let (server, _) = files.server().await;
    let client = server.client();
    let body = pattern(300_000);
    assert_eq!(
        over_http1(&server, client.put("/b-1", "").signed()).await.0,
        200
    );
    assert_eq!(
        over_http1(&server, client.put("/b-1/k", body.clone()).signed())
            .await
            .0,
        200
    );
    let get = || client.get("/b-1/k").signed();
    assert_eq!(
        over_http1(&server, get()).await,
        (200, Bytes::from(body.clone()))
    );
    assert_eq!(over_http2(&server, get()).await, (200, Bytes::from(body)));
}

#[tokio::test]
async fn new_connections_get_a_replaced_certificate_and_open_ones_go_on() {
    let files = Files::with(FIRST);
    let (server, certificate) = files.server().await;
    let open = connect(&server, FIRST, "http/1.1").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(open))
            .await
            .unwrap();
    tokio::spawn(connection);
    assert!(connect(&server, SECOND, "h2").await.is_err());

    files.replace_by(SECOND);
    certificate.reload().unwrap();
    connect(&server, SECOND, "h2").await.unwrap();
    assert!(connect(&server, FIRST, "h2").await.is_err());
    let live = server.anonymous().get("/-/health/live").signed();
    assert_eq!(sender.send_request(live).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_changed_file_is_noticed_and_a_pair_that_does_not_match_is_not_used() {
    let files = Files::with(FIRST);
    let (server, certificate) = files.server().await;
    std::fs::copy(fixture(SECOND, "cert"), files.certificate()).unwrap();
    certificate.reload().unwrap_err();
    connect(&server, FIRST, "http/1.1").await.unwrap();

    let watching = tokio::spawn(certificate.watch_every(Duration::from_millis(10)));
    // Again and again: the first change may come before the watch has had its first look.
    let noticing = async {
        while connect(&server, SECOND, "http/1.1").await.is_err() {
            std::fs::copy(fixture(SECOND, "key"), files.key()).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticing)
        .await
        .unwrap();
    watching.abort();
}

#[tokio::test]
async fn plain_http_and_silence_on_the_tls_port_do_no_harm() {
    let files = Files::with(FIRST);
    let (server, _) = files.server().await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let _plain = wire::send(server.address, b"GET / HTTP/1.1\r\n\r\n").await;
    connect(&server, FIRST, "http/1.1").await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.shut_down())
        .await
        .unwrap();
    drop(silent);
}
