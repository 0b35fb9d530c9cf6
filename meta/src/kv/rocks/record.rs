//! A journal record: the merged writes of one commit group, framed.
//!
//! All integers little-endian:
//! ```text
//!  0   4  magic "CJR1"
//!  4   4  payload length in bytes
//!  8   8  epoch
//! 16   8  sequence
//! 24  32  BLAKE3 of: salt of the file (16) | bytes 0..24 | payload
//! 56      payload: writes, one after the other
//!           1 | key length (4) | key | value length (4) | value      put
//!           2 | key length (4) | key                                 delete
//! ```
//! Invariant: a record verifies only in the use of a file it was written for. A recycled file has a new random
//! salt, so what an earlier use left behind is never taken for a record.

use super::super::Write;

/// Bytes before the payload.
pub(crate) const RECORD_HEAD_BYTES: usize = 56;

const MAGIC: [u8; 4] = *b"CJR1";
const HASHED_HEAD_BYTES: usize = 24;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Ties records to one use of one file (on all copies the same).
pub(crate) type Salt = [u8; 16];

/// A record that is being put together; its place and salt are decided last.
#[derive(Debug)]
pub(crate) struct RecordBuilder {
    frame: Vec<u8>,
}

impl Default for RecordBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordBuilder {
    /// No writes yet.
    pub(crate) fn new() -> Self {
        Self {
            frame: vec![0; RECORD_HEAD_BYTES],
        }
    }

    /// Appends one write.
    pub(crate) fn push(&mut self, write: &Write) {
        match write {
            Write::Put { key, value } => {
                self.frame.push(PUT);
                self.push_bytes(key);
                self.push_bytes(value);
            }
            Write::Delete { key } => {
                self.frame.push(DELETE);
                self.push_bytes(key);
            }
        }
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        // Keys and values are bounded by KEY_LEN_MAX and VALUE_LEN_MAX at entry.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.frame.extend_from_slice(&len.to_le_bytes());
        self.frame.extend_from_slice(bytes);
    }

    /// Size of the whole frame so far.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.frame.len() == RECORD_HEAD_BYTES
    }

    /// The frame and its hash.
    pub(crate) fn finish(mut self, salt: &Salt, epoch: u64, sequence: u64) -> Frame {
        let payload_len = u32::try_from(self.frame.len() - RECORD_HEAD_BYTES).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(RECORD_HEAD_BYTES);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&payload_len.to_le_bytes());
        head.extend_from_slice(&epoch.to_le_bytes());
        head.extend_from_slice(&sequence.to_le_bytes());
        let payload = self.frame.get(RECORD_HEAD_BYTES..).unwrap_or_default();
        let hash = record_hash(salt, &head, payload);
        head.extend_from_slice(&hash);
        self.frame.splice(..RECORD_HEAD_BYTES, head);
        Frame {
            bytes: self.frame,
            sequence,
            hash,
        }
    }
}

/// A finished record.
#[derive(Debug)]
pub(crate) struct Frame {
    /// As they stand in the file.
    pub(crate) bytes: Vec<u8>,
    /// Which record of the log.
    pub(crate) sequence: u64,
    /// Names this write and no other.
    pub(crate) hash: [u8; 32],
}

impl Frame {
    /// The writes.
    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(RECORD_HEAD_BYTES..).unwrap_or_default()
    }
}

/// A verified record within a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'file> {
    /// Of the roster under which it was written.
    pub(crate) epoch: u64,
    /// Which record of the log.
    pub(crate) sequence: u64,
    /// Names this write and no other.
    pub(crate) hash: [u8; 32],
    /// The writes.
    pub(crate) payload: &'file [u8],
}

impl Record<'_> {
    /// Size of the whole frame.
    pub(crate) fn frame_len(&self) -> usize {
        RECORD_HEAD_BYTES + self.payload.len()
    }
}

