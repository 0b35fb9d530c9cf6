//! The part that faces clients: engine, gateway and listeners. The same in `cairn serve` and `cairn gateway`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_gateway::clock::SystemClock;
use cairn_gateway::config::{Compat, GatewayConfig, RootCredentials as GatewayRoot, Timeouts};
use cairn_gateway::engine::{
    Background, BackgroundOptions, DiskEntry, Disks, Engine, EngineOptions, Geometry,
};
use cairn_gateway::gateway::{Components, Gateway};
use cairn_gateway::metadata_state::MetadataState;
use cairn_gateway::metrics_access::MetricsToken;
use cairn_gateway::server::{self, ListenerOptions, Surface};
use cairn_gateway::tls::{TlsCertificate, TlsError};
use cairn_meta::Meta;
use cairn_rpc::random::random_bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::{FrontConfig, RootCredentials};

/// However early a disk counts as lost, looking for such disks reads the whole list of data.
const LOOK_FOR_LOST_DISKS_EVERY_MIN: Duration = Duration::from_secs(1);

/// Addresses that are taken and a certificate that can be used: what may keep a front from starting, found out before
/// anything is written. Nobody is served yet; who connects waits.
#[derive(Debug)]
pub(crate) struct FrontListeners {
    listener: TcpListener,
    admin: Option<TcpListener>,
    certificate: Option<Arc<TlsCertificate>>,
    address: SocketAddr,
}

impl FrontListeners {
    /// # Errors
    /// When an address is taken or the certificate cannot be used.
    pub(crate) async fn bind(config: &FrontConfig) -> Result<Self, StartError> {
        let listener = bind(config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let certificate = config
            .tls
            .as_ref()
            .map(|tls| TlsCertificate::load(&tls.certificate, &tls.key))
            .transpose()?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        Ok(Self {
            listener,
            admin,
            certificate,
            address,
        })
    }
}

/// What a front is made of.
#[derive(Debug)]
pub(crate) struct FrontParts<'a> {
    /// Where it listens.
    pub(crate) listeners: FrontListeners,
    /// Domains, region, limits.
    pub(crate) config: &'a FrontConfig,
    /// Root's key pair.
    pub(crate) root: &'a RootCredentials,
    /// Bound on finishing running requests.
    pub(crate) drain_timeout: Duration,
    /// How new objects are coded.
    pub(crate) geometry: Geometry,
    /// Where bytes go.
    pub(crate) disks: Vec<DiskEntry>,
    /// Where names go.
    pub(crate) meta: Meta,
    /// What the metadata backend says of itself.
    pub(crate) metadata_state: Arc<dyn MetadataState>,
}

/// A front that serves.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    disks: Disks,
    background: Background,
    listeners: JoinSet<Result<(), TlsError>>,
    stop: CancellationToken,
}

impl Front {
    /// Starts background work, then serves.
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub(crate) async fn start(parts: FrontParts<'_>) -> Result<Self, StartError> {
        let config = parts.config;
        let address = parts.listeners.address;
        let disks = Disks::new(parts.disks);
        let clock = Arc::new(SystemClock);
        let options = engine_options(config, parts.geometry);
        disks.refresh(options.status_deadline).await;
        let engine = Arc::new(Engine::new(
            options,
            parts.meta.clone(),
            disks.clone(),
            Arc::clone(&clock) as _,
        ));
        let settings = gateway_settings(config, parts.root, parts.drain_timeout);
        let components = Components {
            meta: parts.meta,
            engine: Arc::clone(&engine),
            clock,
            metadata_state: parts.metadata_state,
        };
        let gateway = Gateway::new(settings, components)
            .map_err(|error| StartError::Internal(error.to_string()))?;
        let background = engine.start_background(background_options(config));

        let stop = CancellationToken::new();
        Ok(Self {
            address,
            disks,
            background,
            listeners: serve(&gateway, parts.listeners, &stop),
            stop,
        })
    }

    /// Where S3 is served.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The live map of disks, for whoever looks for more of them.
    pub(crate) fn disks(&self) -> &Disks {
        &self.disks
    }

    /// Ends when a listener does, which none should.
    pub(crate) async fn failed(&mut self) -> StartError {
        match self.listeners.join_next().await {
            Some(Ok(Err(error))) => error.into(),
            Some(Err(panic)) => StartError::Internal(format!("a listener failed: {panic}")),
            Some(Ok(Ok(()))) | None => StartError::Internal("a listener ended".to_owned()),
        }
    }

    /// Drains the listeners, then stops the background work between two steps.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.listeners.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a listener failed"),
                Err(panic) => tracing::error!(%panic, "a listener failed"),
            }
        }
        self.background.shutdown().await;
    }
}

/// Serves on all listeners until `stop`.
fn serve(
    gateway: &Arc<Gateway>,
    listeners: FrontListeners,
    stop: &CancellationToken,
) -> JoinSet<Result<(), TlsError>> {
    let FrontListeners {
        listener,
        admin,
        certificate,
        ..
    } = listeners;
    let surface = if admin.is_some() {
        Surface::S3
    } else {
        Surface::All
    };
    let admin = admin.map(|listener| (listener, Surface::Admin));
    let mut serving = JoinSet::new();
    for (listener, surface) in std::iter::once((listener, surface)).chain(admin) {
        let options = ListenerOptions {
            surface,
            certificate: certificate.clone(),
        };
        let stopped = stop.clone().cancelled_owned();
        serving.spawn(server::serve(
            Arc::clone(gateway),
            listener,
            options,
            stopped,
        ));
    }
    serving
}

fn gateway_settings(
    config: &FrontConfig,
    root: &RootCredentials,
    drain_timeout: Duration,
) -> GatewayConfig {
    GatewayConfig {
        region: config.region.clone(),
        domains: config.domains.clone(),
        metrics_token: config
            .metrics_token
            .as_ref()
            .map(|token| MetricsToken::new(token.reveal())),
        compat: Compat {
            presigned_v2: config.compat_presigned_v2,
        },
        timeouts: Timeouts {
            drain: drain_timeout,
            ..Timeouts::default()
        },
        ..GatewayConfig::new(GatewayRoot::new(&root.access_key, root.secret_key.reveal()))
    }
}

fn engine_options(config: &FrontConfig, geometry: Geometry) -> EngineOptions {
    EngineOptions {
        disk_absence_max: config.disk_lost_after,
        orphan_age_min: config.orphan_age,
        // What is still being written must never look like an orphan.
        store_duration_max: config.orphan_age / 2,
        ..EngineOptions::new(geometry)
    }
}

/// Whoever wants something done early wants it looked for often: the pauses follow from the ages.
fn background_options(config: &FrontConfig) -> BackgroundOptions {
    let defaults = BackgroundOptions::new(holder());
    let quarter = config.orphan_age / 4;
    BackgroundOptions {
        collect_orphans_every: quarter.min(defaults.collect_orphans_every),
        first_pass_after: quarter.min(defaults.first_pass_after),
        leave_disks_every: config
            .disk_lost_after
            .clamp(LOOK_FOR_LOST_DISKS_EVERY_MIN, defaults.leave_disks_every),
        ..defaults
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// What this process calls itself in leases: no other process and no other start has the same name.
fn holder() -> String {
    let host = crate::host_name::host_name();
    format!("{host}-{}", hex::encode(random_bytes::<8>()))
}
