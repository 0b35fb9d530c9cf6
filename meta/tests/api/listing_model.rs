//! Listings of objects and uploads agree with a listing by definition, for all prefixes, delimiters, markers and
//! page sizes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    BucketRecord, ListEntry, ListRequest, MasterKey, Meta, UploadListEntry, UploadListRequest,
};
use proptest::prelude::*;

/// Few letters, so that prefixes, delimiters and markers hit; two- and four-byte characters; zero bytes.
const TEXT: &str = "[ab/\\x00é😀]{0,4}";

fn keys() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set("[ab/\\x00é😀]{1,5}", 0..25)
        .prop_map(|keys| keys.into_iter().collect())
}

/// S3's rules, said as plainly as possible: keys become entries, entries behind the marker count.
fn by_definition(
    keys: &[String],
    prefix: &str,
    delimiter: Option<&str>,
    marker: Option<&str>,
) -> Vec<String> {
    let entry_of = |key: &str| {
        let behind = key.strip_prefix(prefix).unwrap();
        match delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| behind.split_once(delimiter))
        {
            Some((before, _)) => format!("{prefix}{before}{}", delimiter.unwrap()),
            None => key.to_owned(),
        }
    };
    let marked_group = marker
        .filter(|marker| marker.starts_with(prefix))
        .map(entry_of);
    let mut entries: Vec<String> = keys
        .iter()
        .filter(|key| key.starts_with(prefix))
        .map(|key| {
            let entry = entry_of(key);
            let is_behind = marker.is_none_or(|marker| key.as_str() > marker)
                && marked_group.as_ref() != Some(&entry);
            if is_behind { entry } else { String::new() }
        })
        .filter(|entry| !entry.is_empty())
        .collect();
    entries.dedup();
    entries
}

async fn list_all(meta: &Meta, bucket: &BucketRecord, request: &ListRequest) -> Vec<String> {
    let mut request = request.clone();
    let mut all = Vec::new();
    loop {
        let page = meta.list_objects(bucket.id, &request).await.unwrap();
        assert!(page.entries.len() <= request.limit);
        assert_eq!(page.next.is_some(), page.is_truncated);
        all.extend(page.entries.iter().map(|entry| entry.as_str().to_owned()));
        match page.next {
            None => return all,
            Some(next) => {
                assert_eq!(
                    page.entries.len(),
                    request.limit,
                    "a page with more behind it is full"
                );
                request.start_after = Some(next);
            }
        }
    }
}

