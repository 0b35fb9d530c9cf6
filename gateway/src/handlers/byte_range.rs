//! `Range` on reads, as S3 understands it: one range in bytes; what it does not understand it ignores.

use std::ops::Range;

use crate::s3_error::{ErrorCode, S3Error};

/// A range as it was asked for, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requested {
    /// From the first byte to the last, which is included; `None` is the end.
    FromTo(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
}

/// The bytes that a `Range` header means in an object of `size` bytes; `None` means the whole object, because the
/// header says nothing that S3 honours.
///
/// # Errors
/// 416 `InvalidRange` where nothing of the object is in the range.
pub(super) fn resolve(header: &str, size: u64) -> Result<Option<Range<u64>>, S3Error> {
    let unsatisfiable = || {
        S3Error::of(ErrorCode::InvalidRange)
            .with("RangeRequested", header)
            .with("ActualObjectSize", size.to_string())
            .with_header(http::header::CONTENT_RANGE, content_range_unsatisfied(size))
    };
    match parse(header) {
        None => Ok(None),
        Some(Requested::FromTo(first, _)) if first >= size => Err(unsatisfiable()),
        Some(Requested::FromTo(first, last)) => {
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            Ok(Some(first..end))
        }
        Some(Requested::Suffix(0)) => Err(unsatisfiable()),
        // The last bytes of nothing are nothing: the whole of it.
        Some(Requested::Suffix(_)) if size == 0 => Ok(None),
        Some(Requested::Suffix(count)) => Ok(Some(size.saturating_sub(count)..size)),
    }
}

fn parse(header: &str) -> Option<Requested> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return number(last).map(Requested::Suffix);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(Requested::FromTo(first, None));
    }
    let last = number(last)?;
    (first <= last).then_some(Requested::FromTo(first, Some(last)))
}

/// Digits only; what exceeds 64 bits is as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `bytes 0-4/10`; `range` is not empty.
pub(super) fn content_range(range: &Range<u64>, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}

fn content_range_unsatisfied(size: u64) -> http::HeaderValue {
    http::HeaderValue::try_from(format!("bytes */{size}"))
        .unwrap_or_else(|_| http::HeaderValue::from_static("bytes */*"))
}

/// The range of `UploadPartCopy`, which is strict: exactly `bytes=first-last` within the source.
///
/// # Errors
/// 400 `InvalidRequest` where nothing of the source is in the range, `InvalidArgument` for anything else.
pub(super) fn copy_source_range(header: &str, source_size: u64) -> Result<Range<u64>, S3Error> {
    let refuse =
        |message: String| S3Error::invalid_argument(message, "x-amz-copy-source-range", header);
    let range = header
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let range = range.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let Some((first, last)) = range.filter(|(first, last)| first <= last) else {
        return Err(refuse(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
                .to_owned(),
        ));
    };
    if first >= source_size {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "The specified copy range is invalid for the source object size",
        ));
    }
    if last >= source_size {
        return Err(refuse(format!(
            "Range specified is not valid for source object of size: {source_size}"
        )));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_s3_understands() {
        for (header, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-", 2..10),
            ("bytes=2-100", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-100", 0..10),
            ("bytes=007-008", 7..9),
            ("Bytes=1-2", 1..3),
            ("bytes=0-99999999999999999999999", 0..10),
        ] {
            assert_eq!(resolve(header, 10).unwrap(), Some(expected), "{header}");
        }
    }

    #[test]
    fn what_it_ignores() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
            "bytes=+1-2",
        ] {
            assert_eq!(resolve(header, 10).unwrap(), None, "{header}");
        }
        assert_eq!(resolve("bytes=-5", 0).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_satisfied() {
        for (header, size) in [
            ("bytes=10-", 10),
            ("bytes=10-11", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-0", 0),
        ] {
            let error = resolve(header, size).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidRange);
            assert_eq!(
                error.extra("ActualObjectSize"),
                Some(size.to_string().as_str())
            );
        }
    }

    #[test]
    fn a_copy_range_is_exact_or_refused() {
        assert_eq!(copy_source_range("bytes=2-9", 10).unwrap(), 2..10);
        for header in [
            "bytes=2-10",
            "bytes=2-",
            "bytes=-2",
            "2-3",
            "bytes=3-2",
            "bytes=1-2,3-4",
            "bytes= 1-2",
        ] {
            assert_eq!(
                copy_source_range(header, 10).unwrap_err().code(),
                ErrorCode::InvalidArgument,
                "{header}"
            );
        }
        for (header, size) in [("bytes=10-10", 10), ("bytes=0-0", 0)] {
            assert_eq!(
                copy_source_range(header, size).unwrap_err().code(),
                ErrorCode::InvalidRequest,
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_resolved_range_is_inside_the_object(header in "(bytes=)?[0-9]{0,3}-?[0-9]{0,3}", size in 0u64..1000) {
            if let Ok(Some(range)) = resolve(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
