//! Accepts connections, bounds them, and drains them at the end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
pub use crate::entrance::Surface;
use crate::gateway::Gateway;
use crate::tls::{TlsCertificate, TlsError};

/// How long to wait before accepting again after the system refused (out of file descriptors, usually).
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How one listener serves.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// What is served.
    pub surface: Surface,
    /// HTTPS with this certificate; plain HTTP without.
    pub certificate: Option<Arc<TlsCertificate>>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            surface: Surface::All,
            certificate: None,
        }
    }
}

/// Serves `listener` until `shutdown` resolves, then drains: no new connection is accepted, idle ones are closed,
/// running requests get [`crate::config::Timeouts::drain`] to finish, and what then still runs is cut off.
///
/// # Errors
/// [`TlsError`] if the certificate cannot be used. A failed `accept` is logged and retried, never fatal.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    options: ListenerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    let acceptor = match &options.certificate {
        Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
        None => None,
    };
    let watcher = options
        .certificate
        .clone()
        .map(|certificate| tokio::spawn(certificate.watch()));
    let (draining, drain_signal) = watch::channel(false);
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(gateway.config().limits.connections_max));

    let accepting = async {
        loop {
            // The place is taken before accepting: beyond the bound, clients wait in the kernel's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = accept(&listener).await;
            let connection = Connection {
                gateway: Arc::clone(&gateway),
                surface: options.surface,
                acceptor: acceptor.clone(),
                draining: drain_signal.clone(),
            };
            connections.spawn(async move {
                connection.serve(stream).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop(listener);
    connections.close();
    draining.send_replace(true);
    let drain = gateway.config().timeouts.drain;
    if tokio::time::timeout(drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            remaining = connections.len(),
            "drain time is over; cutting off the remaining connections"
        );
    }
    // Connections that outlived the drain see their sender gone and end.
    drop(draining);
    if let Some(watcher) = watcher {
        watcher.abort();
    }
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a response in two writes waits 40 ms for the client's delayed acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY refused");
                }
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Whether only the connection that was being accepted is affected.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
