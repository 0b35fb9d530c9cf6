//! Where Cairn's own processes listen, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::stream::Stream;
use crate::tls::{TlsCertificate, TlsError};

/// Handshakes that may be under way at one time; further connections wait in the kernel's queue.
const HANDSHAKE_COUNT_MAX: usize = 256;
/// How long a handshake may take: two round trips and two signatures, on a machine that is busy.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections for [`axum::serve`]. Handshakes run side by side: whoever is silent delays nobody else.
#[derive(Debug)]
pub struct RpcListener {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handshakes: JoinSet<Option<(Stream, SocketAddr)>>,
}

impl RpcListener {
    /// Accepts on `listener`: TLS only with a certificate, plain connections only without.
    ///
    /// # Errors
    /// [`TlsError::Unusable`].
    pub fn new(
        listener: TcpListener,
        certificate: Option<&Arc<TlsCertificate>>,
    ) -> Result<Self, TlsError> {
        let tls = match certificate {
            Some(certificate) => Some(certificate.server_config()?),
            None => None,
        };
        Ok(Self {
            listener,
            tls,
            handshakes: JoinSet::new(),
        })
    }
}

/// Where a request came from: for handlers, as `ConnectInfo<Peer>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, RpcListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, RpcListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Listener for RpcListener {
    type Io = Stream;
    type Addr = SocketAddr;

    /// Loses no connection when it is dropped before its end: handshakes go on in tasks of their own.
    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKE_COUNT_MAX;
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                (stream, peer) = Listener::accept(&mut self.listener), if has_room => {
                    // Small answers must not wait for the other side's delayed acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused");
                    }
                    match &self.tls {
                        None => return (Stream::Plain(stream), peer),
                        Some(tls) => {
                            self.handshakes.spawn(shake_hands(Arc::clone(tls), stream, peer));
                        }
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn shake_hands(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Stream, SocketAddr)> {
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Some((Stream::Tls(Box::new(stream.into())), peer)),
        Ok(Err(error)) => {
            tracing::debug!(%error, %peer, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake timed out");
            None
        }
    }
}
