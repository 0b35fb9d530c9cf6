//! Authenticated HTTP between Cairn's own processes.
//!
//! One call is one `POST` with a bounded body and a bounded reply. Both directions carry a seal: an
//! HMAC-SHA256 under the cluster's secret over everything that decides what the call means, the BLAKE3 digest
//! of the body included. So a receiver acts only on requests that somebody with the secret made, for this run
//! of this process, once; and a caller believes only replies to its own request. `docs/formats/rpc.md` has the
//! bytes, and what is *not* protected: without TLS, nothing is secret on the wire.
//!
//! [`Guard`] puts this in front of an axum router, [`RpcListener`] accepts connections for it, with TLS or without;
//! [`RpcClient`] is the other end. The services of the storage node and of the metadata store are written above these,
//! and know nothing of seals.
//!
//! Because all of Cairn's processes stand on it, it also has the one [`clock`] that they are given, the one source of
//! unseeded randomness ([`random`]), [`io_thread`] and [`tls`].
//!
//! It must not know: what is called, or why.

#[cfg(test)]
mod authentication_tests;
mod body;
mod client;
pub mod clock;
mod connector;
mod endpoint;
pub mod io_thread;
mod listener;
pub mod random;
mod refusal;
mod replay;
mod reply;
mod seal;
mod secret;
mod served_connection;
mod server;
mod standing;
mod stream;
pub mod tls;

pub use body::BodyParts;
pub use client::{CallError, ClientOptions, RpcClient};
pub use endpoint::{Endpoint, EndpointError};
pub use listener::{Peer, RpcListener};
pub use reply::Reply;
pub use secret::{ClusterSecret, SecretError};
pub use served_connection::ServedConnection;
pub use server::{Guard, GuardOptions};
pub use stream::Stream;
