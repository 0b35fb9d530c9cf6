//! Which bucket and key a request addresses, from its host and path.
//!
//! Path style is `/bucket/key`; virtual-hosted style is `bucket.<domain>/key` for a configured domain.
//! Either way the path is percent-decoded exactly once, `+` is literal, and nothing is normalized: `//`, `.`
//! and `..` are ordinary parts of keys. Whether a bucket *name* is valid is for the operation to judge.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

use crate::operation::Addressing;
use crate::percent::percent_decode;
use crate::s3_error::{ErrorCode, S3Error};

/// Keys are limited in bytes, not characters (Amazon S3 user guide, "Naming objects").
pub const KEY_SIZE_BYTES_MAX: usize = 1024;

/// The resource a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The service.
    Service,
    /// A bucket; the name is decoded but not validated.
    Bucket {
        /// The name.
        bucket: String,
    },
    /// An object; the key is decoded, not empty, and at most [`KEY_SIZE_BYTES_MAX`] bytes.
    Object {
        /// The bucket's name.
        bucket: String,
        /// The key.
        key: String,
    },
}

impl Target {
    /// The kind of resource, for routing.
    pub fn addressing(&self) -> Addressing {
        match self {
            Target::Service => Addressing::Service,
            Target::Bucket { .. } => Addressing::Bucket,
            Target::Object { .. } => Addressing::Object,
        }
    }

    /// The bucket's name, if there is one.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Target::Service => None,
            Target::Bucket { bucket } | Target::Object { bucket, .. } => Some(bucket),
        }
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Target::Service | Target::Bucket { .. } => None,
            Target::Object { key, .. } => Some(key),
        }
    }
}

/// The domains below which buckets have host names of their own.
#[derive(Debug, Clone, Default)]
pub struct Domains {
    /// Each begins with a dot and is in lower case.
    suffixes: Vec<String>,
}

impl Domains {
    /// Configured domains such as `s3.example.org`; ports and letter case do not matter.
    pub fn new<S: AsRef<str>>(domains: impl IntoIterator<Item = S>) -> Domains {
        let suffix = |domain: S| {
            let domain = without_port(domain.as_ref())
                .trim_matches('.')
                .to_ascii_lowercase();
            format!(".{domain}")
        };
        Domains {
            suffixes: domains
                .into_iter()
                .map(suffix)
                .filter(|s| s.len() > 1)
                .collect(),
        }
    }

    /// The bucket that a host name stands for, if it is one of a bucket.
    pub(crate) fn bucket_of(&self, host: &str) -> Option<String> {
        let host = without_port(host).to_ascii_lowercase();
        // The longest domain decides, so that `s3.a.b` and `a.b` can both be configured.
        let bucket = self
            .suffixes
            .iter()
            .filter_map(|suffix| host.strip_suffix(suffix.as_str()))
            .min_by_key(|bucket| bucket.len())?;
        let is_domain_itself = self
            .suffixes
            .iter()
            .any(|suffix| suffix.strip_prefix('.') == Some(&host));
        (!bucket.is_empty() && !is_domain_itself).then(|| bucket.to_owned())
    }
}

/// The host a request was sent to: the `Host` header, else `:authority` (HTTP/2). Whoever asks for the host asks
/// here, so that what is addressed is what was signed.
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(Authority::as_str),
    }
}

/// Refuses a request that names two hosts: by two `Host` headers, or by one and another authority in its target.
/// Proxies choose between the two, each in its own way; a URL signed for one bucket must not open another
/// (RFC 9112, 3.2: they are identical, and a server answers 400 to a second `Host`).
///
/// # Errors
/// `InvalidRequest`.
pub fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), S3Error> {
    let mut hosts = headers.get_all(HOST).iter();
    let is_one = match (hosts.next(), uri.authority()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok(),
        (Some(host), Some(authority)) => host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes()),
    };
    if is_one && hosts.next().is_none() {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "The request must name one host: its Host header and the authority of its target differ.",
    ))
}

/// Finds what a request addresses.
///
/// # Errors
/// `InvalidURI` for malformed escapes or a path that is not UTF-8, `KeyTooLongError`.
pub fn resolve(uri: &Uri, headers: &HeaderMap, domains: &Domains) -> Result<Target, S3Error> {
    let path = uri.path();
    let path = path.strip_prefix('/').unwrap_or_default();
    if let Some(bucket) = host(uri, headers).and_then(|host| domains.bucket_of(host)) {
        return target(bucket, decode(path)?);
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return if key.is_empty() {
            Ok(Target::Service)
        } else {
            Err(ErrorCode::InvalidBucketName.into())
        };
    }
    target(decode(bucket)?, decode(key)?)
}