async fn list_all_uploads(
    meta: &Meta,
    bucket: &BucketRecord,
    request: &UploadListRequest,
) -> Vec<String> {
    let mut request = request.clone();
    let mut all = Vec::new();
    loop {
        let page = meta.list_uploads(bucket.id, &request).await.unwrap();
        assert!(page.entries.len() <= request.limit);
        all.extend(page.entries.iter().map(|entry| match entry {
            UploadListEntry::Upload { key, .. } => key.to_string(),
            UploadListEntry::Prefix(prefix) => prefix.clone(),
        }));
        match page.next {
            None => return all,
            Some((key, id)) => {
                assert_eq!(page.entries.len(), request.limit);
                (request.key_marker, request.upload_id_marker) = (Some(key), id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn listings_agree_with_the_definition(
        keys in keys(),
        prefix in TEXT,
        delimiter in prop::option::of(prop_oneof![3 => Just("/".to_owned()), 1 => TEXT]),
        marker in prop::option::of(TEXT),
        limit in 1usize..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let meta = meta();
            let other = bucket(&meta, "other").await;
            put(&meta, &other, &key("a"), "e", 1).await;
            let bucket = bucket(&meta, "listed").await;
            for name in &keys {
                put(&meta, &bucket, &key(name), "e", 1).await;
                meta.create_upload(&bucket, &key(name), new_upload(), 1).await.unwrap();
            }
            let expected = by_definition(&keys, &prefix, delimiter.as_deref(), marker.as_deref());
            let request =
                ListRequest { prefix: prefix.clone(), delimiter: delimiter.clone(), start_after: marker.clone(), limit };
            assert_eq!(list_all(&meta, &bucket, &request).await, expected);
            let request = UploadListRequest { prefix, delimiter, key_marker: marker, upload_id_marker: None, limit };
            assert_eq!(list_all_uploads(&meta, &bucket, &request).await, expected);
        });
    }
}

#[tokio::test]
async fn uploads_of_one_key_are_listed_by_time_and_paged_by_id() {
    let meta = meta();
    let bucket = bucket(&meta, "listed").await;
    let mut expected = Vec::new();
    for now_ms in [5, 3, 4] {
        expected.push(
            meta.create_upload(&bucket, &key("k"), new_upload(), now_ms)
                .await
                .unwrap()
                .id,
        );
    }
    expected.sort_by_key(|id| id.initiated_ms());
    let mut found = Vec::new();
    let mut request = UploadListRequest {
        limit: 1,
        ..UploadListRequest::default()
    };
    loop {
        let page = meta.list_uploads(bucket.id, &request).await.unwrap();
        found.extend(page.entries.iter().map(|entry| match entry {
            UploadListEntry::Upload { record, .. } => record.id,
            UploadListEntry::Prefix(_) => panic!("no delimiter, no group"),
        }));
        let Some((key, id)) = page.next else { break };
        (request.key_marker, request.upload_id_marker) = (Some(key), id);
    }
    assert_eq!(found, expected);
    // Without a key marker, the id marker means nothing.
    let request = UploadListRequest {
        upload_id_marker: expected.last().copied(),
        limit: 10,
        ..UploadListRequest::default()
    };
    assert_eq!(
        meta.list_uploads(bucket.id, &request)
            .await
            .unwrap()
            .entries
            .len(),
        3
    );
}

#[tokio::test]
async fn a_page_ends_where_its_snapshot_does() {
    let meta = meta();
    let bucket = bucket(&meta, "listed").await;
    let keys: Vec<String> = (0..6).map(|index| format!("key {index}")).collect();
    for name in &keys {
        // Two pages of a scan, in all.
        put(&meta, &bucket, &key(name), &"e".repeat(1 << 20), 1).await;
    }
    let mut request = ListRequest {
        limit: 10,
        ..ListRequest::default()
    };
    let first = meta.list_objects(bucket.id, &request).await.unwrap();
    assert!(first.is_truncated && first.entries.len() < keys.len());
    request.start_after = first.next;
    let second = meta.list_objects(bucket.id, &request).await.unwrap();
    assert!(!second.is_truncated);
    let listed: Vec<&str> = first
        .entries
        .iter()
        .chain(&second.entries)
        .map(ListEntry::as_str)
        .collect();
    assert_eq!(listed, keys);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Between two pages keys come and go, everywhere.
    #[test]
    fn what_is_there_during_the_whole_walk_is_listed_exactly_once(
        stays in keys(),
        changes in prop::collection::vec(("[ab/\\x00é😀]{1,5}", any::<bool>()), 0..60),
        limit in 1..6_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let meta = meta();
            let bucket = bucket(&meta, "walked").await;
            for name in &stays {
                put(&meta, &bucket, &key(name), "stays", 1).await;
            }
            let mut changes = changes.iter().filter(|(name, _)| !stays.contains(name));
            let mut request = ListRequest { limit, ..ListRequest::default() };
            let mut listed = Vec::new();
            loop {
                let page = meta.list_objects(bucket.id, &request).await.unwrap();
                listed.extend(page.entries.iter().map(|entry| entry.as_str().to_owned()));
                let Some(next) = page.next else { break };
                request.start_after = Some(next);
                for (name, is_put) in changes.by_ref().take(6) {
                    if *is_put {
                        put(&meta, &bucket, &key(name), "comes", 2).await;
                    } else {
                        delete(&meta, &bucket, &key(name), None, 2).await;
                    }
                }
            }
            assert!(listed.is_sorted_by(|one, other| one < other), "{listed:?}");
            listed.retain(|name| stays.contains(name));
            assert_eq!(listed, stays);
        });
    }
}

#[tokio::test]
async fn a_limit_of_zero_lists_nothing_and_is_not_truncated() {
    let meta = meta();
    let bucket = bucket(&meta, "listed").await;
    put(&meta, &bucket, &key("a"), "e", 1).await;
    let page = meta
        .list_objects(bucket.id, &ListRequest::default())
        .await
        .unwrap();
    assert!(page.entries.is_empty() && !page.is_truncated && page.next.is_none());
}

/// A store that counts its scans, and the entries that they give.
#[derive(Debug, Default)]
struct CountingKv {
    inner: MemoryKv,
    scan_count: AtomicUsize,
    entry_count: AtomicUsize,
}

#[async_trait]
impl KvStore for CountingKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        let page = self.inner.scan(scan).await?;
        self.scan_count.fetch_add(1, Ordering::Relaxed);
        self.entry_count
            .fetch_add(page.entries.len(), Ordering::Relaxed);
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn listing_uploads_by_group_reads_few_of_those_in_a_group() {
    let kv = Arc::new(CountingKv::default());
    let meta = meta_over(&kv.inner);
    let bucket = bucket(&meta, "listed").await;
    for group in 0..5 {
        for number in 0..100 {
            let name = format!("{group}/{number:03}");
            meta.create_upload(&bucket, &key(&name), new_upload(), 1)
                .await
                .unwrap();
        }
    }
    for number in 0..100 {
        meta.create_upload(&bucket, &key(&format!("{number:03}")), new_upload(), 1)
            .await
            .unwrap();
    }
    let request = UploadListRequest {
        delimiter: Some("/".to_owned()),
        limit: 1000,
        ..UploadListRequest::default()
    };
    let counted = Meta::new(Arc::clone(&kv) as Arc<dyn KvStore>, MasterKey::new([7; 32]));
    let page = counted.list_uploads(bucket.id, &request).await.unwrap();
    assert_eq!((page.entries.len(), page.is_truncated), (105, false));
    let [scans, entries] = [&kv.scan_count, &kv.entry_count].map(|n| n.load(Ordering::Relaxed));
    // 16 for each group, of single uploads 16, 32 and 64.
    assert!(entries <= 5 * 16 + 100 + 16, "{entries} entries");
    assert!(scans <= 5 + 4, "{scans} scans");
}
