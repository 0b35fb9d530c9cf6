//! Users and access keys.
//!
//! A user's keys are listed in the user's record, and each has a record of its own with the secret, sealed under
//! the master key and bound to the access key. Both change in one commit that checks the user's record.

use crate::codec::{Stored, decode, encode};
use crate::error::MetaError;
use crate::ids::{AccessKey, CanonicalId, DisplayName, Email, SecretKey, UserName};
use crate::keys;
use crate::kv::Batch;
use crate::meta::{Committed, Evidence, Meta};
use crate::records::{KeyCheck, SealedKey, UserRecord};

/// Most access keys of one user. AWS allows 2, which rotation needs; machines' users have one per machine.
pub const ACCESS_KEYS_PER_USER_MAX: usize = 16;
/// What is sealed to recognize the master key.
const KEY_CHECK_TEXT: &[u8] = b"cairn master key";

/// An access key with its secret.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// The public half.
    pub access_key: AccessKey,
    /// The secret half.
    pub secret: SecretKey,
    /// Whose key it is.
    pub user: CanonicalId,
    /// The user's name.
    pub user_name: UserName,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// A page of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    /// Sorted by name.
    pub users: Vec<UserRecord>,
    /// If there are more: the last name here, for `after`.
    pub next: Option<UserName>,
}

impl Meta {
    /// Makes sure that secrets can be decrypted; the first call of a new cluster decides which master key it has.
    ///
    /// # Errors
    /// [`MetaError::WrongMasterKey`].
    pub async fn check_master_key(&self) -> Result<(), MetaError> {
        let key = keys::master_key_check();
        let mut attempts = self.jitter.attempts();
        loop {
            if let Some(check) = self.read::<KeyCheck>(&key).await? {
                self.master_key
                    .open(check.record.nonce, &check.record.sealed, &key)?;
                return Ok(());
            }
            let (nonce, sealed) = self.master_key.seal(KEY_CHECK_TEXT, &key);
            let mut batch = Batch::default();
            batch
                .check(key.clone(), None)
                .put(key.clone(), encode(&KeyCheck { nonce, sealed }));
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    /// Creates a user without keys.
    ///
    /// # Errors
    /// [`MetaError::UserExists`], [`MetaError::EmailTaken`].
    pub async fn create_user(
        &self,
        name: UserName,
        email: Option<Email>,
        display_name: Option<DisplayName>,
        now_ms: u64,
    ) -> Result<UserRecord, MetaError> {
        let record = UserRecord {
            canonical_id: CanonicalId::random(),
            display_name: display_name.map_or_else(|| name.to_string(), String::from),
            name,
            email,
            created_at_ms: now_ms,
            access_keys: Vec::new(),
        };
        let user_key = keys::user(&record.name);
        let email_key = record.email.as_ref().map(keys::email);
        let mut attempts = self.jitter.attempts();
        loop {
            if self.kv.get(&user_key).await?.is_some() {
                return Err(MetaError::UserExists);
            }
            if let Some(email_key) = &email_key
                && self.kv.get(email_key).await?.is_some()
            {
                return Err(MetaError::EmailTaken);
            }
            let mut batch = Batch::default();
            let (value, name) = (encode(&record), encode(&record.name));
            batch
                .check(user_key.clone(), None)
                .put(user_key.clone(), value.clone());
            for index in email_key
                .iter()
                .cloned()
                .chain([keys::canonical_id(record.canonical_id)])
            {
                batch.check(index.clone(), None).put(index, name.clone());
            }
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(record),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    self.resolve_unknown(&Evidence(vec![(user_key, Some(value))]), error)
                        .await?;
                    return Ok(record);
                }
            }
        }
    }

