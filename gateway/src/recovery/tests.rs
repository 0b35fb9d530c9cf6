//! The rebuilt namespace against a model: versions of keys and uploads that were written, and shards of them lost.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    BucketName, BucketRecord, BucketState, CanonicalId, Coding, DataId, ManifestId, MasterKey,
    PartNumber, SystemHeaders, Versioning,
};
use cairn_storage_node::{Durability, MemoryShardStore, ShardId, ShardPut};
use md5::{Digest, Md5};
use proptest::prelude::*;

use super::*;
use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};
use crate::engine::descriptor::{Descriptor, LastChunk};

const BUCKET: BucketId = BucketId([0xb0; 8]);
const CHUNK_BYTES: u32 = 10;

/// One version of a key as it was written.
#[derive(Debug, Clone)]
struct Version {
    key: u8,
    at_ms: u64,
    body: Body,
}

/// What was found of it; a piece is there if anything of it is.
#[derive(Debug, Clone)]
enum Body {
    /// In two chunks.
    Single { chunks: [bool; 2] },
    /// In two parts.
    Upload { parts: [bool; 2], attestation: bool },
}

impl Body {
    fn is_whole(&self) -> bool {
        match self {
            Self::Single { chunks } => *chunks == [true; 2],
            Self::Upload { parts, attestation } => *parts == [true; 2] && *attestation,
        }
    }

    /// Whether it can be seen that there was an object that is not whole. Parts alone may be of an upload that was
    /// never completed.
    fn is_seen_incomplete(&self) -> bool {
        !self.is_whole()
            && match self {
                Self::Single { chunks } => *chunks != [false; 2],
                Self::Upload { attestation, .. } => *attestation,
            }
    }
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    // Nearly everything is there.
    let is_there = || prop::bool::weighted(0.85);
    let pair = || [is_there(), is_there()];
    let body = prop_oneof![
        pair().prop_map(|chunks| Body::Single { chunks }),
        (pair(), is_there()).prop_map(|(parts, attestation)| Body::Upload { parts, attestation }),
    ];
    let version =
        (0u8..4, 1u64..30, body).prop_map(|(key, at_ms, body)| Version { key, at_ms, body });
    prop::collection::vec(version, 0..12)
}

fn id(version: usize, piece: u8) -> [u8; 16] {
    let mut id = [piece; 16];
    id[0] = u8::try_from(version).unwrap();
    id
}

fn key(number: u8) -> String {
    format!("key-{number}")
}

fn origin(at_ms: u64) -> Origin {
    Origin {
        kept_at_ms: at_ms,
        owner: CanonicalId([0xc0; 32]),
        bucket_name: BucketName::parse("bucket").unwrap(),
        bucket_owner: CanonicalId([0xb0; 32]),
        bucket_created_at_ms: 1,
        bucket_region: "eu".to_owned(),
    }
}

fn content(size_bytes: u32, md5: [u8; 16]) -> Content {
    let checksum = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, &md5);
    Content::new(u64::from(size_bytes), md5, &checksum)
}

/// What a client sent along with a version, which no other one has.
fn pairs(what: &str, number: usize) -> Vec<(String, String)> {
    [1, 2]
        .map(|nth| (format!("{what}-{nth}"), format!("of {number}")))
        .into()
}

/// The content of a whole object, with all that a client sends along.
fn content_of_object(number: usize, md5: [u8; 16]) -> Content {
    let headers = SystemHeaders {
        content_type: Some(format!("text/x-{number}")),
        ..SystemHeaders::default()
    };
    Content {
        storage_class: format!("CLASS-{number}"),
        headers,
        user_metadata: pairs("metadata", number),
        tags: pairs("tag", number),
        ..content(2 * CHUNK_BYTES, md5)
    }
}

/// What a datum was written with.
struct Datum {
    key: String,
    part: Option<([u8; 16], u16)>,
    id: [u8; 16],
    at_ms: u64,
    sizes: Vec<u32>,
    keepsake: Keepsake,
}

