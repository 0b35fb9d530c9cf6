//! Why a server process did not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::command::CommandError;
use crate::local_disks::DisksError;
use crate::serve::secrets::SecretsError;

/// What kept a process from starting, or made it end. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directories.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// The secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The metadata database.
    #[error(transparent)]
    Database(#[from] cairn_meta::kv::rocks::OpenError),
    /// The disks were in use, and there is no trace of their metadata.
    #[error(
        "this store has no metadata any more: none of {} holds any. Bring back the disks that held them; if they are lost, \
         make them anew from the shards with `cairn rebuild-metadata` and the settings of this server. Nothing was changed",
        crate::local_disks::list(places)
    )]
    MetadataLost {
        /// Where they were looked for.
        places: Vec<PathBuf>,
    },
    /// The storage nodes were in use, and the metadata service is new.
    #[error(
        "the metadata service at {endpoint} is empty, and the storage nodes hold {shard_count} shards: it was started on \
         other directories than before. Stop it and start it with those it had; if they are lost, make the metadata anew \
         with `cairn rebuild-metadata`. Nothing was changed"
    )]
    MetadataNew {
        /// Of the metadata service.
        endpoint: String,
        /// On all nodes that answer.
        shard_count: u64,
    },
    /// The metadata in it.
    #[error("the metadata cannot be used: {0}")]
    Meta(#[from] cairn_meta::MetaError),
    /// The cluster secret.
    #[error(transparent)]
    ClusterSecret(#[from] cairn_rpc::SecretError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] cairn_rpc::tls::TlsError),
    /// The address.
    #[error("cannot listen on {address}: {source}{}", advice_to_listen(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of the program failed in a way it should not.
    #[error("{0}")]
    Internal(String),
}

/// What to do when an address cannot be listened on.
fn advice_to_listen(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => "; another process uses it: stop that one, or choose another port",
        ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose one of its own, or 0.0.0.0 for all of them"
        }
        ErrorKind::PermissionDenied => {
            "; ports below 1024 are for processes with CAP_NET_BIND_SERVICE: choose a higher one, or grant it that"
        }
        _ => "",
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        Self::failed(error.to_string())
    }
}
