//! Which S3 operation a request is, decided from its method, target, query and headers alone.
//!
//! [`Operation`] and its table ([`OperationSpec`]) know every operation of Amazon's current model.
//! [`route()`] picks one; [`check_headers`] then refuses what the operation would have to honour and Cairn
//! does not implement. Nothing here looks at credentials, bodies or stored state.

mod guarded_headers;
mod query;
mod route;
mod support;
mod table;

pub use guarded_headers::check_headers;
pub use query::Query;
pub use route::route;
pub use support::{SupportRow, support_markdown, support_table};
pub use table::Operation;

/// The HTTP methods S3 operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `PUT`
    Put,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
}

impl Method {
    /// As it stands in the request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }

    /// The S3 method for an HTTP one; `None` for methods S3 has no operation for.
    pub fn from_http(method: &http::Method) -> Option<Method> {
        [
            Method::Get,
            Method::Head,
            Method::Put,
            Method::Post,
            Method::Delete,
        ]
        .into_iter()
        .find(|candidate| candidate.as_str() == method.as_str())
    }
}

/// What a request addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// The service itself: `/`.
    Service,
    /// A bucket: `/bucket`, or `/` at the bucket's own host name.
    Bucket,
    /// An object: a bucket and a key.
    Object,
}

/// A query parameter that distinguishes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryMatch {
    /// The parameter is there, with any value or none.
    Present(&'static str),
    /// The parameter is there with exactly this value.
    Is(&'static str, &'static str),
}

/// A header that distinguishes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMatch {
    /// The header is there.
    Present(&'static str),
    /// A value of the header contains this text.
    Contains(&'static str, &'static str),
}

/// Whether Cairn has an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Implemented,
    /// It answers 501 `NotImplemented`.
    NotImplemented {
        /// The feature it belongs to, as a reader of the support table would call it.
        feature: &'static str,
    },
}

/// One row of the table of operations.
#[derive(Debug, Clone, Copy)]
pub struct OperationSpec {
    /// The operation described.
    pub operation: Operation,
    /// Its name in the Amazon S3 API reference; also its label in metrics and logs.
    pub name: &'static str,
    /// The method it is called with.
    pub method: Method,
    /// What it addresses.
    pub addressing: Addressing,
    /// The query parameters that must be there.
    pub query: &'static [QueryMatch],
    /// The headers that must be there.
    pub headers: &'static [HeaderMatch],
    /// The action that policies name, for the current version of an object.
    pub action: &'static str,
    /// Whether Cairn has it.
    pub support: Support,
}

impl Operation {
    /// The name in the Amazon S3 API reference.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The action that must be allowed. Naming a version takes a permission of its own: whoever may read
    /// an object may not thereby read what it used to be.
    pub const fn action(self, names_version: bool) -> &'static str {
        match (self, names_version) {
            (Operation::GetObject | Operation::HeadObject, true) => "s3:GetObjectVersion",
            (Operation::GetObjectAttributes, true) => "s3:GetObjectVersionAttributes",
            (Operation::DeleteObject | Operation::DeleteObjects, true) => "s3:DeleteObjectVersion",
            (other, _) => other.spec().action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{
        AbortMultipartUpload, CompleteMultipartUpload, CopyObject, CreateBucket,
        CreateMultipartUpload, DeleteBucket, DeleteObject, DeleteObjects, GetBucketLocation,
        GetBucketVersioning, GetObject, GetObjectAttributes, HeadBucket, HeadObject, ListBuckets,
        ListMultipartUploads, ListObjects, ListObjectsV2, ListParts, PutObject, UploadPart,
        UploadPartCopy,
    };

    /// What each operation takes at AWS (service authorization reference), of the current object and of a version that the
    /// request names. The source of a copy takes what GetObject does.
    const ACTIONS: [(Operation, &str, &str); 22] = [
        (AbortMultipartUpload, "AbortMultipartUpload", ""),
        (CompleteMultipartUpload, "PutObject", ""),
        (CopyObject, "PutObject", ""),
        (CreateBucket, "CreateBucket", ""),
        (CreateMultipartUpload, "PutObject", ""),
        (DeleteBucket, "DeleteBucket", ""),
        (DeleteObject, "DeleteObject", "DeleteObjectVersion"),
        (DeleteObjects, "DeleteObject", "DeleteObjectVersion"),
        (GetBucketLocation, "GetBucketLocation", ""),
        (GetBucketVersioning, "GetBucketVersioning", ""),
        (GetObject, "GetObject", "GetObjectVersion"),
        (
            GetObjectAttributes,
            "GetObjectAttributes",
            "GetObjectVersionAttributes",
        ),
        (HeadBucket, "ListBucket", ""),
        (HeadObject, "GetObject", "GetObjectVersion"),
        (ListBuckets, "ListAllMyBuckets", ""),
        (ListMultipartUploads, "ListBucketMultipartUploads", ""),
        (ListObjects, "ListBucket", ""),
        (ListObjectsV2, "ListBucket", ""),
        (ListParts, "ListMultipartUploadParts", ""),
        (PutObject, "PutObject", ""),
        (UploadPart, "PutObject", ""),
        (UploadPartCopy, "PutObject", ""),
    ];

    #[test]
    fn every_implemented_operation_has_the_action_of_aws() {
        let is_implemented = |one: &&Operation| matches!(one.spec().support, Support::Implemented);
        let implemented = Operation::ALL.iter().filter(is_implemented);
        let listed = ACTIONS.map(|(operation, ..)| operation);
        assert!(implemented.eq(&listed), "an operation has no action here");
        for (operation, current, version) in ACTIONS {
            let version = if version.is_empty() { current } else { version };
            assert_eq!(operation.action(false), format!("s3:{current}"));
            assert_eq!(operation.action(true), format!("s3:{version}"));
        }
    }
}