impl Datum {
    /// Puts those of its chunks that are `there`, each as one copy.
    async fn put(&self, there: &[bool], store: &MemoryShardStore) {
        for (index, size_bytes) in (0u32..).zip(&self.sizes) {
            if !there[index as usize] {
                continue;
            }
            let is_last = index as usize + 1 == self.sizes.len();
            let descriptor = Descriptor {
                bucket: BUCKET.0,
                key: self.key.clone(),
                part: self.part,
                data_id: self.id,
                chunk_index: index,
                chunk_size_bytes: *size_bytes,
                coding: Coding::Copies { count: 1 },
                placement: vec![Some(store.disk_id().0)],
                created_at_ms: self.at_ms,
                last: is_last.then(|| LastChunk {
                    size_bytes: self.sizes.iter().map(|size| u64::from(*size)).sum(),
                    manifest: self.keepsake.encode().to_vec(),
                }),
            };
            let put = ShardPut {
                id: ShardId {
                    data_id: cairn_storage_node::DataId(self.id),
                    chunk_index: index,
                    shard_index: 0,
                },
                descriptor: descriptor.encode(),
                payload: vec![0; *size_bytes as usize].into(),
            };
            store.put(put, Durability::Synced).await.unwrap();
        }
    }
}

/// A piece of a version of a key.
fn datum(
    number: usize,
    (key_number, at_ms): (u8, u64),
    piece: u8,
    part: Option<([u8; 16], u16)>,
    content: Content,
    completion: Option<Completion>,
) -> Datum {
    let sizes = match (piece, part) {
        (0, _) => vec![CHUNK_BYTES; 2],
        (_, Some(_)) => vec![CHUNK_BYTES],
        (_, None) => vec![0],
    };
    Datum {
        key: key(key_number),
        part,
        id: id(number, piece),
        at_ms,
        sizes,
        keepsake: Keepsake {
            content,
            origin: Some(origin(at_ms)),
            completion,
        },
    }
}

const PART_NUMBERS: [u16; 2] = [2, 5];

fn part_md5s(number: usize) -> [[u8; 16]; 2] {
    [1u8, 2].map(|piece| id(number, piece))
}

/// That the upload of this version was completed.
fn attestation(number: usize, at: (u8, u64), piece: u8) -> Datum {
    attestation_of(part_md5s(number), number, at, piece)
}

fn attestation_of(
    part_md5s: [[u8; 16]; 2],
    number: usize,
    (key, at_ms): (u8, u64),
    piece: u8,
) -> Datum {
    let md5 = Md5::digest(part_md5s.concat());
    let kept = content_of_object(number, md5.into());
    let numbers = PART_NUMBERS.map(|number| PartNumber::new(number).unwrap());
    let completion = Completion::new(UploadId(id(number, 9)), true, numbers);
    datum(number, (key, at_ms), piece, None, kept, Some(completion))
}

async fn write(number: usize, version: &Version, store: &MemoryShardStore) {
    let at = (version.key, version.at_ms);
    match &version.body {
        Body::Single { chunks } => {
            let kept = content_of_object(number, id(number, 0));
            let whole = datum(number, at, 0, None, kept, None);
            whole.put(chunks, store).await;
        }
        Body::Upload {
            parts,
            attestation: is_attested,
        } => {
            let upload = id(number, 9);
            let md5s = part_md5s(number);
            for (piece, (index, is_there)) in (1u8..).zip(parts.iter().enumerate()) {
                let kept = content(CHUNK_BYTES, md5s[index]);
                let part = Some((upload, PART_NUMBERS[index]));
                let part = datum(number, at, piece, part, kept, None);
                part.put(&[*is_there], store).await;
            }
            let attested = attestation(number, at, 3);
            attested.put(&[*is_attested], store).await;
        }
    }
}

const NOW_MS: u64 = 1_000_000;

