//! Makes the connections of an [`RpcClient`](crate::RpcClient): TCP, and TLS on it where the address says so.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use crate::stream::Stream;
use crate::tls::TlsTrust;

/// Connects to `http://` and `https://` addresses.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<GaiResolver>,
    trust: Option<TlsTrust>,
    timeout: Duration,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Connector {
    /// A connection must be made within `timeout`, handshake included. Without `trust`, `https://` is refused.
    pub(crate) fn new(trust: Option<TlsTrust>, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        // Shared out among the addresses of a name, so that a dead one leaves time for the others.
        tcp.set_connect_timeout(Some(timeout));
        // The scheme is judged here.
        tcp.enforce_http(false);
        Self {
            tcp,
            trust,
            timeout,
        }
    }

    async fn connect(mut self, address: Uri) -> Result<TokioIo<Stream>, Error> {
        let tls = if address.scheme() == Some(&Scheme::HTTPS) {
            Some(
                self.trust
                    .ok_or("there is no CA file to verify its certificate with")?,
            )
        } else {
            None
        };
        let host = address.host().unwrap_or_default().to_owned();
        let stream = self.tcp.call(address).await?.into_inner();
        let stream = match tls {
            Some(trust) => trust.connect(&host, stream).await?,
            None => Stream::Plain(stream),
        };
        Ok(TokioIo::new(stream))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tcp.poll_ready(context).map_err(Error::from)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let this = self.clone();
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, this.connect(address)).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {} s", timeout.as_secs_f32()).into()),
            }
        })
    }
}
