//! A metadata store whose calls are counted and timed: what a gateway sees of a metadata service that is elsewhere.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, Scan, ScanPage};

use crate::metrics::MetadataRequests;

/// Passes every call on, and notes its verb, its outcome and its duration.
#[derive(Debug, Clone)]
pub struct MeasuredKv {
    store: Arc<dyn KvStore>,
    requests: MetadataRequests,
}

impl MeasuredKv {
    /// Measures the calls to `store`.
    pub fn new(store: Arc<dyn KvStore>, requests: MetadataRequests) -> Self {
        Self { store, requests }
    }

    fn begin(&self, verb: &'static str) -> Measurement<'_> {
        Measurement {
            requests: &self.requests,
            verb,
            outcome: "abandoned",
            started: Instant::now(),
        }
    }
}

/// One call. Dropping it reports, so that a call whose caller has left is counted, too.
struct Measurement<'a> {
    requests: &'a MetadataRequests,
    verb: &'static str,
    outcome: &'static str,
    started: Instant,
}

impl Measurement<'_> {
    fn end<T>(mut self, result: Result<T, KvError>) -> Result<T, KvError> {
        self.outcome = result.as_ref().map_or_else(outcome, |_| "ok");
        result
    }
}

impl Drop for Measurement<'_> {
    fn drop(&mut self) {
        self.requests
            .answered(self.verb, self.outcome, self.started.elapsed());
    }
}

fn outcome(error: &KvError) -> &'static str {
    match error {
        KvError::Conflict => "conflict",
        KvError::Unavailable { .. } => "unavailable",
        KvError::UnknownOutcome { .. } => "unknown",
        KvError::Corrupt { .. } => "corrupt",
        KvError::Busy => "busy",
        KvError::TooLarge { .. } => "too_large",
        _ => "other",
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl KvStore for MeasuredKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let measurement = self.begin("get");
        measurement.end(self.store.get(key).await)
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        let measurement = self.begin("scan");
        measurement.end(self.store.scan(scan).await)
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        let measurement = self.begin("commit");
        measurement.end(self.store.commit(batch).await)
    }
}

#[cfg(test)]
mod tests {
    use cairn_meta::kv::MemoryKv;

    use super::*;

    /// Never answers.
    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl KvStore for Silent {
        async fn get(&self, _: &[u8]) -> Result<Option<Bytes>, KvError> {
            std::future::pending().await
        }

        async fn scan(&self, _: Scan) -> Result<ScanPage, KvError> {
            std::future::pending().await
        }

        async fn commit(&self, _: Batch) -> Result<(), KvError> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_verb_and_outcome_and_timed() {
        let requests = MetadataRequests::new().unwrap();
        let kv = MeasuredKv::new(Arc::new(MemoryKv::new()), requests.clone());
        kv.get(b"k").await.unwrap();
        kv.get(b"k").await.unwrap();
        let mut batch = Batch::default();
        batch.check(&b"k"[..], None).put(&b"k"[..], &b"v"[..]);
        kv.commit(batch.clone()).await.unwrap();
        kv.commit(batch).await.unwrap_err();
        let silent = MeasuredKv::new(Arc::new(Silent), requests.clone());
        let left = silent.get(b"k");
        assert!(futures_util::FutureExt::now_or_never(left).is_none());

        let text = requests.export().unwrap();
        for line in [
            r#"cairn_meta_requests_total{outcome="ok",verb="get"} 2"#,
            r#"cairn_meta_requests_total{outcome="abandoned",verb="get"} 1"#,
            r#"cairn_meta_requests_total{outcome="ok",verb="commit"} 1"#,
            r#"cairn_meta_requests_total{outcome="conflict",verb="commit"} 1"#,
            r#"cairn_meta_request_duration_seconds_count{verb="get"} 3"#,
            r#"cairn_meta_request_duration_seconds_count{verb="commit"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
