//! Signature Version 4, the client's side: what the gateway checks with another implementation.
//!
//! Source: "Authenticating Requests: Using the Authorization Header", Amazon S3 API reference. Signed are
//! `host`, `x-amz-content-sha256` and `x-amz-date`; the day's signing key is kept.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::request::Request;
use crate::config::Secret;

const SIGNED_HEADERS: &str = "host;x-amz-content-sha256;x-amz-date";

/// An access key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPair {
    /// The public half.
    pub(crate) access_key: String,
    /// The secret half.
    pub(crate) secret_key: Secret,
}

/// Signs the requests of one user.
#[derive(Clone)]
pub(crate) struct Signer {
    keys: KeyPair,
    region: String,
    day: String,
    day_key: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("access_key", &self.keys.access_key)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The headers that a signature consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// `authorization`.
    pub(crate) authorization: String,
    /// `x-amz-date`.
    pub(crate) date: String,
}

impl Signer {
    /// A signer for one region.
    pub(crate) fn new(keys: KeyPair, region: impl Into<String>) -> Self {
        Self {
            keys,
            region: region.into(),
            day: String::new(),
            day_key: [0; 32],
        }
    }

    /// Signs `request`, which will be sent to `host` at `now_ms`.
    pub(crate) fn sign(&mut self, request: &Request, host: &str, now_ms: u64) -> Signature {
        let date = amz_date(now_ms);
        let day: String = date.chars().take(8).collect();
        if day != self.day {
            self.day_key = self.derive_day_key(&day);
            self.day = day;
        }
        let payload = request.payload.header_value();
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{date}\n\n{SIGNED_HEADERS}\n{payload}",
            method = request.method,
            path = request.path,
            query = request.query,
        );
        let scope = format!("{}/{}/s3/aws4_request", self.day, self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let signature = hex::encode(hmac_sha256(&self.day_key, to_sign.as_bytes()));
        let access_key = &self.keys.access_key;
        Signature {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}"
            ),
            date,
        }
    }

    fn derive_day_key(&self, day: &str) -> [u8; 32] {
        let secret = format!("AWS4{}", self.keys.secret_key.reveal());
        let key = hmac_sha256(secret.as_bytes(), day.as_bytes());
        let key = hmac_sha256(&key, self.region.as_bytes());
        let key = hmac_sha256(&key, b"s3");
        hmac_sha256(&key, b"aws4_request")
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length fits");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// `20260131T235959Z`; times beyond the year 9999 are written as the epoch, which every server refuses.
fn amz_date(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the API reference's example "GET Bucket (List Objects)", which signs exactly our three headers.
    #[test]
    fn signs_as_the_published_example() {
        let keys = KeyPair {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let request = Request::new(http::Method::GET, "/".to_owned())
            .query(&[("max-keys", "2"), ("prefix", "J")])
            .signed_body("");
        let signature = Signer::new(keys, "us-east-1").sign(
            &request,
            "examplebucket.s3.amazonaws.com",
            1_369_353_600_000,
        );
        assert_eq!(signature.date, "20130524T000000Z");
        assert!(
            signature.authorization.ends_with(
                "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
            ),
            "{}",
            signature.authorization
        );
    }
}
