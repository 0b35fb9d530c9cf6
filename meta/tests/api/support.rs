//! What the tests of the typed API share: a store in memory, and short ways to make things.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta::kv::MemoryKv;
use cairn_meta::{
    BucketName, BucketRecord, CanonicalId, ChunkRecord, Coding, DataId, DataOwner, DataRecord,
    DeleteOutcome, DiskId, ManifestPart, MasterKey, Meta, NewData, NewObject, NewUpload, ObjectKey,
    ObjectRecord, PartNumber, PartRecord, PutError, SystemHeaders, UploadId, VersionId,
};
use cairn_rpc::random::random_bytes;

pub(crate) const OWNER: CanonicalId = CanonicalId([0xaa; 32]);

pub(crate) fn meta() -> Meta {
    meta_over(&MemoryKv::new())
}

/// Another gateway's handle of the same store.
pub(crate) fn meta_over(kv: &MemoryKv) -> Meta {
    Meta::new(Arc::new(kv.clone()), MasterKey::new([7; 32])).with_delete_delay(Duration::ZERO)
}

pub(crate) async fn bucket(meta: &Meta, name: &str) -> BucketRecord {
    let name = BucketName::parse(name).unwrap();
    meta.create_bucket(name, OWNER, "us-east-1", 1_000)
        .await
        .unwrap()
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub(crate) fn data(bucket: &BucketRecord, key: &ObjectKey, size_bytes: u32) -> NewData {
    let chunk = ChunkRecord {
        size_bytes,
        coding: Coding::Copies { count: 2 },
        shards: vec![Some(DiskId([1; 16])), Some(DiskId([2; 16]))],
    };
    let owner = DataOwner {
        bucket: bucket.id,
        key: key.clone(),
        part: None,
    };
    let record = DataRecord {
        size_bytes: size_bytes.into(),
        owner,
        created_at_ms: 1_000,
        chunks: vec![chunk],
    };
    NewData::placed(DataId(random_bytes()), record)
}

pub(crate) fn object(etag: impl Into<String>, data: Option<NewData>) -> NewObject {
    NewObject {
        modified_ms: None,
        size_bytes: data.as_ref().map_or(0, |data| data.record.size_bytes),
        etag: etag.into(),
        owner: OWNER,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
        data,
    }
}

pub(crate) fn new_upload() -> NewUpload {
    NewUpload {
        owner: OWNER,
        initiator: OWNER,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "preconditions return results")]
pub(crate) fn always(_: Option<&ObjectRecord>) -> Result<(), Infallible> {
    Ok(())
}

pub(crate) fn if_none_match(current: Option<&ObjectRecord>) -> Result<(), &'static str> {
    current.map_or(Ok(()), |_| Err("exists"))
}

pub(crate) async fn put(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    etag: &str,
    now_ms: u64,
) -> ObjectRecord {
    let data = data(bucket, key, 10);
    meta.put_object(bucket, key, object(etag, Some(data)), now_ms, &always)
        .await
        .unwrap()
}

pub(crate) async fn delete(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    version: Option<VersionId>,
    now_ms: u64,
) -> DeleteOutcome {
    meta.delete_object(bucket, key, version, now_ms, &always)
        .await
        .unwrap()
}

/// Whether a conditional put lost.
pub(crate) fn lost<T, P>(result: Result<T, PutError<P>>) -> bool {
    match result {
        Ok(_) => false,
        Err(PutError::Precondition(_)) => true,
        Err(PutError::Meta(error)) => panic!("{error}"),
    }
}

/// Completes an upload of one part; the datum of the part, and the upload's id, which is the manifest's.
pub(crate) async fn put_in_parts(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
) -> (DataId, UploadId) {
    let id = meta
        .create_upload(bucket, key, new_upload(), 1)
        .await
        .unwrap()
        .id;
    let data = data(bucket, key, 10);
    let part = PartRecord {
        part_number: PartNumber::new(1).unwrap(),
        size_bytes: 10,
        etag_md5: [1; 16],
        checksum: None,
        data_id: Some(data.id),
        last_modified_ms: 1,
    };
    meta.put_part(bucket.id, key, id, &part, Some(&data), 1)
        .await
        .unwrap();
    let listed = ManifestPart {
        part_number: part.part_number,
        size_bytes: part.size_bytes,
        data_id: part.data_id,
        etag_md5: part.etag_md5,
        checksum: part.checksum,
    };
    meta.complete_upload(bucket, key, id, &[listed], &object("e-1", None), 2, &always)
        .await
        .unwrap();
    (data.id, id)
}
