//! The key that wraps secrets at rest, and sealing under it.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce. The associated data names what is sealed, so that a sealed
//! secret cannot be moved to another record.

use std::fmt;
use std::sync::Arc;

use cairn_rpc::random::random_bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::error::MetaError;

/// 32 bytes that must not be lost: without them no secret can be read. Wiped when dropped, not shown by `Debug`.
#[derive(Clone)]
pub struct MasterKey(Arc<Zeroizing<[u8; 32]>>);

impl MasterKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The key with these bytes in hexadecimal; `None` if they are not 32.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, &mut *bytes).ok()?;
        Some(Self(Arc::new(bytes)))
    }

    /// A new one.
    pub fn random() -> Self {
        Self::new(random_bytes())
    }

    /// The bytes, for keeping them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.0).into())
    }

    /// `secret` under this key and a new nonce, bound to `associated`.
    #[expect(
        clippy::expect_used,
        reason = "sealing fails only for messages of more than 256 GiB"
    )]
    pub(crate) fn seal(&self, secret: &[u8], associated: &[u8]) -> ([u8; 24], Vec<u8>) {
        let nonce = random_bytes::<24>();
        let payload = Payload {
            msg: secret,
            aad: associated,
        };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("secrets are short");
        (nonce, sealed)
    }

    /// The secret in `sealed`.
    pub(crate) fn open(
        &self,
        nonce: [u8; 24],
        sealed: &[u8],
        associated: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, MetaError> {
        let payload = Payload {
            msg: sealed,
            aad: associated,
        };
        let secret = self
            .cipher()
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| MetaError::WrongMasterKey)?;
        Ok(Zeroizing::new(secret))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key_and_association() {
        let key = MasterKey::new([1; 32]);
        let (nonce, sealed) = key.seal(b"secret", b"a");
        assert_eq!(
            key.open(nonce, &sealed, b"a").unwrap().as_slice(),
            b"secret"
        );
        assert!(matches!(
            key.open(nonce, &sealed, b"b"),
            Err(MetaError::WrongMasterKey)
        ));
        assert!(matches!(
            MasterKey::new([2; 32]).open(nonce, &sealed, b"a"),
            Err(MetaError::WrongMasterKey)
        ));
        assert!(key.open(nonce, b"", b"a").is_err());
        assert_eq!(format!("{key:?}"), "MasterKey(redacted)");
    }
}
