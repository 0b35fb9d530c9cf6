//! The two ids that every response carries, and by which its log lines are found.

use std::fmt;

use cairn_rpc::random::random_bytes;
use http::HeaderValue;

/// Thirty-two characters, so that five random bits give one without bias.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The request id: 16 upper-case letters and digits, as S3's are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// A fresh id of 80 random bits.
    pub fn random() -> Self {
        Self::from_bits(u128::from_ne_bytes(random_bytes()))
    }

    fn from_bits(bits: u128) -> Self {
        let mut text = [b'0'; 16];
        for (index, place) in text.iter_mut().enumerate() {
            let five_bits = (bits >> (index * 5)) & 31;
            if let Some(letter) = usize::try_from(five_bits)
                .ok()
                .and_then(|five_bits| ALPHABET.get(five_bits))
            {
                *place = *letter;
            }
        }
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of `x-amz-request-id`.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names the gateway process that answered: `x-amz-id-2`, and `HostId` in error documents.
///
/// One value for the life of the process: S3's own is opaque, and this one says which of several gateways to ask.
#[derive(Debug, Clone)]
pub struct HostId {
    text: String,
    header: HeaderValue,
}

impl HostId {
    /// A fresh id of 256 random bits.
    pub fn random() -> Self {
        let text = hex::encode(random_bytes::<32>());
        let header = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self { text, header }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of `x-amz-id-2`.
    pub fn to_header(&self) -> HeaderValue {
        self.header.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_sixteen_upper_case_letters_and_digits() {
        let id = RequestId::random();
        assert_eq!(id.as_str().len(), 16);
        assert!(
            id.as_str()
                .bytes()
                .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
        );
        assert_ne!(id, RequestId::random());
        assert_eq!(RequestId::from_bits(0).as_str(), "0000000000000000");
        assert_eq!(RequestId::from_bits(u128::MAX).as_str(), "ZZZZZZZZZZZZZZZZ");
    }
}
