//! The metadata database of a process that has one: where it stands, and what it says of itself.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_gateway::admin_api::MetadataStatus;
use cairn_gateway::metadata_state::MetadataState;
use cairn_meta::kv::rocks::{RocksKv, RocksKvOptions, RocksKvStatus, Start};
use cairn_storage_node::ClusterId;

use super::error::StartError;

/// Name of the metadata directory on a data disk, of the database and of its copies alike: which of them holds the
/// database may change when a disk is lost.
const DIRECTORY_NAME: &str = "meta";

/// Where the database and its copies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataPlaces {
    /// Preferred for the database.
    pub(crate) primary: PathBuf,
    /// May hold copies.
    pub(crate) copies: Vec<PathBuf>,
    /// How many of them do.
    pub(crate) copy_count: usize,
    /// Those whose disk is not there. (The mount point may be.)
    pub(crate) unavailable: Vec<PathBuf>,
    /// Whether to start although those that are missing may have newer metadata.
    pub(crate) accept_missing: bool,
}

impl MetadataPlaces {
    /// On the data disks, the database on the first or in a directory of its own; `m` copies.
    pub(crate) fn on_disks(disks: &[PathBuf], own: Option<&Path>, parity_count: usize) -> Self {
        // The database may have been given the place of a copy.
        let mut places = disks
            .iter()
            .map(|disk| disk.join(DIRECTORY_NAME))
            .filter(|place| Some(place.as_path()) != own);
        let primary = match own {
            Some(own) => own.to_owned(),
            None => places
                .next()
                .unwrap_or_else(|| PathBuf::from(DIRECTORY_NAME)),
        };
        Self {
            primary,
            copies: places.collect(),
            copy_count: parity_count,
            unavailable: Vec::new(),
            accept_missing: false,
        }
    }

    /// The same while these disks are not there: nothing is made where they belong.
    pub(crate) fn without_disks(self, absent: &[PathBuf]) -> Self {
        Self {
            unavailable: absent
                .iter()
                .map(|disk| disk.join(DIRECTORY_NAME))
                .collect(),
            ..self
        }
    }

    /// The same, for a start that somebody takes the responsibility for.
    pub(crate) fn accepting_missing(self, accept_missing: bool) -> Self {
        Self {
            accept_missing,
            ..self
        }
    }

    /// All directories, the preferred one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.primary).chain(&self.copies)
    }

    /// Warns of directories on one file system: one disk, then, or disks that are not mounted.
    pub(crate) fn warn_of_shared_disks(&self) {
        let mut seen: Vec<(u64, &Path)> = Vec::new();
        for place in self.all() {
            // It may be made yet, in the directory above.
            let found = std::fs::metadata(place)
                .or_else(|_| std::fs::metadata(place.parent().unwrap_or(place)));
            let Ok(device) = found.map(|metadata| metadata.dev()) else {
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == device) {
                tracing::warn!(
                    first = %first.display(), second = %place.display(),
                    "two metadata directories are on one file system: losing it loses both, unless a disk is not mounted"
                );
            }
            seen.push((device, place));
        }
    }

    /// Whether there is no trace of metadata anywhere.
    pub(crate) fn are_lost(&self) -> bool {
        !self.all().any(|place| place.join(PLACE_FILE_NAME).exists())
    }
}

/// The file that makes a directory a place of metadata.
pub(crate) const PLACE_FILE_NAME: &str = "cairn-meta.json";

/// Opens the database, restoring it from a copy if need be, and says what was done.
///
/// # Errors
/// When the newest metadata may be missing, or a directory is not what it should be. Nothing was overwritten.
pub(crate) async fn open(
    places: MetadataPlaces,
    cluster_id: ClusterId,
) -> Result<Arc<RocksKv>, StartError> {
    let options = RocksKvOptions {
        copies: places.copies,
        copy_count: places.copy_count,
        unavailable: places.unavailable,
        accept_missing_copies: places.accept_missing,
        ..RocksKvOptions::new(places.primary, cluster_id.0)
    };
    let opened = tokio::task::spawn_blocking(move || RocksKv::open(&options)).await;
    let (kv, report) = opened
        .map_err(|panic| StartError::Internal(format!("opening the metadata failed: {panic}")))??;
    if matches!(report.start, Start::Restored { .. })
        || !report.missing.is_empty()
        || !report.notes.is_empty()
    {
        tracing::warn!(missing = ?report.missing, notes = ?report.notes, "{report}");
    } else {
        tracing::info!("{report}");
    }
    Ok(Arc::new(kv))
}

