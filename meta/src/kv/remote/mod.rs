//! The key-value contract over HTTP: the service that `cairn meta` runs, the client, and the bytes between them.
//!
//! Every call is authenticated and its body digested in both directions by `cairn-rpc`, so what is here is framing
//! and nothing else. The bytes are in `docs/formats/meta-api.md`.

mod client;
mod service;
mod wire;

pub use client::RemoteKv;
pub use service::kv_service;

#[cfg(test)]
mod tests;
