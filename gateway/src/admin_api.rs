//! The documents of the admin API, shared by the gateway that serves it and the command line that calls it.
//!
//! All are JSON under `/-/admin/v1`, signed with SigV4 by the root credentials (service `s3`, the cluster's region,
//! `x-amz-content-sha256` of the body, which is at most [`BODY_SIZE_BYTES_MAX`]).
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `POST /-/admin/v1/users` | [`CreateUser`] | 201 [`User`] |
//! | `GET /-/admin/v1/users` | | 200 [`UserList`] |
//! | `GET /-/admin/v1/users/{name}` | | 200 [`User`] |
//! | `DELETE /-/admin/v1/users/{name}` | | 204 |
//! | `POST /-/admin/v1/keys` | [`CreateKey`] | 201 [`CreatedKey`] |
//! | `GET /-/admin/v1/keys?user={name}` | | 200 [`KeyList`] |
//! | `DELETE /-/admin/v1/keys/{access_key}` | | 204 |
//! | `GET /-/admin/v1/cluster` | | 200 [`ClusterStatus`] |
//!
//! Every refusal is an [`ErrorDocument`] with status 400, 403, 404, 405, 409, 413, 500 or 503. Fields are only ever added.
//! For other programs all of this is written down in `docs/formats/admin-api.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where all paths of the admin API begin.
pub const PATH_PREFIX: &str = "/-/admin/v1";

/// Longest body a request may have: a user or a key needs a few hundred bytes.
pub const BODY_SIZE_BYTES_MAX: usize = 64 << 10;

/// Asks for a new user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Unique; 1 to 64 characters of letters, digits and `+=,.@_-`.
    pub name: String,
    /// An address of at most 254 bytes, kept in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Shown as the owner's name in listings, at most 256 bytes; the name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Unique, chosen at creation.
    pub name: String,
    /// 64 hexadecimal digits that name the user in S3's owner fields for ever.
    pub canonical_id: String,
    /// As given at creation.
    pub email: Option<String>,
    /// Shown as the owner's name in listings.
    pub display_name: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// All users, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    /// In the order of their names.
    pub users: Vec<User>,
}

/// Asks for a new access key. Both parts are generated unless both are given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Whose key.
    pub user: String,
    /// 3 to 128 letters, digits and `_-.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// 8 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

impl std::fmt::Debug for CreateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateKey")
            .field("user", &self.user)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// A new key. The secret is in this answer and never again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// Whose key.
    pub user: String,
    /// Names the key.
    pub access_key: String,
    /// Signs with it.
    pub secret_key: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey")
            .field("user", &self.user)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Whose key, by name.
    pub user: String,
    /// Names the key.
    pub access_key: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// Keys, by access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// In the order of their access keys.
    pub keys: Vec<Key>,
}

/// What the cluster looks like from this gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Version of the gateway that answers.
    pub version: String,
    /// The region clients sign for.
    pub region: String,
    /// How new objects are coded, as `4+2`; two copies are `1+1`.
    pub geometry: String,
    /// Whether a write would reach its quorum now.
    pub writable: bool,
    /// All disks of the map.
    pub disks: Vec<Disk>,
    /// Background work waiting.
    pub queues: Queues,
    /// The metadata backend.
    pub metadata: MetadataStatus,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its directory on its host; empty where that is not known.
    #[serde(default)]
    pub path: String,
    /// `healthy`, `full`, `failed` or `unreachable`, which one that hangs is too. (In the metrics of the process that
    /// has the disk, one that hangs is `hung`.)
    pub health: String,
    /// Why it failed, where it said so.
    #[serde(default)]
    pub failure: Option<String>,
    /// Failure domain above the disk.
    pub host: String,
    /// Failure domain above the host.
    pub zone: String,
    /// Size of the file system; `None` where the disk does not answer.
    pub capacity_bytes: Option<u64>,
    /// What may still be written.
    pub free_bytes: Option<u64>,
    /// Live shards.
    pub shard_count: Option<u64>,
    /// Live payload bytes.
    pub shard_bytes: Option<u64>,
    /// Bytes that compaction would give back.
    pub garbage_bytes: Option<u64>,
}

/// Background work waiting; `None` where the metadata do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// Data waiting for its deletion.
    pub deletions: Option<u64>,
    /// Whether there are more deletions than were counted.
    #[serde(default)]
    pub has_more_deletions: bool,
    /// Chunks with missing shards that are waited for.
    pub repairs: Option<u64>,
    /// Whether there are more repairs than were counted.
    #[serde(default)]
    pub has_more_repairs: bool,
    /// Disks that are away or were removed, and whose shards are not all made again elsewhere. The chunks that have
    /// shards on them are not among `repairs` before it is tried in vain to make these again. While disks are away,
    /// only the gateway that makes them again knows.
    #[serde(default)]
    pub missed_disks: Option<u64>,
}

/// State of the metadata backend, as its owner reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataStatus {
    /// `rocksdb`, `remote` or `memory`.
    pub backend: String,
    /// Whether it answers.
    pub healthy: bool,
    /// What an operator should know, in a sentence; may be empty.
    pub detail: String,
    /// Sizes and counts as they are now, by name, as `journal_bytes`; also exported as metrics.
    pub figures: BTreeMap<String, u64>,
    /// Counts since the start of the process that has the backend, by name, as `commits`; also exported as metrics.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// What went wrong, for programs: S3's code where there is one, else `NoSuchUser`, `UserExists`,
    /// `NoSuchKey`, `KeyExists`, `UserOwnsBuckets` and the like.
    pub code: String,
    /// What went wrong and what to do, for people.
    pub message: String,
    /// The id under which the gateway logged the request.
    pub request_id: String,
}
