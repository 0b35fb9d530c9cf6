//! One record: a shard that was put, or the tombstone of one that was deleted.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `CRec` |
//! | 4 | 2 | format version, 1 (all integers are little-endian) |
//! | 6 | 1 | kind: 1 put, 2 tombstone |
//! | 7 | 1 | zero |
//! | 8 | 8 | sequence number: rises over the whole disk, the highest of a shard id wins |
//! | 16 | 8 | written at, milliseconds since the Unix epoch |
//! | 24 | 21 | shard id: data id (16), chunk index (4, big-endian), shard index (1) |
//! | 45 | 3 | zeros |
//! | 48 | 4 | descriptor length, at most 65,536 |
//! | 52 | 4 | payload length, at most 4,194,304 |
//! | 56 | 32 | BLAKE3 hash of descriptor and block hashes |
//! | 88 | 8 | zeros |
//! | 96 | 32 | BLAKE3 hash of bytes 0..96 and the record's offset (8), keyed for this disk and segment |
//! | 128 | … | descriptor |
//! | … | 32 each | BLAKE3 hash of each 64 KiB block of the payload (the last may be shorter) |
//! | … | … | payload, then zeros up to a multiple of 64 |
//!
//! The header's hash is keyed with the disk and the segment and covers the offset: bytes that somebody stored
//! as a *payload* can never pass for a record when a scan looks for the next one, and a record that was
//! misplaced by the file system or by a copied file is noticed.

use bytes::Bytes;

use super::{BLOCK_SIZE_BYTES, RECORD_ALIGNMENT, SegmentClass, SegmentNumber, field, set_field};
use crate::{DESCRIPTOR_SIZE_BYTES_MAX, DiskId, SHARD_SIZE_BYTES_MAX, ShardId};

/// Length of the fixed part of a record.
pub(crate) const RECORD_HEADER_LEN: usize = 128;

/// The first bytes of every record.
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"CRec";

const FORMAT_VERSION: u16 = 1;
const HASHED_LEN: usize = 96;
const HASH_LEN: usize = 32;

/// What the hashes of a segment's record headers are keyed with.
#[derive(Debug, Clone)]
pub(crate) struct RecordKey([u8; 32]);

impl RecordKey {
    pub(crate) fn new(disk: DiskId, segment: SegmentNumber) -> Self {
        let mut material = [0; 24];
        set_field(&mut material, 0, &disk.0);
        set_field(&mut material, 16, &segment.0.to_le_bytes());
        Self(blake3::derive_key(
            "cairn 2026 segment record header v1",
            &material,
        ))
    }
}

/// What a record stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The shard's bytes follow.
    Put,
    /// The shard was deleted; no descriptor, no payload.
    Tombstone,
}

/// The two lengths from which all other places in a record follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RecordShape {
    pub(crate) descriptor_len: u32,
    pub(crate) payload_len: u32,
}

impl RecordShape {
    pub(crate) const TOMBSTONE: Self = Self {
        descriptor_len: 0,
        payload_len: 0,
    };

    pub(crate) fn block_count(self) -> u32 {
        self.payload_len.div_ceil(BLOCK_SIZE_BYTES)
    }

    /// Header, descriptor and block hashes.
    pub(crate) fn prefix_len(self) -> u64 {
        RECORD_HEADER_LEN as u64
            + u64::from(self.descriptor_len)
            + u64::from(self.block_count()) * HASH_LEN as u64
    }

    /// The whole record with its padding.
    pub(crate) fn record_len(self) -> u64 {
        (self.prefix_len() + u64::from(self.payload_len)).next_multiple_of(RECORD_ALIGNMENT)
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    pub(crate) id: ShardId,
    pub(crate) stamp: RecordStamp,
    pub(crate) shape: RecordShape,
    pub(crate) section_hash: [u8; HASH_LEN],
}

/// Order and time of a record; compaction keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordStamp {
    /// The disk-wide sequence number.
    pub(crate) lsn: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) written_at_ms: u64,
}

/// Why bytes are not the record that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordFault {
    /// No record starts here.
    #[error("there is no valid record header")]
    NoHeader,
    /// Written by a newer program.
    #[error("the record has format version {0}")]
    Newer(u16),
    /// Descriptor or block hashes do not match the header.
    #[error("descriptor or block hashes do not match the record header")]
    Section,
    /// A payload block does not match its hash.
    #[error("payload block {0} does not match its hash")]
    Block(u32),
    /// A valid record, of something else.
    #[error("the record belongs to another shard or version")]
    Other,
}