    /// A user by name.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn user(&self, name: &UserName) -> Result<Option<UserRecord>, MetaError> {
        Ok(self.stored_user(name).await?.map(|stored| stored.record))
    }

    /// A user by canonical id.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn user_by_canonical_id(
        &self,
        id: CanonicalId,
    ) -> Result<Option<UserRecord>, MetaError> {
        self.user_by_index(&keys::canonical_id(id)).await
    }

    /// A user by e-mail address.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<UserRecord>, MetaError> {
        self.user_by_index(&keys::email(email)).await
    }

    /// Users by name, behind `after`.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn list_users(
        &self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<UserPage, MetaError> {
        let table = keys::all_users();
        let start = after.map_or_else(
            || table.clone(),
            |after| keys::successor(&keys::user(after)),
        );
        let page = self.records(&table, start, limit.max(1)).await?;
        let users: Vec<UserRecord> = page
            .records
            .iter()
            .map(|(_, value)| decode(value))
            .collect::<Result<_, _>>()?;
        let next = users
            .last()
            .filter(|_| page.is_truncated)
            .map(|last| last.name.clone());
        Ok(UserPage { users, next })
    }

    /// Deletes a user with all keys.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUser`]; [`MetaError::UserOwnsBuckets`]. (A bucket that the user creates in the very
    /// moment stays behind, without an owner who could sign in; root can delete it.)
    pub async fn delete_user(&self, name: &UserName) -> Result<(), MetaError> {
        let mut attempts = self.jitter.attempts();
        loop {
            let user = self.stored_user(name).await?.ok_or(MetaError::NoSuchUser)?;
            if !self
                .list_buckets(user.record.canonical_id, "", None, 1)
                .await?
                .buckets
                .is_empty()
            {
                return Err(MetaError::UserOwnsBuckets);
            }
            let mut batch = Batch::default();
            batch
                .check(keys::user(name), Some(user.bytes))
                .delete(keys::user(name));
            batch.delete(keys::canonical_id(user.record.canonical_id));
            if let Some(email) = &user.record.email {
                batch.delete(keys::email(email));
            }
            user.record.access_keys.iter().for_each(|access_key| {
                batch.delete(keys::access_key(access_key));
            });
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    /// Gives a user a key pair: the one to import, or a new one.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUser`], [`MetaError::TooManyAccessKeys`]; [`MetaError::AccessKeyExists`] for an imported one.
    pub async fn create_key(
        &self,
        user: &UserName,
        import: Option<(AccessKey, SecretKey)>,
        now_ms: u64,
    ) -> Result<KeyRecord, MetaError> {
        let (access_key, secret) =
            import.unwrap_or_else(|| (AccessKey::generate(), SecretKey::generate()));
        let key = keys::access_key(&access_key);
        let (nonce, sealed_secret) = self
            .master_key
            .seal(secret.expose().as_bytes(), access_key.as_str().as_bytes());
        let mut attempts = self.jitter.attempts();
        loop {
            let mut owner = self.stored_user(user).await?.ok_or(MetaError::NoSuchUser)?;
            if owner.record.access_keys.len() >= ACCESS_KEYS_PER_USER_MAX {
                return Err(MetaError::TooManyAccessKeys {
                    max: ACCESS_KEYS_PER_USER_MAX,
                });
            }
            if self.kv.get(&key).await?.is_some() {
                return Err(MetaError::AccessKeyExists);
            }
            let canonical_id = owner.record.canonical_id;
            owner.record.access_keys.push(access_key.clone());
            let sealed = SealedKey {
                user: canonical_id,
                user_name: user.clone(),
                created_at_ms: now_ms,
                nonce,
                sealed_secret: sealed_secret.clone(),
            };
            let value = encode(&sealed);
            let mut batch = Batch::default();
            batch
                .check(keys::user(user), Some(owner.bytes))
                .put(keys::user(user), encode(&owner.record));
            batch
                .check(key.clone(), None)
                .put(key.clone(), value.clone());
            let created = KeyRecord {
                access_key: access_key.clone(),
                secret: secret.clone(),
                user: canonical_id,
                user_name: user.clone(),
                created_at_ms: now_ms,
            };
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(created),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    self.resolve_unknown(&Evidence(vec![(key, Some(value))]), error)
                        .await?;
                    return Ok(created);
                }
            }
        }
    }

    /// An access key with its secret.
    ///
    /// # Errors
    /// [`MetaError::WrongMasterKey`]; those of the store.
    pub async fn key(&self, access_key: &AccessKey) -> Result<Option<KeyRecord>, MetaError> {
        let Some(stored) = self
            .read::<SealedKey>(&keys::access_key(access_key))
            .await?
        else {
            return Ok(None);
        };
        let SealedKey {
            user,
            user_name,
            created_at_ms,
            nonce,
            sealed_secret,
        } = stored.record;
        let secret = self
            .master_key
            .open(nonce, &sealed_secret, access_key.as_str().as_bytes())?;
        let secret = std::str::from_utf8(&secret)
            .ok()
            .and_then(|secret| SecretKey::parse(secret).ok());
        let secret = secret.ok_or_else(|| MetaError::Corrupt {
            record: "access key record",
            detail: "its secret is not one".to_owned(),
        })?;
        Ok(Some(KeyRecord {
            access_key: access_key.clone(),
            secret,
            user,
            user_name,
            created_at_ms,
        }))
    }

    /// A user's access keys, oldest first.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUser`].
    pub async fn list_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, MetaError> {
        Ok(self
            .stored_user(user)
            .await?
            .ok_or(MetaError::NoSuchUser)?
            .record
            .access_keys)
    }

    /// Deletes an access key, whosever it is.
    ///
    /// # Errors
    /// [`MetaError::NoSuchAccessKey`].
    pub async fn delete_key(&self, access_key: &AccessKey) -> Result<(), MetaError> {
        let key = keys::access_key(access_key);
        let mut attempts = self.jitter.attempts();
        loop {
            let stored = self
                .read::<SealedKey>(&key)
                .await?
                .ok_or(MetaError::NoSuchAccessKey)?;
            let mut batch = Batch::default();
            batch
                .check(key.clone(), Some(stored.bytes))
                .delete(key.clone());
            if let Some(mut owner) = self.stored_user(&stored.record.user_name).await? {
                owner
                    .record
                    .access_keys
                    .retain(|listed| listed != access_key);
                let user_key = keys::user(&owner.record.name);
                batch
                    .check(user_key.clone(), Some(owner.bytes))
                    .put(user_key, encode(&owner.record));
            }
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    async fn stored_user(&self, name: &UserName) -> Result<Option<Stored<UserRecord>>, MetaError> {
        self.read(&keys::user(name)).await
    }

    async fn user_by_index(&self, key: &[u8]) -> Result<Option<UserRecord>, MetaError> {
        match self.read::<UserName>(key).await? {
            Some(name) => self.user(&name.record).await,
            None => Ok(None),
        }
    }
}
