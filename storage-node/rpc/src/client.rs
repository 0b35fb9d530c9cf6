//! The calling side: pooled connections, bounded waiting, and no belief in what is not sealed.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::body::collect;
use crate::clock::{Clock, SystemClock};
use crate::connector::Connector;
use crate::random::random_bytes;
use crate::refusal::Refusal;
use crate::seal::{REPLY_HEADER, ReplySeal, RequestSeal, RunId, SessionId};
use crate::tls::TlsTrust;
use crate::{BodyParts, ClusterSecret, Endpoint, Reply};

/// Of a reply that is not believed, this much is quoted.
const QUOTE_LEN_MAX: usize = 200;

/// The bounds of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Dates the requests.
    pub clock: Arc<dyn Clock>,
    /// Who may vouch for the server; needed to call `https://` endpoints, and not used for others.
    pub trust: Option<TlsTrust>,
    /// How long a connection may take to be made, the TLS handshake included.
    pub connect_timeout: Duration,
    /// How long a call may take altogether, waiting for its turn included.
    pub call_timeout: Duration,
    /// Calls at one time; others wait for their turn.
    pub call_count_max: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            trust: None,
            connect_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(15),
            call_count_max: 256,
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// Why a call has no reply. One variant per thing a caller does differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It never left: nothing was done.
    #[error("{detail}")]
    NotSent {
        /// What happened.
        detail: String,
    },
    /// Too many calls are being made or served: nothing was done.
    #[error("too many calls are waiting")]
    Busy,
    /// The other side proved that it has the secret, and that it did nothing.
    #[error("refused with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// It may have been acted on: no reply came, or none that can be believed.
    #[error("{detail}")]
    Lost {
        /// What happened.
        detail: String,
    },
}

/// Calls one service. Clones share connections.
#[derive(Clone)]
pub struct RpcClient(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    secret: ClusterSecret,
    options: ClientOptions,
    http: Client<Connector, BodyParts>,
    session: SessionId,
    counter: AtomicU64,
    /// The run of the server that answered last.
    run: Mutex<RunId>,
    calls: Semaphore,
}

/// An answer that is believed.
struct Answer {
    status: StatusCode,
    run: RunId,
    body: Bytes,
}

impl RpcClient {
    /// Prepares calls to `endpoint`; connects with the first of them.
    pub fn new(endpoint: Endpoint, secret: ClusterSecret, options: ClientOptions) -> Self {
        let connector = Connector::new(options.trust.clone(), options.connect_timeout);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.call_count_max)
            .build(connector);
        Self(Arc::new(Inner {
            endpoint,
            secret,
            http,
            session: SessionId(random_bytes()),
            counter: AtomicU64::new(0),
            run: Mutex::new(RunId::UNKNOWN),
            calls: Semaphore::new(options.call_count_max),
            options,
        }))
    }

    /// Where the calls go.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Makes one call and receives at most `reply_size_bytes_max` of reply.
    ///
    /// # Errors
    /// Of [`CallError`], only [`CallError::Lost`] leaves open whether the call was acted on. A dropped call may
    /// have been, too.
    pub async fn call(
        &self,
        path: PathAndQuery,
        body: impl Into<BodyParts>,
        reply_size_bytes_max: usize,
    ) -> Result<Reply, CallError> {
        let inner = &*self.0;
        let deadline = Instant::now() + inner.options.call_timeout;
        let _permit = timeout_at(deadline, inner.calls.acquire())
            .await
            .map_err(|_| CallError::Busy)?
            .map_err(|_| CallError::Busy)?;
        timeout_at(
            deadline,
            inner.call(&path, body.into(), reply_size_bytes_max),
        )
        .await
        .unwrap_or_else(|_| {
            let waited_s = inner.options.call_timeout.as_secs_f32();
            Err(inner.lost(format_args!("no reply to {path} within {waited_s} s")))
        })
    }
}

impl Inner {
    async fn call(
        &self,
        path: &PathAndQuery,
        body: BodyParts,
        reply_limit: usize,
    ) -> Result<Reply, CallError> {
        let mut answer = self.exchange(path, body.clone(), reply_limit).await?;
        if answer.status == Refusal::WRONG_RUN {
            // Met for the first time, or restarted: it did nothing, and has said now which run it is.
            *self.run.lock().unwrap_or_else(PoisonError::into_inner) = answer.run;
            answer = self.exchange(path, body, reply_limit).await?;
        }
        match answer.status {
            Reply::DONE => Ok(Reply::Done(answer.body)),
            Reply::FAILED => Ok(Reply::Failed(answer.body)),
            Refusal::BUSY => Err(CallError::Busy),
            status if status.is_server_error() => {
                Err(self.lost(format_args!("it answered {status}")))
            }
            status => Err(CallError::Refused {
                status: status.as_u16(),
                reason: quote(&answer.body),
            }),
        }
    }

    async fn exchange(
        &self,
        path: &PathAndQuery,
        body: BodyParts,
        reply_limit: usize,
    ) -> Result<Answer, CallError> {
        let seal = RequestSeal {
            timestamp_ms: self.options.clock.now_ms(),
            session: self.session,
            counter: self.counter.fetch_add(1, Ordering::Relaxed),
            run: *self.run.lock().unwrap_or_else(PoisonError::into_inner),
            body: body.digest(),
        };
        let tag = seal.tag(&self.secret, Method::POST.as_str(), path.as_str());
        let request = self
            .endpoint
            .join(path.clone())
            .and_then(|uri| {
                Request::post(uri)
                    .header(AUTHORIZATION, seal.header(&tag))
                    .body(body)
            })
            .map_err(|error| self.not_sent(&error))?;
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(self.not_sent(&error)),
            Err(error) => return Err(self.lost(format_args!("{}", causes(&error)))),
        };
        let (parts, body) = response.into_parts();
        let (body, digest) = collect(body, reply_limit)
            .await
            .map_err(|error| self.lost(format_args!("{error}")))?;
        let run = match believe(&parts.headers) {
            Some((reply, tag))
                if reply.body == digest
                    && tag.matches(&reply.tag(&self.secret, &seal, parts.status.as_u16())) =>
            {
                reply.run
            }
            _ => {
                return Err(self.lost(format_args!(
                    "its reply is not authentic: {} {}",
                    parts.status,
                    quote(&body)
                )));
            }
        };
        Ok(Answer {
            status: parts.status,
            run,
            body,
        })
    }

    fn not_sent(&self, error: &dyn Error) -> CallError {
        CallError::NotSent {
            detail: format!("cannot reach {}: {}", self.endpoint, causes(error)),
        }
    }

    fn lost(&self, what: fmt::Arguments<'_>) -> CallError {
        CallError::Lost {
            detail: format!("{}: {what}", self.endpoint),
        }
    }
}

impl fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcClient")
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}

fn believe(headers: &HeaderMap) -> Option<(ReplySeal, crate::seal::Tag)> {
    ReplySeal::parse(headers.get(REPLY_HEADER)?.as_bytes())
}

/// What an unexpected answer said, short and printable.
fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars()
        .filter(|char| !char.is_control())
        .take(QUOTE_LEN_MAX)
        .collect()
}

/// An error with what caused it: the outermost message alone says only "client error".
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
