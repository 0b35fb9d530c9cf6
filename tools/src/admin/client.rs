//! Calls the admin API.

use cairn_gateway::admin_api::PATH_PREFIX;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::AdminArgs;
use crate::command::CommandError;
use crate::config::Secret;
use crate::s3_client::{Connection, Destination, KeyPair, Request, Signer, encode_path};

const READY_PATH: &str = "/-/health/ready";

/// One gateway, asked as root.
#[derive(Debug)]
pub(super) struct AdminClient {
    connection: Connection,
    has_credentials: bool,
}

impl AdminClient {
    pub(super) fn new(args: &AdminArgs) -> Result<Self, CommandError> {
        let destination = Destination::new(&args.endpoint, args.ca_file.as_deref())?;
        let keys = args
            .root_access_key
            .clone()
            .zip(args.root_secret_key.clone());
        let has_credentials = keys.is_some();
        let (access_key, secret_key) = keys.unwrap_or_default();
        let keys = KeyPair {
            access_key,
            secret_key: Secret::new(secret_key),
        };
        Ok(Self {
            connection: Connection::new(destination, Signer::new(keys, args.region.clone())),
            has_credentials,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CommandError> {
        self.call(
            Request::new(Method::GET, format!("{PATH_PREFIX}{path}"))
                .query(query)
                .signed_body(""),
        )
        .await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, CommandError> {
        let body = serde_json::to_vec(document)
            .map_err(|error| CommandError::failed(error.to_string()))?;
        self.call(Request::new(method, format!("{PATH_PREFIX}{path}")).signed_body(body))
            .await
    }

    pub(super) async fn delete(
        &mut self,
        collection: &str,
        name: &str,
    ) -> Result<(), CommandError> {
        self.check_credentials()?;
        // A name with a slash stays one segment.
        let name = encode_path(name).replace('/', "%2F");
        let request = Request::new(Method::DELETE, format!("{PATH_PREFIX}{collection}/{name}"))
            .signed_body("");
        self.connection.call(request).await?;
        Ok(())
    }

    /// Whether the gateway says that it is ready.
    pub(super) async fn is_ready(&mut self) -> Result<bool, CommandError> {
        let answer = self
            .connection
            .send(Request::new(Method::GET, READY_PATH.to_owned()))
            .await?;
        Ok(answer.status().is_success())
    }

    async fn call<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, CommandError> {
        self.check_credentials()?;
        let answer = self.connection.call(request).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            CommandError::failed(format!("the gateway's answer is not understood: {error}"))
        })
    }

    fn check_credentials(&self) -> Result<(), CommandError> {
        if self.has_credentials {
            return Ok(());
        }
        Err(CommandError::usage(
            "set CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY to the root credentials \
             (`cairn serve` prints them at its first start and keeps them in cairn-secrets.json on its data disks)",
        ))
    }
}
