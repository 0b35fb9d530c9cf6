//! The secret that all processes of one cluster share.

use std::fmt;

use zeroize::Zeroizing;

/// Shortest secret that is accepted: 32 characters, as many as 16 random bytes have in hex.
const SECRET_LEN_MIN: usize = 32;
/// Longest secret that is accepted; what is longer is not a secret but a mistake.
const SECRET_LEN_MAX: usize = 256;

/// The shared secret of one cluster, independent of anybody's S3 credentials.
///
/// Never printed, and wiped from memory when dropped.
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<Vec<u8>>);

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Too short to be safe.
    #[error(
        "the cluster secret has {len} characters; at least {SECRET_LEN_MIN} are needed (try: openssl rand -hex 32)"
    )]
    TooShort {
        /// How long it is, white space around it not counted.
        len: usize,
    },
    /// Not a secret.
    #[error("the cluster secret is longer than {SECRET_LEN_MAX} bytes; is it the right one?")]
    TooLong,
}

impl ClusterSecret {
    /// Takes a secret as people write it: white space at both ends (a file's newline) does not count.
    ///
    /// # Errors
    /// [`SecretError::TooShort`] and [`SecretError::TooLong`].
    pub fn new(text: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let text = text.as_ref().trim_ascii();
        match text.len() {
            len if len < SECRET_LEN_MIN => Err(SecretError::TooShort { len }),
            len if len > SECRET_LEN_MAX => Err(SecretError::TooLong),
            _ => Ok(Self(Zeroizing::new(text.to_vec()))),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_refused_and_white_space_does_not_lengthen_it() {
        assert!(ClusterSecret::new("x".repeat(32)).is_ok());
        let short = ClusterSecret::new(format!("  {}\n", "x".repeat(31)));
        assert!(matches!(short, Err(SecretError::TooShort { len: 31 })));
        assert!(matches!(
            ClusterSecret::new("x".repeat(257)),
            Err(SecretError::TooLong)
        ));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = ClusterSecret::new("very-secret-very-secret-very-secret").unwrap();
        assert_eq!(format!("{secret:?}"), "ClusterSecret(redacted)");
    }
}
