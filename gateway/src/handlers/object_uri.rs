//! The address of an object, as its client sees it.

use cairn_meta::{BucketName, ObjectKey};

use super::page_query::Encoding;
use super::request::S3Request;

/// Where a client that sent `request` finds an object: in the style in which it addressed this server. Behind a proxy
/// that speaks TLS for it, the scheme is the one that the proxy uses.
pub(super) fn of(request: &S3Request, bucket: &BucketName, key: &ObjectKey) -> String {
    let domains = request.gateway.domains();
    let key = Encoding::Url.apply(key.as_str());
    let scheme = request.scheme.as_str();
    match request.host.as_deref() {
        Some(host) if domains.bucket_of(host).is_some() => format!("{scheme}://{host}/{key}"),
        Some(host) => format!("{scheme}://{host}/{bucket}/{key}"),
        // HTTP/1.0 knows no host.
        None => format!("/{bucket}/{key}"),
    }
}
