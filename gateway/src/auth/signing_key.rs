//! Signing keys: derived from a secret for one day, region and service, and cached.
//!
//! Deriving costs four HMACs, more than the rest of verifying a small request together. A derived key is
//! good for one credential text only, so that text is the cache's key; the secret it came from is kept
//! beside it and compared, so that a key whose secret was replaced is never served from the cache.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;
use super::credential::Credential;
use crate::timestamp;

/// A derived key. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct SigningKey(Zeroizing<Vec<u8>>);

impl SigningKey {
    /// Derives the key for one day (`time_ms` is any moment of it), region and service.
    pub(super) fn derive(secret: &Secret, time_ms: u64, region: &str, service: &str) -> SigningKey {
        let time = timestamp::system_time(time_ms);
        let key = generate_signing_key(secret.expose(), time, region, service);
        SigningKey(Zeroizing::new(key.as_ref().to_vec()))
    }

    /// The signature of a text, as hex digits.
    pub(super) fn sign(&self, string_to_sign: &str) -> Signature {
        Signature(calculate_signature(
            self.0.as_slice(),
            string_to_sign.as_bytes(),
        ))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// A computed signature. Showing it would let anybody who sees the log complete a forged request.
#[derive(Clone)]
pub(super) struct Signature(String);

impl Signature {
    /// Whether the client's signature is this one, in time that does not depend on where they differ.
    pub(super) fn matches(&self, provided: &str) -> bool {
        self.0.as_bytes().ct_eq(provided.as_bytes()).into()
    }

    /// The hex digits, once they have been shown to be what the client sent.
    pub(super) fn into_verified(self) -> String {
        self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(redacted)")
    }
}

/// How many derived keys are kept: each is some 300 bytes, and one serves a user for a day.
const KEYS_CACHED_MAX: usize = 1024;

/// Derived keys by credential.
#[derive(Default)]
pub(super) struct SigningKeyCache {
    keys: Mutex<HashMap<String, (Secret, SigningKey)>>,
}

impl SigningKeyCache {
    /// The key for a credential, derived if it is not here.
    pub(super) fn key(
        &self,
        credential: &Credential<'_>,
        secret: &Secret,
        time_ms: u64,
    ) -> SigningKey {
        if let Some((known_secret, key)) = self.lock().get(credential.text)
            && known_secret == secret
        {
            return key.clone();
        }
        let key = SigningKey::derive(secret, time_ms, credential.region, credential.service);
        let mut keys = self.lock();
        if keys.len() >= KEYS_CACHED_MAX {
            // Yesterday's keys are most of what is here; those still in use come back at once.
            keys.clear();
        }
        keys.insert(credential.text.to_owned(), (secret.clone(), key.clone()));
        key
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Secret, SigningKey)>> {
        // A panic elsewhere cannot leave a map half-written here: every entry is inserted whole.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SigningKeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_MS: u64 = 1_440_938_160_000; // 2015-08-30T12:36:00Z

    /// The example of "Create a string to sign" in Amazon's SigV4 documentation.
    #[test]
    fn amazons_example_gives_amazons_signature() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let key = SigningKey::derive(&secret, TIME_MS, "us-east-1", "iam");
        let signature = key.sign(
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
             f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59",
        );
        assert!(
            signature.matches("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
        );
        assert!(
            !signature.matches("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d8")
        );
        assert!(!signature.matches(""));
    }

    #[test]
    fn a_replaced_secret_is_not_served_from_the_cache() {
        let cache = SigningKeyCache::default();
        let credential = Credential::parse("AK/20150830/us-east-1/s3/aws4_request").unwrap();
        let (old, new) = (Secret::new("old".to_owned()), Secret::new("new".to_owned()));
        let before = cache.key(&credential, &old, TIME_MS);
        let after = cache.key(&credential, &new, TIME_MS);
        assert_ne!(*before.0, *after.0);
        assert_eq!(*after.0, *cache.key(&credential, &new, TIME_MS).0);
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = SigningKeyCache::default();
        let secret = Secret::new("s".to_owned());
        for index in 0..KEYS_CACHED_MAX + 5 {
            let text = format!("AK{index}/20150830/us-east-1/s3/aws4_request");
            cache.key(&Credential::parse(&text).unwrap(), &secret, TIME_MS);
        }
        assert!(cache.lock().len() <= KEYS_CACHED_MAX);
    }
}
