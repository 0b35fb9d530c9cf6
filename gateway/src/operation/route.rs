//! From a request's head to its operation.
//!
//! The rows of the table whose distinguishing parameters and headers are all there are candidates; the
//! one that asks for most wins. What remains are requests that name a sub-resource S3 knows in a place
//! or with a method it does not have there: those must never fall through to the plain operation (a
//! `PUT key?retention` that became a PutObject would destroy what it was to protect).

use http::{HeaderMap, HeaderValue};

use super::table::TABLE;
use super::{
    Addressing, HeaderMatch, Method, Operation, OperationSpec, Query, QueryMatch, Support,
};
use crate::s3_error::{ErrorCode, S3Error};

/// Finds the operation a request asks for, implemented or not.
///
/// Unknown query parameters are ignored, as S3 does.
///
/// # Errors
/// `MethodNotAllowed`, `InvalidRequest`, `InvalidArgument`, `PreconditionFailed`, `NotImplemented` and for
/// `OPTIONS` the refusal of a preflight request: each as S3 answers a request that is no operation.
pub fn route(
    method: &http::Method,
    addressing: Addressing,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Operation, S3Error> {
    let Some(s3_method) = Method::from_http(method) else {
        return Err(refuse_method(method, headers));
    };
    let sub_resource = only_sub_resource(query)?;
    if addressing == Addressing::Bucket {
        check_bucket_parameters(query)?;
    }
    let found = TABLE
        .iter()
        .filter(|spec| spec.method == s3_method && spec.addressing == addressing)
        .filter(|spec| matches(spec, query, headers))
        // `max_by_key` returns the last of equals; the table promises that the first wins.
        .rev()
        .max_by_key(|spec| spec.query.len() + spec.headers.len());
    let Some(spec) = found else {
        return Err(refuse_target(s3_method, addressing, sub_resource, headers));
    };
    if let Some(sub_resource) = sub_resource
        && !spec
            .query
            .iter()
            .any(|needed| needed.name() == sub_resource)
    {
        return Err(refuse_sub_resource(s3_method, addressing, sub_resource));
    }
    check_parameters(spec, query)?;
    check_copy_source(spec, headers)?;
    Ok(spec.operation)
}

impl QueryMatch {
    const fn name(self) -> &'static str {
        match self {
            QueryMatch::Present(name) | QueryMatch::Is(name, _) => name,
        }
    }

    fn matches(self, query: &Query) -> bool {
        match self {
            QueryMatch::Present(name) => query.contains(name),
            QueryMatch::Is(name, value) => query.get(name) == Some(value),
        }
    }
}

impl HeaderMatch {
    fn matches(self, headers: &HeaderMap) -> bool {
        match self {
            HeaderMatch::Present(name) => headers.contains_key(name),
            HeaderMatch::Contains(name, text) => headers
                .get_all(name)
                .iter()
                .any(|value| value.to_str().is_ok_and(|value| value.contains(text))),
        }
    }
}

fn matches(spec: &OperationSpec, query: &Query, headers: &HeaderMap) -> bool {
    spec.query.iter().all(|needed| needed.matches(query))
        && spec.headers.iter().all(|needed| needed.matches(headers))
}

/// Parameters that distinguish operations but select within one resource rather than name another.
const NOT_SUB_RESOURCES: [&str; 6] = [
    "uploadId",
    "partNumber",
    "list-type",
    "select-type",
    "id",
    "annotationName",
];

/// Whether S3 knows a sub-resource of this name, anywhere.
fn is_sub_resource(name: &str) -> bool {
    !NOT_SUB_RESOURCES.contains(&name)
        && TABLE
            .iter()
            .any(|spec| spec.query.iter().any(|needed| needed.name() == name))
}

/// The sub-resource of the request, if it names one; an error if it names two.
fn only_sub_resource(query: &Query) -> Result<Option<&str>, S3Error> {
    let mut found: Option<&str> = None;
    for (name, _) in query.iter().filter(|(name, _)| is_sub_resource(name)) {
        match found {
            Some(first) if first != name => {
                return Err(S3Error::invalid_argument(
                    format!("Conflicting query string parameters: {first}, {name}"),
                    "ResourceType",
                    first,
                ));
            }
            _ => found = Some(name),
        }
    }
    Ok(found)
}

