//! Where Cairn's own processes listen, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::served_connection::ServedConnection;
use crate::stream::Stream;
use crate::tls::{TlsCertificate, TlsError};

/// Connections at one time; further ones wait in the kernel's queue. A gateway keeps one for each call that it may
/// have under way, so that this is enough for a dozen gateways with all their calls.
const CONNECTION_COUNT_MAX: usize = 4096;
/// How long a peer may say nothing. Clients give up what they do not use after a minute ([`crate::ClientOptions`]),
/// and no call takes this long.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// Handshakes that may be under way at one time; further connections wait in the kernel's queue.
const HANDSHAKE_COUNT_MAX: usize = 256;
/// How long a handshake may take: two round trips and two signatures, on a machine that is busy.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections for [`axum::serve()`]. Handshakes run side by side: whoever is silent delays nobody else.
#[derive(Debug)]
pub struct RpcListener {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handshakes: JoinSet<Option<Accepted>>,
    places: Arc<Semaphore>,
    idle_timeout: Duration,
}

type Accepted = (ServedConnection, SocketAddr);

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
            places: Arc::new(Semaphore::new(CONNECTION_COUNT_MAX)),
            idle_timeout: IDLE_TIMEOUT,
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
    type Io = ServedConnection;
    type Addr = SocketAddr;

    /// Loses no connection when it is dropped before its end: handshakes go on in tasks of their own.
    async fn accept(&mut self) -> Accepted {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKE_COUNT_MAX;
            let places = Arc::clone(&self.places);
            let listener = &mut self.listener;
            let next = async {
                // Nobody closes the semaphore.
                let Ok(place) = places.acquire_owned().await else {
                    return std::future::pending().await;
                };
                let (stream, peer) = Listener::accept(listener).await;
                (place, stream, peer)
            };
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                (place, stream, peer) = next, if has_room => {
                    // Small answers must not wait for the other side's delayed acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused");
                    }
                    match &self.tls {
                        None => {
                            let stream = Stream::Plain(stream);
                            return (ServedConnection::new(stream, place, self.idle_timeout), peer);
                        }
                        Some(tls) => {
                            let handshake = shake_hands(Arc::clone(tls), stream, peer);
                            let idle_timeout = self.idle_timeout;
                            self.handshakes.spawn(async move {
                                let stream = handshake.await?;
                                Some((ServedConnection::new(stream, place, idle_timeout), peer))
                            });
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
) -> Option<Stream> {
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream.into()))),
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener(connection_count_max: usize, idle_timeout: Duration) -> RpcListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        RpcListener {
            places: Arc::new(Semaphore::new(connection_count_max)),
            idle_timeout,
            ..RpcListener::new(listener, None).unwrap()
        }
    }

    #[tokio::test]
    async fn a_connection_waits_for_the_place_of_one_that_ended() {
        let mut listener = listener(1, IDLE_TIMEOUT).await;
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        let (served, _) = listener.accept().await;
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("there was no place"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        drop(served);
        let (_, peer) = listener.accept().await;
        assert_eq!(peer, second.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_silent_connection_ends_and_one_that_speaks_does_not() {
        let idle_timeout = Duration::from_millis(50);
        let mut listener = listener(1, idle_timeout).await;
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut served, _) = listener.accept().await;
        client.write_all(b"bytes").await.unwrap();
        let mut received = [0; 5];
        served.read_exact(&mut received).await.unwrap();
        let error = served.read_exact(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
