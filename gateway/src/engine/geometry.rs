//! How many shards a chunk is cut into: the cluster's `k + m`, and what becomes of it while disks are away.
//!
//! Invariant: a coding chosen here survives the loss of as many disks as the cluster's geometry promises, or the
//! chunk is refused, or (when not even that many disks are left to lose) it is written reduced and repaired later.

use std::fmt;
use std::str::FromStr;

use cairn_meta::Coding;

/// Most shards of one chunk: beyond this a placement record grows and a disk more buys nothing.
pub const SHARD_COUNT_MAX: usize = 32;

/// `k` data shards and `m` parity shards; `m + 1` copies where a chunk is not worth cutting.
///
/// Either `k ≥ 2` and `m ≥ 1`, or `k = 1`: then chunks are always whole copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    data: u8,
    parity: u8,
}

/// Why a geometry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The text is something else.
    #[error("two numbers up to 255 with a plus sign between them are expected")]
    Unreadable,
    /// `K` is 0.
    #[error("K is 0, and without data shards nothing is stored")]
    NoData,
    /// `M` is 0, and chunks are cut.
    #[error("M is 0, and with one disk lost all would be")]
    NoParity,
    /// More than a chunk may have.
    #[error("{shard_count} shards are more than {SHARD_COUNT_MAX}")]
    TooManyShards {
        /// `K + M`.
        shard_count: usize,
    },
}

/// Whether a chunk is worth cutting into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    /// So small that whole copies cost fewer disk operations.
    Small,
    /// Everything else.
    Large,
}

impl Geometry {
    /// `data + parity`.
    ///
    /// # Errors
    /// All of [`GeometryError`] but [`GeometryError::Unreadable`].
    pub fn new(data: u8, parity: u8) -> Result<Self, GeometryError> {
        let shard_count = usize::from(data) + usize::from(parity);
        match (data, parity) {
            (0, _) => Err(GeometryError::NoData),
            (2.., 0) => Err(GeometryError::NoParity),
            _ if shard_count > SHARD_COUNT_MAX => Err(GeometryError::TooManyShards { shard_count }),
            _ => Ok(Self { data, parity }),
        }
    }

    /// The widest sensible geometry for a cluster of this many disks.
    pub fn for_disk_count(disk_count: usize) -> Self {
        let (data, parity) = match disk_count {
            0 | 1 => (1, 0),
            2 => (1, 1),
            3 => (2, 1),
            4 => (2, 2),
            5 => (3, 2),
            _ => (4, 2),
        };
        Self { data, parity }
    }

    /// How many data shards, `k`.
    pub fn data_count(self) -> u8 {
        self.data
    }

    /// How many disks may be lost, `m`.
    pub fn parity_count(self) -> u8 {
        self.parity
    }

    /// How many disks a large chunk needs, `k + m`.
    pub fn shard_count(self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }

    /// The coding of a chunk when `usable_disk_count` disks can be written to; `None` if that is too few.
    ///
    /// While at most `m` of `k + m` disks are away, `k` shrinks and `m` stays: a 2+2 chunk on four of six disks
    /// takes more space but still survives two losses, at once and without a repair. Fewer than `k` usable disks
    /// means that more than `m` are lost: then large chunks are refused rather than squeezed on what is left.
    pub fn coding(self, kind: ChunkKind, usable_disk_count: usize) -> Option<Coding> {
        let copies = Coding::Copies {
            count: self.parity + 1,
        };
        let coding = match kind {
            ChunkKind::Small => copies,
            ChunkKind::Large if self.data == 1 => copies,
            ChunkKind::Large if usable_disk_count >= self.shard_count() => Coding::Erasure {
                data: self.data,
                parity: self.parity,
            },
            ChunkKind::Large if usable_disk_count < usize::from(self.data) => return None,
            ChunkKind::Large => match u8::try_from(usable_disk_count)
                .unwrap_or(u8::MAX)
                .saturating_sub(self.parity)
            {
                0 | 1 => copies,
                data => Coding::Erasure {
                    data,
                    parity: self.parity,
                },
            },
        };
        (usable_disk_count >= durable_count_min(coding)).then_some(coding)
    }
}