/// The record at the start of `bytes`, or `None` if none verifies there.
pub(crate) fn parse_record<'file>(salt: &Salt, bytes: &'file [u8]) -> Option<Record<'file>> {
    let head = bytes.get(..HASHED_HEAD_BYTES)?;
    if head.get(..4)? != MAGIC {
        return None;
    }
    let payload_len = usize::try_from(u32_at(head, 4)?).ok()?;
    let hash: [u8; 32] = bytes
        .get(HASHED_HEAD_BYTES..RECORD_HEAD_BYTES)?
        .try_into()
        .ok()?;
    let payload = bytes.get(RECORD_HEAD_BYTES..)?.get(..payload_len)?;
    (record_hash(salt, head, payload) == hash).then_some(())?;
    Some(Record {
        epoch: u64_at(head, 8)?,
        sequence: u64_at(head, 16)?,
        hash,
        payload,
    })
}

/// What can stand behind the last record of a file, if anything of this use of it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind<'file> {
    /// The bytes behind it.
    pub(crate) bytes: &'file [u8],
    /// Of this use of the file.
    pub(crate) salt: &'file Salt,
    /// The sequence that would come next.
    pub(crate) next_sequence: u64,
    /// Under which the file was begun: epochs only rise.
    pub(crate) epoch_min: u64,
}

/// How many bytes are hashed at most to find a record behind the last one: a fraction of a second.
///
/// What stands there is mostly of an earlier use, and holds what users wrote: one of them may write many beginnings of
/// records, each of which would cost a hash over the rest of the file, on every disk, before every start after a crash.
const SEARCHED_BYTES_MAX: usize = 256 << 20;

impl Behind<'_> {
    /// Whether a verified record begins anywhere here.
    pub(crate) fn holds_record(&self) -> bool {
        let mut left_bytes = SEARCHED_BYTES_MAX;
        let offsets = self.bytes.windows(MAGIC.len()).enumerate();
        for (offset, _) in offsets.filter(|(_, window)| **window == MAGIC) {
            let Some(rest) = self.bytes.get(offset..) else {
                continue;
            };
            let Some(len) = self.plausible_len(offset, rest) else {
                continue;
            };
            let Some(left) = left_bytes.checked_sub(len) else {
                // Nobody but an attacker gets here. Taking it for damage would let them keep the store from starting.
                tracing::warn!(
                    "a journal file holds too many beginnings of records to look at all"
                );
                return false;
            };
            left_bytes = left;
            if parse_record(self.salt, rest).is_some() {
                return true;
            }
        }
        false
    }

    /// How many bytes must be hashed to verify what begins with `rest`, if its head may be that of a record here.
    fn plausible_len(&self, offset: usize, rest: &[u8]) -> Option<usize> {
        let payload_len = usize::try_from(u32_at(rest, 4)?).ok()?;
        let frame_len = RECORD_HEAD_BYTES.checked_add(payload_len)?;
        // One sequence for each record that fits in between, and records have heads.
        let ahead_max = u64::try_from(offset / RECORD_HEAD_BYTES).ok()?;
        let sequence = u64_at(rest, 16)?;
        let is_plausible = frame_len <= rest.len()
            && u64_at(rest, 8)? >= self.epoch_min
            && sequence >= self.next_sequence
            && sequence - self.next_sequence <= ahead_max;
        is_plausible.then_some(frame_len)
    }
}

fn record_hash(salt: &Salt, head: &[u8], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(salt)
        .update(head)
        .update(payload)
        .finalize()
        .as_bytes()
}

/// A write as it stands in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteRef<'payload> {
    /// Sets the key.
    Put {
        key: &'payload [u8],
        value: &'payload [u8],
    },
    /// Removes the key.
    Delete { key: &'payload [u8] },
}

/// The writes of a payload; the last item is `Err` if the payload does not parse to its end.
pub(crate) fn writes(
    payload: &[u8],
) -> impl Iterator<Item = Result<WriteRef<'_>, MalformedPayload>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let write = take_write(&mut rest).ok_or(MalformedPayload);
        if write.is_err() {
            rest = &[];
        }
        Some(write)
    })
}

/// A payload whose hash holds but whose bytes are no writes: written by another version, or by a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a journal record holds a write that this version cannot read")]
pub(crate) struct MalformedPayload;

