//! TLS for whoever listens: S3 clients and Cairn's own processes alike.
//!
//! All of it is rustls with ring, named where it is used: there is no process-wide default to forget.

mod certificate;

pub use certificate::{TlsCertificate, TlsError};
