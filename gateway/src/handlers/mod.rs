//! S3's operations; the file of an operation shows the whole of what it does, in order. Most have one of their own. Those
//! that are nearly the same share one: GET and HEAD of an object, both listings, and all of buckets but listing them.
//!
//! A handler gets an [`S3Request`], which was authenticated and authorized, and answers with a response or an
//! [`S3Error`]. What several operations share stands in a file named by what it holds (`byte_range`,
//! `read_condition`, `write_condition`, `commit`, `receive`, …).

mod abort_upload;
mod buckets;
mod byte_range;
mod commit;
mod complete_upload;
mod copy_object;
mod copy_source;
mod create_upload;
mod delete_object;
mod delete_objects;
mod destination;
mod list_buckets;
mod list_objects;
mod list_parts;
mod list_uploads;
mod long_work;
mod object_attributes;
pub(crate) mod object_headers;
mod object_owner;
mod object_uri;
mod page_query;
mod part_number;
mod put_object;
mod read_attributes;
mod read_condition;
mod read_object;
mod receive;
mod request;
mod upload_id;
mod upload_part;
mod upload_part_copy;
mod version_id;
mod write_condition;
mod xml_body;

pub(crate) use request::S3Request;

use crate::operation::Operation;
use crate::response::Response;
use crate::s3_error::{ErrorCode, S3Error};
use read_object::Wanted;

/// Hands a request to its handler. Futures are boxed: the largest would otherwise be carried by every request.
pub(crate) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    match request.operation {
        Operation::GetObject => Box::pin(read_object::handle(&request, Wanted::Body)).await,
        Operation::HeadObject => Box::pin(read_object::handle(&request, Wanted::HeadersOnly)).await,
        Operation::PutObject => Box::pin(put_object::handle(request)).await,
        Operation::DeleteObject => Box::pin(delete_object::handle(request)).await,
        Operation::DeleteObjects => Box::pin(delete_objects::handle(request)).await,
        Operation::CopyObject => Box::pin(copy_object::handle(request)).await,
        Operation::GetObjectAttributes => Box::pin(read_attributes::handle(request)).await,
        Operation::ListObjects => Box::pin(list_objects::handle_v1(request)).await,
        Operation::ListObjectsV2 => Box::pin(list_objects::handle_v2(request)).await,
        Operation::CreateBucket => Box::pin(buckets::create(request)).await,
        Operation::DeleteBucket => Box::pin(buckets::delete(request)).await,
        Operation::HeadBucket => buckets::head(&request),
        Operation::GetBucketLocation => buckets::location(&request),
        Operation::GetBucketVersioning => Ok(buckets::versioning()),
        Operation::ListBuckets => Box::pin(list_buckets::handle(request)).await,
        Operation::CreateMultipartUpload => Box::pin(create_upload::handle(request)).await,
        Operation::UploadPart => Box::pin(upload_part::handle(request)).await,
        Operation::UploadPartCopy => Box::pin(upload_part_copy::handle(request)).await,
        Operation::CompleteMultipartUpload => Box::pin(complete_upload::handle(request)).await,
        Operation::AbortMultipartUpload => Box::pin(abort_upload::handle(request)).await,
        Operation::ListParts => Box::pin(list_parts::handle(request)).await,
        Operation::ListMultipartUploads => Box::pin(list_uploads::handle(request)).await,
        // The operation table says which operations are implemented; a test holds it and this list together.
        _ => Err(S3Error::of(ErrorCode::NotImplemented)),
    }
}
