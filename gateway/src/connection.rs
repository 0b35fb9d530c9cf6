//! One connection: TLS handshake, HTTP/1.1 or HTTP/2, and its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::client_stream::ClientStream;
use crate::connection_activity::ConnectionActivity;
use crate::dispatch;
use crate::entrance::{Entrance, Scheme, Surface};
use crate::gateway::Gateway;

/// Header lines of a request over HTTP/1.1. S3 bounds a header by its bytes, [`crate::config::Limits`]' 8 KiB, and
/// metadata come in short lines; at 16 bytes a line it is the bytes that decide here too.
const HTTP1_HEADER_LINES_MAX: usize = 512;
/// What is kept of a request over HTTP/1.1 whose header is not whole yet, which anybody may send: 8 KiB of header, 16 of
/// query, 8 for the rest of the target, and as much again so that what is slightly too long is told so in S3's words. hyper
/// would take 400 KiB, 1.6 GiB on all connections. Bodies are read through the same buffer: 16 reads for a MiB in place of 3,
/// some 20 microseconds beside its 1.7 ms of MD5.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;
/// The same over HTTP/2, which adds 32 bytes to each line, and the request's target: 8 + 16 KiB, and 8 for the target.
const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Requests that one HTTP/2 connection may have open. The gateway's own limit comes on top.
const HTTP2_STREAMS_MAX: u32 = 256;
/// HTTP/2 flow-control window of a stream: enough for a chunk in flight, little enough to multiply by streams.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 flow-control window of a connection.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// What is kept of a stream's answer that its client does not take, beside the piece that passed this. hyper would keep
/// 400 KiB, which the bound on memory for reads does not count in windows.
const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// How often a silent HTTP/2 peer is pinged, and how long its answer may take.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// All that serving a connection needs.
pub(crate) struct Connection {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) surface: Surface,
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// Turns true when the connection shall end with its running requests, and closes when it shall end now.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Connection {
    /// Serves `stream` until either side ends it.
    pub(crate) async fn serve(mut self, stream: TcpStream) {
        let _counted = self.gateway.metrics().connection();
        let scheme = match self.acceptor {
            None => Scheme::Http,
            Some(_) => Scheme::Https,
        };
        let entrance = Entrance {
            surface: self.surface,
            peer: stream.peer_addr().ok().map(|address| address.ip()),
            scheme,
        };
        let Some(acceptor) = self.acceptor.clone() else {
            return self.serve_http(stream, entrance).await;
        };
        let deadline = self.gateway.config().timeouts.header_read;
        let handshake = tokio::time::timeout(deadline, acceptor.accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            // Nothing was asked on this connection yet.
            _ = self.draining.changed() => return,
        };
        match handshake {
            Ok(Ok(stream)) => self.serve_http(stream, entrance).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    /// Serves the connection, and then what is still done for its requests: a copy goes on when its client has left,
    /// keeps the connection's place, and is waited for by draining.
    pub(crate) async fn serve_http<S>(mut self, stream: S, entrance: Entrance)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = ConnectionActivity::default();
        self.converse(stream, entrance, &activity).await;
        tokio::select! {
            () = activity.finished() => {}
            () = async { while self.draining.changed().await.is_ok() {} } => {}
        }
    }

    /// Serves requests until either side ends the connection.
    async fn converse<S>(&mut self, stream: S, entrance: Entrance, activity: &ConnectionActivity)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let timeouts = &self.gateway.config().timeouts;
        let (header_read, write_stall) = (timeouts.header_read, timeouts.write_stall);
        let stream = ClientStream::new(stream, write_stall, activity.clone());
        let service = service_fn({
            let gateway = Arc::clone(&self.gateway);
            let activity = activity.clone();
            move |request: Request<Incoming>| {
                let gateway = Arc::clone(&gateway);
                let running = activity.begin_request(request.version());
                async move {
                    Ok::<_, Infallible>(
                        dispatch::respond(gateway, entrance, request, running).await,
                    )
                }
            }
        });
        let builder = builder(header_read);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // The detection of HTTP/2 reads the first bytes without a deadline of its own.
        let mut first_request_deadline = pin!(tokio::time::sleep(header_read));
        let mut is_watching_first = true;
        let mut is_draining = false;
        let mut quiet = pin!(activity.quiet());
        let mut silent = pin!(activity.silent(header_read));
        let mut stalled = pin!(activity.stalled(write_stall));
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = first_request_deadline.as_mut(), if is_watching_first => {
                    if !activity.had_request() {
                        return;
                    }
                    is_watching_first = false;
                }
                changed = self.draining.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if !is_draining {
                        is_draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                // A peer that answers pings would be kept for ever.
                () = silent.as_mut(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = stalled.as_mut() => {
                    tracing::debug!("connection ended whose peer does not take an answer");
                    return;
                }
                () = quiet.as_mut(), if is_draining => {
                    tracing::debug!("connection without requests ended");
                    return;
                }
            }
        }
    }
}

fn builder(header_read: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read)
        .max_headers(HTTP1_HEADER_LINES_MAX)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL);
    builder
}
