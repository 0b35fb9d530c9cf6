//! Access keys and their secrets.

use std::fmt;
use std::str::FromStr;

use cairn_rpc::random::random_bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::InvalidName;

/// Length of the access keys that Cairn makes, as AWS's.
const ACCESS_KEY_LEN: usize = 20;
/// Length of the secrets that Cairn makes, as AWS's.
const SECRET_KEY_LEN: usize = 40;
/// Shortest and longest access key that can be imported; AWS's limit above, other stores' habits below.
const ACCESS_KEY_LENS: std::ops::RangeInclusive<usize> = 3..=128;
/// Shortest and longest secret that can be imported.
const SECRET_KEY_LENS: std::ops::RangeInclusive<usize> = 8..=128;

/// The public half of a key pair: letters, digits, `_`, `-` and `.` (nothing that has a meaning in a credential
/// scope or a header).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccessKey(String);

impl AccessKey {
    /// Checks the rules.
    ///
    /// # Errors
    /// If a rule is broken.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
        if !ACCESS_KEY_LENS.contains(&text.len()) || !text.bytes().all(is_allowed) {
            return Err(InvalidName(
                "Access keys have 3 to 128 letters, digits, underscores, hyphens and periods",
            ));
        }
        Ok(Self(text))
    }

    /// A new one: 20 upper-case letters and digits.
    pub fn generate() -> Self {
        Self(random_text(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            ACCESS_KEY_LEN,
        ))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl TryFrom<String> for AccessKey {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl From<AccessKey> for String {
    fn from(key: AccessKey) -> Self {
        key.0
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({:?})", self.0)
    }
}

/// The secret half of a key pair. Not shown by `Debug`, wiped when dropped, never compared: signatures are.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// Checks the rules: 8 to 128 visible ASCII characters.
    ///
    /// # Errors
    /// If a rule is broken.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = Zeroizing::new(text.into());
        if !SECRET_KEY_LENS.contains(&text.len()) || !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(InvalidName(
                "Secret keys have 8 to 128 visible ASCII characters",
            ));
        }
        Ok(Self(text))
    }

    /// A new one: 40 letters, digits, `+` and `/` (240 bits).
    pub fn generate() -> Self {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Self(Zeroizing::new(random_text(alphabet, SECRET_KEY_LEN)))
    }

    /// The secret itself, for computing signatures and for showing it once to whoever created it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// `len` characters drawn evenly from an alphabet whose size is a power of two, so that a mask is unbiased.
fn random_text<const N: usize>(alphabet: &[u8; N], len: usize) -> String {
    const { assert!(N.is_power_of_two() && N <= 256) };
    let random = Zeroizing::new(random_bytes::<64>());
    random
        .iter()
        .take(len)
        .filter_map(|byte| alphabet.get(usize::from(*byte) & (N - 1)))
        .map(|c| char::from(*c))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_pairs_look_like_aws_pairs() {
        let access = AccessKey::generate();
        assert_eq!(access.as_str().len(), 20);
        assert!(
            access
                .as_str()
                .bytes()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        );
        let secret = SecretKey::generate();
        assert_eq!(secret.expose().len(), 40);
        assert!(SecretKey::parse(secret.expose()).is_ok());
        assert!(AccessKey::parse(access.as_str()).is_ok());
    }

    #[test]
    fn imported_pairs_are_checked() {
        for key in ["", "ab", "a/b/c", "a b c", "a,b=c"] {
            assert!(AccessKey::parse(key).is_err(), "{key}");
        }
        for secret in ["", "short", "with space", "with\nnewline"] {
            assert!(SecretKey::parse(secret).is_err(), "{secret}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(
            format!("{:?}", SecretKey::parse("topsecret").unwrap()),
            "SecretKey(redacted)"
        );
    }
}
