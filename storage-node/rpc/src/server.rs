//! The serving side: nothing behind a [`Guard`] runs before the request was authenticated and its body compared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::body::collect;
use crate::clock::{Clock, SystemClock};
use crate::listener::Peer;
use crate::random::random_bytes;
use crate::refusal::Refusal;
use crate::replay::ReplayWindow;
use crate::seal::{BodyDigest, REPLY_HEADER, ReplySeal, RequestSeal, RunId};
use crate::{BodyParts, ClusterSecret};

/// Largest reply that is sealed and sent: a page of the largest records, and room.
const REPLY_SIZE_BYTES_MAX: usize = 32 << 20;
/// The unit in which buffered bodies are counted, because a semaphore counts in `u32`.
const BUFFER_UNIT_BYTES: usize = 1 << 10;

/// The bounds of a guarded service.
#[derive(Debug, Clone)]
pub struct GuardOptions {
    /// Tells the time that the timestamps of requests are compared with.
    pub clock: Arc<dyn Clock>,
    /// How far the clocks of two processes may differ.
    pub skew_max: Duration,
    /// Largest body of one request.
    pub body_size_bytes_max: usize,
    /// Bodies of all requests together; others wait.
    pub buffered_bytes_max: usize,
    /// Replies of all requests together that their callers have not read yet; others wait.
    pub reply_bytes_max: usize,
    /// How large the reply to a call can become, by its path and body, where that may be much: then room for it is taken before
    /// the call is acted on. `None` for others, which do not wait for these.
    pub large_reply_size_bytes: fn(&str, &[u8]) -> Option<usize>,
    /// Large replies together, from before they are made until their callers have read them; others wait.
    pub large_reply_bytes_max: usize,
    /// Requests that are served at one time, each until its reply was read; others are refused at once.
    pub request_count_max: usize,
    /// How long a request may wait for its turn and then for its own body, and its reply for room.
    pub body_timeout: Duration,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            skew_max: Duration::from_mins(5),
            body_size_bytes_max: 5 << 20,
            buffered_bytes_max: 64 << 20,
            reply_bytes_max: 64 << 20,
            large_reply_size_bytes: |_, _| None,
            large_reply_bytes_max: 64 << 20,
            request_count_max: 1024,
            body_timeout: Duration::from_secs(10),
        }
    }
}

/// Lets only sealed requests through to a router, and seals what it answers.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    secret: ClusterSecret,
    options: GuardOptions,
    run: RunId,
    replay: Mutex<ReplayWindow>,
    requests: Arc<Semaphore>,
    buffer_units: Semaphore,
    reply_units: Arc<Semaphore>,
    large_reply_units: Arc<Semaphore>,
}

impl Guard {
    /// A guard of one run of a process: requests sealed for an earlier run are refused.
    pub fn new(secret: ClusterSecret, options: GuardOptions) -> Self {
        let units = |bytes| Semaphore::new(bytes / BUFFER_UNIT_BYTES);
        Self(Arc::new(Inner {
            secret,
            run: RunId(random_bytes()),
            replay: Mutex::default(),
            requests: Arc::new(Semaphore::new(options.request_count_max)),
            buffer_units: units(options.buffered_bytes_max),
            reply_units: Arc::new(units(options.reply_bytes_max)),
            large_reply_units: Arc::new(units(options.large_reply_bytes_max)),
            options,
        }))
    }

    /// Puts the guard in front of everything in `router`, its fallback included.
    ///
    /// The result may be merged into another router but not nested below a path: the seal covers the whole path.
    pub fn protect(self, router: Router) -> Router {
        router
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self, guarded))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

/// Tells of a request that was not acted on, and who sent it.
fn report(refusal: &Refusal, parts: &Parts) {
    let peer = parts.extensions.get::<ConnectInfo<Peer>>();
    let caller = peer.map(|ConnectInfo(peer)| tracing::field::display(peer.address));
    tracing::warn!(reason = %refusal, caller, path = parts.uri.path(), "request refused");
}

