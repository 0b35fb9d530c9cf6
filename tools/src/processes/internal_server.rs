//! Serves Cairn's own processes: one listener, no S3.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::serve::StartError;

/// A listener that is bound.
#[derive(Debug)]
pub(super) struct InternalServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl InternalServer {
    /// # Errors
    /// When the address is taken.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port is the real one.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
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
        let router = router.route("/-/health/ready", get(|| async { "ok" }));
        // Small answers must not wait for the other side's delayed acknowledgement.
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY refused");
            }
        });
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
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
