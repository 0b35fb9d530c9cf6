//! Connections: one write per small answer, HTTP/2, bounds, time-outs, panics, drain.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{client_with_bucket, pattern, put, server_with, wire, with_bucket};
use crate::clock::{Clock, SystemClock};
use crate::connection::Connection;
use crate::entrance::{Entrance, Scheme, Surface};
use crate::testing::{Payload, TestServer, TestServerOptions};

/// A clock that stops whoever asks it, while it is broken.
#[derive(Debug, Default)]
struct BreakableClock {
    is_broken: AtomicBool,
}

impl Clock for BreakableClock {
    fn now_ms(&self) -> u64 {
        assert!(
            !self.is_broken.load(Ordering::Relaxed),
            "the clock is broken"
        );
        SystemClock.now_ms()
    }
}

#[tokio::test]
async fn a_panic_costs_its_request_and_nothing_else() {
    let clock = Arc::new(BreakableClock::default());
    let options = TestServerOptions {
        clock: Arc::clone(&clock) as _,
        ..TestServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = client_with_bucket(&server).await;
    clock.is_broken.store(true, Ordering::Relaxed);
    assert_eq!(
        client.get("/b-1").send().await.outcome(),
        "500 InternalError"
    );
    clock.is_broken.store(false, Ordering::Relaxed);
    assert_eq!(client.get("/b-1").send().await.outcome(), "200");
    let metrics = client.get("/-/metrics").send().await.text();
    assert!(
        metrics.contains("cairn_gateway_panics_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let server = TestServer::start().await;
    let (mut sender, _connection) = wire::http2(server.address).await;
    let uri = format!("http://{}/-/health/live", server.address);
    let request = http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, http::Version::HTTP_2)
    );
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "live\n"
    );
}

#[tokio::test]
async fn who_expects_to_be_told_to_send_nothing_gets_a_new_connection() {
    let server = TestServer::start().await;
    for (headers, is_closed) in [
        ("Content-Length: 0\r\nExpect: 100-continue\r\n", true),
        ("Content-Length: 0\r\n", false),
    ] {
        let request = format!(
            "PUT /b-1/key HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            server.address
        );
        let mut stream = wire::send(server.address, request.as_bytes()).await;
        let head = beginning_of_answer(&mut stream).await;
        assert_eq!(
            head.contains("connection: close"),
            is_closed,
            "{headers}: {head}"
        );
    }
}

/// What comes of an answer at once.
async fn beginning_of_answer(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 16 << 10];
    let len = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

/// The server's end of a connection, which remembers how much each write had.
///
/// The client cannot tell: what is written twice before it reads looks as if it had come at once.
struct RecordedWrites {
    stream: DuplexStream,
    lens: Arc<Mutex<Vec<usize>>>,
}

impl RecordedWrites {
    fn record(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = outcome {
            self.lens.lock().unwrap().push(len);
        }
        outcome
    }
}

