//! `x-amz-copy-source`: which object is copied, whether the caller may read it, and whether it is as expected.

use cairn_meta::{BucketRecord, ObjectKey, ObjectRecord, VersionId};

use super::read_condition::{self, Verdict};
use super::request::{self, S3Request};
use super::version_id;
use crate::operation::Operation;
use crate::percent::percent_decode;
use crate::s3_error::{ErrorCode, S3Error};

const HEADER: &str = "x-amz-copy-source";
const VERSION_PARAMETER: &str = "?versionId=";

/// The source of a copy: it exists, may be read, and meets the request's conditions.
pub(super) struct CopySource {
    pub(super) bucket: BucketRecord,
    pub(super) key: ObjectKey,
    /// Whether the request names the version.
    pub(super) names_version: bool,
    pub(super) record: ObjectRecord,
}

impl CopySource {
    /// Finds the source of a copy.
    ///
    /// # Errors
    /// 400 for a malformed header; what a GET of the source would answer, but 412 instead of 304.
    pub(super) async fn of_request(request: &S3Request) -> Result<Self, S3Error> {
        let header = request.header(HEADER)?.unwrap_or_default();
        let name = SourceName::parse(header)?;
        let gateway = &request.gateway;
        let bucket = request::find_bucket(gateway, &name.bucket).await?;
        let action = Operation::GetObject.action(name.version.is_some());
        request::permit(&request.principal, action, &bucket)?;
        request::check_expected_owner(
            &request.headers,
            "x-amz-source-expected-bucket-owner",
            Some(&bucket),
        )?;

        let key = request::object_key(&name.key)?;
        let found = version_id::find(gateway.meta(), &bucket, &key, name.version).await;
        let record = found.map_err(|error| match error.code() {
            ErrorCode::MethodNotAllowed => S3Error::new(
                ErrorCode::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ),
            _ => error,
        })?;
        match read_condition::judge(
            &request.headers,
            read_condition::COPY_SOURCE,
            &record,
            request.now_ms,
        )? {
            Verdict::Proceed => Ok(Self {
                bucket,
                key,
                names_version: name.version.is_some(),
                record,
            }),
            Verdict::NotModified(condition) | Verdict::Failed(condition) => {
                Err(read_condition::failed(condition))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct SourceName {
    bucket: String,
    key: String,
    version: Option<VersionId>,
}

impl SourceName {
    /// `[/]bucket/key[?versionId=id]`, percent-encoded as a whole or in parts. `+` is a space, as at S3: clients that
    /// encode it as in forms rely on that, and all others send `%2B`.
    fn parse(header: &str) -> Result<Self, S3Error> {
        let encoded = header.replace('+', " ");
        let malformed = || {
            S3Error::invalid_argument(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                HEADER,
                header,
            )
        };
        // Some clients encode the question mark too; a key may contain what looks like a version all the same.
        let (path, version) = if let Some((path, version)) = encoded.rsplit_once(VERSION_PARAMETER)
        {
            (percent_decode(path), Some(version_id::parse(version)?))
        } else {
            let decoded = percent_decode(&encoded).ok_or_else(malformed)?;
            let split = decoded.rsplit_once(VERSION_PARAMETER);
            match split.and_then(|(path, version)| Some((path.to_owned(), version.parse().ok()?))) {
                Some((path, version)) => (Some(path), Some(version)),
                None => (Some(decoded), None),
            }
        };
        let path = path.ok_or_else(malformed)?;
        let (bucket, key) = path
            .strip_prefix('/')
            .unwrap_or(&path)
            .split_once('/')
            .ok_or_else(malformed)?;
        if bucket.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str) -> (String, String, Option<String>) {
        let name = SourceName::parse(header).unwrap();
        (
            name.bucket,
            name.key,
            name.version.map(|version| version.to_string()),
        )
    }

    fn name(bucket: &str, key: &str, version: Option<&str>) -> (String, String, Option<String>) {
        (
            bucket.to_owned(),
            key.to_owned(),
            version.map(str::to_owned),
        )
    }

    #[test]
    fn the_forms_that_clients_send() {
        let id = "0".repeat(32);
        assert_eq!(parsed("b/k"), name("b", "k", None));
        assert_eq!(parsed("/b/a/b c%20d+e%2Bf"), name("b", "a/b c d e+f", None));
        assert_eq!(parsed("%2Fb%2Fk%2Fx"), name("b", "k/x", None));
        assert_eq!(parsed("b//k"), name("b", "/k", None));
        assert_eq!(
            parsed(&format!("b/k?versionId={id}")),
            name("b", "k", Some(&id))
        );
        assert_eq!(
            parsed("b/k%3FversionId%3Dnull"),
            name("b", "k", Some("null"))
        );
        assert_eq!(
            parsed("b/k%3FversionId%3Dx"),
            name("b", "k?versionId=x", None)
        );
        assert_eq!(parsed("b/k?x"), name("b", "k?x", None));
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for header in ["", "b", "b/", "/", "//k", "b/%ff", "b/%2"] {
            assert_eq!(
                SourceName::parse(header).unwrap_err().code(),
                ErrorCode::InvalidArgument,
                "{header}"
            );
        }
        assert_eq!(
            SourceName::parse("b/k?versionId=zz").unwrap_err().message(),
            "Invalid version id specified"
        );
    }
}
