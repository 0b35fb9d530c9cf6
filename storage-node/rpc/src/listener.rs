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
use crate::standing::{Patience, Standing, Strangers};
use crate::stream::Stream;
use crate::tls::{TlsCertificate, TlsError};

/// Connections at one time; further ones wait in the kernel's queue. A gateway keeps one for each call that it may
/// have under way, so that this is enough for a dozen gateways with all their calls.
const CONNECTION_COUNT_MAX: usize = 4096;
/// Clients give up what they do not use after a minute ([`crate::ClientOptions`]), and no call takes five. A first request
/// has a handshake before it, and may wait for its turn and for its body. Of the places those who have not made one get an
/// eighth, and two seconds to themselves on a machine that is busy. Nobody waits for an answer longer than 15 seconds: who
/// takes nothing of it for 20 is gone, and what it did not read is room that others wait for.
const PATIENCE: Patience = Patience {
    with_stranger: Duration::from_secs(30),
    with_known: Duration::from_mins(5),
    with_deaf: Duration::from_secs(20),
    stranger_count_max: CONNECTION_COUNT_MAX / 8,
    for_all: Duration::from_secs(2),
};
/// How long a handshake may take: two round trips and two signatures, on a machine that is busy.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections for [`axum::serve()`]. Handshakes run side by side: whoever is silent delays nobody else. The
/// service must be made with [`Peer`] as its connect info: by that a [`crate::Guard`] tells who has the secret, and
/// connections of others do not last.
#[derive(Debug)]
pub struct RpcListener {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handshakes: JoinSet<Option<Accepted>>,
    places: Arc<Semaphore>,
    strangers: Arc<Strangers>,
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
            strangers: Strangers::new(PATIENCE),
        })
    }
}

#[cfg(test)]
impl RpcListener {
    pub(crate) fn with_patience(self, patience: Patience) -> Self {
        Self {
            strangers: Strangers::new(patience),
            ..self
        }
    }
}

/// Where a request came from: for handlers, as `ConnectInfo<Peer>`.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    standing: Arc<Standing>,
}

impl Peer {
    #[cfg(test)]
    pub(crate) fn with_standing(standing: Arc<Standing>) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            standing,
        }
    }

    /// It made an authentic request.
    pub(crate) fn prove(&self) {
        self.standing.prove();
    }
}

impl Connected<IncomingStream<'_, RpcListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, RpcListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            standing: Arc::clone(stream.io().standing()),
        }
    }
}

impl Listener for RpcListener {
    type Io = ServedConnection;
    type Addr = SocketAddr;

    /// Loses no connection when it is dropped before its end: handshakes go on in tasks of their own.
    async fn accept(&mut self) -> Accepted {
        loop {
            let places = Arc::clone(&self.places);
            let listener = &mut self.listener;
            let strangers = &self.strangers;
            let next = async {
                strangers.room().await;
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
                (place, stream, peer) = next => {
                    // Small answers must not wait for the other side's delayed acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused");
                    }
                    let standing = self.strangers.meet();
                    match &self.tls {
                        None => {
                            let stream = Stream::Plain(stream);
                            return (ServedConnection::new(stream, place, standing), peer);
                        }
                        Some(tls) => {
                            let handshake = shake_hands(Arc::clone(tls), stream, peer);
                            self.handshakes.spawn(async move {
                                let stream = tokio::select! {
                                    stream = handshake => stream?,
                                    () = standing.over() => return None,
                                };
                                Some((ServedConnection::new(stream, place, standing), peer))
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

    const PATIENT: Patience = Patience {
        with_stranger: Duration::from_mins(10),
        ..PATIENCE
    };

    async fn listener(connection_count_max: usize, patience: Patience) -> RpcListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        RpcListener {
            places: Arc::new(Semaphore::new(connection_count_max)),
            strangers: Strangers::new(patience),
            ..RpcListener::new(listener, None).unwrap()
        }
    }

    #[tokio::test]
    async fn a_connection_waits_for_the_place_of_one_that_ended() {
        let mut listener = listener(1, PATIENT).await;
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
    async fn a_peer_that_takes_nothing_loses_its_place() {
        let patience = Patience {
            with_deaf: Duration::from_millis(50),
            ..PATIENT
        };
        let mut listener = listener(1, patience).await;
        let address = listener.local_addr().unwrap();
        let _deaf = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let bytes = vec![0; 64 << 10];
        let sent = async {
            loop {
                if let Err(error) = served.write_all(&bytes).await {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(Duration::from_mins(1), sent).await;
        assert_eq!(error.unwrap().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_stranger_that_sends_byte_by_byte_loses_its_place() {
        let patience = Patience {
            with_stranger: Duration::from_millis(50),
            ..PATIENCE
        };
        let mut listener = listener(1, patience).await;
        let address = listener.local_addr().unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let second = TcpStream::connect(address).await.unwrap();
        let dripped = async {
            loop {
                slow.write_all(b"x").await.unwrap();
                if let Err(error) = served.read_exact(&mut [0; 1]).await {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(Duration::from_mins(1), dripped).await;
        assert_eq!(error.unwrap().kind(), io::ErrorKind::TimedOut);
        drop(served);
        let (_, peer) = listener.accept().await;
        assert_eq!(peer, second.local_addr().unwrap());
    }
}
