//! The S3 gateway: protocol, authorization, and the object engine below them.
//!
//! The protocol layer speaks HTTP, XML and SigV4 and knows nothing of shards; the object engine
//! chunks, codes and places bytes and knows nothing of HTTP or XML; handlers join the two.

pub mod addressing;
pub mod admin;
pub mod auth;
pub mod authorize;
pub mod body;
pub mod checksum;
pub mod clock;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod operation;
pub mod request_id;
pub mod s3_error;
pub mod timestamp;
pub mod tls;
pub mod xml;
