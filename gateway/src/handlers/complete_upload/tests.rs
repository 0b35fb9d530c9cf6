//! The largest object, and completions that others overtake: by the same request, by another part, by their own object.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_storage_node::fault::Fault;
use tokio::sync::Notify;

use super::*;
use crate::testing::{TestServer, TestServerOptions};

/// Metadata that hold one scan until they are told to go on.
#[derive(Debug, Default)]
struct GatedKv {
    inner: MemoryKv,
    scans_to_gate: AtomicI64,
    reached: Notify,
    go_on: Notify,
}

#[async_trait]
impl KvStore for GatedKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        if self.scans_to_gate.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.inner.commit(batch).await
    }
}

impl GatedKv {
    /// Lets `meanwhile` happen between the first and the second look of `completing` at the parts: the one of the
    /// handler, and that of the commit, which has found the upload already.
    async fn overtake<T>(
        &self,
        completing: impl Future<Output = T>,
        meanwhile: impl Future<Output = ()>,
    ) -> T {
        self.scans_to_gate.store(2, Ordering::Relaxed);
        let overtaking = async {
            self.reached.notified().await;
            meanwhile.await;
            self.go_on.notify_one();
        };
        tokio::join!(completing, overtaking).0
    }
}

/// An upload with one part, found by a request that is about to complete it.
struct Begun {
    server: TestServer,
    /// Of the upload.
    path: String,
    etag: String,
    bucket: BucketRecord,
    key: ObjectKey,
    upload_id: UploadId,
    found: UploadRecord,
}

impl Begun {
    async fn new() -> Self {
        Self::over(Arc::new(MemoryKv::new())).await
    }

    async fn over(kv: Arc<dyn KvStore>) -> Self {
        let options = TestServerOptions {
            kv,
            ..TestServerOptions::default()
        };
        let server = TestServer::start_with(options).await;
        let client = server.client();
        client.put("/b-1", "").send().await;
        let created = client.post("/b-1/k?uploads", "").send().await;
        let id = created.element("UploadId");
        let path = format!("/b-1/k?uploadId={id}");
        let part = client.put(&format!("{path}&partNumber=1"), "x");
        let etag = part.send().await.header("etag").to_owned();
        let meta = server.gateway.meta();
        let bucket = meta.bucket(&"b-1".parse().unwrap()).await.unwrap().unwrap();
        let key = ObjectKey::parse("k").unwrap();
        let upload_id = id.parse().unwrap();
        let found = meta.upload(bucket.id, &key, upload_id).await;
        Self {
            found: found.unwrap().unwrap(),
            etag: etag.trim_matches('"').to_owned(),
            server,
            path,
            bucket,
            key,
            upload_id,
        }
    }

    /// The document that lists the part.
    fn document(&self) -> String {
        format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            self.etag
        )
    }

    /// What the request does then, with this part listed.
    async fn complete(&self, etag: &str) -> Result<Response, S3Error> {
        self.complete_if(WriteCondition::Always, etag).await
    }

    async fn complete_if(
        &self,
        condition: WriteCondition,
        etag: &str,
    ) -> Result<Response, S3Error> {
        let completion = Completion {
            gateway: Arc::clone(&self.server.gateway),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            upload_id: self.upload_id,
            condition,
            listed: vec![CompletedPart {
                part_number: PartNumber::new(1).unwrap(),
                etag: etag.to_owned(),
                checksum: None,
            }],
            headers: HeaderMap::new(),
            location: String::new(),
        };
        let found = Found::InProgress(Box::new(self.found.clone()));
        completion.run(found).await
    }
}

#[test]
fn an_object_has_at_most_five_tebibytes() {
    let check = |size_bytes| check_object_size(&HeaderMap::new(), size_bytes);
    assert!(check(5 << 40).is_ok());
    let error = check((5 << 40) + 1).unwrap_err();
    assert_eq!(
        (
            error.code(),
            error.extra("ProposedSize"),
            error.extra("MaxSizeAllowed")
        ),
        (
            ErrorCode::EntityTooLarge,
            Some("5497558138881"),
            Some("5497558138880")
        )
    );
}

/// Two clients, or one that repeats itself: the second finds the upload, and before it looks for the parts the
/// first has made an object of them.
#[tokio::test]
async fn a_completion_that_is_overtaken_by_the_same_gets_the_same_answer() {
    let begun = Begun::new().await;
    let Begun { path, etag, .. } = &begun;
    let client = begun.server.client();
    let first = client.post(path, begun.document()).send().await;
    assert_eq!(first.outcome(), "200");

    let again = begun.complete(etag).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    let other = begun.complete(&"0".repeat(32)).await.unwrap_err();
    assert_eq!(other.code(), ErrorCode::NoSuchUpload);
}

#[tokio::test]
async fn a_conditional_completion_is_not_refused_for_its_own_object() {
    let kv = Arc::new(GatedKv::default());
    let begun = Begun::over(Arc::clone(&kv) as _).await;
    let client = begun.server.client();
    let first = client
        .post(&begun.path, begun.document())
        .header("if-none-match", "*");
    let second = Box::pin(begun.complete_if(WriteCondition::Absent, &begun.etag));
    let first = Box::pin(async {
        assert_eq!(first.send().await.outcome(), "200");
    });
    let second = kv.overtake(second, first);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_part_that_changes_meanwhile_is_named() {
    let kv = Arc::new(GatedKv::default());
    let begun = Begun::over(Arc::clone(&kv) as _).await;
    let part = format!("{}&partNumber=1", begun.path);
    let changed = begun.server.client().put(&part, "y");
    let changing = Box::pin(async {
        assert_eq!(changed.send().await.outcome(), "200");
    });
    let completing = kv.overtake(Box::pin(begun.complete(&begun.etag)), changing);
    let error = completing.await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPart);
    assert_eq!(
        error.extras(),
        [
            ("UploadId", begun.upload_id.to_string()),
            ("PartNumber", "1".to_owned()),
            ("ETag", begun.etag.clone()),
        ]
    );
}

/// Both find the parts and attest on the disks what they are about to commit.
#[tokio::test]
async fn of_two_completions_at_once_one_attestation_stays() {
    let begun = Begun::new().await;
    let engine = begun.server.gateway.engine();
    engine.run_errands().await;
    let before = begun.server.shard_count().await;
    // What is staged has no shards, and a commit that waits for no disk lets nobody in between.
    let staging = &engine.core().staging;
    let admissions: Vec<_> = std::iter::from_fn(|| staging.admit(1)).collect();
    for fault in &begun.server.faults {
        fault.set(Fault::Slow(Duration::from_millis(1)));
    }
    let (one, other) = (begun.complete(&begun.etag), begun.complete(&begun.etag));
    let (one, other) = tokio::join!(one, other);
    drop(admissions);
    assert_eq!(one.unwrap().status(), StatusCode::OK);
    assert_eq!(other.unwrap().status(), StatusCode::OK);
    engine.run_errands().await;
    // Three copies of nothing, once.
    assert_eq!(begun.server.shard_count().await, before + 3);
}
