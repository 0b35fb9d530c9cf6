//! Whom a caller believes: the certificate authorities that may vouch for a server.
//!
//! A server's certificate must have been issued by one of them, be valid now, and name the host that was asked for.
//! No part of that can be switched off. Callers show no certificate of their own: what they may do is decided by what
//! they sign, inside.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{HandshakeError, TlsError};
use super::pem::read_certificates;
use crate::stream::Stream;

/// Makes TLS connections to servers that known certificate authorities vouch for. Clones share sessions.
#[derive(Clone)]
pub struct TlsTrust {
    connector: TlsConnector,
    origin: Arc<str>,
}

impl TlsTrust {
    /// Believes the authorities whose certificates are in a PEM file, and nobody else.
    ///
    /// # Errors
    /// [`TlsError::Unreadable`] and [`TlsError::Malformed`], or [`TlsError::NoAuthority`] if one of the certificates
    /// cannot be used: a file that was written on purpose is taken whole or not at all.
    pub fn in_file(path: &Path) -> Result<Self, TlsError> {
        let origin = format!("the authorities in {}", path.display());
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::NoAuthority {
                    origin: origin.clone(),
                    detail: error.to_string(),
                })?;
        }
        Self::new(roots, origin)
    }

    /// Believes these authorities; those that cannot be parsed are left out. `origin` names them, as a plural.
    ///
    /// # Errors
    /// [`TlsError::NoAuthority`] if none is left.
    pub fn in_certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        origin: impl Into<String>,
    ) -> Result<Self, TlsError> {
        let origin = origin.into();
        let mut roots = RootCertStore::empty();
        let (_, refused_count) = roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(TlsError::NoAuthority {
                origin,
                detail: format!("{refused_count} were found, none of them is valid"),
            });
        }
        Self::new(roots, origin)
    }

    fn new(roots: RootCertStore, origin: String) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::NoAuthority {
                origin: origin.clone(),
                detail: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // What all clients of ours speak.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            origin: origin.into(),
        })
    }

    /// Makes `stream` a TLS connection with `host` (a name or an address, as it stands in a URL). Bounds no time.
    ///
    /// # Errors
    /// The handshake failed, or the server is not who it should be.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream, HandshakeError> {
        // IPv6 addresses stand in brackets in URLs, and without them in certificates.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name =
            ServerName::try_from(bare.to_owned()).map_err(|_| HandshakeError::no_name(host))?;
        match self.connector.connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
            Err(error) => Err(HandshakeError::of(host, &self.origin, &error)),
        }
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
