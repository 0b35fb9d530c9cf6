//! An endpoint, and who may vouch for it.

use std::path::Path;

use cairn_rpc::Stream;
use cairn_rpc::tls::{TlsError, TlsTrust};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::error::ClientError;
use crate::command::CommandError;

/// Where a connection goes. Clones share TLS sessions.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    endpoint: Endpoint,
    trust: Option<TlsTrust>,
}

impl Destination {
    /// The server at `endpoint`. Over HTTPS its certificate is verified against the authorities in `ca_file`, or, without
    /// one, against those that this machine trusts.
    ///
    /// # Errors
    /// The endpoint is none, or there are no authorities.
    pub(crate) fn new(endpoint: &str, ca_file: Option<&Path>) -> Result<Self, CommandError> {
        let endpoint: Endpoint = endpoint.parse().map_err(CommandError::usage)?;
        let trust = match (endpoint.is_tls(), ca_file) {
            (false, _) => None,
            (true, Some(file)) => Some(TlsTrust::in_file(file)),
            (true, None) => Some(of_this_machine()),
        };
        let trust = trust
            .transpose()
            .map_err(|error| CommandError::failed(error.to_string()))?;
        Ok(Self { endpoint, trust })
    }

    /// What goes into the `host` header.
    pub(crate) fn authority(&self) -> &str {
        self.endpoint.authority()
    }

    /// The endpoint as it is written.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects, through TLS where the endpoint says so. Bounds no time.
    ///
    /// # Errors
    /// [`ClientError::Connect`] and [`ClientError::Handshake`].
    pub(super) async fn connect(&self) -> Result<Stream, ClientError> {
        let failed = |source| ClientError::Connect {
            endpoint: self.endpoint.to_string(),
            source,
        };
        let stream = TcpStream::connect(self.endpoint.connect_to())
            .await
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.trust {
            Some(trust) => Ok(trust.connect(self.endpoint.host(), stream).await?),
            None => Ok(Stream::Plain(stream)),
        }
    }
}

/// The authorities of the operating system (or of `SSL_CERT_FILE` and `SSL_CERT_DIR`).
fn of_this_machine() -> Result<TlsTrust, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    if found.certs.is_empty() {
        return Err(TlsError::NoAuthority {
            origin: "the authorities that this machine trusts".to_owned(),
            detail: format!(
                "none were found; install the package ca-certificates, or give --ca-file{}",
                problems
                    .first()
                    .map(|problem| format!(" ({problem})"))
                    .unwrap_or_default()
            ),
        });
    }
    TlsTrust::in_certificates(found.certs, "the authorities that this machine trusts")
}
