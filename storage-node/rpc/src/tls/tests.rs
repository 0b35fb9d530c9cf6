//! Calls through TLS: who is believed, what is said when nobody is, and a certificate that is replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use axum::serve::Listener as _;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::standing::Patience;

use super::{TlsCertificate, TlsError, TlsTrust};
use crate::{
    CallError, ClientOptions, ClusterSecret, Guard, GuardOptions, Reply, RpcClient, RpcListener,
};

/// A certificate authority with a directory for its file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test");
        let key = KeyPair::generate().unwrap();
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params.clone(), key),
        };
        let certificate = params.self_signed(authority.issuer.key()).unwrap();
        write(&authority.file(), &certificate.pem());
        authority
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn trust(&self) -> TlsTrust {
        TlsTrust::in_file(&self.file()).unwrap()
    }

    /// Writes a certificate for `name` and its key to `directory`.
    fn issue(&self, name: &str, directory: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(&directory.join("cert.pem"), &certificate.pem());
        write(&directory.join("key.pem"), &key.serialize_pem());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's files need not be durable"
)]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn secret() -> ClusterSecret {
    ClusterSecret::new("the secret of the cluster under test").unwrap()
}

struct Server {
    port: u16,
    certificate: Option<Arc<TlsCertificate>>,
    directory: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn plain() -> Self {
        Self::start(None).await
    }

    async fn with_certificate(authority: &Authority, name: &str) -> Self {
        Self::start(Some((authority, name))).await
    }

    async fn start(identity: Option<(&Authority, &str)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = identity.map(|(authority, name)| {
            authority.issue(name, directory.path());
            TlsCertificate::load(
                &directory.path().join("cert.pem"),
                &directory.path().join("key.pem"),
            )
            .unwrap()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = RpcListener::new(listener, certificate.as_ref()).unwrap();
        let echo = Router::new().route("/echo", post(|body: Bytes| async { Reply::Done(body) }));
        let router = Guard::new(secret(), GuardOptions::default()).protect(echo);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            certificate,
            directory,
            task,
        }
    }

    /// One call by a client of its own.
    async fn call(&self, scheme: &str, trust: Option<TlsTrust>) -> Result<Reply, CallError> {
        let options = ClientOptions {
            trust,
            call_timeout: Duration::from_secs(20),
            ..ClientOptions::default()
        };
        let endpoint = format!("{scheme}://127.0.0.1:{}", self.port);
        RpcClient::new(endpoint.parse().unwrap(), secret(), options)
            .call("/echo".parse().unwrap(), "hello", 100)
            .await
    }
}

/// The text of a failure after which it is certain that nothing was done.
fn not_sent(outcome: Result<Reply, CallError>) -> String {
    match outcome {
        Err(CallError::NotSent { detail }) => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn silent_handshakes_make_room_for_others() {
    let directory = tempfile::tempdir().unwrap();
    Authority::new().issue("127.0.0.1", directory.path());
    let certificate = TlsCertificate::load(
        &directory.path().join("cert.pem"),
        &directory.path().join("key.pem"),
    );
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let patience = Patience {
        with_stranger: Duration::from_mins(10),
        with_known: Duration::from_mins(10),
        with_deaf: Duration::from_mins(10),
        stranger_count_max: 2,
        for_all: Duration::from_millis(10),
    };
    let listener = RpcListener::new(socket, Some(&certificate.unwrap())).unwrap();
    let mut listener = listener.with_patience(patience);
    let accepting = tokio::spawn(async move { listener.accept().await.1 });
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // The first one is let go for the third.
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(5), silent[0].read(&mut byte));
    assert_eq!(end.await.unwrap().unwrap(), 0);
    accepting.abort();
}

#[tokio::test]
async fn only_a_server_that_the_authority_vouches_for_is_called() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = Server::with_certificate(&ours, "127.0.0.1").await;
    assert_eq!(
        server.call("https", Some(ours.trust())).await,
        Ok(Reply::Done(Bytes::from_static(b"hello")))
    );
    let stranger = not_sent(server.call("https", Some(other.trust())).await);
    assert!(
        stranger.contains("issued by none of") && stranger.contains("ca.pem"),
        "{stranger}"
    );
    let nobody = not_sent(server.call("https", None).await);
    assert!(nobody.contains("no CA file"), "{nobody}");

    let misnamed = Server::with_certificate(&ours, "node-1.example").await;
    let misnamed = not_sent(misnamed.call("https", Some(ours.trust())).await);
    assert!(misnamed.contains("subject alternative name"), "{misnamed}");
}

#[tokio::test]
async fn mixed_up_schemes_fail_at_once_and_do_no_harm() {
    let authority = Authority::new();
    let tls = Server::with_certificate(&authority, "127.0.0.1").await;
    tls.call("http", None).await.unwrap_err();
    tls.call("https", Some(authority.trust())).await.unwrap();

    let plain = Server::plain().await;
    let refusal = not_sent(plain.call("https", Some(authority.trust())).await);
    assert!(refusal.contains("does not speak TLS"), "{refusal}");
    plain.call("http", Some(authority.trust())).await.unwrap();
}

#[tokio::test]
async fn a_silent_connection_delays_nobody() {
    let authority = Authority::new();
    let server = Server::with_certificate(&authority, "127.0.0.1").await;
    let silent = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    server.call("https", Some(authority.trust())).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = Server::with_certificate(&first, "127.0.0.1").await;
    server.call("https", Some(first.trust())).await.unwrap();
    second.issue("127.0.0.1", server.directory.path());
    server.certificate.as_ref().unwrap().reload().unwrap();
    server.call("https", Some(second.trust())).await.unwrap();
    not_sent(server.call("https", Some(first.trust())).await);
}

#[tokio::test]
async fn a_certificate_replaced_before_anybody_watched_is_noticed() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = Server::with_certificate(&first, "127.0.0.1").await;
    let path = server.directory.path().join("cert.pem");
    let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let loaded = modified();
    // The times of files are a few milliseconds coarse.
    while modified() == loaded {
        second.issue("127.0.0.1", server.directory.path());
    }
    let certificate = server.certificate.as_ref().unwrap();
    let _watching = tokio::spawn(Arc::clone(certificate).watch_every(Duration::from_millis(1)));
    let noticed = async { while server.call("https", Some(second.trust())).await.is_err() {} };
    let noticed = tokio::time::timeout(Duration::from_mins(1), noticed);
    noticed.await.unwrap();
}

#[test]
fn a_file_without_authorities_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let refusal = || TlsTrust::in_file(&path).unwrap_err();
    assert!(matches!(refusal(), TlsError::Unreadable { .. }));
    for text in [
        String::new(),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_owned(),
        // Good at its beginning, and larger than any such file is.
        format!(
            "{}{}",
            std::fs::read_to_string(Authority::new().file()).unwrap(),
            "x".repeat(1 << 20)
        ),
    ] {
        write(&path, &text);
        assert!(matches!(refusal(), TlsError::Malformed { .. }));
        assert!(refusal().to_string().contains("ca.pem"));
    }
    write(
        &path,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    );
    assert!(matches!(refusal(), TlsError::NoAuthority { .. }));
    assert!(refusal().to_string().contains("ca.pem"));
}