/// Lets others go on before it commits, as a store with a disk does; in that of the model nobody comes in between.
#[derive(Debug)]
struct YieldingKv(MemoryKv);

#[async_trait]
impl KvStore for YieldingKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.0.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.0.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        tokio::task::yield_now().await;
        self.0.commit(batch).await
    }
}

async fn recover(store: Arc<MemoryShardStore>) -> (Meta, RecoveryReport) {
    let kv = YieldingKv(MemoryKv::new());
    let meta = Meta::new(Arc::new(kv), MasterKey::random());
    let recovery = Recovery {
        disks: vec![store as Arc<dyn ShardStore>],
        awaited: BTreeSet::new(),
        meta: meta.clone(),
        now_ms: NOW_MS,
    };
    let report = recovery.run(&|_| {}).await.unwrap();
    (meta, report)
}

/// Which write of a version of a key is the current one: the identity of its body.
fn body_id(number: usize, version: &Version) -> [u8; 16] {
    match version.body {
        Body::Single { .. } => id(number, 0),
        Body::Upload { .. } => id(number, 9),
    }
}

async fn check(versions: &[Version]) -> Result<(), TestCaseError> {
    let store = Arc::new(MemoryShardStore::new(DiskId([1; 16])));
    for (number, version) in versions.iter().enumerate() {
        write(number, version, &store).await;
    }
    let (meta, report) = recover(store).await;

    let mut current: BTreeMap<u8, (u64, [u8; 16], usize)> = BTreeMap::new();
    for (number, version) in versions
        .iter()
        .enumerate()
        .filter(|(_, version)| version.body.is_whole())
    {
        let candidate = (version.at_ms, body_id(number, version), number);
        let best = current.entry(version.key).or_insert(candidate);
        *best = candidate.max(*best);
    }
    for number in 0..4 {
        let object = meta
            .object(BUCKET, &cairn_meta::ObjectKey::parse(key(number)).unwrap())
            .await
            .unwrap();
        let expected = current.get(&number).map(|(at_ms, id, _)| (*at_ms, *id));
        let found = object.as_ref().map(|object| {
            let id = match object.body {
                ObjectBody::Empty => [0; 16],
                ObjectBody::Single(data) => data.0,
                ObjectBody::Parts { manifest, .. } => manifest.0,
            };
            (object.last_modified_ms, id)
        });
        prop_assert_eq!(found, expected);
        if let Some(object) = object {
            let (_, _, version) = current[&number];
            check_content(&meta, version, &versions[version], &object).await?;
        }
    }
    prop_assert_eq!(report.object_count, current.len() as u64);
    prop_assert_eq!(
        report.object_bytes,
        2 * u64::from(CHUNK_BYTES) * current.len() as u64
    );
    let mut lost: Vec<(String, u64)> = versions
        .iter()
        .filter(|version| version.body.is_seen_incomplete())
        .filter(|version| {
            current
                .get(&version.key)
                .is_none_or(|(at_ms, ..)| *at_ms < version.at_ms)
        })
        .map(|version| (key(version.key), version.at_ms))
        .collect();
    let mut listed: Vec<(String, u64)> = report
        .incomplete
        .iter()
        .map(|lost| (lost.key.clone(), lost.written_at_ms))
        .collect();
    lost.sort();
    listed.sort();
    prop_assert_eq!(report.incomplete_count, lost.len() as u64);
    prop_assert_eq!(listed, lost);
    let is_unfinished = |version: &&Version| match version.body {
        Body::Upload { parts, attestation } => !attestation && parts != [false; 2],
        Body::Single { .. } => false,
    };
    prop_assert_eq!(
        report.unfinished_upload_count,
        versions.iter().filter(is_unfinished).count() as u64
    );
    let bucket = meta
        .bucket(&BucketName::parse("bucket").unwrap())
        .await
        .unwrap();
    let at_1 = origin(1);
    prop_assert_eq!(
        bucket,
        (!current.is_empty()).then_some(BucketRecord {
            id: BUCKET,
            name: at_1.bucket_name,
            owner: at_1.bucket_owner,
            created_at_ms: at_1.bucket_created_at_ms,
            region: at_1.bucket_region,
            versioning: Versioning::Never,
            state: BucketState::Live,
        })
    );
    Ok(())
}