impl AsyncRead for RecordedWrites {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for RecordedWrites {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.record(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.record(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_small_answer_leaves_in_one_write() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", pattern(4096)).await;
    let (stream, mut peer) = tokio::io::duplex(64 << 10);
    let lens = Arc::new(Mutex::new(Vec::new()));
    let recorded = RecordedWrites {
        stream,
        lens: Arc::clone(&lens),
    };
    let (_draining, drain_signal) = watch::channel(false);
    let connection = Connection {
        gateway: Arc::clone(&server.gateway),
        surface: Surface::All,
        acceptor: None,
        draining: drain_signal,
    };
    let entrance = Entrance {
        surface: Surface::All,
        peer: None,
        scheme: Scheme::Http,
    };
    tokio::spawn(connection.serve_http(recorded, entrance));

    let request = client.get("/b-1/k").header("connection", "close").signed();
    let head = wire::head_of(&request);
    peer.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&pattern(4096)));
    assert_eq!(*lens.lock().unwrap(), [answer.len()]);
}

#[tokio::test]
async fn too_many_requests_are_told_to_slow_down() {
    let server = server_with(|config| config.limits.requests_max = 0).await;
    assert_eq!(
        server.client().put("/b-1", "").send().await.outcome(),
        "503 SlowDown"
    );
    assert_eq!(
        server.client().get("/-/health/live").send().await.status,
        200
    );
}

#[tokio::test]
async fn who_sends_no_request_is_disconnected() {
    let server =
        server_with(|config| config.timeouts.header_read = Duration::from_millis(100)).await;
    for sent in ["", "P", "GET / HTTP/1.1\r\nhost: x"] {
        let mut stream = wire::send(server.address, sent.as_bytes()).await;
        let mut rest = Vec::new();
        let closed =
            tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{sent:?}");
    }
}

/// 160 KiB are more than is kept, and less than hyper keeps by default; the header is never finished.
#[tokio::test]
async fn a_header_without_end_is_refused_before_it_is_long() {
    let server = TestServer::start().await;
    let sent = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(160 << 10));
    let mut stream = wire::send(server.address, sent.as_bytes()).await;
    let status = tokio::time::timeout(Duration::from_secs(5), wire::read_status(&mut stream));
    assert_eq!(&status.await.unwrap(), b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_timed_out() {
    let server = server_with(|config| config.timeouts.body_idle = Duration::from_millis(100)).await;
    let client = client_with_bucket(&server).await;
    let request = client
        .put("/b-1/k", "")
        .payload(Payload::Unsigned)
        .header("content-length", "1000")
        .signed();
    let sent = wire::head_of(&request) + "some bytes";
    let mut stream = wire::send(server.address, sent.as_bytes()).await;
    let text = beginning_of_answer(&mut stream).await;
    assert!(
        text.starts_with("HTTP/1.1 400") && text.contains("connection: close"),
        "{text}"
    );
    assert_eq!(client.get("/b-1/k").send().await.outcome(), "404 NoSuchKey");
}

/// The memory for documents is for all: who sends something now and then must come to an end.
#[tokio::test]
async fn a_document_must_come_in_time_as_a_whole() {
    let server =
        server_with(|config| config.timeouts.document_read = Duration::from_millis(100)).await;
    let client = client_with_bucket(&server).await;
    let request = client
        .post("/b-1?delete", "")
        .payload(Payload::Unsigned)
        .header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")
        .header("content-length", "1000")
        .signed();
    let sent = wire::head_of(&request) + "<Delete>";
    let mut stream = wire::send(server.address, sent.as_bytes()).await;
    let answer = beginning_of_answer(&mut stream).await;
    assert!(answer.contains("<Code>RequestTimeout</Code>"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_place() {
    let server =
        server_with(|config| config.timeouts.write_stall = Duration::from_millis(100)).await;
    let client = client_with_bucket(&server).await;
    // More than the sockets of both sides take.
    put(&client, "/b-1/k", pattern(24 << 20)).await;
    let request = client.get("/b-1/k").signed();
    let mut stream = wire::send_head(server.address, &request).await;
    assert_eq!(&wire::read_status(&mut stream).await, b"HTTP/1.1 200");
    let limits = &server.gateway.config().limits;
    let place_count = u32::try_from(limits.requests_max).unwrap();
    let places = server.gateway.request_places();
    let all_back = tokio::time::timeout(Duration::from_secs(10), places.acquire_many(place_count));
    assert!(all_back.await.is_ok(), "the place is still taken");
}

#[tokio::test]
async fn an_http2_connection_without_requests_ends() {
    let server =
        server_with(|config| config.timeouts.header_read = Duration::from_millis(100)).await;
    let (mut sender, connection) = wire::http2(server.address).await;
    let uri = format!("http://{}/-/health/live", server.address);
    let request = http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    // The client keeps its side open and answers pings.
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "the connection is still there");
    drop(sender);
}

#[tokio::test]
async fn an_http2_peer_that_takes_no_answer_does_not_keep_its_place() {
    let server =
        server_with(|config| config.timeouts.write_stall = Duration::from_millis(100)).await;
    let (mut sender, connection) = wire::http2_with_window(server.address, Some(0)).await;
    let uri = format!("http://{}/b-1/k", server.address);
    let request = http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::NOT_FOUND);
    // The client keeps its side open and answers pings.
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "the connection is still there");
    let limits = &server.gateway.config().limits;
    let place_count = u32::try_from(limits.requests_max).unwrap();
    let places = server.gateway.request_places();
    let all_back = tokio::time::timeout(Duration::from_secs(10), places.acquire_many(place_count));
    assert!(all_back.await.is_ok(), "the place is still taken");
}

/// Its body is gone when the last piece was handed to the connection, but not the piece.
#[tokio::test]
async fn an_answer_that_waits_for_its_client_keeps_its_place_and_pays_for_its_memory() {
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", pattern(4 << 20)).await;
    let (mut sender, _connection) = wire::http2_with_window(server.address, Some(1)).await;
    let request = client
        .get("/b-1/k")
        .header("range", "bytes=0-524287")
        .presigned(Duration::from_mins(1));
    let (parts, _) = request.into_parts();
    let uri = format!(
        "http://{}{}",
        server.address,
        parts.uri.path_and_query().unwrap()
    );
    let request = http::Request::get(uri).header("range", "bytes=0-524287");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::PARTIAL_CONTENT);
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap().len(), 1);

