//! Keys: where each record is, so that byte order is the order every scan wants.
//!
//! One byte names the table; `docs/formats/metadata.md` lists them all. Object keys are raw where nothing follows
//! them (`o`, `h`), and escaped where something does: a zero byte becomes `00 FF` and the end is `00 00`, which
//! keeps the order and lets no key be the beginning of another.

use bytes::Bytes;

use crate::error::MetaError;
use crate::ids::{
    AccessKey, BucketId, BucketName, CanonicalId, DataId, DiskId, Email, ManifestId, ObjectKey,
    PartNumber, UploadId, UserName,
};
pub(crate) use crate::kv::scan::prefix_end as end_of_prefix;

/// One byte per table.
mod table {
    pub(super) const ACCESS_KEY: u8 = b'A';
    pub(super) const BUCKET: u8 = b'b';
    pub(super) const CANONICAL_ID: u8 = b'C';
    pub(super) const COMPLETED: u8 = b'c';
    pub(super) const DISK: u8 = b'D';
    pub(super) const DATA: u8 = b'd';
    pub(super) const EMAIL: u8 = b'E';
    pub(super) const HEAD: u8 = b'h';
    pub(super) const LEASE: u8 = b'l';
    pub(super) const MANIFEST: u8 = b'm';
    pub(super) const OBJECT: u8 = b'o';
    pub(super) const PART: u8 = b'p';
    pub(super) const DELETION: u8 = b'q';
    pub(super) const REPAIR: u8 = b'r';
    pub(super) const SINGLETON: u8 = b's';
    pub(super) const STAGED: u8 = b't';
    pub(super) const USER: u8 = b'U';
    pub(super) const UPLOAD: u8 = b'u';
    pub(super) const VERSION: u8 = b'v';
    pub(super) const OWNED_BUCKET: u8 = b'w';
}

fn key(table: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table);
    for part in parts {
        key.extend_from_slice(part);
    }
    Bytes::from(key)
}

/// The smallest key greater than `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// `text` with each zero byte followed by `FF`; order is kept, and `00 00` never occurs.
pub(crate) fn escape(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() + 2);
    for byte in text {
        escaped.push(*byte);
        if *byte == 0 {
            escaped.push(0xff);
        }
    }
    escaped
}

/// The inverse of [`escape`] up to the terminator: the text, and what is behind the terminator.
fn unescape(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match rest {
            [0, 0, behind @ ..] => return Some((String::from_utf8(text).ok()?, behind)),
            [0, 0xff, behind @ ..] => {
                text.push(0);
                rest = behind;
            }
            [0, ..] | [] => return None,
            [byte, behind @ ..] => {
                text.push(*byte);
                rest = behind;
            }
        }
    }
}

fn damaged(what: &'static str) -> MetaError {
    MetaError::Corrupt {
        record: what,
        detail: "its key does not have the right form".to_owned(),
    }
}

pub(crate) fn bucket(name: &BucketName) -> Bytes {
    key(table::BUCKET, &[name.as_str().as_bytes()])
}

pub(crate) fn owned_bucket(owner: CanonicalId, name: &BucketName) -> Bytes {
    owned_buckets(owner, name.as_str())
}

/// Where the owner's buckets whose names begin with `prefix` are.
pub(crate) fn owned_buckets(owner: CanonicalId, prefix: &str) -> Bytes {
    key(table::OWNED_BUCKET, &[&owner.0, prefix.as_bytes()])
}

pub(crate) fn object(bucket: BucketId, object: &ObjectKey) -> Bytes {
    objects(bucket, object.as_str())
}

/// Where the objects whose keys begin with `prefix` are.
pub(crate) fn objects(bucket: BucketId, prefix: &str) -> Bytes {
    key(table::OBJECT, &[&bucket.0, prefix.as_bytes()])
}

/// The object key in a key (or the common prefix in the beginning of a key) of the table of objects.
pub(crate) fn object_text(kv_key: &[u8]) -> Result<&str, MetaError> {
    let text = kv_key.get(9..).ok_or_else(|| damaged("object record"))?;
    std::str::from_utf8(text).map_err(|_| damaged("object record"))
}

