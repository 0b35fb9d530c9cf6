//! Random puts and deletes under all versioning states agree with an obvious model: a list of versions per key.
//!
//! After every operation the current object, each version that ever was, the listing, and the set of data that are
//! kept are compared. The model knows S3's rules and nothing of how they are stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::*;
use cairn_meta::{
    BucketRecord, DataId, DeleteOutcome, ListEntry, ListRequest, Meta, ObjectBody, ObjectKey,
    VersionId, Versioning,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Put { key: usize, clock_ms: u64 },
    Delete { key: usize, clock_ms: u64 },
    DeleteVersion { key: usize, which: usize },
    SetVersioning(Versioning),
}

#[derive(Debug, Clone, PartialEq)]
struct ModelVersion {
    id: VersionId,
    /// `None` is a delete marker.
    data: Option<DataId>,
}

/// Newest last.
#[derive(Debug, Default)]
struct ModelKey {
    versions: Vec<ModelVersion>,
}

impl ModelKey {
    fn current(&self) -> Option<DataId> {
        self.versions.last().and_then(|version| version.data)
    }

    fn add(&mut self, version: ModelVersion, versioning: Versioning) {
        if versioning != Versioning::Enabled {
            self.versions.retain(|old| old.id != VersionId::Null);
        }
        self.versions.push(version);
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let clock = 1_000u64..1_020;
    let op = prop_oneof![
        4 => (0..KEYS.len(), clock.clone()).prop_map(|(key, clock_ms)| Op::Put { key, clock_ms }),
        3 => (0..KEYS.len(), clock).prop_map(|(key, clock_ms)| Op::Delete { key, clock_ms }),
        3 => (0..KEYS.len(), 0..8usize).prop_map(|(key, which)| Op::DeleteVersion { key, which }),
        1 => Just(Op::SetVersioning(Versioning::Enabled)),
        1 => Just(Op::SetVersioning(Versioning::Suspended)),
    ];
    prop::collection::vec(op, 1..40)
}

/// One is the beginning of another, one continues with the escaped byte.
const KEYS: [&str; 3] = ["a", "a\0", "a/b"];

struct World {
    meta: Meta,
    bucket: BucketRecord,
    keys: BTreeMap<ObjectKey, ModelKey>,
    /// Every version that ever was.
    seen: BTreeSet<(ObjectKey, String)>,
    written: BTreeSet<DataId>,
}

impl World {
    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::Put {
                key: index,
                clock_ms,
            } => {
                self.put(key(KEYS[index]), clock_ms).await;
            }
            Op::Delete {
                key: index,
                clock_ms,
            } => {
                self.delete(key(KEYS[index]), clock_ms).await;
            }
            Op::DeleteVersion { key: index, which } => {
                self.delete_version(key(KEYS[index]), which).await;
            }
            Op::SetVersioning(versioning) => {
                self.bucket = self
                    .meta
                    .set_versioning(&self.bucket, versioning)
                    .await
                    .unwrap();
            }
        }
    }

    async fn put(&mut self, key: ObjectKey, clock_ms: u64) {
        let before = self
            .meta
            .newest_version(self.bucket.id, &key)
            .await
            .unwrap();
        let record = put(&self.meta, &self.bucket, &key, "e", clock_ms).await;
        if let Some(before) = before {
            assert!(
                record.sequence > before.sequence,
                "newer, whatever the clock says"
            );
            assert!(
                before.is_delete_marker() || record.last_modified_ms >= before.last_modified_ms
            );
        }
        let ObjectBody::Single(data) = record.body else {
            panic!("it has data")
        };
        self.written.insert(data);
        let version = ModelVersion {
            id: record.version,
            data: Some(data),
        };
        self.keys
            .entry(key.clone())
            .or_default()
            .add(version, self.bucket.versioning);
        self.remember(&key, record.version);
    }

    async fn delete(&mut self, key: ObjectKey, clock_ms: u64) {
        let outcome = delete(&self.meta, &self.bucket, &key, None, clock_ms).await;
        let model = self.keys.entry(key.clone()).or_default();
        if self.bucket.versioning == Versioning::Never {
            let removed = DeleteOutcome::Removed {
                version: VersionId::Null,
                was_delete_marker: false,
            };
            assert_eq!(
                outcome,
                if model.versions.is_empty() {
                    DeleteOutcome::NothingThere
                } else {
                    removed
                }
            );
            model.versions.clear();
            return;
        }
        let DeleteOutcome::MarkerCreated { version } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            version == VersionId::Null,
            self.bucket.versioning == Versioning::Suspended
        );
        model.add(
            ModelVersion {
                id: version,
                data: None,
            },
            self.bucket.versioning,
        );
        self.remember(&key, version);
    }

    async fn delete_version(&mut self, key: ObjectKey, which: usize) {
        let model = self.keys.entry(key.clone()).or_default();
        let position = which.min(model.versions.len());
        let id = model
            .versions
            .get(position)
            .map_or(VersionId::Id([9; 16]), |version| version.id);
        let expected = match model.versions.iter().position(|version| version.id == id) {
            None => DeleteOutcome::NothingThere,
            Some(at) => {
                let removed = model.versions.remove(at);
                DeleteOutcome::Removed {
                    version: id,
                    was_delete_marker: removed.data.is_none(),
                }
            }
        };
        assert_eq!(
            delete(&self.meta, &self.bucket, &key, Some(id), 1_000).await,
            expected
        );
    }

    fn remember(&mut self, key: &ObjectKey, version: VersionId) {
        self.seen.insert((key.clone(), version.to_string()));
    }

    async fn check(&self) {
        let mut listed = Vec::new();
        for (key, model) in &self.keys {
            let current = self.meta.object(self.bucket.id, key).await.unwrap();
            assert_eq!(
                current.as_ref().map(|record| record.body),
                model.current().map(ObjectBody::Single),
                "{key:?}"
            );
            let newest = self.meta.newest_version(self.bucket.id, key).await.unwrap();
            assert_eq!(
                newest.map(|record| record.version),
                model.versions.last().map(|version| version.id)
            );
            if model.current().is_some() {
                listed.push(key.clone());
            }
        }
        for (key, version) in &self.seen {
            let id: VersionId = version.parse().unwrap();
            let found = self.meta.version(self.bucket.id, key, id).await.unwrap();
            let model = self.keys[key]
                .versions
                .iter()
                .find(|version| version.id == id);
            let body = |data: Option<DataId>| data.map_or(ObjectBody::Empty, ObjectBody::Single);
            assert_eq!(
                found.map(|record| record.body),
                model.map(|model| body(model.data)),
                "{key:?} {id}"
            );
        }
        let everything = ListRequest {
            limit: 100,
            ..ListRequest::default()
        };
        let page = self
            .meta
            .list_objects(self.bucket.id, &everything)
            .await
            .unwrap();
        let page: Vec<_> = page
            .entries
            .iter()
            .map(|entry| key(entry.as_str()))
            .collect();
        assert_eq!(page, listed);
        self.check_data().await;
    }

    /// What is not in the deletion queue is what some version refers to.
    async fn check_data(&self) {
        let due = self
            .meta
            .due_deletions(u64::MAX - 1, 1_000)
            .await
            .unwrap()
            .data;
        let due: BTreeSet<DataId> = due.iter().map(|deletion| deletion.data_id).collect();
        let versions = self.keys.values().flat_map(|model| &model.versions);
        let referred: BTreeSet<DataId> = versions.filter_map(|version| version.data).collect();
        assert_eq!(
            self.written
                .difference(&due)
                .copied()
                .collect::<BTreeSet<_>>(),
            referred
        );
    }
}

