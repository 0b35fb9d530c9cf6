//! The S3 gateway: protocol, authorization, and the object engine below them.

pub mod admin;
pub mod clock;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod request_id;
pub mod tls;