/// How many shards may be lost.
pub(crate) fn spare_count(coding: Coding) -> usize {
    coding.shard_count().saturating_sub(coding.shards_needed())
}

/// How many shards must be durable before a write may be acknowledged: enough to lose one disk more, where the
/// coding can lose any.
pub(crate) fn durable_count_min(coding: Coding) -> usize {
    coding.shards_needed() + spare_count(coding).min(1)
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Geometry {
    type Err = GeometryError;

    fn from_str(text: &str) -> Result<Self, GeometryError> {
        let (data, parity) = text.split_once('+').ok_or(GeometryError::Unreadable)?;
        match (data.parse(), parity.parse()) {
            (Ok(data), Ok(parity)) => Self::new(data, parity),
            _ => Err(GeometryError::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape of what it is compared with"
    )]
    fn erasure(data: u8, parity: u8) -> Option<Coding> {
        Some(Coding::Erasure { data, parity })
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape of what it is compared with"
    )]
    fn copies(count: u8) -> Option<Coding> {
        Some(Coding::Copies { count })
    }

    #[test]
    fn geometry_follows_the_number_of_disks() {
        let text: Vec<String> = (1..=8)
            .map(|disks| Geometry::for_disk_count(disks).to_string())
            .collect();
        assert_eq!(
            text,
            ["1+0", "1+1", "2+1", "2+2", "3+2", "4+2", "4+2", "4+2"]
        );
    }

    #[test]
    fn large_chunks_narrow_while_at_most_m_disks_are_away() {
        let geometry = Geometry::for_disk_count(6);
        let codings: Vec<_> = (0..=7)
            .map(|disks| geometry.coding(ChunkKind::Large, disks))
            .collect();
        let refused = None;
        assert_eq!(
            codings,
            [
                refused,
                refused,
                refused,
                refused,
                erasure(2, 2),
                erasure(3, 2),
                erasure(4, 2),
                erasure(4, 2)
            ]
        );
    }

    #[test]
    fn three_disks_go_on_with_two_copies_when_one_is_away() {
        let geometry = Geometry::for_disk_count(3);
        assert_eq!(geometry.coding(ChunkKind::Large, 2), copies(2));
        assert_eq!(geometry.coding(ChunkKind::Large, 1), None);
    }

    #[test]
    fn small_chunks_are_copies_and_need_two_disks_where_one_may_be_lost() {
        let geometry = Geometry::for_disk_count(6);
        assert_eq!(geometry.coding(ChunkKind::Small, 6), copies(3));
        assert_eq!(geometry.coding(ChunkKind::Small, 2), copies(3));
        assert_eq!(geometry.coding(ChunkKind::Small, 1), None);
        assert_eq!(
            Geometry::for_disk_count(1).coding(ChunkKind::Large, 1),
            copies(1)
        );
    }

    #[test]
    fn acknowledgement_needs_one_shard_more_than_reading() {
        let minimum = |coding: Option<Coding>| coding.map(durable_count_min);
        assert_eq!(minimum(erasure(4, 2)), Some(5));
        assert_eq!(minimum(erasure(2, 1)), Some(3));
        assert_eq!(minimum(copies(3)), Some(2));
        assert_eq!(minimum(copies(1)), Some(1));
    }

    #[test]
    fn text_that_is_no_geometry_is_refused() {
        assert_eq!("4+2".parse(), Geometry::new(4, 2));
        assert_eq!("28+4".parse(), Geometry::new(28, 4));
        for text in ["", "4", "4+", "+2", "4+2+1", "-4+2", "256+2"] {
            assert_eq!(text.parse::<Geometry>(), Err(GeometryError::Unreadable));
        }
        assert_eq!("0+2".parse::<Geometry>(), Err(GeometryError::NoData));
        assert_eq!("4+0".parse::<Geometry>(), Err(GeometryError::NoParity));
        let too_many = GeometryError::TooManyShards { shard_count: 33 };
        assert_eq!("31+2".parse::<Geometry>(), Err(too_many));
    }
}