fn run(ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let meta = meta();
        let bucket = bucket(&meta, "model").await;
        let (keys, seen, written) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut world = World {
            meta,
            bucket,
            keys,
            seen,
            written,
        };
        for op in ops {
            world.apply(op).await;
            world.check().await;
        }
        world.empty_and_delete().await;
    });
}

impl World {
    /// In the end, deleting every version leaves a bucket that can be deleted, and only then.
    async fn empty_and_delete(&mut self) {
        let is_empty = self.keys.values().all(|model| model.versions.is_empty());
        if !is_empty {
            assert!(
                self.meta
                    .delete_bucket(&self.bucket.name, 2_000)
                    .await
                    .is_err()
            );
        }
        for (key, model) in &self.keys {
            for version in &model.versions {
                delete(&self.meta, &self.bucket, key, Some(version.id), 2_000).await;
            }
        }
        self.meta
            .delete_bucket(&self.bucket.name, 2_000)
            .await
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn versions_agree_with_the_model(ops in ops()) {
        run(&ops);
    }
}

#[test]
fn entries_of_a_listing_are_objects() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let meta = meta();
        let bucket = bucket(&meta, "model").await;
        put(&meta, &bucket, &key("a"), "e", 1).await;
        let page = meta.list_objects(bucket.id, &ListRequest { limit: 1, ..ListRequest::default() }).await.unwrap();
        assert!(matches!(page.entries.as_slice(), [ListEntry::Object { record, .. }] if record.etag == "e"));
    });
}
