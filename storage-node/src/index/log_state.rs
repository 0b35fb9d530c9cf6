//! What is saved with the entries: how full the segments are, and where the log goes on.

use super::SegmentStatsMap;
use crate::segment::SegmentNumber;

/// The state of the log, without its records: saved with the entries it belongs to, and ahead of the index while they
/// are pending.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogState {
    pub(crate) stats: SegmentStatsMap,
    pub(crate) next_lsn: u64,
    pub(crate) next_segment: u64,
}

impl LogState {
    /// What a save needs in which only these segments changed.
    pub(crate) fn of_segments(&self, touched: &[SegmentNumber]) -> Self {
        let stats = touched
            .iter()
            .filter_map(|number| Some((*number, *self.stats.get(number)?)));
        Self {
            stats: stats.collect(),
            ..*self
        }
    }
}
