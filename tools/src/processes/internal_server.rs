//! Serves Cairn's own processes, and the operators of this one: calls of gateways on one listener, health and metrics on
//! the same or on another. No S3.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cairn_gateway::metrics_access::MetricsToken;
use cairn_rpc::tls::TlsCertificate;
use cairn_rpc::{Peer, RpcListener};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::condition::Condition;
use super::operator_service::{self, MetricsAccess};
use crate::config::ListenConfig;
use crate::serve::StartError;

/// Listeners that are bound.
#[derive(Debug)]
pub(super) struct InternalServer {
    calls: Bound,
    admin: Option<Bound>,
    metrics_token: Option<MetricsToken>,
    certificate: Option<Arc<TlsCertificate>>,
}

#[derive(Debug)]
struct Bound {
    listener: RpcListener,
    address: SocketAddr,
}

impl InternalServer {
    /// # Errors
    /// When an address is taken, or the certificate cannot be used.
    pub(super) async fn bind(config: &ListenConfig) -> Result<Self, StartError> {
        let certificate = config
            .tls
            .as_ref()
            .map(|tls| TlsCertificate::load(&tls.certificate, &tls.key))
            .transpose()?;
        Ok(Self {
            calls: Bound::to(config.address, certificate.as_ref()).await?,
            admin: match config.admin {
                Some(address) => Some(Bound::to(address, certificate.as_ref()).await?),
                None => None,
            },
            metrics_token: config
                .metrics_token
                .as_ref()
                .map(|token| MetricsToken::new(token.reveal())),
            certificate,
        })
    }

    /// Where it listens; the ports are the real ones.
    pub(super) fn whereabouts(&self) -> String {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        let calls = format!("{scheme}://{}", self.calls.address);
        match &self.admin {
            Some(admin) => format!(
                "{calls} (health and metrics at {scheme}://{})",
                admin.address
            ),
            None => calls,
        }
    }

    /// Serves until `stop`, then lets running calls finish within `drain_timeout`.
    ///
    /// # Errors
    /// When a listener fails.
    pub(super) async fn serve(
        self,
        calls: Router,
        condition: Arc<dyn Condition>,
        stop: CancellationToken,
        drain_timeout: Duration,
    ) -> Result<(), StartError> {
        let _watching = self
            .certificate
            .map(|certificate| AbortOnDropHandle::new(tokio::spawn(certificate.watch())));
        let calls = operator_service::with_ready(calls, &condition);
        let calls = if self.admin.is_some() {
            calls
        } else {
            let access = MetricsAccess::Guarded(self.metrics_token);
            operator_service::with_metrics(calls, &condition, access)
        };
        let calls = self.calls.serve(calls, stop.clone());
        let admin = async {
            let Some(admin) = self.admin else {
                return Ok(());
            };
            let router = operator_service::with_live(Router::new());
            let router = operator_service::with_ready(router, &condition);
            let router = operator_service::with_metrics(router, &condition, MetricsAccess::Open);
            admin.serve(router, stop.clone()).await
        };
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(drain_timeout).await;
        };
        tokio::select! {
            served = async { tokio::try_join!(calls, admin) } => served.map(drop),
            () = overdue => {
                tracing::warn!("drain time is over; cutting off what still runs");
                Ok(())
            }
        }
    }
}

impl Bound {
    async fn to(
        address: SocketAddr,
        certificate: Option<&Arc<TlsCertificate>>,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener: RpcListener::new(listener, certificate)?,
        })
    }

    async fn serve(self, router: Router, stop: CancellationToken) -> Result<(), StartError> {
        let address = self.address;
        axum::serve(
            self.listener,
            router.into_make_service_with_connect_info::<Peer>(),
        )
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|source| StartError::Listen { address, source })
    }
}
