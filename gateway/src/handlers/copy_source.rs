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
        let mut name = SourceName::parse(header)?;
        let gateway = &request.gateway;
        let bucket = request::find_bucket(gateway, &name.bucket).await?;
        let permit = |version: Option<VersionId>| {
            let action = Operation::GetObject.action(version.is_some());
            request::permit(&request.principal, action, &bucket)
        };
        permit(name.version)?;
        request::check_expected_owner(
            &request.headers,
            "x-amz-source-expected-bucket-owner",
            Some(&bucket),
        )?;

        let mut key = request::object_key(&name.key)?;
        let mut found = version_id::find(gateway.meta(), &bucket, &key, name.version).await;
        let is_absent = |error: &S3Error| error.code() == ErrorCode::NoSuchKey;
        if found.as_ref().is_err_and(is_absent)
            && let Some((shorter, version)) = name.otherwise.take()
        {
            permit(Some(version))?;
            let shorter = request::object_key(&shorter)?;
            let meant = version_id::find(gateway.meta(), &bucket, &shorter, Some(version)).await;
            if meant.is_ok() {
                (found, key, name.version) = (meant, shorter, Some(version));
            }
        }
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
    /// What is meant where there is no such key: another one, and a version of it.
    otherwise: Option<(String, VersionId)>,
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
        let (path, version) = match encoded.rsplit_once(VERSION_PARAMETER) {
            Some((path, version)) => (path, Some(version_id::parse(version)?)),
            None => (encoded.as_str(), None),
        };
        let path = percent_decode(path).ok_or_else(malformed)?;
        let (bucket, key) = path
            .strip_prefix('/')
            .unwrap_or(&path)
            .split_once('/')
            .ok_or_else(malformed)?;
        if bucket.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        // An encoded question mark is part of the key, at S3 too, and keys may end like this. Clients that encode it with all
        // the rest get NoSuchKey there, and here what they mean.
        let otherwise = key
            .rsplit_once(VERSION_PARAMETER)
            .filter(|(key, _)| version.is_none() && !key.is_empty())
            .and_then(|(key, version)| Some((key.to_owned(), version.parse().ok()?)));
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version,
            otherwise,
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
        assert_eq!(parsed("b/k?x"), name("b", "k?x", None));
    }

    #[test]
    fn an_encoded_question_mark_is_part_of_the_key() {
        let id = "0".repeat(32);
        let otherwise = |header: &str| {
            let otherwise = SourceName::parse(header).unwrap().otherwise;
            otherwise.map(|(key, version)| (key, version.to_string()))
        };
        for version in ["null", &id] {
            let header = format!("b/k%3FversionId%3D{version}");
            let key = format!("k?versionId={version}");
            assert_eq!(parsed(&header), name("b", &key, None));
            assert_eq!(
                otherwise(&header),
                Some(("k".to_owned(), version.to_owned()))
            );
        }
        let in_both = "b/k%3FversionId%3Dnull?versionId=null";
        assert_eq!(parsed(in_both), name("b", "k?versionId=null", Some("null")));
        for header in [
            in_both,
            "b/k",
            "b/k%3FversionId%3Dx",
            "b/%3FversionId%3Dnull",
        ] {
            assert_eq!(otherwise(header), None, "{header}");
        }
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
