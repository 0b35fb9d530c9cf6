//! TLS between the processes: who is believed, what is said when nobody is, and a certificate that is renewed.
//!
//! Method: real processes as in `cluster.rs`, each with a certificate of an authority that the test has made.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use std::time::Instant;

use cairn_rpc::Stream;
use cairn_rpc::tls::TlsTrust;
use cairn_tests::authority::Authority;
use cairn_tests::cluster::Cluster;
use cairn_tests::eventually::{PATIENCE, eventually};
use cairn_tests::faults;
use cairn_tests::payload::payload;
use cairn_tests::process::{CairnProcess, pause};
use cairn_tests::s3::{client_with_bucket, get, put};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BUCKET: &str = "encrypted";

/// `127.0.0.1:PORT` of a URL, which must be an `https://` one.
fn address(endpoint: &str) -> &str {
    endpoint.strip_prefix("https://").unwrap()
}

/// The certificate that a process shows to a new connection.
async fn shown_certificate(endpoint: &str, trust: &TlsTrust) -> Vec<u8> {
    let stream = TcpStream::connect(address(endpoint)).await.unwrap();
    let Stream::Tls(stream) = trust.connect("127.0.0.1", stream).await.unwrap() else {
        panic!("not encrypted");
    };
    let (_, session) = stream.get_ref();
    session
        .peer_certificates()
        .unwrap()
        .first()
        .unwrap()
        .to_vec()
}

/// Waits until a process that should not serve has said why; it must not have printed where it listens.
fn complaint(process: &mut CairnProcess, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !process.stderr().contains(expected) {
        assert!(
            process.is_running() && Instant::now() < deadline,
            "no `{expected}` in: {}",
            process.stderr()
        );
        pause();
    }
    assert_eq!(process.stdout(), "", "it must not serve");
}

#[tokio::test]
async fn objects_go_through_an_encrypted_cluster() {
    let mut cluster = Cluster::start_encrypted(1);
    cluster.expect(&[faults::SHARDS_ARE_AWAY]);
    let client = client_with_bucket(cluster.endpoint(0), BUCKET).await;
    let sizes = [0, 1, 40_000, 9_000_000];
    for size in sizes {
        put(&client, BUCKET, &format!("{size}"), payload(size, 3))
            .await
            .unwrap();
    }
    cluster.kill_node(1);
    cluster.kill_node(4);
    for size in sizes {
        let body = get(&client, BUCKET, &format!("{size}")).await.unwrap();
        assert!(body == payload(size, 3), "{size} bytes");
    }
}

#[tokio::test]
async fn plain_http_on_an_encrypted_port_is_cut_off_unanswered() {
    let cluster = Cluster::start_encrypted(0);
    let trust = TlsTrust::in_file(cluster.authority().file()).unwrap();
    for endpoint in [cluster.meta_endpoint(), cluster.node_endpoint(0)] {
        let mut plain = TcpStream::connect(address(endpoint)).await.unwrap();
        plain
            .write_all(b"GET /-/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        // Whether by an end or by a reset: it is over, and nothing of HTTP was in it.
        tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap_or_default();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        shown_certificate(endpoint, &trust).await;
    }
}

#[tokio::test]
async fn a_gateway_believes_no_other_authority() {
    let cluster = Cluster::start_encrypted(0);
    let stranger = Authority::new("stranger", cluster.directory());
    let mut gateway = cluster.start_misled_gateway(|arguments| {
        // The last one given counts.
        let file = arguments.last_mut().unwrap();
        *file = stranger.file().display().to_string();
    });
    gateway.expect(&[faults::GATEWAY_HAS_TO_WAIT]);
    complaint(&mut gateway, "issued by none of the authorities in");
    complaint(&mut gateway, "stranger.pem");
    assert!(gateway.terminate().success());
}

#[tokio::test]
async fn a_gateway_that_calls_plainly_waits_and_says_so() {
    let cluster = Cluster::start_encrypted(0);
    let mut gateway = cluster.start_misled_gateway(|arguments| {
        arguments.truncate(arguments.len() - 2);
        for argument in arguments {
            *argument = argument.replace("https://", "http://");
        }
    });
    gateway.expect(&[faults::GATEWAY_HAS_TO_WAIT]);
    complaint(&mut gateway, "waiting before serving");
    assert!(gateway.terminate().success());
}

#[tokio::test]
async fn a_missing_authority_file_is_named() {
    let cluster = Cluster::start_encrypted(0);
    let mut gateway = cluster.start_misled_gateway(|arguments| {
        let file = arguments.last_mut().unwrap();
        "/nonexistent/ca.pem".clone_into(file);
    });
    let refusal = gateway.endpoint().unwrap_err();
    assert!(
        refusal.contains("--cluster-ca-file") && refusal.contains("/nonexistent/ca.pem"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_node_shows_its_renewed_certificate_without_a_restart() {
    let cluster = Cluster::start_encrypted(1);
    let client = client_with_bucket(cluster.endpoint(0), BUCKET).await;
    let trust = TlsTrust::in_file(cluster.authority().file()).unwrap();
    let before = shown_certificate(cluster.node_endpoint(0), &trust).await;
    cluster.renew_certificate(0);
    eventually("a new certificate", async || {
        let shown = shown_certificate(cluster.node_endpoint(0), &trust).await;
        (shown != before)
            .then_some(())
            .ok_or("the old one is shown".to_owned())
    })
    .await;
    put(&client, BUCKET, "after", payload(9_000_000, 3))
        .await
        .unwrap();
    assert!(get(&client, BUCKET, "after").await.unwrap() == payload(9_000_000, 3));
}
