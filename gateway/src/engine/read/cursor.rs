//! Walks a range of an object: parts, then their chunks, loading each part's record only when it is reached.

use std::ops::Range;
use std::sync::Arc;
use std::vec;

use cairn_meta::{self as meta, ChunkRecord, DataRecord};
use cairn_storage_node::DataId;

use super::ReadError;
use crate::engine::core::Core;
use crate::engine::ids;

/// A range of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartRange {
    pub(crate) data_id: meta::DataId,
    /// Not empty, relative to the part.
    pub(crate) range: Range<u64>,
}

/// A range of one chunk.
#[derive(Debug, Clone)]
pub(crate) struct ChunkRange {
    pub(crate) data_id: DataId,
    pub(crate) index: u32,
    pub(crate) record: ChunkRecord,
    /// Not empty, relative to the chunk.
    pub(crate) range: Range<u32>,
}

/// Cuts a range of the parts' concatenation into ranges of parts; what is behind the last part is dropped.
pub(crate) fn part_ranges(parts: &[(meta::DataId, u64)], range: &Range<u64>) -> Vec<PartRange> {
    let mut part_start = 0u64;
    let mut found = Vec::new();
    for (data_id, size_bytes) in parts {
        let part_end = part_start.saturating_add(*size_bytes);
        let (start, end) = (range.start.max(part_start), range.end.min(part_end));
        if start < end {
            found.push(PartRange {
                data_id: *data_id,
                range: start - part_start..end - part_start,
            });
        }
        part_start = part_end;
    }
    found
}

/// The chunks of a list of part ranges, in order.
#[derive(Debug)]
pub(crate) struct Cursor {
    core: Arc<Core>,
    parts: vec::IntoIter<PartRange>,
    chunks: vec::IntoIter<ChunkRange>,
}

impl Cursor {
    pub(crate) fn new(core: Arc<Core>, parts: Vec<PartRange>) -> Self {
        Self {
            core,
            parts: parts.into_iter(),
            chunks: Vec::new().into_iter(),
        }
    }

    /// Whether nothing follows what was given out.
    pub(crate) fn is_at_end(&self) -> bool {
        self.parts.as_slice().is_empty() && self.chunks.as_slice().is_empty()
    }

    /// The next chunk, or `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<ChunkRange>, ReadError> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Ok(Some(chunk));
            }
            let Some(part) = self.parts.next() else {
                return Ok(None);
            };
            let data_id = ids::data(part.data_id);
            let record = self
                .core
                .meta
                .data(part.data_id)
                .await?
                .ok_or(ReadError::Gone { data_id })?;
            self.chunks = chunk_ranges(data_id, record, &part.range)?.into_iter();
        }
    }
}

fn chunk_ranges(
    data_id: DataId,
    record: DataRecord,
    range: &Range<u64>,
) -> Result<Vec<ChunkRange>, ReadError> {
    let damaged = |detail: &str| ReadError::Damaged {
        detail: format!("datum {data_id}: {detail}"),
    };
    let mut chunk_start = 0u64;
    let mut found = Vec::new();
    for (index, record) in (0u32..).zip(record.chunks) {
        let chunk_end = chunk_start + u64::from(record.size_bytes);
        let (start, end) = (range.start.max(chunk_start), range.end.min(chunk_end));
        if start < end {
            let within = |position: u64| {
                u32::try_from(position - chunk_start).map_err(|_| damaged("impossible range"))
            };
            found.push(ChunkRange {
                data_id,
                index,
                record,
                range: within(start)?..within(end)?,
            });
        }
        chunk_start = chunk_end;
    }
    if range.end > chunk_start {
        return Err(damaged("its chunks hold fewer bytes than its object says"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::{BucketId, Coding, DataOwner, ObjectKey};

    const A: meta::DataId = meta::DataId([1; 16]);
    const B: meta::DataId = meta::DataId([2; 16]);

    #[test]
    fn a_range_is_cut_at_part_borders_and_skips_empty_parts() {
        let parts = [(A, 10), (A, 0), (B, 5)];
        let cut = |range| part_ranges(&parts, &range);
        assert_eq!(
            cut(2..4),
            [PartRange {
                data_id: A,
                range: 2..4
            }]
        );
        assert_eq!(
            cut(8..12),
            [
                PartRange {
                    data_id: A,
                    range: 8..10
                },
                PartRange {
                    data_id: B,
                    range: 0..2
                }
            ]
        );
        assert_eq!(
            cut(10..15),
            [PartRange {
                data_id: B,
                range: 0..5
            }]
        );
        assert_eq!(cut(15..16), []);
    }

    #[test]
    fn a_range_is_cut_at_chunk_borders() {
        let chunk = |size_bytes| ChunkRecord {
            size_bytes,
            coding: Coding::Copies { count: 1 },
            shards: Vec::new(),
        };
        let owner = DataOwner {
            bucket: BucketId([0; 8]),
            key: ObjectKey::parse("k").unwrap(),
            part: None,
        };
        let record = DataRecord {
            size_bytes: 25,
            owner,
            created_at_ms: 0,
            chunks: vec![chunk(10), chunk(10), chunk(5)],
        };
        let cut = |range| {
            chunk_ranges(DataId([1; 16]), record.clone(), &range).map(|chunks| {
                chunks
                    .into_iter()
                    .map(|chunk| (chunk.index, chunk.range))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(cut(0..25).unwrap(), [(0, 0..10), (1, 0..10), (2, 0..5)]);
        assert_eq!(cut(19..21).unwrap(), [(1, 9..10), (2, 0..1)]);
        assert!(matches!(cut(0..26), Err(ReadError::Damaged { .. })));
    }
}
