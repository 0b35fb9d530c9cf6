//! Requests to a gateway without a network: over a pipe in memory, so that the runtime's time may be simulated.

use std::sync::Arc;

use futures_util::future::join;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::client::Answer;
use crate::connection::Connection;
use crate::entrance::{Entrance, Scheme, Surface};
use crate::gateway::Gateway;

/// What either side may write before the other one reads.
const PIPE_BYTES: usize = 64 << 10;

/// Sends one request to `gateway` over a connection of its own. Dropping the future is a client that disappears.
///
/// # Errors
/// The connection broke before the answer was whole.
pub async fn ask(
    gateway: &Arc<Gateway>,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (draining, drain_signal) = watch::channel(false);
    let connection = Connection {
        gateway: Arc::clone(gateway),
        surface: Surface::All,
        acceptor: None,
        draining: drain_signal,
    };
    let entrance = Entrance {
        surface: Surface::All,
        peer: None,
        scheme: Scheme::Http,
    };
    // Detached: it ends with the pipe, and may have work to see through then.
    drop(tokio::spawn(async move {
        connection.serve_http(theirs, entrance).await;
        drop(draining);
    }));
    // A client that connects to a server names no host in the request line.
    let target = request.uri().path_and_query().expect("a path").as_str();
    *request.uri_mut() = target.parse().expect("a target");
    let (mut sender, speaking) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await?;
    let exchange = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    };
    // How the connection ended is told by the exchange.
    let (answer, _) = join(exchange, speaking).await;
    answer
}
