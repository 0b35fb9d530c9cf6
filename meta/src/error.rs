//! What can go wrong above the key-value contract.

use crate::ids::{CanonicalId, PartNumber};
use crate::kv::KvError;

/// Why a metadata operation failed. One variant per thing a caller does differently.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The bucket does not exist (any more).
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The name is taken.
    #[error("the bucket exists already")]
    BucketExists {
        /// By this account.
        owner: CanonicalId,
    },
    /// The bucket still has objects, versions or delete markers.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The upload does not exist, or was completed or aborted.
    #[error("the multipart upload does not exist")]
    NoSuchUpload,
    /// A part that Complete lists is not there, or was replaced since it was looked at.
    #[error("part {part_number} is missing or was replaced")]
    PartChanged {
        /// The part.
        part_number: PartNumber,
    },
    /// The datum does not exist (any more): its object was deleted or replaced.
    #[error("the data record does not exist")]
    NoSuchData,
    /// The chunk's placement is no longer the one that was to be replaced. Read again.
    #[error("the placement was changed meanwhile")]
    PlacementChanged,
    /// No such user.
    #[error("the user does not exist")]
    NoSuchUser,
    /// A user of this name exists.
    #[error("a user of this name exists already")]
    UserExists,
    /// Another user has this e-mail address.
    #[error("another user has this e-mail address")]
    EmailTaken,
    /// The user still owns buckets.
    #[error("the user still owns buckets")]
    UserOwnsBuckets,
    /// No such access key.
    #[error("the access key does not exist")]
    NoSuchAccessKey,
    /// The access key exists already, possibly with another user.
    #[error("the access key exists already")]
    AccessKeyExists,
    /// The user has as many keys as a user may have.
    #[error("a user can have at most {max} access keys")]
    TooManyAccessKeys {
        /// The limit.
        max: usize,
    },
    /// Secrets cannot be decrypted: the master key is not the one they were encrypted under.
    #[error(
        "the master key does not fit the stored secrets; start with the master key this cluster was created with"
    )]
    WrongMasterKey,
    /// Concurrent changes of the same records won every time; nothing was written. Answer 503, or try later.
    #[error("concurrent changes of the same records did not cease")]
    Contended,
    /// A record does not decode; somebody must look.
    #[error("the stored {record} is damaged: {detail}")]
    Corrupt {
        /// Which kind of record.
        record: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The store below failed. After [`KvError::UnknownOutcome`] the change may or may not have been made: data
    /// written for it must not be deleted.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// Why an operation with a precondition failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConditionalError<P> {
    /// The precondition said no; nothing was written.
    #[error("the precondition does not hold")]
    Precondition(P),
    /// Anything else.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl<P> From<KvError> for ConditionalError<P> {
    fn from(error: KvError) -> Self {
        Self::Meta(error.into())
    }
}

/// Why a put failed.
pub type PutError<P> = ConditionalError<P>;
/// Why a delete failed.
pub type DeleteError<P> = ConditionalError<P>;
