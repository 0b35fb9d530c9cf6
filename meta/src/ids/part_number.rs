//! Numbers of parts of a multipart upload.

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// S3's limit on parts of one upload.
pub const PART_NUMBER_MAX: u16 = 10_000;

/// The number of a part: 1 to [`PART_NUMBER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PartNumber(u16);

impl PartNumber {
    /// The lowest.
    pub const FIRST: Self = Self(1);

    /// Checks the range.
    ///
    /// # Errors
    /// If `number` is 0 or above [`PART_NUMBER_MAX`].
    pub fn new(number: u16) -> Result<Self, InvalidName> {
        if (1..=PART_NUMBER_MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidName(
                "Part number must be an integer between 1 and 10000, inclusive",
            ))
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for PartNumber {
    type Error = InvalidName;

    fn try_from(number: u16) -> Result<Self, InvalidName> {
        Self::new(number)
    }
}

impl From<PartNumber> for u16 {
    fn from(number: PartNumber) -> Self {
        number.0
    }
}

impl std::fmt::Display for PartNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_one_to_ten_thousand() {
        assert!(PartNumber::new(0).is_err());
        assert_eq!(PartNumber::new(1).unwrap().get(), 1);
        assert_eq!(PartNumber::new(10_000).unwrap().get(), 10_000);
        assert!(PartNumber::new(10_001).is_err());
    }
}
