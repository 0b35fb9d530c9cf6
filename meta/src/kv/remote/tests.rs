//! The service and its client over real sockets on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use cairn_rpc::{ClientOptions, ClusterSecret};
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::wire::{self, GetRequest, WireError};
use super::{RemoteKv, kv_service};
use crate::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage, conformance};

fn secret() -> ClusterSecret {
    ClusterSecret::new("the secret of the cluster under test").unwrap()
}

struct Server {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { url, task }
}

impl Server {
    fn client(&self) -> RemoteKv {
        RemoteKv::connect(self.url.parse().unwrap(), secret())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_store_conforms() {
    conformance::run(async || {
        let server = serve(kv_service(Arc::new(MemoryKv::new()), secret())).await;
        (Arc::new(server.client()) as Arc<dyn KvStore>, server)
    })
    .await;
}

/// Fails every call as told, and commits in spite of it or hangs.
#[derive(Debug)]
struct Failing {
    error: KvError,
    hangs: AtomicBool,
}

impl Failing {
    async fn fail<T>(&self) -> Result<T, KvError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Err(self.error.clone())
    }
}

#[async_trait]
impl KvStore for Failing {
    async fn get(&self, _: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.fail().await
    }

    async fn scan(&self, _: Scan) -> Result<ScanPage, KvError> {
        self.fail().await
    }

    async fn commit(&self, _: Batch) -> Result<(), KvError> {
        self.fail().await
    }
}

#[tokio::test]
async fn every_error_arrives_as_what_it_was() {
    let detail = || "this happened".to_owned();
    for error in [
        KvError::Conflict,
        KvError::Unavailable { detail: detail() },
        KvError::UnknownOutcome { detail: detail() },
        KvError::Corrupt { detail: detail() },
        KvError::Busy,
        KvError::TooLarge { detail: detail() },
    ] {
        let store = Failing {
            error: error.clone(),
            hangs: AtomicBool::new(false),
        };
        let server = serve(kv_service(Arc::new(store), secret())).await;
        let arrived = server.client().commit(Batch::default()).await.unwrap_err();
        assert_eq!(WireError::from(arrived), WireError::from(error));
    }
}

#[tokio::test]
async fn a_commit_without_an_answer_is_unknown_and_a_read_unavailable() {
    let store = Failing {
        error: KvError::Conflict,
        hangs: AtomicBool::new(true),
    };
    let server = serve(kv_service(Arc::new(store), secret())).await;
    let options = ClientOptions {
        call_timeout: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let client = RemoteKv::with_options(server.url.parse().unwrap(), secret(), options);
    assert!(matches!(
        client.commit(Batch::default()).await,
        Err(KvError::UnknownOutcome { .. })
    ));
    assert!(matches!(
        client.get(b"key").await,
        Err(KvError::Unavailable { .. })
    ));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_committed() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = RemoteKv::connect(format!("http://{address}").parse().unwrap(), secret());
    assert!(matches!(
        client.commit(Batch::default()).await,
        Err(KvError::Unavailable { .. })
    ));
}

#[tokio::test]
async fn another_secret_commits_nothing() {
    let store = MemoryKv::new();
    let server = serve(kv_service(Arc::new(store.clone()), secret())).await;
    let stranger = ClusterSecret::new("a secret that is some other cluster's").unwrap();
    let client = RemoteKv::connect(server.url.parse().unwrap(), stranger);
    let mut batch = Batch::default();
    batch.put("key", "value");
    assert!(client.commit(batch).await.is_err());
    assert_eq!(store.get(b"key").await.unwrap(), None);
}

#[test]
fn the_bytes_of_messages_are_those_documented() {
    let mut batch = Batch::default();
    batch
        .check("k", None)
        .check("c", Some("v".into()))
        .put("p", "x")
        .delete("d");
    let expected = b"\x02\x01k\x00\x01c\x01\x01v\x02\x00\x01p\x01x\x01\x01d";
    assert_eq!(wire::encode(&batch).unwrap(), expected.as_slice());
    assert_eq!(
        wire::encode(&GetRequest { key: "k".into() }).unwrap(),
        b"\x01k".as_slice()
    );
    assert_eq!(
        wire::encode(&WireError::Malformed).unwrap(),
        b"\x06".as_slice()
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        drop(wire::decode::<Batch>(&bytes));
        drop(wire::decode::<Scan>(&bytes));
        drop(wire::decode::<ScanPage>(&bytes));
        drop(wire::decode::<GetRequest>(&bytes));
        drop(wire::decode::<WireError>(&bytes));
        drop(wire::decode::<Option<Bytes>>(&bytes));
    }

    #[test]
    fn a_message_with_bytes_behind_it_is_refused(key: Vec<u8>, extra in 1..4_usize) {
        let mut bytes = wire::encode(&GetRequest { key: key.into() }).unwrap().to_vec();
        bytes.extend(vec![0; extra]);
        prop_assert!(wire::decode::<GetRequest>(&bytes).is_none());
    }
}
