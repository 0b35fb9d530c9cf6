//! `?partNumber=`: of uploads, where it names a part, and of reads, where it selects one.

use std::ops::Range;

use cairn_meta::{ManifestPart, PartNumber};

use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};

/// The part that `UploadPart` or `UploadPartCopy` writes.
///
/// # Errors
/// 400 `InvalidArgument` outside 1 to 10,000.
pub(super) fn of_upload(query: &Query) -> Result<PartNumber, S3Error> {
    parse(query.get("partNumber").unwrap_or_default())
}

/// The part that a read selects.
///
/// # Errors
/// 400 `InvalidArgument` outside 1 to 10,000; 400 `InvalidRequest` together with a range.
pub(super) fn of_read(query: &Query, has_range: bool) -> Result<Option<u16>, S3Error> {
    let Some(text) = query.get("partNumber") else {
        return Ok(None);
    };
    let number = parse(text)?;
    if has_range {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    Ok(Some(number.get()))
}

/// The `number`-th part of an object that was uploaded in `parts`, and its bytes' place in the object.
///
/// # Errors
/// 416 `InvalidPartNumber` where there is no such part.
pub(super) fn find(
    number: u16,
    parts: &[ManifestPart],
) -> Result<(&ManifestPart, Range<u64>), S3Error> {
    let index = usize::from(number).saturating_sub(1);
    let part = parts
        .get(index)
        .ok_or_else(|| no_such_part(number, parts.len()))?;
    let start = parts.iter().take(index).map(|part| part.size_bytes).sum();
    Ok((part, start..start + part.size_bytes))
}

/// An object that was not uploaded in parts is its own only part.
///
/// # Errors
/// 416 `InvalidPartNumber` for any other.
pub(super) fn check_only(number: u16) -> Result<(), S3Error> {
    if number == 1 {
        Ok(())
    } else {
        Err(no_such_part(number, 1))
    }
}

fn no_such_part(number: u16, part_count: usize) -> S3Error {
    S3Error::of(ErrorCode::InvalidPartNumber)
        .with("ActualPartCount", part_count.to_string())
        .with("PartNumberRequested", number.to_string())
}

fn parse(text: &str) -> Result<PartNumber, S3Error> {
    let number = text
        .parse::<u16>()
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|number| PartNumber::new(number).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "Part number must be an integer between 1 and 10000, inclusive",
                "partNumber",
                text,
            )
        })
}
