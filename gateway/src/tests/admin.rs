//! What is under `/-/`: health, metrics, administration.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_storage_node::fault::Fault;

use super::server_with;
use crate::admin_api::{ClusterStatus, CreatedKey, KeyList, MetadataStatus, User, UserList};
use crate::metadata_state::MetadataState;
use crate::metrics_access::MetricsToken;
use crate::server::{ListenerOptions, Surface};
use crate::testing::{Answer, Client, Payload, TestServer, TestServerOptions};

fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> T {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// `status code` of a JSON refusal.
fn refusal(answer: &Answer) -> String {
    let document: crate::admin_api::ErrorDocument = parse(answer);
    assert_eq!(document.request_id, answer.header("x-amz-request-id"));
    format!("{} {}", answer.status.as_u16(), document.code)
}

#[tokio::test]
async fn users_and_keys_are_administered() {
    let server = TestServer::start().await;
    let root = server.client();
    let created = root
        .post(
            "/-/admin/v1/users",
            r#"{"name":"anna","email":"Anna@example.org","display_name":"Anna B"}"#,
        )
        .send()
        .await;
    assert_eq!(created.status, 201);
    let user: User = parse(&created);
    assert_eq!(
        (
            user.name.as_str(),
            user.display_name.as_str(),
            user.canonical_id.len()
        ),
        ("anna", "Anna B", 64)
    );
    assert_eq!(
        parse::<User>(&root.get("/-/admin/v1/users/anna").send().await),
        user
    );
    assert_eq!(
        parse::<UserList>(&root.get("/-/admin/v1/users").send().await).users,
        [user]
    );

    let key: CreatedKey = parse(
        &root
            .post("/-/admin/v1/keys", r#"{"user":"anna"}"#)
            .send()
            .await,
    );
    let anna = Client::new(
        server.address,
        "us-east-1",
        &key.access_key,
        &key.secret_key,
    );
    assert_eq!(anna.put("/annas", "").send().await.outcome(), "200");
    let imported = r#"{"user":"anna","access_key":"IMPORTED1","secret_key":"imported-secret"}"#;
    assert_eq!(
        root.post("/-/admin/v1/keys", imported).send().await.status,
        201
    );
    let keys: KeyList = parse(&root.get("/-/admin/v1/keys?user=anna").send().await);
    assert_eq!(keys.keys.len(), 2);
    assert!(
        !root
            .get("/-/admin/v1/keys")
            .send()
            .await
            .text()
            .contains("secret")
    );

    assert_eq!(
        root.delete(&format!("/-/admin/v1/keys/{}", key.access_key))
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        anna.get("/annas").send().await.outcome(),
        "403 InvalidAccessKeyId"
    );
    assert_eq!(
        refusal(&root.delete("/-/admin/v1/users/anna").send().await),
        "409 UserOwnsBuckets"
    );
    assert_eq!(root.delete("/annas").send().await.outcome(), "204");
    assert_eq!(
        root.delete("/-/admin/v1/users/anna").send().await.status,
        204
    );
    assert_eq!(
        parse::<KeyList>(&root.get("/-/admin/v1/keys").send().await).keys,
        []
    );
}

#[tokio::test]
async fn administration_is_refused_in_json() {
    let server = TestServer::start().await;
    let root = server.client();
    let post = |path: &str, body: &str| {
        root.post(&format!("/-/admin/v1/{path}"), body.to_owned())
            .send()
    };
    assert_eq!(post("users", r#"{"name":"anna"}"#).await.status, 201);
    assert_eq!(
        refusal(&post("users", r#"{"name":"anna"}"#).await),
        "409 UserExists"
    );
    assert_eq!(
        refusal(&post("users", r#"{"name":"a b"}"#).await),
        "400 InvalidRequest"
    );
    let long_name = format!(r#"{{"name":"x","display_name":"{}"}}"#, "x".repeat(257));
    assert_eq!(
        refusal(&post("users", &long_name).await),
        "400 InvalidRequest"
    );
    assert_eq!(refusal(&post("users", "{").await), "400 InvalidRequest");
    assert_eq!(
        refusal(&post("users", r#"{"name":"x","colour":1}"#).await),
        "400 InvalidRequest"
    );
    assert_eq!(
        refusal(&post("keys", r#"{"user":"nobody"}"#).await),
        "404 NoSuchUser"
    );
    assert_eq!(
        refusal(&post("keys", r#"{"user":"anna","access_key":"AKIA123"}"#).await),
        "400 InvalidRequest"
    );
    let roots = r#"{"user":"anna","access_key":"ROOTACCESSKEY","secret_key":"whatever-it-is"}"#;
    assert_eq!(refusal(&post("keys", roots).await), "409 KeyExists");
    assert_eq!(
        refusal(&root.get("/-/admin/v1/users/nobody").send().await),
        "404 NoSuchUser"
    );
    assert_eq!(
        refusal(&root.delete("/-/admin/v1/keys/NOBODYS").send().await),
        "404 NoSuchKey"
    );
    assert_eq!(
        refusal(&root.get("/-/admin/v1/nothing").send().await),
        "404 NoSuchResource"
    );
    assert_eq!(
        refusal(&root.put("/-/admin/v1/users", "").send().await),
        "405 MethodNotAllowed"
    );
    assert_eq!(
        refusal(&post("users", &" ".repeat(70_000)).await),
        "413 EntityTooLarge"
    );
}

#[tokio::test]
async fn only_root_administers_and_only_with_signed_bodies() {
    let server = TestServer::start().await;
    let anna = server.user("anna").await;
    assert_eq!(
        refusal(&anna.get("/-/admin/v1/users").send().await),
        "403 AccessDenied"
    );
    assert_eq!(
        refusal(&server.anonymous().get("/-/admin/v1/users").send().await),
        "403 AccessDenied"
    );
    let forged = Client::new(
        server.address,
        "us-east-1",
        "ROOTACCESSKEY",
        "guessed-secret",
    );
    assert_eq!(
        refusal(&forged.get("/-/admin/v1/users").send().await),
        "403 SignatureDoesNotMatch"
    );
    let body = r#"{"name":"eve"}"#;
    let unsigned = server
        .client()
        .post("/-/admin/v1/users", body)
        .payload(Payload::Unsigned)
        .send()
        .await;
    assert_eq!(refusal(&unsigned), "400 InvalidRequest");
    let other = server
        .client()
        .post("/-/admin/v1/users", body)
        .payload(Payload::Declared(hex::encode([0; 32])))
        .send()
        .await;
    assert_eq!(refusal(&other), "400 XAmzContentSHA256Mismatch");
    assert_eq!(
        parse::<UserList>(&server.client().get("/-/admin/v1/users").send().await)
            .users
            .len(),
        1
    );
}

#[tokio::test]
async fn health_and_metrics_tell_the_state() {
    let server = TestServer::start().await;
    let anyone = server.anonymous();
    assert_eq!(anyone.get("/-/health/live").send().await.status, 200);
    assert_eq!(anyone.get("/-/health/ready").send().await.status, 200);
    let status: ClusterStatus = parse(&server.client().get("/-/admin/v1/cluster").send().await);
    assert_eq!(
        (
            status.geometry.as_str(),
            status.writable,
            status.disks.len()
        ),
        ("4+2", true, 6)
    );
    server.client().put("/b-1", "").send().await;
    let metrics = anyone.get("/-/metrics").send().await.text();
    assert!(
        metrics
            .contains(r#"cairn_gateway_requests_total{operation="CreateBucket",status="200"} 1"#),
        "{metrics}"
    );
    assert!(metrics.contains("cairn_cluster_writable 1"));
    assert!(metrics.contains("# TYPE cairn_engine_bytes_stored_total counter\n"));

    for fault in &server.faults[..3] {
        fault.set(Fault::Down);
    }
    server
        .gateway
        .engine()
        .disks()
        .refresh(std::time::Duration::from_secs(1))
        .await;
    let not_ready = anyone.get("/-/health/ready").send().await;
    assert_eq!(
        (not_ready.status.as_u16(), not_ready.text().as_str()),
        (503, "not ready\n")
    );
    assert_eq!(anyone.get("/-/health/live").send().await.status, 200);
    assert_eq!(anyone.get("/-/nothing").send().await.status, 404);
}

/// Metadata that can be asked for one record at a time.
#[derive(Debug, Default)]
struct Unscannable(MemoryKv);

#[async_trait]
impl KvStore for Unscannable {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.0.get(key).await
    }

    async fn scan(&self, _: Scan) -> Result<ScanPage, KvError> {
        let detail = "injected".to_owned();
        Err(KvError::Unavailable { detail })
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.0.commit(batch).await
    }
}

#[tokio::test]
async fn queues_that_cannot_be_read_are_not_shown_as_empty() {
    let server = TestServer::start_with(TestServerOptions {
        kv: Arc::new(Unscannable::default()),
        ..TestServerOptions::default()
    })
    .await;
    let status: ClusterStatus = parse(&server.client().get("/-/admin/v1/cluster").send().await);
    assert_eq!(
        (status.queues.deletions, status.queues.repairs),
        (None, None)
    );
    let metrics = server.anonymous().get("/-/metrics").send().await.text();
    assert!(!metrics.contains("cairn_engine_queue_depth{"), "{metrics}");
}

/// Metadata on disks that are full.
#[derive(Debug)]
struct Full;

#[async_trait]
impl MetadataState for Full {
    async fn status(&self) -> MetadataStatus {
        MetadataStatus::default()
    }

    async fn refusal(&self) -> Option<String> {
        Some("no disk has room".to_owned())
    }
}

#[tokio::test]
async fn a_gateway_whose_metadata_take_no_commits_is_not_ready() {
    let server = TestServer::start_with(TestServerOptions {
        metadata_state: Arc::new(Full),
        ..TestServerOptions::default()
    })
    .await;
    let anyone = server.anonymous();
    assert_eq!(anyone.get("/-/health/ready").send().await.status, 503);
    assert_eq!(anyone.get("/-/health/live").send().await.status, 200);
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_the_bearer_of_the_token() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let server = server_with(|config| config.metrics_token = Some(MetricsToken::new(TOKEN))).await;
    let metrics = || server.anonymous().get("/-/metrics");
    assert_eq!(metrics().send().await.status, 200);
    let bearer = format!("Bearer {TOKEN}");
    for proxied in ["x-forwarded-for", "forwarded"] {
        let proxied = || metrics().header(proxied, "for=192.0.2.1");
        let refused = proxied().send().await;
        assert_eq!(refused.outcome(), "403 AccessDenied");
        assert_eq!(
            refused.element("RequestId"),
            refused.header("x-amz-request-id")
        );
        for named in ["metrics_token", "admin_listen"] {
            assert!(refused.element("Message").contains(named), "{named}");
        }
        let shown = proxied().header("authorization", &bearer).send().await;
        assert_eq!(shown.status, 200);
        assert!(shown.text().contains("cairn_cluster_writable"));
        let guessed = proxied().header("authorization", "Bearer x").send().await;
        assert_eq!(guessed.outcome(), "403 AccessDenied");
        for health in ["/-/health/live", "/-/health/ready"] {
            let health = server
                .anonymous()
                .get(health)
                .header("x-forwarded-for", "192.0.2.1");
            assert_eq!(health.send().await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_listener_serves_only_its_surface() {
    let listener = |surface| TestServerOptions {
        listener: ListenerOptions {
            surface,
            certificate: None,
        },
        ..TestServerOptions::default()
    };
    let s3 = TestServer::start_with(listener(Surface::S3)).await;
    assert_eq!(s3.client().put("/b-1", "").send().await.outcome(), "200");
    assert_eq!(s3.client().get("/-/health/live").send().await.status, 200);
    assert_eq!(s3.client().get("/-/metrics").send().await.status, 404);
    assert_eq!(
        s3.client().get("/-/admin/v1/users").send().await.status,
        404
    );
    let admin = TestServer::start_with(listener(Surface::Admin)).await;
    assert_eq!(admin.client().put("/b-1", "").send().await.status, 404);
    assert_eq!(
        admin.client().get("/-/admin/v1/users").send().await.status,
        200
    );
    let proxied = admin.anonymous().get("/-/metrics");
    let proxied = proxied.header("x-forwarded-for", "192.0.2.1").send().await;
    assert_eq!(proxied.status, 200, "who reaches this address may look");
}
