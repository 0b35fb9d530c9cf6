//! The roster: who holds the journal, written to every reachable place whenever that changes.
//!
//! A place is a directory on one disk. Some places hold a journal copy (holders), one of them also the live
//! RocksDB (the primary); the others are candidates, and witnesses of the roster. A copy that was dropped while
//! its disk was away carries an older roster; because the newer one was written to all places that could be
//! reached *before* anything was acknowledged without that copy, it shows itself as stale as long as one place
//! with the newer roster is seen.
//!
//! On disk: `cairn-meta.json` in each place, two lines: the JSON of [`PlaceFile`], and the BLAKE3 of that line in
//! hexadecimal. Spaces may follow, which take the place of what the next one has more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_rpc::random::random_bytes;
use serde::{Deserialize, Serialize};

/// The name of the file in each place.
pub(crate) const PLACE_FILE_NAME: &str = "cairn-meta.json";

const FORMAT_VERSION: u32 = 1;
/// A place that was away for more changes than this is kept aside when it comes back, for caution's sake. Some changes come
/// with each start and with each disk that fails; so many take 2.5 KiB.
const ANCESTOR_COUNT_MAX: usize = 128;

/// Identity of a place; stays with the directory wherever it is mounted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(pub(crate) [u8; 16]);

/// Identity of one RocksDB directory: a restored one has a new one, and its name on disk carries it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DatabaseId(pub(crate) [u8; 8]);

/// Identity of a history: all that was committed one upon the other since a store was created, or since a start that
/// was told to go on without the disks that may have had more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HistoryId(pub(crate) [u8; 8]);

/// Tells a roster from all others, also from those of its epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Nonce(pub(crate) [u8; 8]);

macro_rules! hex_id {
    ($name:ident) => {
        impl $name {
            /// A new one.
            pub(crate) fn random() -> Self {
                Self(random_bytes())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let mut id = Self(Default::default());
                hex::decode_to_slice(text, &mut id.0).map_err(serde::de::Error::custom)?;
                Ok(id)
            }
        }
    };
}
hex_id!(PlaceId);
hex_id!(DatabaseId);
hex_id!(HistoryId);
hex_id!(Nonce);

/// Who holds what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster {
    /// Rises with every change.
    pub(crate) epoch: u64,
    /// Random: two rosters of one epoch that differ here were written by two histories.
    pub(crate) nonce: Nonce,
    /// Where the live RocksDB is; absent before the first start was completed.
    pub(crate) primary: Option<Primary>,
    /// Places with a complete journal copy.
    pub(crate) holders: Vec<PlaceId>,
    /// All places that were expected to take this roster, with the path they had: not those that had failed before and
    /// hold nothing.
    pub(crate) places: BTreeMap<PlaceId, PathBuf>,
    /// Places that this roster was sent to, and that the next one is sent to as well unless they fail. Not kept in the
    /// first stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) asked: Vec<PlaceId>,
    /// What is committed here continues this history. A place with the same one and an older epoch lags behind; one
    /// with another has records that are nowhere else. `None`: begun before histories had names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<HistoryId>,
    /// The nonces of the rosters before this one, newest first: a place that has one of them lags behind. One with a
    /// roster that is not among them may have gone on without the others. Not kept in the first stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ancestors: Vec<Nonce>,
}

/// Where the live RocksDB is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Primary {
    /// On which disk.
    pub(crate) place: PlaceId,
    /// In which directory there.
    pub(crate) database: DatabaseId,
}

impl Roster {
    /// The roster before the first.
    pub(crate) fn initial(epoch: u64) -> Self {
        Self {
            epoch,
            nonce: Nonce([0; 8]),
            primary: None,
            holders: Vec::new(),
            places: BTreeMap::new(),
            asked: Vec::new(),
            history: None,
            ancestors: Vec::new(),
        }
    }

    /// Makes this the roster of the next epoch.
    pub(crate) fn advance(&mut self) {
        self.ancestors.insert(0, self.nonce);
        self.ancestors.truncate(ANCESTOR_COUNT_MAX);
        self.epoch += 1;
        self.nonce = Nonce::random();
    }

    /// Whether `other` is this one or known to be one that came before it.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        self.nonce == other.nonce || self.ancestors.contains(&other.nonce)
    }

    /// Whether a place that carries this roster or an older one speaks against there being a newer one. One that was not
    /// sent this one would not have been sent the next either.
    pub(crate) fn has_witness(&self, file: &PlaceFile) -> bool {
        if self.asked.is_empty() {
            return file.roster.epoch > 0;
        }
        self.asked.contains(&file.place)
    }

    /// Places named here that `seen` lacks.
    pub(crate) fn missing(&self, seen: &[PlaceId]) -> Vec<PathBuf> {
        self.places
            .iter()
            .filter(|(id, _)| !seen.contains(id))
            .map(|(_, path)| path.clone())
            .collect()
    }
}

