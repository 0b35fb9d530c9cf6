//! Identities and names, parsed once at the edge: inside, nobody checks them again.
//!
//! Identities are random bytes (some begin with a time or sequence so that byte order is the order S3 wants, or the order
//! of writes); names are validated text. In records they are raw bytes, in JSON they are text.

mod access_key;
mod bucket_name;
mod canonical_id;
mod identity;
mod object_key;
mod part_number;
mod upload_id;
mod user_name;
mod version_id;

pub use access_key::{AccessKey, SecretKey};
pub use bucket_name::BucketName;
pub use canonical_id::CanonicalId;
pub use identity::{BucketId, ClusterId, DataId, DiskId, WriteId};
pub use object_key::{OBJECT_KEY_LEN_MAX, ObjectKey};
pub use part_number::{PART_NUMBER_MAX, PartNumber};
pub use upload_id::{ManifestId, UploadId};
pub use user_name::{DisplayName, Email, UserName};
pub use version_id::VersionId;

/// Why a text is not the name or identity it should be. The message names the rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub(crate) &'static str);
