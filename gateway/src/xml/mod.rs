//! XML in and out: bounded parsers for the documents clients send, and a writer for those they get.

mod element;
mod requests;
mod writer;

pub use element::DOCUMENT_SIZE_BYTES_MAX;
pub use requests::{
    COMPLETE_UPLOAD_SIZE_BYTES_MAX, CREATE_BUCKET_SIZE_BYTES_MAX, CompletedPart,
    CreateBucketConfiguration, DELETE_OBJECTS_MAX, DELETE_OBJECTS_SIZE_BYTES_MAX, ObjectToDelete,
    ObjectsToDelete, parse_complete_multipart_upload, parse_create_bucket, parse_delete_objects,
};
pub use writer::{XmlWriter, location_constraint};