/// What the answer to a preflight request depends on, so that nobody keeps it for another.
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
);

fn refuse_method(method: &http::Method, headers: &HeaderMap) -> S3Error {
    if method != http::Method::OPTIONS {
        return method_not_allowed(method.as_str(), "SERVICE");
    }
    // A browser asks before a cross-origin request. Without CORS rules S3 refuses every one of them.
    if !headers.contains_key(http::header::ORIGIN) {
        return S3Error::new(
            ErrorCode::BadRequest,
            "Insufficient information. Origin request header needed.",
        );
    }
    let requested = headers
        .get(http::header::ACCESS_CONTROL_REQUEST_METHOD)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    S3Error::of(ErrorCode::AccessForbidden)
        .with("Method", requested)
        .with("ResourceType", "BUCKET")
        .with_header(http::header::VARY, PREFLIGHT_VARIES)
}

fn method_not_allowed(method: &str, resource_type: &str) -> S3Error {
    S3Error::of(ErrorCode::MethodNotAllowed)
        .with("Method", method)
        .with("ResourceType", resource_type)
}

/// No row matches at all.
fn refuse_target(
    method: Method,
    addressing: Addressing,
    sub_resource: Option<&str>,
    headers: &HeaderMap,
) -> S3Error {
    if let Some(sub_resource) = sub_resource {
        return refuse_sub_resource(method, addressing, sub_resource);
    }
    match addressing {
        Addressing::Bucket if method == Method::Post => refuse_bucket_post(headers),
        Addressing::Service => method_not_allowed(method.as_str(), "SERVICE"),
        Addressing::Bucket => method_not_allowed(method.as_str(), "BUCKET"),
        Addressing::Object => method_not_allowed(method.as_str(), "OBJECT"),
    }
}

/// A POST to a bucket is a browser's form upload (which is not in Amazon's model, hence not in the table).
fn refuse_bucket_post(headers: &HeaderMap) -> S3Error {
    let is_form = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/form-data"));
    if is_form {
        S3Error::new(
            ErrorCode::NotImplemented,
            "Uploads by browser form (POST policy) are not implemented",
        )
    } else {
        S3Error::new(
            ErrorCode::PreconditionFailed,
            "Bucket POST must be of the enclosure-type multipart/form-data",
        )
        .with(
            "Condition",
            "Bucket POST must be of the enclosure-type multipart/form-data",
        )
    }
}

/// The request names a sub-resource that no matching row has.
fn refuse_sub_resource(method: Method, addressing: Addressing, sub_resource: &str) -> S3Error {
    let has = |spec: &&&OperationSpec| {
        spec.query
            .iter()
            .any(|needed| needed.name() == sub_resource)
    };
    let here: Vec<_> = TABLE
        .iter()
        .filter(has)
        .filter(|spec| spec.addressing == addressing)
        .collect();
    if let Some(spec) = here.iter().find(|spec| spec.method == method) {
        // The sub-resource exists here, but another parameter that it needs is missing.
        return spec.operation.refusal().unwrap_or_else(|| {
            S3Error::invalid_argument(
                "A required query parameter is missing",
                "ResourceType",
                sub_resource,
            )
        });
    }
    let is_elsewhere = TABLE.iter().filter(has).any(|spec| spec.method == method);
    if !here.is_empty() && !is_elsewhere {
        return method_not_allowed(method.as_str(), &sub_resource.to_uppercase());
    }
    let message = match addressing {
        Addressing::Object => format!(
            "Key is not expected for the {} method ?{sub_resource} subresource",
            method.as_str()
        ),
        Addressing::Bucket => format!(
            "A key must be specified for the {} method ?{sub_resource} subresource",
            method.as_str()
        ),
        Addressing::Service => format!(
            "A bucket must be specified for the {} method ?{sub_resource} subresource",
            method.as_str()
        ),
    };
    S3Error::new(ErrorCode::InvalidRequest, message)
}