pub(crate) fn head(bucket: BucketId, object: &ObjectKey) -> Bytes {
    key(table::HEAD, &[&bucket.0, object.as_bytes()])
}

/// Where the noncurrent versions of one key are, newest first.
pub(crate) fn versions(bucket: BucketId, object: &ObjectKey) -> Bytes {
    key(
        table::VERSION,
        &[&bucket.0, &escape(object.as_bytes()), &[0, 0]],
    )
}

pub(crate) fn version(bucket: BucketId, object: &ObjectKey, sequence: u64) -> Bytes {
    key(
        table::VERSION,
        &[
            &bucket.0,
            &escape(object.as_bytes()),
            &[0, 0],
            &(!sequence).to_be_bytes(),
        ],
    )
}

/// Where all noncurrent versions and delete markers of a bucket are.
pub(crate) fn versions_of_bucket(bucket: BucketId) -> Bytes {
    key(table::VERSION, &[&bucket.0])
}

pub(crate) fn data(id: DataId) -> Bytes {
    key(table::DATA, &[&id.0])
}

/// The record of the chunks from `run * CHUNKS_PER_RECORD` on; run 0 is in the first record.
pub(crate) fn data_run(id: DataId, run: u32) -> Bytes {
    if run == 0 {
        data(id)
    } else {
        key(table::DATA, &[&id.0, &run.to_be_bytes()])
    }
}

/// The bytes of a datum that has no shards yet.
pub(crate) fn staged(id: DataId) -> Bytes {
    key(table::STAGED, &[&id.0])
}

/// The table of staged bytes.
pub(crate) fn all_staged() -> Bytes {
    key(table::STAGED, &[])
}

/// The table of data.
pub(crate) fn all_data() -> Bytes {
    key(table::DATA, &[])
}

/// The datum of the key of a first record or of staged bytes; `None` for the key of a continuation.
pub(crate) fn data_id(kv_key: &[u8]) -> Option<DataId> {
    kv_key
        .get(1..)
        .and_then(|id| id.try_into().ok())
        .map(DataId)
}

/// Where the records of one manifest are.
pub(crate) fn manifest(id: ManifestId) -> Bytes {
    key(table::MANIFEST, &[&id.0])
}

pub(crate) fn manifest_run(id: ManifestId, run: u16) -> Bytes {
    key(table::MANIFEST, &[&id.0, &run.to_be_bytes()])
}

/// Where the datum that attests a completion is named: behind all runs of parts, of which there are at most 20, so
/// that it goes with them.
pub(crate) fn manifest_attestation(id: ManifestId) -> Bytes {
    manifest_run(id, u16::MAX)
}

pub(crate) fn upload(bucket: BucketId, object: &ObjectKey, id: UploadId) -> Bytes {
    key(
        table::UPLOAD,
        &[&bucket.0, &escape(object.as_bytes()), &[0, 0], &id.0],
    )
}

/// Where the uploads for keys that begin with `prefix` are.
pub(crate) fn uploads(bucket: BucketId, prefix: &str) -> Bytes {
    key(table::UPLOAD, &[&bucket.0, &escape(prefix.as_bytes())])
}

/// Where the uploads for exactly this key are.
pub(crate) fn uploads_of_key(bucket: BucketId, object: &str) -> Bytes {
    key(
        table::UPLOAD,
        &[&bucket.0, &escape(object.as_bytes()), &[0, 0]],
    )
}

/// What a key of the table of uploads says.
pub(crate) fn parse_upload(kv_key: &[u8]) -> Result<(BucketId, ObjectKey, UploadId), MetaError> {
    let parse = || {
        let (bucket, rest) = kv_key.get(1..)?.split_first_chunk::<8>()?;
        let (object, id) = unescape(rest)?;
        Some((
            BucketId(*bucket),
            ObjectKey::parse(object).ok()?,
            UploadId(id.try_into().ok()?),
        ))
    };
    parse().ok_or_else(|| damaged("upload record"))
}

/// Where the parts of an upload are, in order.
pub(crate) fn parts(upload: UploadId) -> Bytes {
    key(table::PART, &[&upload.0])
}

