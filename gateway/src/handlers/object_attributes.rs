//! What a client sends along with an object and gets back with it: system headers, user metadata, tags.

use cairn_meta::{CanonicalId, NewObject, SystemHeaders};
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderValue};

use crate::keepsake::Content;
use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};

/// Names and values of user metadata together, in bytes.
const USER_METADATA_BYTES_MAX: usize = 2 << 10;
const USER_METADATA_PREFIX: &str = "x-amz-meta-";
const TAGS_MAX: usize = 10;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// Nobody can have encoded a query in which one of these is left.
const NEVER_IN_A_URL: [char; 9] = ['[', ']', '{', '}', '<', '>', '"', '\\', '^'];
const STANDARD: &str = "STANDARD";
const REDIRECT: &str = "x-amz-website-redirect-location";
const REDIRECT_BYTES_MAX: usize = 2 << 10;

/// What is stored with an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ObjectAttributes {
    pub(super) storage_class: String,
    pub(super) headers: SystemHeaders,
    pub(super) user_metadata: Vec<(String, String)>,
    pub(super) tags: Vec<(String, String)>,
}

impl ObjectAttributes {
    /// All that the headers of a request say.
    ///
    /// # Errors
    /// 400 `MetadataTooLarge`, `InvalidTag`, `InvalidArgument`, `BadRequest`.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Self, S3Error> {
        Ok(Self {
            tags: tags(headers)?,
            ..Self::without_tags(headers)?
        })
    }

    /// All but the tags.
    ///
    /// # Errors
    /// 400 `MetadataTooLarge`.
    pub(super) fn without_tags(headers: &HeaderMap) -> Result<Self, S3Error> {
        let text = |name: http::HeaderName| joined(headers, name.as_str());
        let system = SystemHeaders {
            content_type: text(CONTENT_TYPE).filter(|value| !value.is_empty()),
            cache_control: text(CACHE_CONTROL),
            content_disposition: text(CONTENT_DISPOSITION),
            content_encoding: text(CONTENT_ENCODING).and_then(|value| without_aws_chunked(&value)),
            content_language: text(CONTENT_LANGUAGE),
            expires: text(EXPIRES),
            website_redirect_location: redirect_location(headers)?,
        };
        // Another storage class was refused with the headers that nobody implements.
        let storage_class = STANDARD.to_owned();
        Ok(Self {
            storage_class,
            headers: system,
            user_metadata: user_metadata(headers)?,
            tags: Vec::new(),
        })
    }

    /// `content` with these attributes.
    pub(super) fn content(&self, content: Content) -> Content {
        Content {
            storage_class: self.storage_class.clone(),
            headers: self.headers.clone(),
            user_metadata: self.user_metadata.clone(),
            tags: self.tags.clone(),
            ..content
        }
    }

    /// An object of these attributes; size, ETag, owner, checksum and data are still to be filled in.
    pub(super) fn into_new_object(self) -> NewObject {
        NewObject {
            modified_ms: None,
            size_bytes: 0,
            etag: String::new(),
            owner: CanonicalId([0; 32]),
            storage_class: self.storage_class,
            headers: self.headers,
            user_metadata: self.user_metadata,
            tags: self.tags,
            checksum: None,
            data: None,
        }
    }
}

/// The tags in `x-amz-tagging`: a query string.
///
/// # Errors
/// 400 `BadRequest` for too many, `InvalidArgument` for a key twice, `InvalidTag` for what no tag can be.
pub(super) fn tags(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let Some(header) = headers.get("x-amz-tagging") else {
        return Ok(Vec::new());
    };
    let malformed = || {
        S3Error::invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
            "x-amz-tagging",
            text_of(header),
        )
    };
    let text = header.to_str().map_err(|_| malformed())?;
    // Encoded they are characters that no tag can have: another refusal.
    if text.contains(NEVER_IN_A_URL) {
        return Err(malformed());
    }
    let query = Query::parse(Some(text)).map_err(|_| malformed())?;
    let mut tags: Vec<(String, String)> = Vec::new();
    for (key, value) in query.iter() {
        if tags.iter().any(|(known, _)| known == key) {
            return Err(malformed());
        }
        check_tag(key, value)?;
        tags.push((key.to_owned(), value.to_owned()));
    }
    if tags.len() > TAGS_MAX {
        return Err(S3Error::new(
            ErrorCode::BadRequest,
            format!("Object tags cannot be greater than {TAGS_MAX}"),
        ));
    }
    Ok(tags)
}

fn check_tag(key: &str, value: &str) -> Result<(), S3Error> {
    let is_allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
    let refuse = |message: &'static str| Err(S3Error::new(ErrorCode::InvalidTag, message));
    if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX || !key.chars().all(is_allowed) {
        return refuse("The TagKey you have provided is invalid");
    }
    if value.chars().count() > TAG_VALUE_CHARS_MAX || !value.chars().all(is_allowed) {
        return refuse("The TagValue you have provided is invalid");
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return refuse("System tags cannot be added/updated by requester");
    }
    Ok(())
}