impl RecordHeader {
    pub(crate) fn encode(&self, key: &RecordKey, offset: u64) -> [u8; RECORD_HEADER_LEN] {
        let mut out = [0; RECORD_HEADER_LEN];
        set_field(&mut out, 0, &RECORD_MAGIC);
        set_field(&mut out, 4, &FORMAT_VERSION.to_le_bytes());
        let kind = match self.kind {
            RecordKind::Put => 1,
            RecordKind::Tombstone => 2,
        };
        set_field(&mut out, 6, &[kind]);
        set_field(&mut out, 8, &self.stamp.lsn.to_le_bytes());
        set_field(&mut out, 16, &self.stamp.written_at_ms.to_le_bytes());
        set_field(&mut out, 24, &self.id.to_bytes());
        set_field(&mut out, 48, &self.shape.descriptor_len.to_le_bytes());
        set_field(&mut out, 52, &self.shape.payload_len.to_le_bytes());
        set_field(&mut out, 56, &self.section_hash);
        let hash = header_hash(&out, key, offset);
        set_field(&mut out, HASHED_LEN, &hash);
        out
    }

    /// Parses and checks the header at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8], key: &RecordKey, offset: u64) -> Result<Self, RecordFault> {
        let bytes = bytes
            .first_chunk::<RECORD_HEADER_LEN>()
            .ok_or(RecordFault::NoHeader)?;
        if field::<4>(bytes, 0) != RECORD_MAGIC
            || field::<HASH_LEN>(bytes, HASHED_LEN) != header_hash(bytes, key, offset)
        {
            return Err(RecordFault::NoHeader);
        }
        let version = u16::from_le_bytes(field(bytes, 4));
        if version > FORMAT_VERSION {
            return Err(RecordFault::Newer(version));
        }
        let shape = RecordShape {
            descriptor_len: u32::from_le_bytes(field(bytes, 48)),
            payload_len: u32::from_le_bytes(field(bytes, 52)),
        };
        let fits = shape.descriptor_len as usize <= DESCRIPTOR_SIZE_BYTES_MAX
            && shape.payload_len as usize <= SHARD_SIZE_BYTES_MAX;
        let kind = match field::<1>(bytes, 6) {
            [1] if fits => RecordKind::Put,
            [2] if shape == RecordShape::TOMBSTONE => RecordKind::Tombstone,
            _ => return Err(RecordFault::NoHeader),
        };
        Ok(Self {
            kind,
            id: ShardId::from_bytes(&field::<{ ShardId::ENCODED_LEN }>(bytes, 24))
                .ok_or(RecordFault::NoHeader)?,
            stamp: RecordStamp {
                lsn: u64::from_le_bytes(field(bytes, 8)),
                written_at_ms: u64::from_le_bytes(field(bytes, 16)),
            },
            shape,
            section_hash: field(bytes, 56),
        })
    }

    /// The descriptor and block hashes that follow this header in `prefix`, checked.
    pub(crate) fn section<'a>(&self, prefix: &'a [u8]) -> Result<RecordBody<'a>, RecordFault> {
        let section = usize::try_from(self.shape.prefix_len())
            .ok()
            .and_then(|end| prefix.get(RECORD_HEADER_LEN..end))
            .ok_or(RecordFault::Section)?;
        if *blake3::hash(section).as_bytes() != self.section_hash {
            return Err(RecordFault::Section);
        }
        let (descriptor, hashes) = section
            .split_at_checked(self.shape.descriptor_len as usize)
            .ok_or(RecordFault::Section)?;
        Ok(RecordBody {
            descriptor,
            hashes: hashes.as_chunks().0,
        })
    }
}

/// What stands between a record's header and its payload; matched its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordBody<'a> {
    pub(crate) descriptor: &'a [u8],
    hashes: &'a [[u8; HASH_LEN]],
}

impl RecordBody<'_> {
    /// Compares consecutive blocks, the first of which is number `first_block`, with their hashes.
    pub(crate) fn check_blocks(&self, first_block: u32, blocks: &[u8]) -> Result<(), RecordFault> {
        for (number, block) in (first_block..).zip(blocks.chunks(BLOCK_SIZE_BYTES as usize)) {
            let expected = self
                .hashes
                .get(number as usize)
                .ok_or(RecordFault::Block(number))?;
            if blake3::hash(block).as_bytes() != expected {
                return Err(RecordFault::Block(number));
            }
        }
        Ok(())
    }
}

/// A record ready to be written anywhere: all but the header, which depends on the place.
#[derive(Debug, Clone)]
pub(crate) struct PreparedRecord {
    kind: RecordKind,
    id: ShardId,
    shape: RecordShape,
    section: Bytes,
    section_hash: [u8; HASH_LEN],
    payload: Bytes,
}

