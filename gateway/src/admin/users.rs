//! Users: create, show, list, delete.

use cairn_meta::{DisplayName, Email, MetaError, UserName, UserRecord};

use super::refusal::Refusal;
use crate::admin_api::{CreateUser, User, UserList};
use crate::gateway::Gateway;

/// Users read at once while all are listed.
const PAGE_SIZE: usize = 1000;

pub(super) async fn create(gateway: &Gateway, request: CreateUser) -> Result<User, Refusal> {
    let name = UserName::parse(request.name)?;
    let email = request.email.map(Email::parse).transpose()?;
    let display_name = request.display_name.map(DisplayName::parse).transpose()?;
    let record = gateway
        .meta()
        .create_user(name, email, display_name, gateway.now_ms())
        .await?;
    tracing::info!(user = %record.name, "user created");
    Ok(user(record))
}

pub(super) async fn show(gateway: &Gateway, name: &str) -> Result<User, Refusal> {
    let name = UserName::parse(name)?;
    let record = gateway
        .meta()
        .user(&name)
        .await?
        .ok_or(MetaError::NoSuchUser)?;
    Ok(user(record))
}

pub(super) async fn list(gateway: &Gateway) -> Result<UserList, Refusal> {
    let users = all(gateway).await?.into_iter().map(user).collect();
    Ok(UserList { users })
}

pub(super) async fn delete(gateway: &Gateway, name: &str) -> Result<(), Refusal> {
    let name = UserName::parse(name)?;
    gateway.meta().delete_user(&name).await?;
    tracing::info!(user = %name, "user deleted");
    Ok(())
}

/// All users, by name.
pub(super) async fn all(gateway: &Gateway) -> Result<Vec<UserRecord>, Refusal> {
    let mut users = Vec::new();
    let mut after = None;
    loop {
        let page = gateway.meta().list_users(after.as_ref(), PAGE_SIZE).await?;
        users.extend(page.users);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(users),
        }
    }
}

fn user(record: UserRecord) -> User {
    User {
        name: record.name.to_string(),
        canonical_id: record.canonical_id.to_string(),
        email: record.email.map(String::from),
        display_name: record.display_name,
        created_at_ms: record.created_at_ms,
    }
}
