//! Names, display names and mail addresses of users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// IAM's limit.
const USER_NAME_LEN_MAX: usize = 64;
/// SMTP's limit on a path (RFC 5321, 4.5.3.1.3).
const EMAIL_LEN_MAX: usize = 254;
/// A listing repeats it with each object.
const DISPLAY_NAME_LEN_MAX: usize = 256;

/// The name of a user: 1 to 64 letters, digits and `+=,.@_-`, as in AWS IAM.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// Checks the rules.
    ///
    /// # Errors
    /// If a rule is broken.
    pub fn parse(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"+=,.@_-".contains(&c);
        if !(1..=USER_NAME_LEN_MAX).contains(&name.len()) || !name.bytes().all(is_allowed) {
            return Err(InvalidName(
                "User names have 1 to 64 letters, digits and the characters +=,.@_-",
            ));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mail address: one `@` with something on both sides, no spaces, at most 254 bytes. Kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    /// Checks the rules; equality ignores case.
    ///
    /// # Errors
    /// If it does not look like an address.
    pub fn parse(address: impl AsRef<str>) -> Result<Self, InvalidName> {
        let address = address.as_ref().to_lowercase();
        let is_clean = !address.chars().any(|c| c.is_whitespace() || c.is_control());
        let has_both_sides = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        if address.len() > EMAIL_LEN_MAX || !is_clean || !has_both_sides {
            return Err(InvalidName(
                "An e-mail address has the form name@domain and at most 254 bytes",
            ));
        }
        Ok(Self(address))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What listings call a user: any text of at most 256 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Checks the rule.
    ///
    /// # Errors
    /// If the text is too long.
    pub fn parse(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        if name.len() > DISPLAY_NAME_LEN_MAX {
            return Err(InvalidName("Display names have at most 256 bytes"));
        }
        Ok(Self(name))
    }
}

macro_rules! text {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}
text!(UserName);
text!(Email);
text!(DisplayName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_follow_iam() {
        assert!(UserName::parse("anna.b+c=d,e@f_g-1").is_ok());
        for name in ["", "a b", "a/b", "ü", &"a".repeat(65)] {
            assert!(UserName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn emails_compare_without_case() {
        assert_eq!(
            Email::parse("A@B.example").unwrap(),
            Email::parse("a@b.EXAMPLE").unwrap()
        );
        for address in ["", "a", "@b", "a@", "a@b@c", "a b@c"] {
            assert!(Email::parse(address).is_err(), "{address}");
        }
    }

    #[test]
    fn display_names_are_any_text_that_is_not_long() {
        assert_eq!(DisplayName::parse("Ä <b>").unwrap().to_string(), "Ä <b>");
        assert!(DisplayName::parse("ä".repeat(128)).is_ok());
        assert!(DisplayName::parse("ä".repeat(129)).is_err());
    }
}
