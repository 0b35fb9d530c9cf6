//! Names of objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// S3's limit on the length of a key, in bytes of UTF-8.
pub const OBJECT_KEY_LEN_MAX: usize = 1024;

/// The key of an object: 1 to [`OBJECT_KEY_LEN_MAX`] bytes of UTF-8, any characters, compared byte by byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks the length.
    ///
    /// # Errors
    /// If the key is empty or too long.
    pub fn parse(key: impl Into<String>) -> Result<Self, InvalidName> {
        let key = key.into();
        match key.len() {
            0 => Err(InvalidName("An object key cannot be empty")),
            1..=OBJECT_KEY_LEN_MAX => Ok(Self(key)),
            _ => Err(InvalidName("Your key is too long")),
        }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidName;

    fn from_str(key: &str) -> Result<Self, InvalidName> {
        Self::parse(key)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidName;

    fn try_from(key: String) -> Result<Self, InvalidName> {
        Self::parse(key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_bytes() {
        assert!(ObjectKey::parse("").is_err());
        assert!(ObjectKey::parse("é".repeat(512)).is_ok());
        assert!(ObjectKey::parse(format!("{}a", "é".repeat(512))).is_err());
        assert_eq!(ObjectKey::parse("a//../\0").unwrap().as_str(), "a//../\0");
    }
}
