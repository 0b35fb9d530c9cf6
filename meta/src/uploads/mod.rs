//! Multipart uploads: from initiation to completion or abortion.
//!
//! Invariant: whatever belongs to an upload in progress is written in a commit that checks the upload's record by
//! value, and the commit that ends the upload removes that record. So once it is gone, the upload's parts change no
//! more; those that did not become part of an object are left to the deletion queue.

mod complete;
mod housekeeping;
mod list;
mod part;
mod upload;

pub(crate) use complete::{put_attestation, put_manifest};
pub use housekeeping::{COMPLETED_KEPT_MS, Purged};
pub use list::{PartPage, UploadListEntry, UploadListPage, UploadListRequest};
pub use upload::NewUpload;