impl Operation {
    /// The 501 for an operation Cairn does not have; `None` if it has it.
    pub fn refusal(self) -> Option<S3Error> {
        let Support::NotImplemented { feature } = self.spec().support else {
            return None;
        };
        let name = self.name();
        let message = format!("{name} is not implemented: this server has no {feature}.");
        Some(S3Error::new(ErrorCode::NotImplemented, message))
    }
}

/// Parameters that select within an object: at a bucket the key was lost on the way, and what was meant for an upload
/// or a version must not be done to the bucket.
fn check_bucket_parameters(query: &Query) -> Result<(), S3Error> {
    let of_objects = ["uploadId", "partNumber", "versionId"];
    if of_objects.iter().any(|name| query.contains(name)) {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "A key must be specified",
        ));
    }
    Ok(())
}

/// Parameters that would turn a plain write into something else if they were ignored.
fn check_parameters(spec: &OperationSpec, query: &Query) -> Result<(), S3Error> {
    let is_plain_write = matches!(spec.operation, Operation::PutObject | Operation::CopyObject);
    if !is_plain_write {
        return Ok(());
    }
    if let Some(version_id) = query.get("versionId") {
        return Err(S3Error::invalid_argument(
            "This operation does not accept a version-id.",
            "versionId",
            version_id,
        ));
    }
    for (present, missing) in [("uploadId", "partNumber"), ("partNumber", "uploadId")] {
        if let Some(value) = query.get(present) {
            return Err(S3Error::invalid_argument(
                format!("This operation requires the parameter {missing} together with {present}."),
                present,
                value,
            ));
        }
    }
    Ok(())
}

