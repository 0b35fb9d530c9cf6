//! Goal: nobody without the secret gets anything done, or makes a caller believe anything.
//!
//! Method: a real server on loopback that counts what it acts on. Each case starts from a request that would be
//! accepted and changes one thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use tower_service::Service as _;

use crate::clock::Clock;
use crate::listener::Peer;
use crate::random::random_bytes;
use crate::seal::{REPLY_HEADER, ReplySeal, RequestSeal, RunId, SessionId};
use crate::standing::{Patience, Strangers};
use crate::{
    BodyParts, CallError, ClientOptions, ClusterSecret, Guard, GuardOptions, Reply, RpcClient,
};

const NOW_MS: u64 = 1_800_000_000_000;
const REPLY_MAX: usize = 1 << 20;

#[derive(Debug)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn clock_at(now_ms: u64) -> Arc<SetClock> {
    Arc::new(SetClock(AtomicU64::new(now_ms)))
}

fn secret() -> ClusterSecret {
    ClusterSecret::new("the secret of the cluster under test").unwrap()
}

fn other_secret() -> ClusterSecret {
    ClusterSecret::new("the secret of some different cluster").unwrap()
}

struct Server {
    url: String,
    acted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_with(GuardOptions {
            clock: clock_at(NOW_MS),
            ..GuardOptions::default()
        })
        .await
    }

    async fn start_with(options: GuardOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, options)
    }

    fn start_on(listener: TcpListener, options: GuardOptions) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let acted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&acted);
        let echo = move |body: Bytes| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Reply::Done(body) }
        };
        let router = Router::new()
            .route("/echo", post(echo.clone()).put(echo))
            .route(
                "/fail",
                post(|| async { Reply::Failed(Bytes::from_static(b"typed")) }),
            )
            .route(
                "/immense",
                post(|| async { Reply::Done(vec![0; 33 << 20].into()) }),
            )
            .route(
                "/slow",
                post(|| async { std::future::pending::<Reply>().await }),
            );
        let router = Guard::new(secret(), options).protect(router);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, acted, task }
    }

    fn client(&self, secret: ClusterSecret, now_ms: u64) -> RpcClient {
        let options = ClientOptions {
            clock: clock_at(now_ms),
            call_timeout: Duration::from_secs(5),
            ..ClientOptions::default()
        };
        RpcClient::new(self.url.parse().unwrap(), secret, options)
    }

    fn acted(&self) -> usize {
        self.acted.load(Ordering::Relaxed)
    }

    /// Sends anything at all; gives status, body, and whether the reply carries a seal.
    async fn send(
        &self,
        method: &str,
        path: &str,
        header: Option<&str>,
        body: &'static str,
    ) -> (StatusCode, String, bool) {
        let client = Client::builder(TokioExecutor::new()).build_http::<BodyParts>();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let response = client
            .request(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, incoming) = response.into_parts();
        let (body, _) = crate::body::collect(incoming, REPLY_MAX).await.unwrap();
        (
            parts.status,
            String::from_utf8(body.into()).unwrap(),
            parts.headers.contains_key(REPLY_HEADER),
        )
    }

    /// What a server says its run is, learnt as a client learns it.
    async fn run(&self) -> RunId {
        let seal = RequestSeal {
            run: RunId::UNKNOWN,
            ..seal_of("")
        };
        let request = Request::post(format!("{}/echo", self.url))
            .header(
                AUTHORIZATION,
                seal.header(&seal.tag(&secret(), "POST", "/echo")),
            )
            .body(BodyParts::default())
            .unwrap();
        let response = Client::builder(TokioExecutor::new())
            .build_http::<BodyParts>()
            .request(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
        ReplySeal::parse(response.headers()[REPLY_HEADER].as_bytes())
            .unwrap()
            .0
            .run
    }
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// An acceptable seal, but for the run.
fn seal_of(body: &'static str) -> RequestSeal {
    RequestSeal {
        timestamp_ms: NOW_MS,
        session: SessionId(random_bytes()),
        counter: 7,
        run: RunId::UNKNOWN,
        body: BodyParts::from(body).digest(),
    }
}

#[tokio::test]
async fn a_sealed_call_is_answered() {
    let server = Server::start().await;
    let client = server.client(secret(), NOW_MS);
    for _ in 0..3 {
        let parts = BodyParts::new("head", "tail");
        assert_eq!(
            client.call(path("/echo"), parts, REPLY_MAX).await,
            Ok(Reply::Done("headtail".into()))
        );
    }
    assert_eq!(server.acted(), 3);
    assert_eq!(
        client.call(path("/fail"), "", REPLY_MAX).await,
        Ok(Reply::Failed("typed".into()))
    );
    let unknown = client.call(path("/nowhere"), "", REPLY_MAX).await;
    assert!(
        matches!(unknown, Err(CallError::Refused { status: 404, .. })),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_its_refusal_is_not_believed() {
    let server = Server::start().await;
    let outcome = server
        .client(other_secret(), NOW_MS)
        .call(path("/echo"), "body", REPLY_MAX)
        .await;
    let Err(CallError::Lost { detail }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        detail.contains("401") && detail.contains("cluster secret"),
        "{detail}"
    );
    assert_eq!(server.acted(), 0);
}

#[tokio::test]
async fn any_change_to_a_sealed_request_is_refused() {
    let server = Server::start().await;
    let seal = RequestSeal {
        run: server.run().await,
        ..seal_of("body")
    };
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo?a=1"));
    let changed_time = header.replace(&NOW_MS.to_string(), &(NOW_MS + 1).to_string());
    let changed_counter = header.replace("0000000000000007", "0000000000000008");
    for (what, method, path, header, body) in [
        ("method", "PUT", "/echo?a=1", &header, "body"),
        ("path", "POST", "/fail?a=1", &header, "body"),
        ("query", "POST", "/echo?a=2", &header, "body"),
        ("body", "POST", "/echo?a=1", &header, "BODY"),
        ("length", "POST", "/echo?a=1", &header, "body+"),
        ("timestamp", "POST", "/echo?a=1", &changed_time, "body"),
        ("counter", "POST", "/echo?a=1", &changed_counter, "body"),
    ] {
        let (status, reason, _) = server.send(method, path, Some(header), body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "changed {what}: {reason}");
    }
    assert_eq!(server.acted(), 0);
    let (status, ..) = server
        .send("POST", "/echo?a=1", Some(&header), "body")
        .await;
    assert_eq!(
        (status, server.acted()),
        (StatusCode::OK, 1),
        "unchanged, it is accepted"
    );
}

#[tokio::test]
async fn a_missing_or_malformed_header_is_refused_without_a_seal() {
    let server = Server::start().await;
    for (header, expected) in [
        (None, "missing"),
        (Some(""), "malformed"),
        (Some("Bearer token"), "malformed"),
        (Some("Cairn1 1.2.3.4.5.6"), "malformed"),
    ] {
        let (status, reason, sealed) = server.send("POST", "/echo", header, "body").await;
        assert_eq!((status, sealed), (StatusCode::UNAUTHORIZED, false));
        assert!(reason.contains(expected), "{reason}");
    }
    let (status, ..) = server.send("POST", "/nowhere", None, "").await;
    assert_eq!(
        status,
        StatusCode::UNAUTHORIZED,
        "what there is, is nobody's business either"
    );
    assert_eq!(server.acted(), 0);
}

#[tokio::test]
async fn a_replayed_request_is_refused() {
    let server = Server::start().await;
    let seal = RequestSeal {
        run: server.run().await,
        ..seal_of("body")
    };
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
    let (status, ..) = server.send("POST", "/echo", Some(&header), "body").await;
    assert_eq!(status, StatusCode::OK);
    let (status, reason, _) = server.send("POST", "/echo", Some(&header), "body").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(reason.contains("received before"), "{reason}");
    assert_eq!(server.acted(), 1);
}

/// Sends the header of a call with a body of four bytes, which is sent when somebody wants it; gives the connection and the
/// beginning of the answer.
async fn send_head(server: &Server, header: &str) -> (TcpStream, String) {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 4\r\nexpect: 100-continue\r\nauthorization: {header}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, String::from_utf8(answer.into()).unwrap())
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Or whoever has listened could take the room of other calls with bodies that never come.
#[tokio::test]
async fn nobody_waits_for_the_body_of_a_replayed_request() {
    let server = Server::start().await;
    let seal = RequestSeal {
        run: server.run().await,
        ..seal_of("body")
    };
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
    let (status, ..) = server.send("POST", "/echo", Some(&header), "body").await;
    assert_eq!(status, StatusCode::OK);
    let (_stream, answer) = send_head(&server, &header).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_request_for_another_run_takes_no_room() {
    let server = Server::start_with(GuardOptions {
        clock: clock_at(NOW_MS),
        request_count_max: 1,
        buffered_bytes_max: 1 << 10,
        ..GuardOptions::default()
    })
    .await;
    let other = seal_of("body");
    let header = other.header(&other.tag(&secret(), "POST", "/echo"));
    // Its caller may send a while, and must be able to before it is answered.
    let (mut stream, answer) = send_head(&server, &header).await;
    assert_eq!(answer, CONTINUE);
    let client = server.client(secret(), NOW_MS);
    client.call(path("/echo"), "1", REPLY_MAX).await.unwrap();
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

/// Its header came before the genuine one, and its body after their session was forgotten.
#[tokio::test]
async fn a_replayed_request_whose_body_comes_late_is_refused() {
    let clock = clock_at(NOW_MS);
    let server = Server::start_with(GuardOptions {
        clock: Arc::clone(&clock) as _,
        ..GuardOptions::default()
    })
    .await;
    let seal = RequestSeal {
        run: server.run().await,
        ..seal_of("body")
    };
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
    // Somebody wants the body: that is behind the comparison of the clocks.
    let (mut late, answer) = send_head(&server, &header).await;
    assert_eq!(answer, CONTINUE);
    let (status, ..) = server.send("POST", "/echo", Some(&header), "body").await;
    assert_eq!((status, server.acted()), (StatusCode::OK, 1));

    let now_ms = NOW_MS + 300_001;
    clock.0.store(now_ms, Ordering::Relaxed);
    let other = server.client(secret(), now_ms);
    other.call(path("/echo"), "", REPLY_MAX).await.unwrap();
    late.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(server.acted(), 2);
}

#[tokio::test]
async fn a_request_for_another_process_or_run_is_refused() {
    let (server, other) = (Server::start().await, Server::start().await);
    let seal = RequestSeal {
        run: server.run().await,
        ..seal_of("body")
    };
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
    let (status, _, sealed) = other.send("POST", "/echo", Some(&header), "body").await;
    assert_eq!(
        (status, sealed, other.acted()),
        (StatusCode::MISDIRECTED_REQUEST, true, 0)
    );
}

#[tokio::test]
async fn a_client_goes_on_after_the_server_restarted() {
    let server = Server::start().await;
    let client = server.client(secret(), NOW_MS);
    client.call(path("/echo"), "1", REPLY_MAX).await.unwrap();
    let address = server.url.trim_start_matches("http://").to_owned();
    drop(server);
    // The old connection is gone with the old server; a call may notice that first.
    let restarted = loop {
        if let Ok(listener) = TcpListener::bind(&address).await {
            break Server::start_on(
                listener,
                GuardOptions {
                    clock: clock_at(NOW_MS),
                    ..GuardOptions::default()
                },
            );
        }
        tokio::task::yield_now().await;
    };
    while client.call(path("/echo"), "2", REPLY_MAX).await.is_err() {}
    assert_eq!(restarted.acted(), 1);
}

#[tokio::test]
async fn skewed_clocks_are_refused_with_both_times() {
    let server = Server::start().await;
    let skew_max_ms = 300_000;
    for now_ms in [NOW_MS - skew_max_ms, NOW_MS + skew_max_ms] {
        assert!(
            server
                .client(secret(), now_ms)
                .call(path("/echo"), "", REPLY_MAX)
                .await
                .is_ok()
        );
    }
    for now_ms in [
        NOW_MS - skew_max_ms - 1,
        NOW_MS + skew_max_ms + 1,
        0,
        u64::MAX,
    ] {
        let outcome = server
            .client(secret(), now_ms)
            .call(path("/echo"), "", REPLY_MAX)
            .await;
        let Err(CallError::Refused {
            status: 401,
            reason,
        }) = outcome
        else {
            panic!("{outcome:?}")
        };
        for part in [now_ms.to_string(), NOW_MS.to_string(), "300 s".to_owned()] {
            assert!(reason.contains(&part), "{reason}");
        }
    }
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_it_is_read() {
    let options = GuardOptions {
        clock: clock_at(NOW_MS),
        body_size_bytes_max: 10,
        ..GuardOptions::default()
    };
    let server = Server::start_with(options).await;
    let client = server.client(secret(), NOW_MS);
    assert!(
        client
            .call(path("/echo"), "0123456789", REPLY_MAX)
            .await
            .is_ok()
    );
    let outcome = client.call(path("/echo"), "0123456789+", REPLY_MAX).await;
    assert!(
        matches!(outcome, Err(CallError::Refused { status: 413, .. })),
        "{outcome:?}"
    );
    assert_eq!(server.acted(), 1);
}

#[tokio::test]
async fn a_reply_beyond_the_limit_of_the_caller_is_not_received() {
    let server = Server::start().await;
    let outcome = server
        .client(secret(), NOW_MS)
        .call(path("/echo"), "0123456789", 9)
        .await;
    assert!(
        matches!(outcome, Err(CallError::Lost { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn too_many_requests_are_refused_at_once() {
    let options = GuardOptions {
        clock: clock_at(NOW_MS),
        request_count_max: 0,
        ..GuardOptions::default()
    };
    let server = Server::start_with(options).await;
    let client = server.client(secret(), NOW_MS);
    // The larger one is still being sent when that is clear.
    for len in [0, 5 << 20] {
        let outcome = client.call(path("/echo"), vec![1; len], REPLY_MAX).await;
        assert_eq!(outcome, Err(CallError::Busy), "{len}");
    }
}

/// What a server sends for a request of its own router, without a connection in between.
async fn reply_of(router: &Router, header: &str, body: &'static str) -> Response {
    let request = Request::post("/echo")
        .header(AUTHORIZATION, header)
        .body(Body::from(body))
        .unwrap();
    router.clone().call(request).await.unwrap()
}

#[tokio::test]
async fn a_peer_is_known_from_its_first_request_that_is_acted_on() {
    let strangers = Strangers::new(Patience {
        with_stranger: Duration::from_mins(10),
        with_known: Duration::from_mins(10),
        with_deaf: Duration::from_mins(10),
        stranger_count_max: 1,
        for_all: Duration::from_mins(10),
    });
    let peer = Peer::with_standing(strangers.meet());
    let options = GuardOptions {
        clock: clock_at(NOW_MS),
        ..GuardOptions::default()
    };
    let echo = Router::new().route("/echo", post(|body: Bytes| async { Reply::Done(body) }));
    let router = Guard::new(secret(), options).protect(echo);
    let router = router.layer(axum::Extension(ConnectInfo(peer.clone())));
    let mut seal = seal_of("body");
    for is_known in [false, true] {
        let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
        let reply = reply_of(&router, &header, "body").await;
        let reply = ReplySeal::parse(reply.headers()[REPLY_HEADER].as_bytes());
        // The first one is for another run.
        seal.run = reply.unwrap().0.run;
        let context = &mut Context::from_waker(Waker::noop());
        let room = std::pin::pin!(strangers.room()).poll(context);
        assert_eq!(room.is_ready(), is_known);
    }
    drop(peer);
}

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded() {
    let options = GuardOptions {
        clock: clock_at(NOW_MS),
        reply_bytes_max: 1 << 10,
        body_timeout: Duration::from_millis(50),
        ..GuardOptions::default()
    };
    let echo = Router::new().route("/echo", post(|body: Bytes| async { Reply::Done(body) }));
    let router = Guard::new(secret(), options).protect(echo);
    let header = |run| {
        let seal = RequestSeal {
            run,
            ..seal_of("body")
        };
        seal.header(&seal.tag(&secret(), "POST", "/echo"))
    };
    let met = reply_of(&router, &header(RunId::UNKNOWN), "body").await;
    let run = ReplySeal::parse(met.headers()[REPLY_HEADER].as_bytes());
    let run = run.unwrap().0.run;

    let unread = reply_of(&router, &header(run), "body").await;
    assert_eq!(unread.status(), StatusCode::OK);
    let refused = reply_of(&router, &header(run), "body").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (bytes, _) = crate::body::collect(unread.into_body(), 4).await.unwrap();
    let refused = reply_of(&router, &header(run), "body").await;
    assert_eq!(
        refused.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "not sent"
    );
    drop(bytes);
    let read = reply_of(&router, &header(run), "body").await;
    assert_eq!(read.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_large_reply_is_not_made_before_there_is_room_and_others_do_not_wait_for_it() {
    let options = GuardOptions {
        clock: clock_at(NOW_MS),
        large_reply_size_bytes: |_, body| (body == b"large").then_some(1000),
        large_reply_bytes_max: 1 << 10,
        body_timeout: Duration::from_millis(50),
        ..GuardOptions::default()
    };
    let (acted, mut acting) = tokio::sync::mpsc::channel(8);
    let slow = post(move |body: Bytes| async move {
        acted.send(body).await.unwrap();
        std::future::pending::<Reply>().await
    });
    let router = Guard::new(secret(), options).protect(Router::new().route("/echo", slow));
    let seal = seal_of("");
    let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
    let met = reply_of(&router, &header, "").await;
    let run = ReplySeal::parse(met.headers()[REPLY_HEADER].as_bytes());
    let run = run.unwrap().0.run;
    let call = |body| {
        let seal = RequestSeal {
            run,
            ..seal_of(body)
        };
        let header = seal.header(&seal.tag(&secret(), "POST", "/echo"));
        let router = router.clone();
        tokio::spawn(async move { reply_of(&router, &header, body).await.status() })
    };
    let being_made = call("large");
    assert_eq!(acting.recv().await.unwrap(), "large");
    let refused = tokio::time::timeout(Duration::from_mins(1), call("large")).await;
    assert_eq!(refused.unwrap().unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    let other = call("small");
    assert_eq!(acting.recv().await.unwrap(), "small");
    // Whoever goes away makes room.
    for call in [being_made, other] {
        call.abort();
        call.await.unwrap_err();
    }
    let _being_made = call("large");
    assert_eq!(acting.recv().await.unwrap(), "large");
}

#[tokio::test]
async fn a_reply_that_cannot_be_made_is_lost_and_authentic() {
    let server = Server::start().await;
    let client = server.client(secret(), NOW_MS);
    let outcome = client.call(path("/immense"), "", REPLY_MAX).await;
    assert!(
        matches!(&outcome, Err(CallError::Lost { detail }) if detail.contains("it answered 500")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn silence_is_lost_and_nobody_there_is_not_sent() {
    let server = Server::start().await;
    let options = ClientOptions {
        clock: clock_at(NOW_MS),
        call_timeout: Duration::from_millis(200),
        ..ClientOptions::default()
    };
    let client = RpcClient::new(server.url.parse().unwrap(), secret(), options.clone());
    let slow = client.call(path("/slow"), "", REPLY_MAX).await;
    assert!(matches!(slow, Err(CallError::Lost { .. })), "{slow:?}");
    let no_turns = ClientOptions {
        call_count_max: 0,
        ..options.clone()
    };
    let client = RpcClient::new(server.url.parse().unwrap(), secret(), no_turns);
    assert_eq!(
        client.call(path("/echo"), "", REPLY_MAX).await,
        Err(CallError::Busy)
    );

    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = RpcClient::new(
        format!("http://{unused}").parse().unwrap(),
        secret(),
        options,
    );
    let outcome = client.call(path("/echo"), "", REPLY_MAX).await;
    assert!(
        matches!(outcome, Err(CallError::NotSent { .. })),
        "{outcome:?}"
    );
}

/// A server that does not know the secret, or changes what a real one said.
#[tokio::test]
async fn a_forged_reply_is_not_believed() {
    let genuine = Server::start().await;
    let real_run = genuine.run().await;
    for forger in [other_secret(), secret()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seal = ReplySeal {
            run: real_run,
            body: BodyParts::from("forged").digest(),
        };
        // With the right secret, but an answer to another request.
        let header = seal.header(&seal.tag(&forger, &seal_of(""), 200));
        let router = Router::new().route(
            "/echo",
            post(move || async move { ([(REPLY_HEADER, header)], "forged") }),
        );
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = RpcClient::new(url.parse().unwrap(), secret(), ClientOptions::default());
        let outcome = client.call(path("/echo"), "", REPLY_MAX).await;
        assert!(
            matches!(&outcome, Err(CallError::Lost { detail }) if detail.contains("not authentic")),
            "{outcome:?}"
        );
        task.abort();
    }
}
