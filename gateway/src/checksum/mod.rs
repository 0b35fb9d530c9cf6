//! S3's checksums: the algorithms, what a request says about them, and how those of parts make one of the whole.
//!
//! A checksum is always of the decoded content. It reaches the server in a header or in a trailer, and is
//! verified before the object becomes visible; `ETag` and `Content-MD5` are apart from this.

mod algorithm;
mod combine;
mod hasher;
mod request;

pub use algorithm::{Checksum, ChecksumAlgorithm, ChecksumKind};
pub use combine::{PartChecksum, composite, full_object};
pub use hasher::ChecksumHasher;
pub use request::{
    ChecksumRequest, DeclaredChecksum, checksum_headers, parse_checksum_algorithm,
    parse_checksum_kind,
};
pub(crate) use request::{invalid_value, several_checksums};
