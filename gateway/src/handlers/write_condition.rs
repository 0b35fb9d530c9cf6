//! Conditions on writes: `If-None-Match: *` and `If-Match` on PutObject, `CopyObject`, `CompleteMultipartUpload`, and
//! `If-Match` on deletes.
//!
//! A condition is asked twice: before the body is read, to refuse early, and again by the metadata at the instant
//! of the commit, which is the one that counts.

use cairn_meta::{ObjectKey, ObjectRecord};
use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use super::request::header_text;
use crate::s3_error::{ErrorCode, S3Error};

/// What must hold of the current object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteCondition {
    /// Nothing.
    Always,
    /// There is none.
    Absent,
    /// There is one: a condition of deletes.
    Present,
    /// There is one with this ETag (without quotes).
    HasEtag(String),
}

impl WriteCondition {
    /// The condition of a write.
    ///
    /// # Errors
    /// 501 `NotImplemented` for `If-None-Match` with an ETag, `If-Match: *`, and both headers together.
    pub(super) fn of_write(headers: &HeaderMap) -> Result<Self, S3Error> {
        let if_none_match = header_text(headers, IF_NONE_MATCH.as_str())?.map(str::trim);
        match (header_text(headers, IF_MATCH.as_str())?, if_none_match) {
            (None, None) => Ok(Self::Always),
            (None, Some("*")) => Ok(Self::Absent),
            (None, Some(_)) => Err(S3Error::header_not_implemented("If-None-Match")),
            (Some(_), Some(_)) => Err(S3Error::header_not_implemented("If-Match, If-None-Match")),
            (Some(etag), None) => match Self::if_match(etag) {
                Self::Present => Err(S3Error::header_not_implemented("If-Match")),
                condition => Ok(condition),
            },
        }
    }

    /// The condition of a delete. (`If-None-Match` on a delete is refused with the headers nobody implements.)
    pub(super) fn of_delete(headers: &HeaderMap) -> Result<Self, S3Error> {
        Ok(header_text(headers, IF_MATCH.as_str())?.map_or(Self::Always, Self::if_match))
    }

    /// `*`, or an ETag with or without quotes.
    pub(super) fn if_match(value: &str) -> Self {
        match value.trim() {
            "*" => Self::Present,
            etag => Self::HasEtag(etag.trim_matches('"').to_owned()),
        }
    }

    /// Whether there is anything to ask.
    pub(super) fn is_needed(&self) -> bool {
        *self != Self::Always
    }

    /// Asks it of the current object; `None` also stands for a delete marker.
    ///
    /// # Errors
    /// 412 `PreconditionFailed`; 404 `NoSuchKey` where an object is wanted and there is none, as AWS answers.
    pub(super) fn check(
        &self,
        key: &ObjectKey,
        current: Option<&ObjectRecord>,
    ) -> Result<(), S3Error> {
        match (self, current) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::HasEtag(etag), Some(current)) if *etag == current.etag => Ok(()),
            (Self::Absent, Some(_)) => Err(failed("If-None-Match")),
            (Self::HasEtag(_), Some(_)) => Err(failed("If-Match")),
            (Self::Present | Self::HasEtag(_), None) => {
                Err(S3Error::of(ErrorCode::NoSuchKey).with("Key", key.as_str()))
            }
        }
    }
}

fn failed(condition: &'static str) -> S3Error {
    S3Error::of(ErrorCode::PreconditionFailed).with("Condition", condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &str)]) -> Result<WriteCondition, S3Error> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        WriteCondition::of_write(&headers)
    }

    #[test]
    fn only_the_combinations_that_aws_has_are_taken() {
        assert_eq!(of(&[]).unwrap(), WriteCondition::Always);
        assert_eq!(
            of(&[("if-none-match", "*")]).unwrap(),
            WriteCondition::Absent
        );
        assert_eq!(
            of(&[("if-match", "\"abc\"")]).unwrap(),
            WriteCondition::HasEtag("abc".into())
        );
        assert_eq!(
            of(&[("if-match", "abc")]).unwrap(),
            WriteCondition::HasEtag("abc".into())
        );
        for refused in [
            vec![("if-match", "*")],
            vec![("if-none-match", "\"abc\"")],
            vec![("if-none-match", "*"), ("if-match", "abc")],
        ] {
            assert_eq!(of(&refused).unwrap_err().code(), ErrorCode::NotImplemented);
        }
    }
}
