//! Serves Cairn's own processes: one listener, no S3.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cairn_rpc::RpcListener;
use cairn_rpc::tls::TlsCertificate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::ListenConfig;
use crate::serve::StartError;

/// A listener that is bound.
#[derive(Debug)]
pub(super) struct InternalServer {
    listener: RpcListener,
    address: SocketAddr,
    certificate: Option<Arc<TlsCertificate>>,
}

impl InternalServer {
    /// # Errors
    /// When the address is taken, or the certificate cannot be used.
    pub(super) async fn bind(config: &ListenConfig) -> Result<Self, StartError> {
        let certificate = config
            .tls
            .as_ref()
            .map(|tls| TlsCertificate::load(&tls.certificate, &tls.key))
            .transpose()?;
        let failed = |source| StartError::Listen {
            address: config.address,
            source,
        };
        let listener = TcpListener::bind(config.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener: RpcListener::new(listener, certificate.as_ref())?,
            address,
            certificate,
        })
    }

    /// Where it listens; the port is the real one.
    pub(super) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `stop`, then lets running calls finish within `drain_timeout`.
    ///
    /// # Errors
    /// When the listener fails.
    pub(super) async fn serve(
        self,
        router: Router,
        stop: CancellationToken,
        drain_timeout: Duration,
    ) -> Result<(), StartError> {
        let _watching = self
            .certificate
            .map(|certificate| AbortOnDropHandle::new(tokio::spawn(certificate.watch())));
        let router = router.route("/-/health/ready", get(|| async { "ok" }));
        let serving = axum::serve(self.listener, router)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(drain_timeout).await;
        };
        let address = self.address;
        tokio::select! {
            served = serving => served.map_err(|source| StartError::Listen { address, source }),
            () = overdue => {
                tracing::warn!("drain time is over; cutting off what still runs");
                Ok(())
            }
        }
    }
}
