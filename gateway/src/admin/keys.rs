//! Access keys: create, list, delete.

use cairn_meta::{AccessKey, MetaError, SecretKey, UserName};

use super::refusal::Refusal;
use super::users;
use crate::admin_api::{CreateKey, CreatedKey, Key, KeyList};
use crate::gateway::Gateway;

pub(super) async fn create(gateway: &Gateway, request: CreateKey) -> Result<CreatedKey, Refusal> {
    let user = UserName::parse(request.user)?;
    let import = match (request.access_key, request.secret_key) {
        (None, None) => None,
        (Some(access_key), Some(secret_key)) => {
            Some((AccessKey::parse(access_key)?, SecretKey::parse(secret_key)?))
        }
        _ => {
            return Err(Refusal::invalid(
                "give both access_key and secret_key, or neither",
            ));
        }
    };
    let is_roots = |access_key: &AccessKey| access_key.as_str() == gateway.config().root.access_key;
    if import
        .as_ref()
        .is_some_and(|(access_key, _)| is_roots(access_key))
    {
        return Err(MetaError::AccessKeyExists.into());
    }
    let record = gateway
        .meta()
        .create_key(&user, import, gateway.now_ms())
        .await?;
    tracing::info!(user = %user, access_key = %record.access_key, "access key created");
    Ok(CreatedKey {
        user: record.user_name.to_string(),
        access_key: record.access_key.to_string(),
        secret_key: record.secret.expose().to_owned(),
    })
}

/// The keys of a user, or of all.
pub(super) async fn list(gateway: &Gateway, user: Option<&str>) -> Result<KeyList, Refusal> {
    let owners = match user {
        Some(user) => {
            let name = UserName::parse(user)?;
            vec![
                gateway
                    .meta()
                    .user(&name)
                    .await?
                    .ok_or(MetaError::NoSuchUser)?,
            ]
        }
        None => users::all(gateway).await?,
    };
    let mut keys = Vec::new();
    for access_key in owners.iter().flat_map(|owner| &owner.access_keys) {
        // One that is gone was deleted since its owner was read.
        if let Some(record) = gateway.meta().key(access_key).await? {
            keys.push(Key {
                user: record.user_name.to_string(),
                access_key: record.access_key.to_string(),
                created_at_ms: record.created_at_ms,
            });
        }
    }
    keys.sort_by(|one, other| one.access_key.cmp(&other.access_key));
    Ok(KeyList { keys })
}

pub(super) async fn delete(gateway: &Gateway, access_key: &str) -> Result<(), Refusal> {
    let access_key = AccessKey::parse(access_key)?;
    gateway.meta().delete_key(&access_key).await?;
    tracing::info!(access_key = %access_key, "access key deleted");
    Ok(())
}
