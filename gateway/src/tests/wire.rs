//! Requests and answers as they go over the wire, for tests that do what no client library does.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The head of a request, without its body.
pub(super) fn head_of<B>(request: &http::Request<B>) -> String {
    let line = format!(
        "{} {} HTTP/1.1\r\n",
        request.method(),
        request.uri().path_and_query().unwrap()
    );
    let fields = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    [line]
        .into_iter()
        .chain(fields)
        .chain(["\r\n".to_owned()])
        .collect()
}

/// A new connection over which these bytes were sent.
pub(super) async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// A new connection over which the head of this request was sent.
pub(super) async fn send_head<B>(address: SocketAddr, request: &http::Request<B>) -> TcpStream {
    send(address, head_of(request).as_bytes()).await
}

/// What these bytes are answered with, up to the end of the connection.
pub(super) async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = send(address, bytes).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The first bytes of an answer: `HTTP/1.1 200`.
pub(super) async fn read_status(stream: &mut TcpStream) -> [u8; 12] {
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    status
}

/// A new HTTP/2 connection, and the task that ends when it does.
pub(super) async fn http2(
    address: SocketAddr,
) -> (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>) {
    http2_with_window(address, None).await
}

/// The same, with a window of so many bytes for each answer.
pub(super) async fn http2_with_window(
    address: SocketAddr,
    window_bytes: Option<u32>,
) -> (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window_bytes);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}