/// The content of a place's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaceFile {
    /// Of this file and all beside it.
    pub(crate) format_version: u32,
    /// Whose metadata.
    #[serde(with = "cluster_id_hex")]
    pub(crate) cluster_id: [u8; 16],
    /// Which place this is.
    pub(crate) place: PlaceId,
    /// The newest roster this place has seen.
    pub(crate) roster: Roster,
}

mod cluster_id_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        id: &[u8; 16],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(id))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 16], D::Error> {
        let mut id = [0; 16];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut id)
            .map_err(serde::de::Error::custom)?;
        Ok(id)
    }
}

impl PlaceFile {
    /// With the current format version.
    pub(crate) fn new(cluster_id: [u8; 16], place: PlaceId, roster: Roster) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            cluster_id,
            place,
            roster,
        }
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        let hash = blake3::hash(&bytes).to_hex();
        bytes.push(b'\n');
        bytes.extend_from_slice(hash.as_bytes());
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file's bytes; the error says what is wrong with them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().rposition(|&byte| byte != b' ');
        let (json, hash) = end
            .and_then(|end| bytes.get(..=end)?.strip_suffix(b"\n"))
            .and_then(|lines| {
                let at = lines.iter().position(|&byte| byte == b'\n')?;
                Some((lines.get(..at)?, lines.get(at + 1..)?))
            })
            .ok_or("it is not two lines long")?;
        if blake3::hash(json).to_hex().as_bytes() != hash {
            return Err("its checksum does not match".to_owned());
        }
        let file: Self =
            serde_json::from_slice(json).map_err(|error| format!("it cannot be read: {error}"))?;
        if file.format_version != FORMAT_VERSION {
            return Err(format!(
                "its format version is {}, this program knows {FORMAT_VERSION}",
                file.format_version
            ));
        }
        Ok(file)
    }
}

/// The roster to go by, of those seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Newest {
    /// No place was ever part of a completed start.
    None,
    /// This one.
    Roster(Roster),
    /// Two histories went on without each other, and neither is in the majority.
    Split { epoch: u64, places: Vec<PlaceId> },
}

