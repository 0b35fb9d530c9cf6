//! Names of buckets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// Shortest bucket name.
const LEN_MIN: usize = 3;
/// Longest bucket name: a DNS label.
const LEN_MAX: usize = 63;
/// Beginnings that S3 keeps for itself.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Ends that S3 keeps for itself (access point aliases, Object Lambda, multi-region access points, directory and
/// table buckets).
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// The name of a general purpose bucket, valid by S3's rules.
///
/// Source: Amazon S3 User Guide, "General purpose bucket naming rules".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// Checks the rules.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        check(&name)?;
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str) -> Result<(), InvalidName> {
    let is_alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(LEN_MIN..=LEN_MAX).contains(&name.len()) {
        return Err(InvalidName(
            "Bucket names must be between 3 and 63 characters long",
        ));
    }
    if !name
        .bytes()
        .all(|c| is_alphanumeric(c) || c == b'.' || c == b'-')
    {
        return Err(InvalidName(
            "Bucket names can consist only of lowercase letters, numbers, periods and hyphens",
        ));
    }
    if !name.bytes().next().is_some_and(is_alphanumeric)
        || !name.bytes().next_back().is_some_and(is_alphanumeric)
    {
        return Err(InvalidName(
            "Bucket names must begin and end with a letter or number",
        ));
    }
    if name.contains("..") {
        return Err(InvalidName(
            "Bucket names must not contain two adjacent periods",
        ));
    }
    if is_formatted_as_ipv4(name) {
        return Err(InvalidName(
            "Bucket names must not be formatted as an IP address",
        ));
    }
    if RESERVED_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
    {
        return Err(InvalidName(
            "Bucket names must not start with a reserved prefix",
        ));
    }
    if RESERVED_SUFFIXES
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        return Err(InvalidName(
            "Bucket names must not end with a reserved suffix",
        ));
    }
    Ok(())
}

/// Four groups of digits: S3 refuses the form, whatever the numbers are.
fn is_formatted_as_ipv4(name: &str) -> bool {
    let is_number = |label: &str| {
        !label.is_empty() && label.len() <= 3 && label.bytes().all(|c| c.is_ascii_digit())
    };
    name.split('.').count() == 4 && name.split('.').all(is_number)
}

impl FromStr for BucketName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::parse(name)
    }
}

impl TryFrom<String> for BucketName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::parse(name)
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl AsRef<str> for BucketName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketName({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_s3_takes() {
        for name in [
            "abc",
            "my.bucket-1",
            "1.2.3",
            "192.168.5.4.5",
            "a".repeat(63).as_str(),
            "my-.bucket",
            "1111.2.3.4",
        ] {
            assert!(BucketName::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_s3_refuses() {
        let refused = [
            "",
            "ab",
            "Abc",
            "a_c",
            "-abc",
            "abc-",
            ".abc",
            "abc.",
            "a..b",
            "192.168.5.4",
            "999.1.1.1",
            "xn--abc",
            "sthree-x",
            "amzn-s3-demo-x",
            "x-s3alias",
            "x--ol-s3",
            "abc.mrap",
            "x--x-s3",
            "x--table-s3",
            "a/b",
            "a b",
            "épée",
        ];
        for name in refused {
            assert!(BucketName::parse(name).is_err(), "{name}");
        }
        assert!(BucketName::parse("a".repeat(64)).is_err());
    }
}