    let places = server.gateway.request_places();
    let place_count = server.gateway.config().limits.requests_max;
    assert_eq!(places.available_permits(), place_count - 1);
    let used_bytes = || server.gateway.engine().metrics().read_memory_used_bytes;
    assert_eq!(used_bytes(), 512 << 10);
    drop(response);
    let all = u32::try_from(place_count).unwrap();
    let all_back = tokio::time::timeout(Duration::from_secs(10), places.acquire_many(all));
    assert!(all_back.await.is_ok(), "the place is still taken");
    assert_eq!(used_bytes(), 0);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let (server, client) = with_bucket().await;
    // More than the sockets of both sides take.
    put(&client, "/b-1/k", pattern(24 << 20)).await;
    let address = server.address;
    let request = client.get("/b-1/k").signed();
    let mut stream = wire::send_head(address, &request).await;
    let mut first = [0; 1024];
    stream.read_exact(&mut first).await.unwrap();
    let draining = tokio::spawn(server.shut_down());
    let nothing_new = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), nothing_new)
        .await
        .unwrap();
    assert!(!draining.is_finished());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(first.len() + rest.len() > 24 << 20);
    tokio::time::timeout(Duration::from_secs(5), draining)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn draining_does_not_wait_for_peers_that_ask_nothing() {
    // The last: an HTTP/2 peer that will not answer the ping by which such a connection is ended.
    for sent in [
        "",
        "P",
        "GET / HTTP/1.1\r\nhost: x",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
    ] {
        let server = TestServer::start().await;
        let _stream = wire::send(server.address, sent.as_bytes()).await;
        // Accepted, and what was sent is read, before the stop.
        server.anonymous().get("/-/health/live").send().await;
        tokio::time::timeout(Duration::from_secs(10), server.shut_down())
            .await
            .unwrap_or_else(|_| panic!("still waiting for {sent:?}"));
    }
}

#[tokio::test]
async fn unreadable_data_is_an_error_and_never_wrong_bytes() {
    use cairn_storage_node::fault::Fault;
    let (server, client) = with_bucket().await;
    put(&client, "/b-1/k", pattern(9 << 20)).await;
    for fault in &server.faults[..2] {
        fault.set(Fault::Down);
    }
    assert_eq!(client.get("/b-1/k").send().await.body, pattern(9 << 20));
    for fault in &server.faults {
        fault.set(Fault::Down);
    }
    let answer = client.get("/b-1/k").send().await;
    assert_eq!(answer.outcome(), "503 ServiceUnavailable");
    assert_eq!(
        client
            .put("/b-1/new", pattern(100_000))
            .send()
            .await
            .outcome(),
        "503 ServiceUnavailable"
    );
    for fault in &server.faults {
        fault.clear();
    }
    server
        .gateway
        .engine()
        .disks()
        .refresh(Duration::from_secs(1))
        .await;
    assert_eq!(client.get("/b-1/k").send().await.body, pattern(9 << 20));
    assert_eq!(
        client.get("/b-1/new").send().await.outcome(),
        "404 NoSuchKey"
    );
}