/// Chooses the newest roster. On equal epochs with different content one was written by a start that did not complete. It
/// is the one that was sent to a place which carries another: had that been there before, this one would have a higher
/// epoch. Where that does not tell, the one that more than half of the places seen at that epoch carry is chosen.
pub(crate) fn newest(seen: &[PlaceFile]) -> Newest {
    let Some(epoch) = seen
        .iter()
        .map(|file| file.roster.epoch)
        .max()
        .filter(|&epoch| epoch > 0)
    else {
        return Newest::None;
    };
    let at_epoch: Vec<&PlaceFile> = seen
        .iter()
        .filter(|file| file.roster.epoch == epoch)
        .collect();
    let came_first = |roster: &Roster| {
        let mut others = at_epoch.iter().filter(|other| other.roster != *roster);
        others.any(|other| roster.asked.contains(&other.place))
    };
    let (first, last): (Vec<&PlaceFile>, Vec<&PlaceFile>) =
        at_epoch.iter().partition(|file| came_first(&file.roster));
    let at_epoch = if last.is_empty() { first } else { last };
    for file in &at_epoch {
        let same = at_epoch
            .iter()
            .filter(|other| other.roster == file.roster)
            .count();
        if 2 * same > at_epoch.len() {
            return Newest::Roster(file.roster.clone());
        }
    }
    Newest::Split {
        epoch,
        places: at_epoch.iter().map(|file| file.place).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: u8, epoch: u64, nonce: u8) -> PlaceFile {
        let roster = Roster {
            epoch,
            nonce: Nonce([nonce; 8]),
            primary: Some(Primary {
                place: PlaceId([1; 16]),
                database: DatabaseId([4; 8]),
            }),
            holders: vec![PlaceId([1; 16]), PlaceId([2; 16])],
            places: BTreeMap::from([
                (PlaceId([1; 16]), "/a".into()),
                (PlaceId([2; 16]), "/b".into()),
            ]),
            asked: Vec::new(),
            history: None,
            ancestors: Vec::new(),
        };
        PlaceFile::new([9; 16], PlaceId([place; 16]), roster)
    }

    #[test]
    fn golden_file() {
        let bytes = file(1, 7, 3).encode().unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
    }

    #[test]
    fn only_spaces_may_follow() {
        let bytes = file(1, 7, 3).encode().unwrap();
        let followed_by = |rest: &[u8]| PlaceFile::parse(&[&bytes, rest].concat());
        assert_eq!(followed_by(b"   "), Ok(file(1, 7, 3)));
        assert!(followed_by(b"\n").is_err());
        assert!(followed_by(b" 0 ").is_err());
    }

    #[test]
    fn the_history_is_kept() {
        let mut file = file(1, 7, 3);
        file.roster.history = Some(HistoryId([5; 8]));
        assert_eq!(PlaceFile::parse(&file.encode().unwrap()).unwrap(), file);
    }

    #[test]
    fn a_roster_knows_those_that_it_followed_upon() {
        let mut roster = file(1, 7, 3).roster;
        let first = roster.clone();
        for _ in 0..ANCESTOR_COUNT_MAX {
            roster.advance();
            assert!(roster.follows(&first) && roster.follows(&roster));
        }
        assert_eq!(roster.epoch, 7 + ANCESTOR_COUNT_MAX as u64);
        let bytes = PlaceFile::new([9; 16], PlaceId([1; 16]), roster.clone()).encode();
        assert_eq!(PlaceFile::parse(&bytes.unwrap()).unwrap().roster, roster);
        let mut elsewhere = first.clone();
        elsewhere.advance();
        assert!(!roster.follows(&elsewhere));
        roster.advance();
        assert!(!roster.follows(&first), "it remembers only so many");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = file(1, 7, 3).encode().unwrap();
        assert_eq!(PlaceFile::parse(&bytes).unwrap(), file(1, 7, 3));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PlaceFile::parse(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_highest_epoch_wins() {
        let seen = [file(1, 7, 3), file(2, 8, 4), file(3, 7, 3)];
        assert_eq!(newest(&seen), Newest::Roster(seen[1].roster.clone()));
        assert_eq!(newest(&[file(1, 0, 0)]), Newest::None);
        assert_eq!(newest(&[]), Newest::None);
    }

    #[test]
    fn two_histories_of_one_epoch_need_a_majority() {
        let seen = [file(1, 8, 3), file(2, 8, 4), file(3, 8, 4)];
        assert_eq!(newest(&seen), Newest::Roster(seen[1].roster.clone()));
        assert!(matches!(newest(&seen[..2]), Newest::Split { epoch: 8, .. }));
    }

    #[test]
    fn a_roster_that_did_not_reach_all_stands_behind_the_next_of_its_epoch() {
        let sent_to = |place, nonce, asked: &[u8]| {
            let mut file = file(place, 8, nonce);
            file.roster.asked = asked.iter().map(|id| PlaceId([*id; 16])).collect();
            file
        };
        let first = |place| sent_to(place, 3, &[1, 2, 3, 4]);
        let next = |place| sent_to(place, 4, &[3, 4]);
        for seen in [
            vec![first(1), first(2), next(3)],
            vec![next(3), first(1)],
            vec![first(1), next(4), next(3)],
        ] {
            assert_eq!(newest(&seen), Newest::Roster(next(3).roster));
        }
        // Neither knows of the other.
        let apart = [sent_to(1, 3, &[1, 2]), next(3)];
        assert!(matches!(newest(&apart), Newest::Split { epoch: 8, .. }));
    }

    #[test]
    fn only_places_that_a_roster_was_sent_to_are_witnesses() {
        let mut roster = file(1, 7, 3).roster;
        let witnesses = |roster: &Roster| {
            let seen = [file(1, 7, 3), file(2, 6, 2), file(3, 6, 2), file(4, 0, 0)];
            seen.map(|file| roster.has_witness(&file))
        };
        assert_eq!(witnesses(&roster), [true, true, true, false]);
        roster.asked = vec![PlaceId([1; 16]), PlaceId([2; 16])];
        assert_eq!(witnesses(&roster), [true, true, false, false]);
        let bytes = PlaceFile::new([9; 16], PlaceId([1; 16]), roster.clone()).encode();
        assert_eq!(PlaceFile::parse(&bytes.unwrap()).unwrap().roster, roster);
    }

    #[test]
    fn missing_places_are_named() {
        let roster = file(1, 7, 3).roster;
        assert_eq!(roster.missing(&[PlaceId([1; 16])]), [PathBuf::from("/b")]);
    }
}
