//! The server's certificate, which can be replaced while connections are served.
//!
//! The key pair sits behind a resolver that every handshake asks, so a reload changes nothing for connections
//! that are open. A reload that fails (a half-written file, a key that does not match) keeps the old pair.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::TlsError;
use super::pem::{read_certificates, read_private_key};

/// How often the files are looked at for a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// A certificate chain and its key, read from two PEM files and read again when they change.
#[derive(Debug)]
pub struct TlsCertificate {
    certificate_path: PathBuf,
    key_path: PathBuf,
    /// When the files were changed that were read first.
    loaded: [Option<SystemTime>; 2],
    current: ArcSwap<CertifiedKey>,
}

impl TlsCertificate {
    /// Reads both files.
    ///
    /// # Errors
    /// All variants of [`TlsError`].
    pub fn load(certificate_path: &Path, key_path: &Path) -> Result<Arc<Self>, TlsError> {
        // First: what is changed in between counts as changed.
        let loaded = modified(certificate_path, key_path);
        let key = read_key_pair(certificate_path, key_path)?;
        Ok(Arc::new(Self {
            loaded,
            certificate_path: certificate_path.to_owned(),
            key_path: key_path.to_owned(),
            current: ArcSwap::from_pointee(key),
        }))
    }

    /// Reads both files again; new handshakes use them from now on.
    ///
    /// # Errors
    /// All variants of [`TlsError`]; the pair in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read_key_pair(
            &self.certificate_path,
            &self.key_path,
        )?));
        tracing::info!(certificate = %self.certificate_path.display(), "TLS certificate reloaded");
        Ok(())
    }

    /// Reloads whenever one of the files changed since they were loaded, for as long as the future is polled.
    pub async fn watch(self: Arc<Self>) {
        self.watch_every(WATCH_INTERVAL).await;
    }

    /// As [`TlsCertificate::watch`], looking as often as the caller wants.
    pub async fn watch_every(self: Arc<Self>, interval: Duration) {
        let mut seen = self.loaded;
        loop {
            tokio::time::sleep(interval).await;
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.reload_since(seen)).await {
                // Remembered only now: a pair that was caught half-written is tried again.
                Ok(Ok(now)) => seen = now,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "changed TLS certificate not loaded; the old one stays in use");
                }
                Err(error) => tracing::error!(%error, "TLS certificate reload failed"),
            }
        }
    }

    /// Reloads if the files are not of the times `seen`; of which they are.
    fn reload_since(
        &self,
        seen: [Option<SystemTime>; 2],
    ) -> Result<[Option<SystemTime>; 2], TlsError> {
        let now = modified(&self.certificate_path, &self.key_path);
        if now != seen {
            self.reload()?;
        }
        Ok(now)
    }

    /// The server configuration that asks this certificate at each handshake.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if the library refuses its own defaults.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable {
                path: self.certificate_path.clone(),
                source,
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Resolver(Arc<TlsCertificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

fn modified(certificate_path: &Path, key_path: &Path) -> [Option<SystemTime>; 2] {
    [certificate_path, key_path].map(|path| std::fs::metadata(path).ok()?.modified().ok())
}

fn read_key_pair(certificate_path: &Path, key_path: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(certificate_path)?;
    let key = read_private_key(key_path)?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(
        |source| TlsError::Unusable {
            path: certificate_path.to_owned(),
            source,
        },
    )
}