async fn check_content(
    meta: &Meta,
    number: usize,
    version: &Version,
    object: &cairn_meta::ObjectRecord,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(object.owner, CanonicalId([0xc0; 32]));
    let kept = content_of_object(number, [0; 16]);
    prop_assert_eq!(&object.tags, &kept.tags);
    prop_assert_eq!(&object.user_metadata, &kept.user_metadata);
    prop_assert_eq!(&object.headers, &kept.headers);
    prop_assert_eq!(&object.storage_class, &kept.storage_class);
    let data: Vec<DataId> = match object.body {
        ObjectBody::Parts {
            manifest,
            part_count,
        } => {
            let parts = meta.manifest(manifest).await.unwrap().unwrap();
            prop_assert_eq!(part_count, 2);
            prop_assert!(object.etag.ends_with("-2"));
            prop_assert_eq!(
                object
                    .checksum
                    .as_ref()
                    .and_then(|checksum| checksum.part_count),
                Some(2)
            );
            parts.iter().filter_map(|part| part.data_id).collect()
        }
        ObjectBody::Single(data) => {
            prop_assert_eq!(&object.etag, &hex::encode(id(number, 0)));
            vec![data]
        }
        ObjectBody::Empty => Vec::new(),
    };
    let expected = match version.body {
        Body::Single { .. } => vec![DataId(id(number, 0))],
        Body::Upload { .. } => vec![DataId(id(number, 1)), DataId(id(number, 2))],
    };
    prop_assert_eq!(&data, &expected);
    for id in data {
        prop_assert!(meta.data(id).await.unwrap().is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_latest_whole_version_of_each_key_is_there_and_what_is_lost_is_told(versions in versions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(&versions))?;
    }
}

/// Two requests that complete an upload at the same time both say so on the disks before one of them can.
#[tokio::test]
async fn an_upload_that_was_attested_twice_keeps_its_parts() {
    let store = Arc::new(MemoryShardStore::new(DiskId([1; 16])));
    let body = Body::Upload {
        parts: [true; 2],
        attestation: true,
    };
    let (key, at_ms) = (0, 5);
    let version = Version { key, at_ms, body };
    write(0, &version, &store).await;
    let again = attestation(0, (key, at_ms + 1), 4);
    again.put(&[true], &store).await;
    let (meta, report) = recover(store).await;
    assert_eq!((report.object_count, report.incomplete_count), (1, 0));

    let tomorrow_ms = NOW_MS + 25 * 3_600_000;
    for _ in 0..2 {
        let due = meta.due_deletions(tomorrow_ms, 100).await.unwrap();
        assert_eq!((due.data.len(), due.damaged.len()), (0, 0));
    }
    let named = cairn_meta::ObjectKey::parse(self::key(key)).unwrap();
    let object = meta.object(BUCKET, &named).await.unwrap().unwrap();
    check_content(&meta, 0, &version, &object).await.unwrap();
}

/// Another part 2 of the upload of version `number`, written a millisecond after the first.
fn part_again(number: usize, id_number: usize) -> Datum {
    let part = Some((id(number, 9), PART_NUMBERS[0]));
    let kept = content(CHUNK_BYTES, id(id_number, 7));
    datum(id_number, (0, 6), 7, part, kept, None)
}

fn whole_upload() -> Version {
    Version {
        key: 0,
        at_ms: 5,
        body: Body::Upload {
            parts: [true; 2],
            attestation: true,
        },
    }
}

/// A part was uploaded again, and the process ended when its shards were there and before it was committed: the upload
/// was completed with the first.
#[tokio::test]
async fn a_part_that_was_never_committed_costs_no_completed_upload() {
    // Found before and behind the right one.
    for again in [0, 2] {
        let store = Arc::new(MemoryShardStore::new(DiskId([1; 16])));
        write(1, &whole_upload(), &store).await;
        part_again(1, again).put(&[true], &store).await;
        let (meta, report) = recover(store).await;
        assert_eq!((report.object_count, report.incomplete_count), (1, 0));
        assert_eq!(report.unfinished_upload_count, 0);
        let named = cairn_meta::ObjectKey::parse(key(0)).unwrap();
        let object = meta.object(BUCKET, &named).await.unwrap().unwrap();
        let checked = check_content(&meta, 1, &whole_upload(), &object).await;
        checked.unwrap();

        let tomorrow_ms = NOW_MS + 25 * 3_600_000;
        let mut deleted = BTreeSet::new();
        for _ in 0..2 {
            let due = meta.due_deletions(tomorrow_ms, 100).await.unwrap();
            deleted.extend(due.data.iter().map(|deletion| deletion.data_id));
        }
        assert_eq!(deleted, BTreeSet::from([DataId(id(again, 7))]));
    }
}

/// A completion that was interrupted before it was committed, and then one with the part that was uploaded again: both
/// have all their parts, and the second was acknowledged.
#[tokio::test]
async fn of_two_completions_that_of_the_latest_parts_stays() {
    // Found before and behind the other attestation.
    for attested in [0, 3] {
        let store = Arc::new(MemoryShardStore::new(DiskId([1; 16])));
        write(1, &whole_upload(), &store).await;
        let again = part_again(1, 2);
        again.put(&[true], &store).await;
        let [_, other] = part_md5s(1);
        let md5s = [again.id, other];
        let mut acknowledged = attestation_of(md5s, 1, (0, 7), 3);
        acknowledged.id = id(attested, 8);
        acknowledged.put(&[true], &store).await;
        let (meta, report) = recover(store).await;
        assert_eq!((report.object_count, report.incomplete_count), (1, 0));
        let named = cairn_meta::ObjectKey::parse(key(0)).unwrap();
        let object = meta.object(BUCKET, &named).await.unwrap().unwrap();
        let parts = meta.manifest(ManifestId(id(1, 9))).await.unwrap().unwrap();
        let data: Vec<_> = parts.iter().filter_map(|part| part.data_id).collect();
        assert_eq!(object.last_modified_ms, 7);
        assert_eq!(data, [DataId(again.id), DataId(id(1, 2))]);
    }
}

#[tokio::test]
async fn what_an_older_cairn_wrote_comes_back_in_a_bucket_named_by_its_id() {
    let store = Arc::new(MemoryShardStore::new(DiskId([1; 16])));
    let old = |number: usize, part| Datum {
        key: key(u8::try_from(number).unwrap()),
        part,
        id: id(number, 0),
        at_ms: 7,
        sizes: vec![CHUNK_BYTES],
        keepsake: Keepsake {
            content: content(CHUNK_BYTES, [1; 16]),
            origin: None,
            completion: None,
        },
    };
    old(0, None).put(&[true], &store).await;
    old(1, Some(([9; 16], 1))).put(&[true], &store).await;
    let (meta, report) = recover(store).await;
    let bucket = &report.buckets[0];
    assert_eq!(bucket.name, "recovered-b0b0b0b0b0b0b0b0");
    assert_eq!(
        bucket.owner,
        crate::identity::root_canonical_id().to_string()
    );
    let named = cairn_meta::ObjectKey::parse(key(0)).unwrap();
    let object = meta.object(BUCKET, &named).await.unwrap().unwrap();
    assert_eq!(object.last_modified_ms, 7);
    // Which parts made an object was not kept then: it is said, not guessed.
    assert_eq!((report.object_count, report.incomplete_count), (1, 1));
    assert_eq!(report.incomplete[0].key, key(1));
}