pub(crate) fn part(upload: UploadId, number: PartNumber) -> Bytes {
    key(table::PART, &[&upload.0, &number.get().to_be_bytes()])
}

/// A part that was found on the disks, beside others of its number.
pub(crate) fn recovered_part(upload: UploadId, number: PartNumber, data: DataId) -> Bytes {
    key(
        table::PART,
        &[&upload.0, &number.get().to_be_bytes(), &data.0],
    )
}

/// The table of parts.
pub(crate) fn all_parts() -> Bytes {
    key(table::PART, &[])
}

/// The upload of a part's key.
pub(crate) fn upload_of_part(kv_key: &[u8]) -> Result<UploadId, MetaError> {
    let id = kv_key.get(1..).and_then(|id| id.split_first_chunk::<16>());
    id.map(|(id, _)| UploadId(*id))
        .ok_or_else(|| damaged("part record"))
}

pub(crate) fn completed(upload: UploadId) -> Bytes {
    key(table::COMPLETED, &[&upload.0])
}

/// The table of completed uploads.
pub(crate) fn all_completed() -> Bytes {
    key(table::COMPLETED, &[])
}

/// What an entry of the deletion queue is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeletionTarget {
    /// One datum: shards, then records.
    Data(DataId),
    /// The data of all parts that a manifest lists.
    Manifest(ManifestId),
    /// The parts left of an upload that is no longer in progress.
    Parts(UploadId),
    /// The uploads of a bucket that is gone.
    Uploads(BucketId),
}

pub(crate) fn deletion(due_ms: u64, target: DeletionTarget) -> Bytes {
    let (tag, id): (u8, &[u8]) = match &target {
        DeletionTarget::Data(id) => (b'd', &id.0),
        DeletionTarget::Manifest(id) => (b'm', &id.0),
        DeletionTarget::Parts(id) => (b'p', &id.0),
        DeletionTarget::Uploads(id) => (b'u', &id.0),
    };
    key(table::DELETION, &[&due_ms.to_be_bytes(), &[tag], id])
}

/// The table of deletions, earliest due first.
pub(crate) fn all_deletions() -> Bytes {
    key(table::DELETION, &[])
}

/// Before the first deletion due at `now_ms`.
pub(crate) fn deletions_from(now_ms: u64) -> Bytes {
    key(table::DELETION, &[&now_ms.to_be_bytes()])
}

/// Behind the last deletion due at `now_ms`.
pub(crate) fn deletions_due_end(now_ms: u64) -> Bytes {
    key(table::DELETION, &[&now_ms.saturating_add(1).to_be_bytes()])
}

pub(crate) fn parse_deletion(kv_key: &[u8]) -> Result<(u64, DeletionTarget), MetaError> {
    let parse = || {
        let (due, rest) = kv_key.get(1..)?.split_first_chunk::<8>()?;
        let (tag, id) = rest.split_first()?;
        let target = match tag {
            b'd' => DeletionTarget::Data(DataId(id.try_into().ok()?)),
            b'm' => DeletionTarget::Manifest(ManifestId(id.try_into().ok()?)),
            b'p' => DeletionTarget::Parts(UploadId(id.try_into().ok()?)),
            b'u' => DeletionTarget::Uploads(BucketId(id.try_into().ok()?)),
            _ => return None,
        };
        Some((u64::from_be_bytes(*due), target))
    };
    parse().ok_or_else(|| damaged("deletion record"))
}

pub(crate) fn repair(data: DataId, chunk_index: u32) -> Bytes {
    key(table::REPAIR, &[&data.0, &chunk_index.to_be_bytes()])
}

/// Where the repairs of one datum are.
pub(crate) fn repairs(data: DataId) -> Bytes {
    key(table::REPAIR, &[&data.0])
}

/// The table of repairs.
pub(crate) fn all_repairs() -> Bytes {
    key(table::REPAIR, &[])
}

pub(crate) fn parse_repair(kv_key: &[u8]) -> Result<(DataId, u32), MetaError> {
    let parse = || {
        let (data, chunk) = kv_key.get(1..)?.split_first_chunk::<16>()?;
        Some((DataId(*data), u32::from_be_bytes(chunk.try_into().ok()?)))
    };
    parse().ok_or_else(|| damaged("repair record"))
}

