//! The query string of a request, decoded once.

use std::borrow::Cow;

use crate::percent::percent_decode;
use crate::s3_error::{ErrorCode, S3Error};

/// The decoded parameters of a request, in the order they were sent.
///
/// `+` means a space here, as in HTML forms and as at S3; in paths it is literal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Decodes the part of a URI after `?`.
    ///
    /// # Errors
    /// `InvalidURI` if an escape is malformed or the result is not UTF-8.
    pub fn parse(raw: Option<&str>) -> Result<Query, S3Error> {
        let raw = raw.unwrap_or_default();
        let mut parameters = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.push((decode(name)?, decode(value)?));
        }
        Ok(Query { parameters })
    }

    /// The first value of a parameter; `""` if it was sent without one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// Whether a parameter was sent at all.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All parameters in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn decode(text: &str) -> Result<String, S3Error> {
    let text = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    percent_decode(&text).ok_or_else(|| S3Error::of(ErrorCode::InvalidURI))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once_and_keep_empty_values() {
        let query = Query::parse(Some("uploads&prefix=a%2Bb+c%2520&x=&&x=2")).unwrap();
        assert_eq!(query.get("uploads"), Some(""));
        assert_eq!(query.get("prefix"), Some("a+b c%20"));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("nothing"), None);
        assert_eq!(query.iter().count(), 4);
        assert_eq!(Query::parse(None).unwrap(), Query::default());
    }

    #[test]
    fn malformed_escapes_and_bad_utf8_are_refused() {
        for raw in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert_eq!(
                Query::parse(Some(raw)).unwrap_err().code(),
                ErrorCode::InvalidURI,
                "{raw}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_query_is_parsed_or_refused(raw in ".{0,64}") {
            drop(Query::parse(Some(&raw)));
        }
    }
}
