//! `cairn serve`: everything in one process, step by step.
//!
//! [`start`] is the whole story. It can be called several times in one process (tests do), since nothing here is
//! global.

mod cluster_identity;
mod error;
mod front;
mod metadata;
mod registration;
mod secrets;
mod welcome;

pub use error::StartError;
pub use secrets::SecretsError;
pub use welcome::Welcome;

pub(crate) use cluster_identity::cluster_id;
pub(crate) use front::{Front, FrontListeners, FrontParts};
pub(crate) use metadata::{
    MetadataPlaces, PLACE_FILE_NAME, RocksState, close as close_metadata, open as open_metadata,
};
pub(crate) use registration::{
    FoundDisk, geometry_of, is_coded_differently, register, register_disks,
};

use std::net::SocketAddr;
use std::sync::Arc;

use cairn_gateway::engine::{DiskEntry, DiskRole, Geometry, Locality};
use cairn_meta::kv::rocks::RocksKv;
use cairn_meta::{DiskNode, Meta};
use cairn_rpc::clock::{Clock as _, SystemClock};
use cairn_rpc::random::random_bytes;
use cairn_storage_node::{ClusterId, ShardStore as _};

use crate::aside::aside;
use crate::config::{RootCredentials, ServeConfig};
use crate::host_name::host_name;
use crate::local_disks::{self, Adopted, DisksError, Slot, Survey, Tolerance, WatchedDisks};
use secrets::{Given, Keeping, Secrets};

/// Zone of disks that are all in one process.
const ZONE: &str = "default";

/// A store that is up.
#[derive(Debug)]
pub struct Server {
    front: Front,
    disks: WatchedDisks,
    kv: Arc<RocksKv>,
    geometry: Geometry,
    root: RootCredentials,
    is_root_new: bool,
}

/// Brings a store up, or leaves everything as it was.
///
/// # Errors
/// [`StartError`] says what to do about it.
pub async fn start(config: &ServeConfig) -> Result<Server, StartError> {
    // Who are the disks? Only looking, until all of it makes sense.
    let survey = survey_disks(config).await?;
    let cluster_id = match survey.plan.cluster_id {
        Some(cluster_id) => cluster_id,
        None => ClusterId(random_bytes()),
    };

    // Before the secrets are made: they are shown once, by a process that serves.
    let listeners = FrontListeners::bind(&config.front).await?;

    // From here on directories are written.
    let store = adopt_store(config, survey, cluster_id).await?;
    let slots = local_disks::open_all(&store.disks, config.space_limits()).await?;
    let host = host_name();
    let meta = Meta::new(Arc::clone(&store.kv) as _, store.secrets.master_key.clone())
        .with_delete_delay(config.front.delete_delay);
    meta.check_master_key().await?;
    register(
        &meta,
        cluster_id.0,
        store.geometry,
        &found(&slots, &host),
        SystemClock.now_ms(),
    )
    .await?;

    let front = Front::start(FrontParts {
        listeners,
        config: &config.front,
        root: &store.secrets.root,
        drain_timeout: config.drain_timeout,
        geometry: store.geometry,
        disks: entries(&slots, &host),
        meta,
        metadata_state: Arc::new(RocksState(Arc::clone(&store.kv))),
    })
    .await?;
    Ok(Server {
        front,
        disks: WatchedDisks::begin(slots),
        kv: store.kv,
        geometry: store.geometry,
        root: store.secrets.root,
        is_root_new: store.secrets.is_root_new,
    })
}

impl Server {
    /// Where S3 is served; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Root's credentials.
    pub fn root(&self) -> &RootCredentials {
        &self.root
    }

    /// What to tell the person who started it.
    pub fn welcome<'a>(&'a self, config: &'a ServeConfig) -> Welcome<'a> {
        let disk_count = self.disks.len();
        let layout = match (self.geometry.data_count(), self.geometry.parity_count()) {
            (1, 0) => {
                "one copy on one disk: the loss of the disk is the loss of the data".to_owned()
            }
            (1, parity) => format!(
                "{} copies on {disk_count} disks; any {parity} may be lost",
                parity + 1
            ),
            (_, parity) => format!(
                "coded {} on {disk_count} disks; any {parity} may be lost",
                self.geometry
            ),
        };
        Welcome {
            address: self.address(),
            is_tls: config.front.tls.is_some(),
            region: &config.front.region,
            layout,
            new_root: self.is_root_new.then_some(&self.root),
            access_key: &self.root.access_key,
        }
    }

    /// Ends only if the server ends by itself, which is a failure.
    pub async fn failed(&mut self) -> StartError {
        self.front.failed().await
    }

