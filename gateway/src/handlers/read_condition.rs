//! The four conditions of reads, with the precedence S3 gives them, and `If-Range`.
//!
//! The outcome depends on the object's ETag and time alone. Times count in whole seconds, because that is what
//! clients are told.

use cairn_meta::ObjectRecord;
use http::HeaderMap;

use super::request::header_text;
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;

/// The names of the four headers: those of a read, or those of a copy about its source, as S3 spells them in `<Condition>`.
#[expect(clippy::struct_field_names, reason = "they are the headers' names")]
#[derive(Debug, Clone, Copy)]
pub(super) struct ConditionHeaders {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

/// Conditions of a read.
pub(super) const READ: ConditionHeaders = ConditionHeaders {
    if_match: "If-Match",
    if_none_match: "If-None-Match",
    if_modified_since: "If-Modified-Since",
    if_unmodified_since: "If-Unmodified-Since",
};

/// Conditions on the source of a copy.
pub(super) const COPY_SOURCE: ConditionHeaders = ConditionHeaders {
    if_match: "x-amz-copy-source-If-Match",
    if_none_match: "x-amz-copy-source-If-None-Match",
    if_modified_since: "x-amz-copy-source-If-Modified-Since",
    if_unmodified_since: "x-amz-copy-source-If-Unmodified-Since",
};

/// What the conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Proceed,
    /// The client has it already, by the condition of this name.
    NotModified(&'static str),
    /// The condition of this name does not hold.
    Failed(&'static str),
}

/// Judges the conditions of a request about `record`. What is no date is ignored.
///
/// # Errors
/// 400 for a header that is not text.
pub(super) fn judge(
    headers: &HeaderMap,
    names: ConditionHeaders,
    record: &ObjectRecord,
    now_ms: u64,
) -> Result<Verdict, S3Error> {
    let if_match = header_text(headers, names.if_match)?;
    let if_none_match = header_text(headers, names.if_none_match)?;
    let unmodified_since = date(headers, names.if_unmodified_since)?;
    let modified_since = date(headers, names.if_modified_since)?;
    let modified_s = timestamp::seconds(record.last_modified_ms);

    // If-Match, where given, decides instead of If-Unmodified-Since.
    match (if_match, unmodified_since) {
        (Some(etags), _) if !matches_any(etags, &record.etag) => {
            return Ok(Verdict::Failed(names.if_match));
        }
        (None, Some(date_s)) if modified_s > date_s => {
            return Ok(Verdict::Failed(names.if_unmodified_since));
        }
        _ => {}
    }
    // If-None-Match, where given, decides instead of If-Modified-Since.
    match (if_none_match, modified_since) {
        (Some(etags), _) if matches_any(etags, &record.etag) => {
            Ok(Verdict::NotModified(names.if_none_match))
        }
        (None, Some(date_s)) if modified_s <= date_s && date_s <= timestamp::seconds(now_ms) => {
            Ok(Verdict::NotModified(names.if_modified_since))
        }
        _ => Ok(Verdict::Proceed),
    }
}

/// Whether a range is to be honoured: without `If-Range`, or if that is the object's ETag or its very time. A later
/// time is that of another version, perhaps one that was deleted since (RFC 9110, 13.1.5).
///
/// # Errors
/// 400 for a header that is not text.
pub(super) fn range_counts(headers: &HeaderMap, record: &ObjectRecord) -> Result<bool, S3Error> {
    let Some(value) = header_text(headers, "if-range")? else {
        return Ok(true);
    };
    let modified_s = timestamp::seconds(record.last_modified_ms);
    Ok(match timestamp::parse_http_date(value) {
        Some(date_ms) => modified_s == timestamp::seconds(date_ms),
        None => !value.trim().starts_with("W/") && matches_any(value, &record.etag),
    })
}

/// 412 for a condition that does not hold.
pub(super) fn failed(condition: &'static str) -> S3Error {
    S3Error::of(ErrorCode::PreconditionFailed).with("Condition", condition)
}

fn date(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, S3Error> {
    Ok(header_text(headers, name)?
        .and_then(timestamp::parse_http_date)
        .map(timestamp::seconds))
}

/// Whether `*`, or one of a list of `ETags`, quoted, bare or weak, is the object's.
fn matches_any(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|candidate| {
        let candidate = candidate.strip_prefix("W/").unwrap_or(candidate);
        candidate == "*" || candidate.trim_matches('"') == etag
    })
}
