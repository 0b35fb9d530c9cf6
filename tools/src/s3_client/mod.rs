//! A lean S3 client: one keep-alive HTTP/1.1 connection per user, requests signed with a cached key.
//!
//! It serves `cairn bench`, which shares the machine with the server it measures, and `cairn admin`.

mod connection;
mod destination;
mod endpoint;
mod error;
mod request;
mod signer;

pub(crate) use connection::Connection;
pub(crate) use destination::Destination;
pub(crate) use error::ClientError;
pub(crate) use request::{Body, Request, canonical_query, encode_path};
pub(crate) use signer::{KeyPair, Signer};
