//! The gateway as a value: its settings and the components it works with.

use std::sync::Arc;
use std::time::Duration;

use cairn_meta::Meta;

use tokio::sync::Semaphore;

use crate::addressing::Domains;
use crate::auth::Verifier;
use crate::clock::Clock;
use crate::config::GatewayConfig;
use crate::document_memory::{DocumentMemory, DocumentRoom, NoRoom};
use crate::engine::Engine;
use crate::identity::Keyring;
use crate::md5_lanes::Md5Pool;
use crate::metadata_state::MetadataState;
use crate::metrics::Metrics;
use crate::readiness::LastReadiness;
use crate::request_id::HostId;
use crate::s3_error::{ErrorCode, S3Error};

/// For all request documents; each is of at most 4 MiB.
const REQUEST_DOCUMENT_BYTES: u32 = 32 << 20;
/// For all long answers, from before they are made until their clients have taken them: a half dozen of the longest pages
/// being made, or two hundred usual ones (300 KB) being read slowly. It is apart from that for requests, so that who has
/// room for a request and waits for room for its answer keeps nobody's answer waiting.
const ANSWER_DOCUMENT_BYTES: u32 = 64 << 20;
/// Answers up to this size are as good as none: one on each connection is 256 MiB.
const SHORT_ANSWER_BYTES: usize = 64 << 10;
/// How long a request waits for room for a document.
const DOCUMENT_ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway is made of, besides its settings.
#[derive(Debug)]
pub struct Components {
    /// Names, versions, uploads, users.
    pub meta: Meta,
    /// Bytes.
    pub engine: Arc<Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What the metadata backend says of itself.
    pub metadata_state: Arc<dyn MetadataState>,
}

/// One gateway. It keeps no state that another gateway over the same metadata and disks would need.
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    components: Components,
    metrics: Metrics,
    host_id: HostId,
    request_places: Arc<Semaphore>,
    request_documents: DocumentMemory,
    answer_documents: DocumentMemory,
    domains: Domains,
    verifier: Verifier,
    keyring: Keyring,
    md5_pool: Md5Pool,
    last_readiness: LastReadiness,
}

impl Gateway {
    /// A gateway that serves nothing yet: see [`crate::server::serve`].
    ///
    /// # Errors
    /// If the metrics cannot be defined, which is a bug.
    pub fn new(
        config: GatewayConfig,
        components: Components,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let domains = Domains::new(&config.domains);
        let mut verifier = Verifier::new(config.region.clone());
        if config.compat.presigned_v2 {
            verifier = verifier.with_presigned_version_2(domains.clone());
        }
        Ok(Arc::new(Self {
            metrics: Metrics::new()?,
            host_id: HostId::random(),
            request_places: Arc::new(Semaphore::new(config.limits.requests_max)),
            request_documents: DocumentMemory::new(REQUEST_DOCUMENT_BYTES, DOCUMENT_ROOM_TIMEOUT),
            answer_documents: DocumentMemory::new(ANSWER_DOCUMENT_BYTES, DOCUMENT_ROOM_TIMEOUT),
            domains,
            verifier,
            keyring: Keyring::new(&config.root, components.meta.clone()),
            md5_pool: Md5Pool::new(),
            last_readiness: LastReadiness::default(),
            config,
            components,
        }))
    }

    /// The settings.
    pub fn config(&self) -> &GatewayConfig {
        &self.config
    }

    /// Names, versions, uploads, users.
    pub fn meta(&self) -> &Meta {
        &self.components.meta
    }

    /// Bytes.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.components.engine
    }

    /// The figures of this gateway.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.components.clock.now_ms()
    }

    pub(crate) fn metadata_state(&self) -> &dyn MetadataState {
        &*self.components.metadata_state
    }

    pub(crate) fn host_id(&self) -> &HostId {
        &self.host_id
    }

    pub(crate) fn domains(&self) -> &Domains {
        &self.domains
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(crate) fn md5_pool(&self) -> &Md5Pool {
        &self.md5_pool
    }

    pub(crate) fn last_readiness(&self) -> &LastReadiness {
        &self.last_readiness
    }

    pub(crate) fn request_places(&self) -> &Arc<Semaphore> {
        &self.request_places
    }

    /// Room for a request document of which nothing has come yet.
    pub(crate) fn request_room(&self) -> DocumentRoom {
        self.request_documents.room()
    }

    /// Room for an answer that may become as long as `size_bytes_max`; for nothing if that is short.
    ///
    /// # Errors
    /// 503 `SlowDown` when there is none for a while.
    pub(crate) async fn answer_room(&self, size_bytes_max: usize) -> Result<DocumentRoom, S3Error> {
        let mut room = self.answer_documents.room();
        if size_bytes_max > SHORT_ANSWER_BYTES {
            self.enlarge(&mut room, size_bytes_max).await?;
        }
        Ok(room)
    }

    /// Makes `room` larger.
    ///
    /// # Errors
    /// 503 `SlowDown` when there is no room for a while.
    pub(crate) async fn enlarge(
        &self,
        room: &mut DocumentRoom,
        more_bytes: usize,
    ) -> Result<(), S3Error> {
        room.grow(more_bytes).await.map_err(|NoRoom| {
            self.metrics.refused_busy();
            S3Error::of(ErrorCode::SlowDown)
        })
    }
}
