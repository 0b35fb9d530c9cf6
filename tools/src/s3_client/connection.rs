//! One keep-alive HTTP/1.1 connection, opened again when the server closed it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::destination::Destination;
use super::error::ClientError;
use super::request::{Body, Request};
use super::signer::Signer;
use crate::clock;

/// Longest wait for a connection, its TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the head of an answer: more than any server of ours takes for any request.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
/// Largest answer that is collected: a listing page of 1,000 keys of 1,024 bytes, escaped, and then some.
const COLLECTED_BYTES_MAX: usize = 16 << 20;
/// hyper's read buffer: large bodies arrive in pieces of up to this size.
const READ_BUFFER_BYTES: usize = 1 << 20;

/// Sends requests one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    destination: Destination,
    signer: Signer,
    sender: Option<SendRequest<Body>>,
}

impl Connection {
    /// Nothing is opened before the first request.
    pub(crate) fn new(destination: Destination, signer: Signer) -> Self {
        Self {
            destination,
            signer,
            sender: None,
        }
    }

    /// Sends a request and returns the answer's head; its body is still to be read, whole, before the next request.
    ///
    /// A connection that the server closed while it was idle is opened again, once.
    ///
    /// # Errors
    /// All but [`ClientError::Refused`]: the status is the caller's to judge.
    pub(crate) async fn send(
        &mut self,
        request: Request,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let signature = self
            .signer
            .sign(&request, self.destination.authority(), clock::now_ms());
        let target = if request.query.is_empty() {
            request.path
        } else {
            format!("{}?{}", request.path, request.query)
        };
        let mut builder = http::Request::builder()
            .method(request.method.clone())
            .uri(target)
            .header(http::header::HOST, self.destination.authority())
            .header("x-amz-date", signature.date)
            .header("x-amz-content-sha256", request.payload.header_value())
            .header(http::header::AUTHORIZATION, signature.authorization);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if request.method == http::Method::PUT && request.body.is_end_stream() {
            // hyper leaves it out for an empty body, and S3 insists on it.
            builder = builder.header(http::header::CONTENT_LENGTH, 0);
        }
        let signed = builder.body(request.body)?;
        let sender = self.ready().await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(signed)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.sender = None;
                Err(error.into())
            }
            Err(_) => {
                self.sender = None;
                Err(ClientError::TimedOut(ANSWER_TIMEOUT))
            }
        }
    }

    /// Sends a request and collects the answer of a success.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any other status, and those of [`Connection::send`].
    pub(crate) async fn call(&mut self, request: Request) -> Result<Bytes, ClientError> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let body = self.collect(answer.into_body()).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(ClientError::refused(status, &body))
        }
    }

    /// Reads an answer's body to its end.
    ///
    /// # Errors
    /// When the connection breaks, or the body is larger than any we expect.
    pub(crate) async fn collect(&mut self, body: Incoming) -> Result<Bytes, ClientError> {
        match Limited::new(body, COLLECTED_BYTES_MAX).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => {
                self.sender = None;
                Err(ClientError::Wrong(error.to_string()))
            }
        }
    }

    /// Forgets the connection, after an answer was not read to its end.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Body>, ClientError> {
        let usable = match self.sender.take() {
            // `ready` fails when the server closed the connection meanwhile.
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match usable {
            Some(sender) => sender,
            None => open(&self.destination).await?,
        };
        Ok(self.sender.insert(sender))
    }
}

async fn open(destination: &Destination) -> Result<SendRequest<Body>, ClientError> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, destination.connect())
        .await
        .map_err(|_| ClientError::TimedOut(CONNECT_TIMEOUT))??;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        // Its error is the one that the request in flight reports.
        drop(connection.await);
    });
    Ok(sender)
}
