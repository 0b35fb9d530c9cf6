//! Whose access keys are known: root's, from the settings, and the users', from the metadata.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_meta::{AccessKey, CanonicalId, Meta};
use sha2::{Digest, Sha256};

use crate::auth::{KeyEntry, KeyLookup, Principal, Secret};
use crate::config::RootCredentials;
use crate::failure;
use crate::s3_error::S3Error;

/// The canonical id of root: the same in every cluster and under every root key, so that what root owns stays
/// root's when its credentials change.
pub fn root_canonical_id() -> CanonicalId {
    CanonicalId(Sha256::digest(b"cairn root account").into())
}

/// Root's name in listings.
pub(crate) const ROOT_DISPLAY_NAME: &str = "root";

/// Finds access keys for the verification of signatures.
#[derive(Debug)]
pub(crate) struct Keyring {
    root_access_key: String,
    root: KeyEntry,
    meta: Meta,
}

impl Keyring {
    pub(crate) fn new(root: &RootCredentials, meta: Meta) -> Self {
        let canonical_id = Arc::from(root_canonical_id().to_string());
        let entry = KeyEntry {
            secret: Secret::new(root.secret_key.to_string()),
            principal: Principal::Root { canonical_id },
        };
        Self {
            root_access_key: root.access_key.clone(),
            root: entry,
            meta,
        }
    }
}

#[async_trait]
impl KeyLookup for Keyring {
    async fn key(&self, access_key: &str) -> Result<Option<KeyEntry>, S3Error> {
        if access_key == self.root_access_key {
            return Ok(Some(self.root.clone()));
        }
        // What cannot be a key is none.
        let Ok(access_key) = AccessKey::parse(access_key) else {
            return Ok(None);
        };
        let found = self
            .meta
            .key(&access_key)
            .await
            .map_err(failure::of_metadata)?;
        Ok(found.map(|record| KeyEntry {
            secret: Secret::new(record.secret.expose().to_owned()),
            principal: Principal::User {
                canonical_id: Arc::from(record.user.to_string()),
                name: Arc::from(record.user_name.as_str()),
            },
        }))
    }
}
