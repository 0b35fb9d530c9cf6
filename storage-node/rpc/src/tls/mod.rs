//! TLS: the certificate of whoever listens, and whom a caller believes. For S3 clients and Cairn's own processes alike.
//!
//! All of it is rustls with ring, named where it is used: there is no process-wide default to forget.

mod certificate;
mod error;
mod pem;
#[cfg(test)]
mod tests;
mod trust;

pub use certificate::TlsCertificate;
pub use error::{HandshakeError, TlsError};
pub use trust::TlsTrust;
