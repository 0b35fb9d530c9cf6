//! What listings have in common: page sizes, continuation tokens, and `encoding-type=url`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::operation::Query;
use crate::s3_error::S3Error;

/// Entries on a page at most, and where nothing is said.
pub(super) const PAGE_SIZE_MAX: usize = 1000;
/// The largest number that S3 takes for a page size; what exceeds [`PAGE_SIZE_MAX`] counts as that.
const PAGE_SIZE_ARGUMENT_MAX: usize = i32::MAX as usize;
/// Decodes to the key under both rules in use (`%20` or `+` for a space), and leaves `/` readable, as S3 does.
const ENCODED_IN_LISTINGS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'*')
    .remove(b'/');

/// A page size: `max-keys`, `max-uploads`, `max-parts`.
///
/// # Errors
/// 400 `InvalidArgument` for what is no number, is negative, or exceeds 32 bits.
pub(super) fn page_size(query: &Query, parameter: &'static str) -> Result<usize, S3Error> {
    let Some(text) = query.get(parameter).filter(|text| !text.is_empty()) else {
        return Ok(PAGE_SIZE_MAX);
    };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(number) if is_number && number <= PAGE_SIZE_ARGUMENT_MAX => {
            Ok(number.min(PAGE_SIZE_MAX))
        }
        _ => Err(S3Error::invalid_argument(
            format!("Provided {parameter} not an integer or within integer range"),
            parameter,
            text,
        )),
    }
}

/// A parameter that means nothing when it is empty.
pub(super) fn text<'a>(query: &'a Query, parameter: &str) -> Option<&'a str> {
    query.get(parameter).filter(|text| !text.is_empty())
}

/// How names are written into a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are.
    Plain,
    /// Percent-encoded, because XML cannot carry every key.
    Url,
}

impl Encoding {
    /// What `encoding-type` asks for.
    ///
    /// # Errors
    /// 400 `InvalidArgument` for anything but `url`.
    pub(super) fn of(query: &Query) -> Result<Self, S3Error> {
        match query.get("encoding-type") {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }

    /// As in `<EncodingType>`.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Url => Some("url"),
        }
    }

    /// A name as it is to be written.
    pub(super) fn apply(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(name),
            Self::Url => utf8_percent_encode(name, ENCODED_IN_LISTINGS).into(),
        }
    }
}

/// The token from which a listing goes on: opaque to clients, the last name to us.
pub(super) fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// The last name in a token.
///
/// # Errors
/// 400 `InvalidArgument` for what we did not give out.
pub(super) fn parse_token(text: &str) -> Result<String, S3Error> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .filter(|bytes| !bytes.is_empty());
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "The continuation token provided is incorrect",
                "continuation-token",
                text,
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3_error::ErrorCode;

    fn size(raw: &str) -> Result<usize, S3Error> {
        page_size(&Query::parse(Some(raw)).unwrap(), "max-keys")
    }

    #[test]
    fn page_sizes_are_clamped_or_refused() {
        assert_eq!(size("").unwrap(), 1000);
        assert_eq!(size("max-keys=").unwrap(), 1000);
        assert_eq!(size("max-keys=0").unwrap(), 0);
        assert_eq!(size("max-keys=7").unwrap(), 7);
        assert_eq!(size("max-keys=2147483647").unwrap(), 1000);
        for bad in [
            "max-keys=-1",
            "max-keys=x",
            "max-keys=2147483648",
            "max-keys=%2B1",
            "max-keys=1.5",
        ] {
            assert_eq!(
                size(bad).unwrap_err().code(),
                ErrorCode::InvalidArgument,
                "{bad}"
            );
        }
    }

    #[test]
    fn names_are_encoded_so_that_every_client_decodes_them() {
        assert_eq!(
            Encoding::Url.apply("a b+c/d&é\u{1}"),
            "a%20b%2Bc/d%26%C3%A9%01"
        );
        assert_eq!(Encoding::Plain.apply("a b"), "a b");
    }

    #[test]
    fn tokens_lead_back_and_others_are_refused() {
        assert_eq!(parse_token(&token("a/b+c é")).unwrap(), "a/b+c é");
        for bad in ["", "!", "_w"] {
            assert!(parse_token(bad).is_err(), "{bad}");
        }
    }
}
