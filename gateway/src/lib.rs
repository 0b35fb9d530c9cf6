//! The S3 gateway: protocol, authorization, object engine, and the handlers that join them.
//!
//! - The protocol layer ([`addressing`], [`operation`], [`auth`], [`authorize`], [`checksum`], [`body`],
//!   [`xml`], [`s3_error`]) speaks HTTP, XML and SigV4 and knows nothing of shards.
//! - The [`engine`] chunks, codes and places bytes and knows nothing of HTTP or XML.
//! - Between them: [`server`] accepts connections, `dispatch` takes each request on its one path, `handlers` has what
//!   each operation does.
//! - [`md5_lanes`] hashes the bodies of concurrent requests side by side, and knows nothing of either.
//!
//! The gateway keeps no state of its own: any number of them work over the same metadata and disks. It must not know
//! which backend the metadata have, nor where configuration comes from.

pub mod addressing;
pub mod admin;
pub mod admin_api;
pub mod auth;
pub mod authorize;
pub mod body;
pub mod checksum;
mod client_stream;
pub mod config;
mod connection;
mod connection_activity;
mod dispatch;
mod document_memory;
pub mod engine;
mod entrance;
mod failure;
mod failure_answer;
pub mod gateway;
mod handlers;
pub mod identity;
mod keep_alive;
pub mod keepsake;
pub mod md5_lanes;
pub mod measured_kv;
pub mod metadata_state;
pub mod metrics;
pub mod metrics_access;
mod object_of_parts;
pub mod operation;
mod ops;
mod percent;
mod readiness;
pub mod recovery;
mod request_body;
pub mod request_documents;
pub mod request_id;
mod request_log;
mod request_size;
pub mod response;
pub mod s3_error;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod timestamp;
pub mod xml;

// Components are given a clock, and listeners a certificate.
pub use cairn_rpc::{clock, tls};
