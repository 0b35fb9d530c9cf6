//! Why certificates cannot be used, and why a handshake failed.

use std::io;
use std::path::PathBuf;

use rustls::CertificateError;

/// Why a certificate, a key or a certificate authority could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read the TLS file {path}: {source}; check that it exists and that this user may read it"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no PEM of the right kind.
    #[error("the TLS file {path} holds no usable {expected}: {detail}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// Certificate and key do not belong together, or their algorithm is not supported.
    #[error("the TLS certificate {path} cannot be used with its key: {source}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What the library said.
        source: rustls::Error,
    },
    /// Nobody is left who could vouch for a server.
    #[error("{origin} have no certificate that can be used to verify servers: {detail}")]
    NoAuthority {
        /// Where certificate authorities were looked for, as a plural.
        origin: String,
        /// What was wrong with them.
        detail: String,
    },
}

/// Why there is no TLS connection. Nothing was sent but the handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no TLS connection with {host}: {reason}{}", .advice.as_ref().map(|advice| format!(" ({advice})")).unwrap_or_default())]
pub struct HandshakeError {
    host: String,
    reason: String,
    advice: Option<String>,
}

impl HandshakeError {
    /// `host` is not a name that a certificate could have.
    pub(super) fn no_name(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            reason: "it is neither a DNS name nor an IP address".to_owned(),
            advice: None,
        }
    }

    /// The handshake failed; `origin` says who would have been believed.
    pub(super) fn of(host: &str, origin: &str, error: &io::Error) -> Self {
        let library = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Self {
            host: host.to_owned(),
            reason: error.to_string(),
            advice: library.and_then(|error| advice(error, origin)),
        }
    }
}

/// What to do about a failure, where that is known.
fn advice(error: &rustls::Error, origin: &str) -> Option<String> {
    let advice = match error {
        // A signature is bad where an authority was made anew under its old name.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            return Some(format!(
                "its certificate was issued by none of {origin}; give the CA file that goes with it"
            ));
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate is for other names; it must have this host as a subject alternative name"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew its certificate, or set the clock of this machine",
        rustls::Error::InvalidMessage(_) => {
            "what listens there does not speak TLS; give it a certificate, or address it with http://"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