async fn guarded(State(Guard(guard)): State<Guard>, request: Request, next: Next) -> Response {
    let (parts, mut body) = request.into_parts();
    let seal = match guard.authenticate(&parts) {
        Ok(seal) => seal,
        // Whoever it is has no use for a sealed answer, and gets no oracle.
        Err(refusal) => {
            report(&refusal, &parts);
            return refusal.into_response();
        }
    };
    let (response, place) = match guard.admit(&seal, &parts, &mut body).await {
        Ok((body, permits)) => {
            if let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<Peer>>() {
                peer.prove();
            }
            let request = Request::from_parts(parts, Body::from(body));
            (next.run(request).await, Some(permits.place))
        }
        Err(refusal) => {
            if matches!(
                refusal,
                Refusal::Busy | Refusal::ClockSkew { .. } | Refusal::WrongRun
            ) {
                guard.drain(&mut body).await;
            }
            // The wrong run is how every caller meets a new process, and callers that have enough answers break off: nothing to
            // see.
            if !matches!(refusal, Refusal::WrongRun | Refusal::BrokenBody { .. }) {
                report(&refusal, &parts);
            }
            (refusal.into_response(), None)
        }
    };
    guard.seal_reply(&seal, response, place).await
}

impl Inner {
    fn authenticate(&self, parts: &Parts) -> Result<RequestSeal, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).ok_or(Refusal::Unsealed)?;
        let (seal, tag) = RequestSeal::parse(header.as_bytes()).ok_or(Refusal::Malformed)?;
        let path_and_query = parts.uri.path_and_query().map_or("", |path| path.as_str());
        if tag.matches(&seal.tag(&self.secret, parts.method.as_str(), path_and_query)) {
            Ok(seal)
        } else {
            Err(Refusal::WrongSeal)
        }
    }

    /// The body of a request that may be acted on now, once. The permits bound what is acted on.
    async fn admit(
        &self,
        seal: &RequestSeal,
        parts: &Parts,
        body: &mut Body,
    ) -> Result<(Bytes, Permits<'_>), Refusal> {
        self.compare_clocks(seal)?;
        // Whoever listens can send a call again. What is refused in the end takes nothing that others wait for.
        if seal.run != self.run {
            return Err(Refusal::WrongRun);
        }
        if self.replay().is_past(seal) {
            return Err(Refusal::Replayed);
        }
        let request = Arc::clone(&self.requests).try_acquire_owned();
        let request = request.map_err(|_| Refusal::Busy)?;
        self.wait_for_replies().await?;
        let (body, buffer) = self.receive(seal, body).await?;
        let large_reply = self.make_room(parts.uri.path(), &body).await?;
        let now_ms = self.options.clock.now_ms();
        // Only now it is remembered: a call with another body must not keep the genuine one out.
        self.replay().admit(seal, now_ms, self.options.skew_max)?;
        Ok((
            body,
            Permits {
                place: Place {
                    request,
                    large_reply,
                },
                _buffer: buffer,
            },
        ))
    }

    fn replay(&self) -> MutexGuard<'_, ReplayWindow> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compare_clocks(&self, seal: &RequestSeal) -> Result<(), Refusal> {
        let (theirs_ms, ours_ms) = (seal.timestamp_ms, self.options.clock.now_ms());
        let allowed = self.options.skew_max;
        if Duration::from_millis(theirs_ms.abs_diff(ours_ms)) > allowed {
            return Err(Refusal::ClockSkew {
                theirs_ms,
                ours_ms,
                allowed,
            });
        }
        Ok(())
    }

    /// Room for the reply to a call, if that is to be taken before it is made.
    async fn make_room(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let Some(size_bytes) = (self.options.large_reply_size_bytes)(path, body) else {
            return Ok(None);
        };
        let units = units_of(size_bytes, self.options.large_reply_bytes_max);
        let room = Arc::clone(&self.large_reply_units).acquire_many_owned(units);
        match tokio::time::timeout(self.options.body_timeout, room).await {
            Ok(Ok(room)) => Ok(Some(room)),
            _ => Err(Refusal::Busy),
        }
    }

    /// Counts a reply for as long as anybody holds its bytes, which the server does until they are sent. `None` if there
    /// was no room in time. That of a refusal has no place among the requests, and is not counted.
    async fn hold(
        &self,
        (body, digest): (Bytes, BodyDigest),
        place: Option<Place>,
    ) -> Option<(Bytes, BodyDigest)> {
        let Some(mut place) = place else {
            return Some((body, digest));
        };
        let missing_bytes = place.keep_room(body.len());
        let units = units_of(missing_bytes, self.options.reply_bytes_max);
        let room = Arc::clone(&self.reply_units).acquire_many_owned(units);
        let reply = tokio::time::timeout(self.options.body_timeout, room).await;
        let Ok(Ok(reply)) = reply else {
            tracing::warn!("a reply was dropped: others are not read");
            return None;
        };
        let held = HeldReply {
            body,
            _place: place,
            _reply: reply,
        };
        Some((Bytes::from_owner(held), digest))
    }

    async fn receive(
        &self,
        seal: &RequestSeal,
        body: &mut Body,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let limit_bytes = self.options.body_size_bytes_max;
        let size_bytes = body.size_hint().exact().ok_or(Refusal::LengthRequired)?;
        let size_bytes = usize::try_from(size_bytes)
            .ok()
            .filter(|size_bytes| *size_bytes <= limit_bytes)
            .ok_or(Refusal::TooLarge { limit_bytes })?;
        let units = u32::try_from(size_bytes.div_ceil(BUFFER_UNIT_BYTES)).unwrap_or(u32::MAX);
        let timeout = self.options.body_timeout;
        let buffer = tokio::time::timeout(timeout, self.buffer_units.acquire_many(units))
            .await
            .map_err(|_| Refusal::Busy)?
            .map_err(|_| Refusal::Busy)?;
        let (body, digest) = tokio::time::timeout(timeout, collect(body, limit_bytes))
            .await
            .map_err(|_| Refusal::SlowBody)?
            .map_err(|error| Refusal::BrokenBody {
                detail: error.to_string(),
            })?;
        if digest == seal.body {
            Ok((body, buffer))
        } else {
            Err(Refusal::WrongBody)
        }
    }

    /// Reads what a caller still sends and keeps nothing of it. It may not be done writing before it looks for an answer, and
    /// an answer before that gets lost when the connection is closed on it: then it could not tell what was done.
    async fn drain(&self, body: &mut Body) {
        let mut left_bytes = self.options.body_size_bytes_max;
        let drained = async {
            while let Some(Ok(frame)) = body.frame().await {
                let len = frame.data_ref().map_or(0, Bytes::len);
                match left_bytes.checked_sub(len) {
                    Some(left) => left_bytes = left,
                    None => return,
                }
            }
        };
        if tokio::time::timeout(self.options.body_timeout, drained)
            .await
            .is_err()
        {
            tracing::debug!("the body of a refused request did not end in time");
        }
    }

    /// Nothing is done for callers while others do not read what was done for them.
    async fn wait_for_replies(&self) -> Result<(), Refusal> {
        let room = tokio::time::timeout(self.options.body_timeout, self.reply_units.acquire());
        match room.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refusal::Busy),
        }
    }

    /// A request that was acted on keeps its place until its caller has read the reply. A refusal has none.
    async fn seal_reply(
        &self,
        request: &RequestSeal,
        response: Response,
        place: Option<Place>,
    ) -> Response {
        let (mut parts, body) = response.into_parts();
        let reply = match collect(body, REPLY_SIZE_BYTES_MAX).await {
            Ok(collected) => self.hold(collected, place).await,
            Err(error) => {
                tracing::error!(%error, "a reply could not be sealed");
                None
            }
        };
        let (body, digest) = reply.unwrap_or_else(|| {
            (parts, _) = StatusCode::INTERNAL_SERVER_ERROR
                .into_response()
                .into_parts();
            (Bytes::new(), BodyParts::default().digest())
        });
        let seal = ReplySeal {
            run: self.run,
            body: digest,
        };
        let header = seal.header(&seal.tag(&self.secret, request, parts.status.as_u16()));
        match HeaderValue::try_from(header) {
            Ok(header) => parts.headers.insert(REPLY_HEADER, header),
            // A reply without a seal is not believed, which is the safe failure.
            Err(_) => None,
        };
        Response::from_parts(parts, Body::from(body))
    }
}