    /// Takes no new connections, lets running requests finish (bounded by the drain time-out), and closes everything that
    /// closes in time.
    pub async fn stop(self) {
        self.front.stop().await;
        self.disks.close().await;
        metadata::close(self.kv).await;
    }
}

/// Finds out who the disks are; refuses where there was a store whose disks or metadata are gone.
async fn survey_disks(config: &ServeConfig) -> Result<Survey, StartError> {
    let survey = local_disks::survey(&config.data, |disk_count| {
        Tolerance::AtMost(usize::from(
            config.front.geometry(disk_count).parity_count(),
        ))
    })
    .await?;
    let is_first_start = survey.plan.is_first_start;
    let is_initialized = survey.roster.is_some();
    let owned = config.clone();
    aside(move || {
        refuse_lost_disks(&owned, is_first_start)?;
        refuse_lost_metadata(&owned, is_initialized)
    })
    .await?;
    Ok(survey)
}

/// A metadata directory that was in use while all disks are new: the disks are not mounted.
fn refuse_lost_disks(config: &ServeConfig, is_first_start: bool) -> Result<(), DisksError> {
    let places = MetadataPlaces::on_disks(&config.data, config.meta.as_deref(), 0);
    if is_first_start && !places.are_lost() {
        return Err(DisksError::TooManyMissing {
            missing: config.data.clone(),
            allowed: 0,
        });
    }
    Ok(())
}

/// Disks that were in use and have no metadata: an empty namespace in their place would make all shards garbage.
fn refuse_lost_metadata(config: &ServeConfig, is_initialized: bool) -> Result<(), StartError> {
    let places = MetadataPlaces::on_disks(&config.data, config.meta.as_deref(), 0);
    if is_initialized && places.are_lost() {
        return Err(StartError::MetadataLost {
            places: places.all().cloned().collect(),
        });
    }
    Ok(())
}

/// A store that is complete on its disks, and that nobody serves yet.
struct Store {
    disks: Adopted,
    geometry: Geometry,
    secrets: Secrets,
    kv: Arc<RocksKv>,
}

/// Makes the directories disks of the store as planned, each with its part of secrets and metadata.
async fn adopt_store(
    config: &ServeConfig,
    Survey { roster, plan }: Survey,
    cluster_id: ClusterId,
) -> Result<Store, StartError> {
    let is_initialized = roster.is_some();
    let adopted = aside(move || local_disks::adopt(&plan, cluster_id)).await?;
    let geometry = config.front.geometry(adopted.disks.len());
    let parity_count = usize::from(geometry.parity_count());
    let (owned, disks) = (config.clone(), adopted.clone());
    let secrets =
        aside(move || establish_secrets(&owned, &disks, parity_count, is_initialized)).await?;
    let places = MetadataPlaces::on_disks(&config.data, config.meta.as_deref(), parity_count)
        .without_disks(&adopted.absent())
        .accepting_missing(config.accept_missing_metadata_copies);
    let kv = metadata::open(places, cluster_id).await?;
    // Written last: a start that was interrupted before this is a first start again.
    let disks = aside(move || adopted.write_roster(roster.as_ref())).await?;
    Ok(Store {
        disks,
        geometry,
        secrets,
        kv,
    })
}

fn establish_secrets(
    config: &ServeConfig,
    adopted: &Adopted,
    parity_count: usize,
    is_initialized: bool,
) -> Result<Secrets, StartError> {
    let keeping = Keeping {
        directories: &adopted.present(),
        copy_count: parity_count + 1,
        cluster_id: adopted.cluster_id,
        is_initialized,
    };
    Ok(secrets::establish(
        keeping,
        Given {
            root: config.root.clone(),
            master_key: config.master_key.clone(),
        },
    )?)
}

fn found(slots: &[Arc<Slot>], host: &str) -> Vec<FoundDisk> {
    let found = |slot: &Arc<Slot>| FoundDisk {
        disk_id: slot.disk_id(),
        node: DiskNode::Local,
        path: Some(slot.path().display().to_string()),
        host: host.to_owned(),
        zone: ZONE.to_owned(),
    };
    slots.iter().map(found).collect()
}

fn entries(slots: &[Arc<Slot>], host: &str) -> Vec<DiskEntry> {
    let entry = |slot: &Arc<Slot>| DiskEntry {
        store: Arc::clone(slot) as _,
        path: slot.path().display().to_string(),
        host: host.to_owned(),
        zone: ZONE.to_owned(),
        locality: Locality::Local,
        role: DiskRole::Active,
    };
    slots.iter().map(entry).collect()
}
