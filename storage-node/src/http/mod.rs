//! A node's disks over HTTP: the service, the client, and the bytes between them.
//!
//! Every call is authenticated and its body digested in both directions by `cairn-rpc`, so what is here is framing
//! and nothing else. The bytes are in `docs/formats/node-api.md`.

mod client;
mod service;
mod wire;

pub use client::{NodeClient, NodeError, RemoteDisk};
pub use service::node_service;
pub use wire::{NodeDescription, NodeDisk, NodeInfo};

#[cfg(test)]
mod tests;
