//! `cairn admin`: users, keys and the state of the cluster, through a gateway's admin API.

mod args;
mod client;
mod output;

pub use args::AdminArgs;

use args::{Area, ClusterCommand, KeyCommand, UserCommand};
use cairn_gateway::admin_api::{
    ClusterStatus, CreateKey, CreateUser, CreatedKey, KeyList, User, UserList,
};
use client::AdminClient;
use http::Method;

use crate::command::CommandError;

/// Runs the command; its result goes to standard output.
///
/// # Errors
/// When the gateway cannot be reached or refuses.
pub fn run(args: AdminArgs) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| CommandError::failed(format!("cannot start: {error}")))?
        .block_on(run_async(args))
}

async fn run_async(args: AdminArgs) -> Result<(), CommandError> {
    let mut client = AdminClient::new(&args)?;
    let json = args.json;
    match args.area {
        Area::User(command) => user(&mut client, json, command).await,
        Area::Key(command) => key(&mut client, json, command).await,
        Area::Cluster(ClusterCommand::Status) => {
            let status: ClusterStatus = client.get("/cluster", &[]).await?;
            output::print(json, &status, output::cluster)
        }
        Area::Health => health(&mut client, json).await,
    }
}

async fn user(
    client: &mut AdminClient,
    json: bool,
    command: UserCommand,
) -> Result<(), CommandError> {
    match command {
        UserCommand::Create {
            name,
            email,
            display_name,
        } => {
            let new = CreateUser {
                name,
                email,
                display_name,
            };
            let user: User = client.send(Method::POST, "/users", &new).await?;
            output::print(json, &user, |user| {
                output::users(std::slice::from_ref(user))
            })
        }
        UserCommand::List => {
            let list: UserList = client.get("/users", &[]).await?;
            output::print(json, &list, |list| output::users(&list.users))
        }
        UserCommand::Delete { name } => {
            client.delete("/users", &name).await?;
            output::deleted(json, "user", &name)
        }
    }
}

async fn key(
    client: &mut AdminClient,
    json: bool,
    command: KeyCommand,
) -> Result<(), CommandError> {
    match command {
        KeyCommand::Create {
            user,
            access_key,
            secret_key,
        } => {
            let new = CreateKey {
                user,
                access_key,
                secret_key,
            };
            let key: CreatedKey = client.send(Method::POST, "/keys", &new).await?;
            output::print(json, &key, output::created_key)
        }
        KeyCommand::List { user } => {
            let list: KeyList = client.get("/keys", &[("user", &user)]).await?;
            output::print(json, &list, |list| output::keys(&list.keys))
        }
        KeyCommand::Delete { access_key } => {
            client.delete("/keys", &access_key).await?;
            output::deleted(json, "key", &access_key)
        }
    }
}

async fn health(client: &mut AdminClient, json: bool) -> Result<(), CommandError> {
    let is_ready = client.is_ready().await?;
    let text = if is_ready { "ready" } else { "not ready" };
    let document = serde_json::json!({ "ready": is_ready });
    output::print(json, &document, |_| text.to_owned())?;
    if is_ready {
        Ok(())
    } else {
        Err(CommandError::failed(
            "the gateway is not ready; its log says why",
        ))
    }
}