/// A copy source means nothing to reads and deletes; S3 says so instead of ignoring it.
fn check_copy_source(spec: &OperationSpec, headers: &HeaderMap) -> Result<(), S3Error> {
    const NAME: &str = "x-amz-copy-source";
    let expects_none = matches!(spec.method, Method::Get | Method::Head | Method::Delete);
    let Some(value) = headers.get(NAME).filter(|_| expects_none) else {
        return Ok(());
    };
    Err(S3Error::invalid_argument(
        "You can only specify a copy source header for copy requests.",
        NAME,
        String::from_utf8_lossy(value.as_bytes()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(
        method: &str,
        addressing: Addressing,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Operation, S3Error> {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let query = Query::parse(Some(query)).unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        route(&method, addressing, &query, &headers)
    }

    use Addressing::{Bucket, Object, Service};

    /// Each row, called with what distinguishes it, is routed to itself (or to the newer name of the same request).
    #[test]
    fn every_row_routes_to_itself() {
        for spec in TABLE {
            let query: Vec<String> = spec
                .query
                .iter()
                .map(|needed| match needed {
                    QueryMatch::Present(name) => format!("{name}=x"),
                    QueryMatch::Is(name, value) => format!("{name}={value}"),
                })
                .collect();
            let headers: Vec<(&'static str, &str)> = spec
                .headers
                .iter()
                .map(|needed| match needed {
                    HeaderMatch::Present(name) => (*name, "x"),
                    HeaderMatch::Contains(name, text) => (*name, *text),
                })
                .collect();
            let found = routed(
                spec.method.as_str(),
                spec.addressing,
                &query.join("&"),
                &headers,
            )
            .unwrap();
            let expected = match spec.operation {
                Operation::GetBucketLifecycle => Operation::GetBucketLifecycleConfiguration,
                Operation::PutBucketLifecycle => Operation::PutBucketLifecycleConfiguration,
                Operation::GetBucketNotification => Operation::GetBucketNotificationConfiguration,
                Operation::PutBucketNotification => Operation::PutBucketNotificationConfiguration,
                other => other,
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn unknown_parameters_are_ignored() {
        assert_eq!(
            routed("GET", Object, "foo&x-id=GetObject", &[]).unwrap(),
            Operation::GetObject
        );
        assert_eq!(
            routed("GET", Bucket, "list-type=1&foo=1", &[]).unwrap(),
            Operation::ListObjects
        );
        assert_eq!(
            routed("HEAD", Object, "partNumber=1", &[]).unwrap(),
            Operation::HeadObject
        );
        assert_eq!(
            routed("DELETE", Object, "versionId=1", &[]).unwrap(),
            Operation::DeleteObject
        );
    }

    #[test]
    fn a_known_sub_resource_never_falls_through_to_the_plain_operation() {
        let code =
            |method, addressing, query| routed(method, addressing, query, &[]).unwrap_err().code();
        assert_eq!(code("GET", Object, "uploads"), ErrorCode::InvalidRequest);
        assert_eq!(code("GET", Object, "versions"), ErrorCode::InvalidRequest);
        assert_eq!(code("GET", Bucket, "retention"), ErrorCode::InvalidRequest);
        assert_eq!(code("PUT", Service, "acl"), ErrorCode::InvalidRequest);
        assert_eq!(code("DELETE", Bucket, "acl"), ErrorCode::MethodNotAllowed);
        assert_eq!(
            code("DELETE", Bucket, "uploads"),
            ErrorCode::MethodNotAllowed
        );
        assert_eq!(code("PUT", Bucket, "analytics"), ErrorCode::NotImplemented);
        assert_eq!(code("POST", Object, "select"), ErrorCode::NotImplemented);
    }

    #[test]
    fn two_sub_resources_conflict() {
        let error = routed("GET", Bucket, "acl&policy", &[]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert_eq!(
            error.message(),
            "Conflicting query string parameters: acl, policy"
        );
    }

    #[test]
    fn half_an_upload_part_is_not_a_put() {
        for query in ["uploadId=x", "partNumber=1", "versionId=1"] {
            let error = routed("PUT", Object, query, &[]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn what_is_meant_for_an_object_is_not_done_to_its_bucket() {
        for (method, query) in [
            ("DELETE", "uploadId=x"),
            ("DELETE", "versionId=x"),
            ("PUT", "partNumber=1&uploadId=x"),
            ("PUT", "partNumber=1"),
            ("POST", "uploadId=x"),
            ("POST", "delete&versionId=x"),
            ("GET", "uploadId=x"),
            ("HEAD", "versionId=x"),
        ] {
            let error = routed(method, Bucket, query, &[]).unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (ErrorCode::InvalidRequest, "A key must be specified"),
                "{method} {query}"
            );
        }
    }

    #[test]
    fn copy_sources_belong_to_copies() {
        let source = [("x-amz-copy-source", "b/k")];
        assert_eq!(
            routed("PUT", Object, "", &source).unwrap(),
            Operation::CopyObject
        );
        assert_eq!(
            routed("PUT", Object, "partNumber=1&uploadId=u", &source).unwrap(),
            Operation::UploadPartCopy
        );
        for method in ["GET", "HEAD", "DELETE"] {
            assert_eq!(
                routed(method, Object, "", &source).unwrap_err().code(),
                ErrorCode::InvalidArgument
            );
        }
    }

    #[test]
    fn methods_and_posts_that_are_no_operation_get_s3s_answers() {
        let code = |method, addressing, headers: &[(&'static str, &str)]| {
            routed(method, addressing, "", headers).unwrap_err().code()
        };
        assert_eq!(code("PATCH", Object, &[]), ErrorCode::MethodNotAllowed);
        assert_eq!(code("POST", Object, &[]), ErrorCode::MethodNotAllowed);
        assert_eq!(code("PUT", Service, &[]), ErrorCode::MethodNotAllowed);
        assert_eq!(code("POST", Bucket, &[]), ErrorCode::PreconditionFailed);
        assert_eq!(
            code(
                "POST",
                Bucket,
                &[("content-type", "multipart/form-data; boundary=x")]
            ),
            ErrorCode::NotImplemented
        );
        assert_eq!(code("OPTIONS", Object, &[]), ErrorCode::BadRequest);
        let preflight = routed("OPTIONS", Object, "", &[("origin", "https://a")]).unwrap_err();
        assert_eq!(preflight.code(), ErrorCode::AccessForbidden);
        assert_eq!(
            preflight.headers(),
            [(
                http::header::VARY,
                "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
                    .parse()
                    .unwrap()
            )]
        );
    }
}
