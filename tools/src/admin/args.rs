//! The command line of `cairn admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Administer users, keys and the cluster through a gateway
#[derive(Debug, Args)]
pub struct AdminArgs {
    #[command(subcommand)]
    pub(super) area: Area,
    /// The gateway (its `admin_listen` address if it has one).
    #[arg(
        long,
        global = true,
        env = "CAIRN_ENDPOINT",
        default_value = "http://127.0.0.1:9000"
    )]
    pub(super) endpoint: String,
    /// For https:// endpoints: PEM file with the CA certificates to verify the gateway with, instead of this machine's.
    #[arg(long, global = true, env = "CAIRN_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// The root access key.
    #[arg(long, global = true, env = "CAIRN_ROOT_ACCESS_KEY")]
    pub(super) root_access_key: Option<String>,
    /// The root secret key.
    #[arg(
        long,
        global = true,
        env = "CAIRN_ROOT_SECRET_KEY",
        hide_env_values = true
    )]
    pub(super) root_secret_key: Option<String>,
    /// The cluster's region.
    #[arg(long, global = true, env = "CAIRN_REGION", default_value = "us-east-1")]
    pub(super) region: String,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Area {
    /// Users
    #[command(subcommand)]
    User(UserCommand),
    /// Access keys of users
    #[command(subcommand)]
    Key(KeyCommand),
    /// The cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Exit 0 if the gateway is ready to serve; needs no credentials
    Health,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create a user
    Create {
        /// Unique name.
        name: String,
        /// Mail address, kept as given.
        #[arg(long)]
        email: Option<String>,
        /// Shown as owner in listings; the name if not given.
        #[arg(long)]
        display_name: Option<String>,
    },
    /// List all users
    List,
    /// Delete a user with all keys; refused while buckets are owned
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Create an access key; the secret is shown once
    Create {
        /// Whose key.
        user: String,
        /// Chosen access key; made up if not given.
        #[arg(long, requires = "secret_key")]
        access_key: Option<String>,
        /// Chosen secret key; made up if not given.
        #[arg(long, requires = "access_key")]
        secret_key: Option<String>,
    },
    /// List a user's keys
    List {
        /// Whose keys.
        user: String,
    },
    /// Delete an access key
    Delete {
        /// The key.
        access_key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Disks, queues and metadata as the gateway sees them
    Status,
}