impl PreparedRecord {
    /// Hashes the payload. The caller has checked the limits, so that the lengths fit.
    pub(crate) fn put(id: ShardId, descriptor: &[u8], payload: Bytes) -> Self {
        assert!(
            descriptor.len() <= DESCRIPTOR_SIZE_BYTES_MAX && payload.len() <= SHARD_SIZE_BYTES_MAX
        );
        let shape = RecordShape {
            descriptor_len: u32::try_from(descriptor.len()).unwrap_or(u32::MAX),
            payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        };
        let mut section =
            Vec::with_capacity(descriptor.len() + shape.block_count() as usize * HASH_LEN);
        section.extend_from_slice(descriptor);
        for block in payload.chunks(BLOCK_SIZE_BYTES as usize) {
            section.extend_from_slice(blake3::hash(block).as_bytes());
        }
        let section_hash = *blake3::hash(&section).as_bytes();
        Self {
            kind: RecordKind::Put,
            id,
            shape,
            section: section.into(),
            section_hash,
            payload,
        }
    }

    pub(crate) fn tombstone(id: ShardId) -> Self {
        let section_hash = *blake3::hash(&[]).as_bytes();
        let shape = RecordShape::TOMBSTONE;
        Self {
            kind: RecordKind::Tombstone,
            id,
            shape,
            section: Bytes::new(),
            section_hash,
            payload: Bytes::new(),
        }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    pub(crate) fn kind(&self) -> RecordKind {
        self.kind
    }

    pub(crate) fn shape(&self) -> RecordShape {
        self.shape
    }

    pub(crate) fn class(&self) -> SegmentClass {
        SegmentClass::of_payload(self.shape.payload_len)
    }

    pub(crate) fn header(&self, stamp: RecordStamp) -> RecordHeader {
        RecordHeader {
            kind: self.kind,
            id: self.id,
            stamp,
            shape: self.shape,
            section_hash: self.section_hash,
        }
    }

    /// Appends the record's bytes, as they stand at `offset`, to `parts` without copying the payload.
    pub(crate) fn write_parts(
        self,
        stamp: RecordStamp,
        key: &RecordKey,
        offset: u64,
        parts: &mut Vec<Bytes>,
    ) {
        let mut head = Vec::with_capacity(RECORD_HEADER_LEN + self.section.len());
        head.extend_from_slice(&self.header(stamp).encode(key, offset));
        head.extend_from_slice(&self.section);
        parts.push(head.into());
        let padding =
            self.shape.record_len() - self.shape.prefix_len() - u64::from(self.shape.payload_len);
        if !self.payload.is_empty() {
            parts.push(self.payload);
        }
        let padding = usize::try_from(padding)
            .ok()
            .and_then(|len| PADDING.get(..len))
            .unwrap_or(&[]);
        if !padding.is_empty() {
            parts.push(Bytes::from_static(padding));
        }
    }
}

static PADDING: [u8; 64] = [0; 64];
const _: () = assert!(PADDING.len() as u64 >= RECORD_ALIGNMENT);

fn header_hash(bytes: &[u8; RECORD_HEADER_LEN], key: &RecordKey, offset: u64) -> [u8; HASH_LEN] {
    let mut hashed = [0; HASHED_LEN + 8];
    set_field(&mut hashed, 0, &field::<HASHED_LEN>(bytes, 0));
    set_field(&mut hashed, HASHED_LEN, &offset.to_le_bytes());
    *blake3::keyed_hash(&key.0, &hashed).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;
    use proptest::prelude::*;

    fn key() -> RecordKey {
        RecordKey::new(DiskId([1; 16]), SegmentNumber(2))
    }

    fn record(descriptor: &[u8], payload: &[u8]) -> Vec<u8> {
        let id = ShardId {
            data_id: DataId([9; 16]),
            chunk_index: 3,
            shard_index: 4,
        };
        let stamp = RecordStamp {
            lsn: 5,
            written_at_ms: 1_700_000_000_000,
        };
        let mut parts = Vec::new();
        PreparedRecord::put(id, descriptor, Bytes::copy_from_slice(payload)).write_parts(
            stamp,
            &key(),
            64,
            &mut parts,
        );
        parts.concat()
    }

    #[test]
    fn golden_bytes_of_a_record() {
        let bytes = record(b"desc", b"payload!");
        assert_eq!(bytes.len(), 192);
        assert_eq!(hex::encode(&bytes[..96]), GOLDEN_FIELDS);
        assert_eq!(hex::encode(blake3::hash(&bytes).as_bytes()), GOLDEN_HASH);
    }

    #[test]
    fn a_header_is_valid_only_at_its_own_place() {
        let bytes = record(b"d", b"p");
        assert!(RecordHeader::decode(&bytes, &key(), 64).is_ok());
        assert_eq!(
            RecordHeader::decode(&bytes, &key(), 128),
            Err(RecordFault::NoHeader)
        );
        let other_segment = RecordKey::new(DiskId([1; 16]), SegmentNumber(3));
        assert_eq!(
            RecordHeader::decode(&bytes, &other_segment, 64),
            Err(RecordFault::NoHeader)
        );
        let other_disk = RecordKey::new(DiskId([2; 16]), SegmentNumber(2));
        assert_eq!(
            RecordHeader::decode(&bytes, &other_disk, 64),
            Err(RecordFault::NoHeader)
        );
    }

    /// The short ones often, and those at the limits.
    fn any_len() -> impl Strategy<Value = u32> {
        let limits = prop::sample::select(vec![65_536_u32, 65_537, 4_194_304, 4_194_305]);
        prop_oneof![Just(0), 0_u32..300, limits, any::<u32>()]
    }

    fn check(bytes: &[u8]) -> Result<(), RecordFault> {
        let header = RecordHeader::decode(bytes, &key(), 64)?;
        let body = header.section(bytes)?;
        let start = usize::try_from(header.shape.prefix_len()).unwrap();
        body.check_blocks(0, &bytes[start..start + header.shape.payload_len as usize])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_flipped_bit_is_noticed_or_is_padding(descriptor: Vec<u8>, payload_len in 0_usize..200_000, position: prop::sample::Index, bit in 0..8) {
            let payload: Vec<u8> = (0..=250).cycle().take(payload_len).collect();
            let mut bytes = record(&descriptor, &payload);
            prop_assert_eq!(check(&bytes), Ok(()));
            let content_len = 128 + descriptor.len() + payload_len.div_ceil(65536) * 32 + payload_len;
            let position = position.index(bytes.len());
            bytes[position] ^= 1_u8 << bit;
            prop_assert_eq!(check(&bytes).is_err(), position < content_len);
        }

        /// With a hash that matches, as a defect or another version of this program could write it.
        #[test]
        fn what_any_header_says_is_checked(
            mut bytes in prop::collection::vec(any::<u8>(), RECORD_HEADER_LEN..600),
            version in 0_u16..4,
            kind in 0_u8..4,
            descriptor_len in any_len(),
            payload_len in any_len(),
        ) {
            let shape = RecordShape { descriptor_len, payload_len };
            set_field(&mut bytes, 0, &RECORD_MAGIC);
            set_field(&mut bytes, 4, &version.to_le_bytes());
            set_field(&mut bytes, 6, &[kind]);
            set_field(&mut bytes, 48, &descriptor_len.to_le_bytes());
            set_field(&mut bytes, 52, &payload_len.to_le_bytes());
            let prefix_len = usize::try_from(shape.prefix_len()).unwrap();
            let section = bytes.get(RECORD_HEADER_LEN..prefix_len).map(blake3::hash);
            if let Some(hash) = section {
                set_field(&mut bytes, 56, hash.as_bytes());
            }
            let hash = header_hash(bytes.first_chunk().unwrap(), &key(), 64);
            set_field(&mut bytes, HASHED_LEN, &hash);

            let decoded = RecordHeader::decode(&bytes, &key(), 64);
            let is_put = kind == 1 && descriptor_len <= 65_536 && payload_len <= 4_194_304;
            let is_tombstone = kind == 2 && descriptor_len == 0 && payload_len == 0;
            prop_assert_eq!(decoded.is_ok(), version <= 1 && (is_put || is_tombstone));
            if let Ok(header) = decoded {
                prop_assert_eq!(header.shape, shape);
                let body = header.section(&bytes);
                prop_assert_eq!(body.is_ok(), section.is_some());
                if let Ok(body) = body {
                    let is_whole = body.check_blocks(0, &bytes[prefix_len..]).is_ok();
                    prop_assert_eq!(is_whole, bytes.len() == prefix_len);
                }
            }
        }
    }

    const GOLDEN_FIELDS: &str = "435265630100010005000000000000000068e5cf8b01000009090909090909090909090909090909\
        0000000304000000040000000800000043c1c61e2e81f1cfaacdca8da27a82af5900885f1aeb910fa2a913bf0e7bf4070000000000000000";
    const GOLDEN_HASH: &str = "c6f6443861056495c1f69e3486e45221825b0939e95e5c0538b745841c5f793e";
}