/// `x-amz-meta-*`: names in lower case (as all header names are here), values of repeated headers joined.
fn user_metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let mut metadata = Vec::new();
    let mut size = 0;
    for name in headers.keys() {
        let Some(short) = name
            .as_str()
            .strip_prefix(USER_METADATA_PREFIX)
            .filter(|short| !short.is_empty())
        else {
            continue;
        };
        let value = joined(headers, name.as_str()).unwrap_or_default();
        size += short.len() + value.len();
        metadata.push((short.to_owned(), value));
    }
    if size > USER_METADATA_BYTES_MAX {
        return Err(S3Error::of(ErrorCode::MetadataTooLarge)
            .with("Size", size.to_string())
            .with("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    Ok(metadata)
}

/// S3 redirects within a bucket, or to a web address, of at most 2 KB; nothing else makes sense.
fn redirect_location(headers: &HeaderMap) -> Result<Option<String>, S3Error> {
    let Some(location) = joined(headers, REDIRECT) else {
        return Ok(None);
    };
    if location.len() > REDIRECT_BYTES_MAX {
        return Err(S3Error::invalid_argument(
            "The length of website redirect location cannot exceed 2,048 characters.",
            REDIRECT,
            location,
        ));
    }
    if ["/", "http://", "https://"]
        .iter()
        .any(|start| location.starts_with(start))
    {
        return Ok(Some(location));
    }
    Err(S3Error::invalid_argument(
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        REDIRECT,
        location,
    ))
}

/// All values of a header, joined as HTTP allows.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter().map(text_of);
    let mut joined = values.next()?;
    for value in values {
        joined.push(',');
        joined.push_str(&value);
    }
    Some(joined)
}

/// A value as text: UTF-8 where it is, else Latin-1, which is what HTTP once said.
fn text_of(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
    }
}

/// `aws-chunked` describes how the body travels, not what is stored. A value without it is kept as it is.
fn without_aws_chunked(value: &str) -> Option<String> {
    let is_of_transport = |coding: &str| coding.eq_ignore_ascii_case("aws-chunked");
    let codings = || value.split(',').map(str::trim);
    if !codings().any(is_of_transport) {
        return Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    let kept: Vec<_> = codings()
        .filter(|coding| !coding.is_empty() && !is_of_transport(coding))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<ObjectAttributes, S3Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        ObjectAttributes::of_request(&headers)
    }

    #[test]
    fn aws_chunked_is_taken_off_wherever_it_stands() {
        for (sent, kept) in [
            ("aws-chunked", None),
            ("gzip", Some("gzip")),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, AWS-Chunked", Some("gzip")),
            ("aws-chunked, aws-chunked", None),
            ("gzip,br", Some("gzip,br")),
            ("deflate, gzip", Some("deflate, gzip")),
            ("", None),
        ] {
            assert_eq!(
                of(&[("content-encoding", sent)])
                    .unwrap()
                    .headers
                    .content_encoding
                    .as_deref(),
                kept,
                "{sent}"
            );
        }
    }

    #[test]
    fn user_metadata_is_joined_and_limited() {
        let attributes = of(&[
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("x-amz-meta-ü".trim_end_matches('ü'), "x"),
        ])
        .unwrap();
        assert_eq!(
            attributes.user_metadata,
            [("a".to_owned(), "1,2".to_owned())]
        );
        let long = "v".repeat(2047);
        assert!(of(&[("x-amz-meta-k", &long)]).is_ok());
        let error = of(&[("x-amz-meta-kk", &long)]).unwrap_err();
        assert_eq!(
            (
                error.code(),
                error.extra("Size"),
                error.extra("MaxSizeAllowed")
            ),
            (ErrorCode::MetadataTooLarge, Some("2049"), Some("2048"))
        );
    }

    #[test]
    fn tags_have_rules() {
        let tags = of(&[("x-amz-tagging", "a=1&b=x%20y&c")]).unwrap().tags;
        assert_eq!(
            tags,
            [("a", "1"), ("b", "x y"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        let many = (0..11)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join("&");
        for (header, code) in [
            (many.as_str(), ErrorCode::BadRequest),
            ("a=1&a=2", ErrorCode::InvalidArgument),
            ("=1", ErrorCode::InvalidTag),
            ("aws:x=1", ErrorCode::InvalidTag),
            ("a=%ff", ErrorCode::InvalidArgument),
            ("a=ü", ErrorCode::InvalidArgument),
            ("TagSet=[{Key=a,Value=b}]", ErrorCode::InvalidArgument),
            ("TagSet%3D%5B%7BKey%3Da%7D%5D", ErrorCode::InvalidTag),
            (&format!("{}=1", "k".repeat(129)), ErrorCode::InvalidTag),
            (&format!("k={}", "v".repeat(257)), ErrorCode::InvalidTag),
        ] {
            assert_eq!(
                of(&[("x-amz-tagging", header)]).unwrap_err().code(),
                code,
                "{header}"
            );
        }
    }
}
