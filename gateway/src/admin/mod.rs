//! Administration over HTTP: users, keys and the state of the cluster, for the root credentials alone.
//!
//! [`api`] holds the documents, [`routes`] finds the handler; what a handler refuses is a [`refusal::Refusal`], which is
//! JSON rather than S3's XML.

pub mod api;
mod keys;
mod metadata_state;
mod refusal;
mod routes;
pub(crate) mod status;
mod users;

pub use metadata_state::{MetadataState, SilentMetadata};

pub(crate) use routes::respond;
