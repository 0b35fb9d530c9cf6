//! `cairn rebuild-metadata`: the last resort when all copies of the metadata are gone.
//!
//! It reads what the shards say of themselves, on disks that no server uses, and writes a new metadata directory; the
//! next `cairn serve` makes the copies of it. Invariants: nothing that is there is overwritten, no shard is lost or deleted,
//! and a metadata directory is one only when all is in it.

mod error;
mod output;
mod place;
mod progress;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_gateway::engine::Geometry;
use cairn_gateway::recovery::{Recovery, RecoveryError, RecoveryReport};
use cairn_meta::kv::rocks::{RocksKv, RocksKvOptions};
use cairn_meta::{MasterKey, Meta};
use cairn_rpc::clock::{Clock as _, SystemClock};
use cairn_storage_node::{ClusterId, DiskId, ShardStore};

use crate::command::CommandError;
use crate::config::{ServeConfig, Sources};
use crate::local_disks::{
    self, Action, Adopted, AdoptedDisk, DisksError, Plan, Slot, Survey, Tolerance,
};
use crate::logging;
use crate::open_files::raise_open_files_limit;
use crate::private_files::keep_files_private;
use crate::serve::{MetadataPlaces, register};
use error::RebuildError;
use place::NewPlace;
use progress::ProgressLine;

/// Rebuilds, and prints what came of it.
///
/// # Errors
/// Wrong settings, what kept it from being done, or that something was found incomplete.
pub(crate) fn run(sources: &Sources, json: bool) -> Result<(), CommandError> {
    let (config, _) = ServeConfig::parse(sources)?;
    logging::start(&config.log)?;
    raise_open_files_limit();
    keep_files_private();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))?;
    let rebuilt = runtime.block_on(rebuild(&config))?;
    output::print(json, &rebuilt)?;
    match rebuilt.report.incomplete_count {
        0 => Ok(()),
        count => Err(CommandError::failed(format!(
            "{count} objects could not be rebuilt; --json lists them, and docs/operations.md says what can be done"
        ))),
    }
}

/// What was done.
#[derive(Debug, serde::Serialize)]
struct Rebuilt {
    /// The new metadata directory.
    metadata: PathBuf,
    /// What is in it.
    #[serde(flatten)]
    report: RecoveryReport,
}

async fn rebuild(config: &ServeConfig) -> Result<Rebuilt, RebuildError> {
    // Only looking, until all of it makes sense.
    let allowed_missing =
        |disk_count| usize::from(config.front.geometry(disk_count).parity_count());
    let Survey { plan, .. } = local_disks::survey(&config.data, |disk_count| {
        Tolerance::AtMost(allowed_missing(disk_count))
    })
    .await?;
    let cluster_id = plan.cluster_id.ok_or(RebuildError::NoDisks)?;
    let places = MetadataPlaces::on_disks(&config.data, config.meta.as_deref(), 0);
    place::refuse_existing(places.all())?;

    let slots = local_disks::open_all(&disks_of(&plan, cluster_id), config.space_limits()).await?;
    let (working, awaited) = split(&slots).await;
    let known_count = slots.len() + plan.replaced.len() + plan.dropped.len();
    refuse_too_many_missing(&slots, &working, allowed_missing(known_count), &plan)?;

    let target = match (&config.meta, working.first()) {
        (Some(own), _) => own.clone(),
        (None, Some(first)) => {
            MetadataPlaces::on_disks(&[first.path().to_owned()], None, 0).primary
        }
        (None, None) => return Err(RebuildError::NoDisks),
    };
    for place in places.all() {
        place::clear_unfinished(place)?;
    }
    let place = NewPlace::begin(&target)?;
    let geometry = config.front.geometry(known_count);
    let report = fill(&place, (cluster_id, geometry), &working, awaited).await?;
    place.finish()?;
    futures_util::future::join_all(slots.iter().map(|slot| slot.close())).await;
    Ok(Rebuilt {
        metadata: target,
        report,
    })
}

/// The disks that are there or awaited. Empty directories stay empty: the server adopts them.
fn disks_of(plan: &Plan, cluster_id: ClusterId) -> Adopted {
    let disk = |(path, action): &(PathBuf, Action)| {
        let (disk_id, is_present) = match action {
            Action::Open(disk_id) => (*disk_id, true),
            Action::Await { disk_id, .. } => (*disk_id, false),
            Action::Adopt => return None,
        };
        Some(AdoptedDisk {
            disk_id,
            path: path.clone(),
            is_present,
            is_mount_point: None,
        })
    };
    Adopted {
        cluster_id,
        disks: plan.actions.iter().filter_map(disk).collect(),
    }
}

/// Those that can be read, and who the others are.
async fn split(slots: &[Arc<Slot>]) -> (Vec<Arc<Slot>>, BTreeSet<DiskId>) {
    let mut working = Vec::new();
    let mut awaited = BTreeSet::new();
    for slot in slots {
        if slot.is_working().await {
            working.push(Arc::clone(slot));
        } else {
            awaited.insert(slot.disk_id());
        }
    }
    (working, awaited)
}

/// With more disks away than the coding bears, whole objects would be taken for incomplete ones.
fn refuse_too_many_missing(
    slots: &[Arc<Slot>],
    working: &[Arc<Slot>],
    allowed: usize,
    plan: &Plan,
) -> Result<(), DisksError> {
    let is_missing = |slot: &&Arc<Slot>| working.iter().all(|other| other.path() != slot.path());
    let gone = plan.replaced.iter().chain(&plan.dropped);
    let missing: Vec<PathBuf> = slots
        .iter()
        .filter(is_missing)
        .map(|slot| slot.path().to_owned())
        .chain(gone.map(|disk| disk.path.clone()))
        .collect();
    if missing.len() > allowed {
        return Err(DisksError::TooManyMissing { missing, allowed });
    }
    Ok(())
}

/// Writes the metadata into the unfinished place.
async fn fill(
    place: &NewPlace,
    (cluster_id, geometry): (ClusterId, Geometry),
    disks: &[Arc<Slot>],
    awaited: BTreeSet<DiskId>,
) -> Result<RecoveryReport, RebuildError> {
    let now_ms = SystemClock.now_ms();
    let options = RocksKvOptions {
        // No store was started that often: should a copy of the lost metadata turn up later, it is older.
        epoch_before_first: now_ms,
        ..RocksKvOptions::new(place.unfinished(), cluster_id.0)
    };
    let opened = tokio::task::spawn_blocking(move || RocksKv::open(&options)).await;
    let (kv, _) = opened.map_err(|panic| RebuildError::Internal(panic.to_string()))??;
    let kv = Arc::new(kv);
    // Nothing is sealed here: users and their keys are not on the shards.
    let meta = Meta::new(Arc::clone(&kv) as _, MasterKey::random());
    // As old as anything can be: what the rebuild does not name is garbage, however old it is.
    register(&meta, cluster_id.0, geometry, &[], 0)
        .await
        .map_err(RecoveryError::from)?;
    let recovery = Recovery {
        disks: disks
            .iter()
            .map(|slot| Arc::clone(slot) as Arc<dyn ShardStore>)
            .collect(),
        awaited,
        meta,
        now_ms,
    };
    let line = ProgressLine::new();
    let report = recovery.run(&|progress| line.show(progress)).await;
    line.clear();
    drop(recovery);
    let closed = tokio::task::spawn_blocking(move || kv.close()).await;
    closed.map_err(|panic| RebuildError::Internal(panic.to_string()))?;
    Ok(report?)
}