/// How long the end of a process waits for the database. Its disks are given up one after the other, each after ten
/// seconds without an answer; what was acknowledged is in the journals anyway.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Closes the database, or gives up waiting for it.
pub(crate) async fn close(kv: Arc<RocksKv>) {
    let closing = tokio::task::spawn_blocking(move || kv.close());
    match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => tracing::error!(%panic, "closing the metadata failed"),
        Err(_) => tracing::warn!("the metadata do not close in time; ending without"),
    }
}

/// Tells the gateway how the database is.
#[derive(Debug)]
pub(crate) struct RocksState(pub(crate) Arc<RocksKv>);

#[async_trait]
impl MetadataState for RocksState {
    async fn status(&self) -> MetadataStatus {
        describe(&self.0.status())
    }

    async fn refusal(&self) -> Option<String> {
        self.0.status().refusal().map(str::to_owned)
    }
}

/// What operators are told.
fn describe(status: &RocksKvStatus) -> MetadataStatus {
    let failed: Vec<String> = status
        .places
        .iter()
        .filter_map(|place| {
            Some(format!(
                "{}: {}",
                place.path.display(),
                place.failure.as_ref()?
            ))
        })
        .collect();
    let detail = match (status.refusal(), status.is_reduced()) {
        (Some(refusal), _) => refusal.to_owned(),
        (None, true) => {
            format!(
                "{} of {} copies; {}",
                status.holder_count(),
                status.holder_count_wanted,
                failed.join("; ")
            )
        }
        (None, false) => format!(
            "database in {}, {} copies in all",
            status.primary.display(),
            status.holder_count()
        ),
    };
    let counters = status.counters;
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let figures = [
        ("copies", count(status.holder_count())),
        ("copies_wanted", count(status.holder_count_wanted)),
        ("queue_depth", count(status.queue_depth)),
        ("journal_bytes", status.journal_bytes),
        ("has_room", u64::from(status.has_room)),
    ];
    let free_bytes = status.free_bytes_min().map(|bytes| ("free_bytes", bytes));
    let counters = [
        ("commits", counters.commits),
        ("conflicts", counters.conflicts),
        ("commits_refused_busy", counters.busy),
        ("commits_refused_no_room", counters.refused_no_room),
        ("commit_groups", counters.groups),
        ("journal_written_bytes", counters.journal_bytes),
        ("reduced_groups", counters.reduced_groups),
        ("copies_lost", counters.copies_lost),
        ("copies_established", counters.copies_established),
        ("failovers", counters.failovers),
        ("checkpoints", counters.checkpoints),
        ("checkpoint_copied_bytes", counters.checkpoint_bytes),
        ("checkpoint_verified_bytes", counters.verified_bytes),
    ];
    MetadataStatus {
        backend: "rocksdb".to_owned(),
        healthy: status.refusal().is_none(),
        detail,
        figures: by_name(figures.into_iter().chain(free_bytes)),
        counters: by_name(counters),
    }
}

fn by_name<'a>(values: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_whose_disks_are_full_is_not_healthy_and_says_why() {
        let root = tempfile::tempdir().unwrap();
        let options = RocksKvOptions::new(root.path().join("meta"), [1; 16]);
        let (kv, _) = RocksKv::open(&options).unwrap();
        let status = kv.status();
        assert!(describe(&status).healthy);
        let mut full = status;
        full.has_room = false;
        full.counters.refused_no_room = 3;
        for place in &mut full.places {
            place.free_bytes = Some(4096);
        }
        let told = describe(&full);
        assert!(!told.healthy && told.detail.contains("no disk has room"));
        assert_eq!(
            (told.figures["has_room"], told.figures["free_bytes"]),
            (0, 4096)
        );
        assert_eq!(told.counters["commits_refused_no_room"], 3);
    }

    #[test]
    fn the_database_is_on_the_first_disk_and_all_others_may_hold_copies() {
        let disks = ["/d1", "/d2", "/d3"].map(PathBuf::from);
        let places = MetadataPlaces::on_disks(&disks, None, 1);
        assert_eq!(places.primary, Path::new("/d1/meta"));
        assert_eq!(
            places.copies,
            [PathBuf::from("/d2/meta"), PathBuf::from("/d3/meta")]
        );
        let own = MetadataPlaces::on_disks(&disks, Some(Path::new("/ssd/meta")), 1);
        assert_eq!(
            (own.primary.as_path(), own.copies.len()),
            (Path::new("/ssd/meta"), 3)
        );
    }
}