pub(crate) fn lease(name: &str) -> Bytes {
    key(table::LEASE, &[name.as_bytes()])
}

pub(crate) fn user(name: &UserName) -> Bytes {
    key(table::USER, &[name.as_str().as_bytes()])
}

/// The table of users, by name.
pub(crate) fn all_users() -> Bytes {
    key(table::USER, &[])
}

pub(crate) fn canonical_id(id: CanonicalId) -> Bytes {
    key(table::CANONICAL_ID, &[&id.0])
}

pub(crate) fn email(email: &Email) -> Bytes {
    key(table::EMAIL, &[email.as_str().as_bytes()])
}

pub(crate) fn access_key(access_key: &AccessKey) -> Bytes {
    key(table::ACCESS_KEY, &[access_key.as_str().as_bytes()])
}

pub(crate) fn disk(id: DiskId) -> Bytes {
    key(table::DISK, &[&id.0])
}

/// The table of disks.
pub(crate) fn all_disks() -> Bytes {
    key(table::DISK, &[])
}

pub(crate) fn cluster() -> Bytes {
    key(table::SINGLETON, &[b"cluster"])
}

pub(crate) fn rebuild() -> Bytes {
    key(table::SINGLETON, &[b"rebuild"])
}

pub(crate) fn master_key_check() -> Bytes {
    key(table::SINGLETON, &[b"master-key-check"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = ObjectKey> {
        "[\\x00-\\x02a-c/é😀]{1,6}".prop_map(|key| ObjectKey::parse(key).unwrap())
    }

    proptest! {
        #[test]
        fn upload_keys_sort_by_object_key_then_id(a in any_key(), b in any_key(), x: [u8; 16], y: [u8; 16]) {
            let bucket = BucketId([7; 8]);
            let (x, y) = (UploadId(x), UploadId(y));
            prop_assert_eq!(upload(bucket, &a, x).cmp(&upload(bucket, &b, y)), (&a, x).cmp(&(&b, y)));
            prop_assert_eq!(parse_upload(&upload(bucket, &a, x)).unwrap(), (bucket, a, x));
        }

        #[test]
        fn version_keys_sort_by_object_key_then_newest_first(a in any_key(), b in any_key(), x: u64, y: u64) {
            let bucket = BucketId([7; 8]);
            prop_assert_eq!(version(bucket, &a, x).cmp(&version(bucket, &b, y)), (&a, !x).cmp(&(&b, !y)));
        }

        #[test]
        fn object_keys_sort_as_their_bytes(a in any_key(), b in any_key()) {
            let bucket = BucketId([7; 8]);
            prop_assert_eq!(object(bucket, &a).cmp(&object(bucket, &b)), a.cmp(&b));
            let key = object(bucket, &a);
            prop_assert_eq!(object_text(&key).unwrap(), a.as_str());
        }

        #[test]
        fn deletion_keys_sort_by_due_time(x: u64, y: u64, id: [u8; 16]) {
            let target = DeletionTarget::Data(DataId(id));
            prop_assert_eq!(deletion(x, target).cmp(&deletion(y, target)), x.cmp(&y));
            prop_assert_eq!(parse_deletion(&deletion(x, target)).unwrap(), (x, target));
            prop_assert!(x == u64::MAX || deletion(x, target) < deletions_due_end(x));
        }

        #[test]
        fn the_end_of_a_prefix_is_behind_all_its_keys(prefix: Vec<u8>, rest: Vec<u8>) {
            let key = [prefix.clone(), rest].concat();
            if let Some(end) = end_of_prefix(&prefix) {
                prop_assert!(key.as_slice() < end.as_ref());
                prop_assert!(!end.starts_with(&prefix));
            } else {
                prop_assert!(prefix.iter().all(|byte| *byte == 0xff));
            }
        }

        #[test]
        fn arbitrary_keys_never_panic(bytes: Vec<u8>) {
            drop((parse_upload(&bytes), parse_deletion(&bytes), parse_repair(&bytes), data_id(&bytes)));
            drop(object_text(&bytes).map(str::to_owned));
        }
    }
}
