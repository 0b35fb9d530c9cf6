//! Leaves disks: the shards of those that are lost or being emptied are made again elsewhere, and who has seen to it
//! knows which disks nothing depends on any more.
//!
//! What has been left is known to this process alone, and for as long as the disk stays away: another one, or one that
//! starts, looks at all chunks again.

use std::collections::BTreeSet;

use cairn_meta::{self as meta, ChunkRecord, MetaError};
use cairn_storage_node::DiskId;
use tokio::time::Instant;

use super::core::Engine;
use super::disks::DiskRole;
use super::ids;
use super::pace::Pace;
use super::repair::RepairReport;

impl Engine {
    /// The disks whose shards have to be made again elsewhere: those that have been away for too long, unless that was
    /// done, and those being emptied. `known` are the disks that the cluster is supposed to have.
    pub fn disks_to_leave(&self, known: &[meta::DiskId]) -> BTreeSet<DiskId> {
        let core = self.core();
        let now = Instant::now();
        let map = core.disks.map();
        let draining = map
            .disks()
            .iter()
            .filter(|disk| disk.role() == DiskRole::Draining)
            .map(|disk| disk.id());
        let there = map.disks().iter().map(|disk| disk.id());
        let is_lost = |id: &DiskId| {
            core.disks
                .away_for(*id, now)
                .is_some_and(|away_for| away_for >= core.options.disk_absence_max)
                && !core.disks.is_left(*id, now)
        };
        there
            .chain(known.iter().map(|id| ids::disk(*id)))
            .filter(is_lost)
            .chain(draining)
            .collect()
    }

    /// Since when those of `disks` that are away have been.
    pub(crate) fn absences(&self, disks: &BTreeSet<DiskId>) -> Vec<(DiskId, Instant)> {
        let now = Instant::now();
        let since = |id: &DiskId| Some((*id, self.core().disks.away_since(*id, now)?));
        disks.iter().filter_map(since).collect()
    }

    /// Notes that no chunk names these disks any more, as of absences that began before all chunks were looked at.
    /// Those that are in no map are forgotten: should one be added again, it is a new one.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn note_left(&self, absences: &[(DiskId, Instant)]) -> Result<(), MetaError> {
        let core = self.core();
        for (disk_id, away_since) in absences {
            let disks = &core.disks;
            let is_same_absence = disks.away_since(*disk_id, Instant::now()) == Some(*away_since);
            let is_removed = disks.map().disk(*disk_id).is_none();
            if !is_same_absence {
                continue;
            }
            if is_removed {
                core.meta.remove_disk(ids::meta_disk(*disk_id)).await?;
            }
            disks.note_left(*disk_id, *away_since);
            tracing::info!(%disk_id, is_removed, "all shards of a disk that is away are elsewhere now");
        }
        Ok(())
    }

    /// How many disks are away (or were never asked), and may have the only copy of shards that data name: until the
    /// shards of all of them are made again elsewhere, another loss is one loss more. `None` if that is not known
    /// here: that a disk is left is known to the process that has seen to it, and no other can tell that it is not.
    pub(crate) fn missed_disk_count(&self, known: &[meta::DiskId]) -> Option<usize> {
        let disks = &self.core().disks;
        let now = Instant::now();
        let map = disks.map();
        let there = map.disks().iter().map(|disk| disk.id());
        let all: BTreeSet<DiskId> = there.chain(known.iter().map(|id| ids::disk(*id))).collect();
        let was_asked = |id| map.disk(id).is_none_or(|disk| disk.was_asked());
        let missed = all
            .into_iter()
            .filter(|id| !was_asked(*id) || disks.away_since(*id, now).is_some());
        let is_maintainer = *self.core().is_maintainer.borrow();
        if is_maintainer {
            Some(missed.filter(|id| !disks.is_left(*id, now)).count())
        } else {
            // Where all are there, anybody knows.
            Some(missed.count()).filter(|count| *count == 0)
        }
    }

    /// Makes the shards that are on `disks` again elsewhere, for up to `limit` data behind `after`.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn leave_disks_step(
        &self,
        disks: &BTreeSet<DiskId>,
        after: Option<meta::DataId>,
        limit: usize,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        let names_one = |chunk: &ChunkRecord| {
            chunk
                .shards
                .iter()
                .flatten()
                .any(|id| disks.contains(&ids::disk(*id)))
        };
        self.repair_missing_step(after, limit, names_one, pace)
            .await
    }
}