/// As many units as the bytes take, or all there are.
fn units_of(bytes: usize, bytes_max: usize) -> u32 {
    let units = bytes.div_ceil(BUFFER_UNIT_BYTES);
    u32::try_from(units.min(bytes_max / BUFFER_UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// Held while a request is acted on; its place until its reply was sent.
struct Permits<'guard> {
    place: Place,
    _buffer: SemaphorePermit<'guard>,
}

/// A place among the requests, and the room that was taken for the reply before it was made.
struct Place {
    #[expect(dead_code, reason = "it counts for as long as it is held")]
    request: OwnedSemaphorePermit,
    large_reply: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Gives back what a reply of so many bytes does not need of the room; says how many have none.
    fn keep_room(&mut self, bytes: usize) -> usize {
        let Some(room) = &mut self.large_reply else {
            return bytes;
        };
        let surplus = room
            .num_permits()
            .saturating_sub(bytes.div_ceil(BUFFER_UNIT_BYTES));
        drop(room.split(surplus));
        bytes.saturating_sub(room.num_permits() * BUFFER_UNIT_BYTES)
    }
}

/// A reply, with what it occupies until the last of its bytes was handed to the socket.
struct HeldReply {
    body: Bytes,
    _place: Place,
    _reply: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for HeldReply {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
