//! One keep-alive HTTP/1.1 connection, opened again when the server closed it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_rpc::clock::{Clock as _, SystemClock};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::destination::Destination;
use super::error::ClientError;
use super::request::{Body, Request};
use super::signer::Signer;

/// Longest wait for a connection, its TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the head of an answer, beside the time for sending the request, and for each piece of its body: more
/// than any server of ours takes for any request.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
/// A request's body is sent at least at this rate: 64 of 64 MiB at a time over a line of 16 MiB a second.
const BODY_BYTES_PER_SECOND_MIN: u64 = 256 << 10;
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
        let authority = self.destination.authority();
        let now_ms = SystemClock.now_ms();
        let signature = self.signer.sign(&request, authority, now_ms);
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
        let body_bytes = request.body.size_hint().lower();
        let wait_max = ANSWER_TIMEOUT + Duration::from_secs(body_bytes / BODY_BYTES_PER_SECOND_MIN);
        let signed = builder.body(request.body)?;
        let sender = self.ready().await?;
        match tokio::time::timeout(wait_max, sender.send_request(signed)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.sender = None;
                Err(error.into())
            }
            Err(_) => {
                self.sender = None;
                Err(ClientError::TimedOut(wait_max))
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
    /// Those of [`Connection::next_piece`], and when the body is larger than any we expect.
    pub(crate) async fn collect(&mut self, mut body: Incoming) -> Result<Bytes, ClientError> {
        let mut collected = BytesMut::new();
        while let Some(piece) = self.next_piece(&mut body).await? {
            if collected.len() + piece.len() > COLLECTED_BYTES_MAX {
                self.sender = None;
                return Err(ClientError::Wrong(format!(
                    "it is larger than {COLLECTED_BYTES_MAX} bytes"
                )));
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected.freeze())
    }

    /// The next piece of an answer's body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks, or nothing comes for too long.
    pub(crate) async fn next_piece(
        &mut self,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, ClientError> {
        let piece = next_piece(body, ANSWER_TIMEOUT).await;
        if piece.is_err() {
            self.sender = None;
        }
        piece
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

async fn next_piece<B>(body: &mut B, wait_max: Duration) -> Result<Option<Bytes>, ClientError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    ClientError: From<B::Error>,
{
    loop {
        let frame = tokio::time::timeout(wait_max, body.frame())
            .await
            .map_err(|_| ClientError::Stalled(wait_max))?;
        let Some(frame) = frame.transpose()? else {
            return Ok(None);
        };
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    #[tokio::test]
    async fn a_body_that_stops_in_the_middle_is_given_up() {
        let first = Bytes::from_static(b"first");
        let pieces = stream::iter([Ok::<_, hyper::Error>(Frame::data(first.clone()))]);
        let mut stops = StreamBody::new(pieces.chain(stream::pending()));
        let wait_max = Duration::from_millis(1);
        let piece = next_piece(&mut stops, wait_max).await;
        assert_eq!(piece.unwrap(), Some(first));
        let outcome = next_piece(&mut stops, wait_max).await;
        assert!(
            matches!(outcome, Err(ClientError::Stalled(_))),
            "{outcome:?}"
        );
    }
}