fn target(bucket: String, key: String) -> Result<Target, S3Error> {
    if key.is_empty() {
        return Ok(Target::Bucket { bucket });
    }
    check_key_size(&key)?;
    Ok(Target::Object { bucket, key })
}

/// Refuses keys that are too long, with the sizes S3 names.
///
/// # Errors
/// `KeyTooLongError`.
pub fn check_key_size(key: &str) -> Result<(), S3Error> {
    if key.len() <= KEY_SIZE_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::of(ErrorCode::KeyTooLongError)
        .with("Size", key.len().to_string())
        .with("MaxSizeAllowed", KEY_SIZE_BYTES_MAX.to_string()))
}

fn decode(text: &str) -> Result<String, S3Error> {
    percent_decode(text).ok_or_else(|| S3Error::of(ErrorCode::InvalidURI))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(host: &str, path: &str) -> Result<Target, S3Error> {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        let domains = Domains::new(["s3.example.org", "Example.org:9000"]);
        resolve(&path.parse().unwrap(), &headers, &domains)
    }

    fn bucket(bucket: &str) -> Target {
        Target::Bucket {
            bucket: bucket.to_owned(),
        }
    }

    fn object(bucket: &str, key: &str) -> Target {
        Target::Object {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn path_style() {
        let at = |path| resolved("127.0.0.1:9000", path).unwrap();
        assert_eq!(at("/"), Target::Service);
        assert_eq!(at("/b"), bucket("b"));
        assert_eq!(at("/b/"), bucket("b"));
        assert_eq!(at("/b/k"), object("b", "k"));
        assert_eq!(at("/b//k/../."), object("b", "/k/../."));
        assert_eq!(at("/b/a%2Fb+c%20d%2525?x=1"), object("b", "a/b+c d%25"));
        assert_eq!(at("/b/%F0%9F%98%80%00"), object("b", "😀\0"));
    }

    #[test]
    fn virtual_hosted_style() {
        assert_eq!(
            resolved("my.b.s3.example.org:9000", "/k/x").unwrap(),
            object("my.b", "k/x")
        );
        assert_eq!(resolved("B.S3.Example.Org", "/").unwrap(), bucket("b"));
        assert_eq!(resolved("b.example.org", "//k").unwrap(), object("b", "/k"));
        assert_eq!(
            resolved("s3.example.org", "/b/k").unwrap(),
            object("b", "k")
        );
        assert_eq!(resolved("s3.other.org", "/b/k").unwrap(), object("b", "k"));
        assert_eq!(resolved("[::1]:9000", "/b/k").unwrap(), object("b", "k"));
    }

    #[test]
    fn the_authority_of_http2_counts_as_host() {
        let uri: Uri = "http://b.s3.example.org/k".parse().unwrap();
        let domains = Domains::new(["s3.example.org"]);
        assert_eq!(
            resolve(&uri, &HeaderMap::new(), &domains).unwrap(),
            object("b", "k")
        );
    }

    #[test]
    fn bad_paths_are_refused() {
        let code = |path: &str| resolved("h", path).unwrap_err().code();
        assert_eq!(code("/b/%ff"), ErrorCode::InvalidURI);
        assert_eq!(code("/b/%2"), ErrorCode::InvalidURI);
        assert_eq!(code("/b/%g0"), ErrorCode::InvalidURI);
        assert_eq!(code("//k"), ErrorCode::InvalidBucketName);
    }

    #[test]
    fn keys_are_limited_in_bytes() {
        assert!(resolved("h", &format!("/b/{}", "k".repeat(1024))).is_ok());
        let error = resolved("h", &format!("/b/{}", "%C3%A9".repeat(513))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::KeyTooLongError);
        assert_eq!(error.extra("Size"), Some("1026"));
        assert_eq!(error.extra("MaxSizeAllowed"), Some("1024"));
    }

    proptest::proptest! {
        #[test]
        fn any_encoded_key_comes_back(key in ".{1,200}") {
            let encoded = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
            let path = format!("/b/{encoded}");
            proptest::prop_assert_eq!(resolved("h", &path).unwrap(), object("b", &key));
        }
    }
}