fn take_write<'payload>(rest: &mut &'payload [u8]) -> Option<WriteRef<'payload>> {
    let (&tag, tail) = rest.split_first()?;
    *rest = tail;
    match tag {
        PUT => Some(WriteRef::Put {
            key: take_bytes(rest)?,
            value: take_bytes(rest)?,
        }),
        DELETE => Some(WriteRef::Delete {
            key: take_bytes(rest)?,
        }),
        _ => None,
    }
}

fn take_bytes<'payload>(rest: &mut &'payload [u8]) -> Option<&'payload [u8]> {
    let len = usize::try_from(u32_at(rest, 0)?).ok()?;
    let (bytes, tail) = rest.get(4..)?.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

/// A little-endian `u32` at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A little-endian `u64` at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Behind record 8 of a file of epoch 2, where `sample` would come next.
    fn behind<'a>(salt: &'a Salt, bytes: &'a [u8]) -> Behind<'a> {
        Behind {
            bytes,
            salt,
            next_sequence: 9,
            epoch_min: 2,
        }
    }

    fn sample() -> Frame {
        let mut builder = RecordBuilder::new();
        builder.push(&Write::Put {
            key: "key".into(),
            value: "value".into(),
        });
        builder.push(&Write::Delete { key: "k".into() });
        builder.finish(&[7; 16], 2, 9)
    }

    #[test]
    fn golden_bytes() {
        insta::assert_snapshot!(hex::encode(sample().bytes));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = sample().bytes;
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_record(&[7; 16], &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_another_use_of_the_file_is_not_taken() {
        let frame = sample().bytes;
        assert!(parse_record(&[7; 16], &frame).is_some());
        assert_eq!(parse_record(&[8; 16], &frame), None);
        assert!(!behind(&[8; 16], &frame).holds_record());
    }

    #[test]
    fn a_record_is_found_behind_other_bytes() {
        let mut bytes = b"CJR1CJR".to_vec();
        bytes.extend_from_slice(&sample().bytes);
        assert!(behind(&[7; 16], &bytes).holds_record());
    }

    #[test]
    fn beginnings_of_records_that_a_user_wrote_are_not_all_hashed() {
        // As many as fit into a file, each of which claims the rest of it.
        let size_bytes: usize = 4 << 20;
        let beginnings = |sequence: u64| {
            let mut bytes = Vec::with_capacity(size_bytes);
            while bytes.len() + 24 <= size_bytes {
                let rest = u32::try_from(size_bytes - bytes.len()).unwrap();
                bytes.extend_from_slice(&MAGIC);
                bytes.extend_from_slice(&rest.saturating_sub(56).to_le_bytes());
                bytes.extend_from_slice(&2_u64.to_le_bytes());
                bytes.extend_from_slice(&sequence.to_le_bytes());
            }
            bytes
        };
        // What cannot be of this file costs nothing, so that a record behind it is found.
        for sequence in [0, 8, u64::MAX] {
            let mut bytes = beginnings(sequence);
            bytes.extend_from_slice(&sample().bytes);
            assert!(behind(&[7; 16], &bytes).holds_record(), "{sequence}");
        }
        // A user who guesses the sequence is stopped after a while: all of it would be 350 GiB.
        assert!(!behind(&[7; 16], &beginnings(9)).holds_record());
    }

    proptest! {
        #[test]
        fn writes_survive_the_round_trip(
            pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..20)
        ) {
            let mut builder = RecordBuilder::new();
            for (key, value) in &pairs {
                builder.push(&match value {
                    Some(value) => Write::Put { key: key.clone().into(), value: value.clone().into() },
                    None => Write::Delete { key: key.clone().into() },
                });
            }
            let frame = builder.finish(&[1; 16], 3, 4);
            let record = parse_record(&[1; 16], &frame.bytes).unwrap();
            prop_assert_eq!((record.epoch, record.sequence, record.hash), (3, 4, frame.hash));
            let read: Vec<_> = writes(record.payload).map(Result::unwrap).collect();
            let expected: Vec<_> = pairs.iter().map(|(key, value)| match value {
                Some(value) => WriteRef::Put { key, value },
                None => WriteRef::Delete { key },
            }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse_record(&[0; 16], &bytes), None);
            prop_assert!(writes(&bytes).count() <= bytes.len());
        }
    }
}
