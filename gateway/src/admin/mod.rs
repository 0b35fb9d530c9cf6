//! Administration over HTTP: users, keys and the state of the cluster, for the root credentials alone.
//!
//! [`api`] holds the documents.

pub mod api;
mod metadata_state;

pub use metadata_state::{MetadataState, SilentMetadata};
