//! Verification of what is not read before it is needed, file by file: the checkpoints and journals of the copies.
//!
//! Copies are read one file at a time, so that all were read in about the configured time. Which comes next goes by
//! place and name: checkpoints are replaced all the while, and most of their files are in the next one too. A copy that
//! does not have what its checkpoint lists, or all records in the journal files that are not written any more, is given
//! up, and made anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cairn_rpc::random::random_in;

use super::checkpoint::{self, ManifestFile};
use super::journal_copy;
use super::journal_file::file_name;
use super::journal_log;
use super::place::Place;
use super::roster::PlaceId;
use super::shared::Shared;
use super::watched::still_wanted;

/// Into so many parts the time in which all is read is divided, for pauses of which nothing better is known.
pub(crate) const PAUSE_COUNT: u32 = 100;

/// Which file is read next, and when.
#[derive(Debug)]
pub(crate) struct Verification {
    every: Duration,
    due: Instant,
    /// The place that was read from last, and the file; at first neither, and it begins anywhere, so that frequent starts
    /// do not keep it from most of the files.
    pub(crate) last: Option<(PlaceId, String)>,
}

impl Verification {
    /// Reads everything once in `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now() + every / PAUSE_COUNT,
            last: None,
        }
    }

    /// The place to read from, and behind which file.
    pub(crate) fn next<'places>(
        &self,
        places: &'places [Arc<Place>],
    ) -> Option<(&'places Arc<Place>, Option<String>)> {
        let Some((last, name)) = &self.last else {
            let index = random_in(0..places.len().max(1));
            return Some((places.get(index)?, None));
        };
        if let Some(place) = places.iter().find(|place| place.id == *last) {
            return Some((place, Some(name.clone())));
        }
        Some((behind(places, *last)?, Some(String::new())))
    }

    /// How long nothing is to be read.
    pub(crate) fn pause(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    pub(crate) fn postpone(&mut self, parts: usize) {
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        self.due = Instant::now() + self.every / parts;
    }
}

/// The place after that with `id`, in the order of identities; after the last comes the first.
pub(crate) fn behind(places: &[Arc<Place>], id: PlaceId) -> Option<&Arc<Place>> {
    let mut ordered: Vec<&Arc<Place>> = places.iter().collect();
    ordered.sort_by_key(|place| (place.id <= id, place.id));
    ordered.first().copied()
}

/// A file of a copy that is as it was.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    /// How many the copy has.
    pub(crate) file_count: usize,
}

/// What can be verified of a copy.
enum CopyFile {
    OfCheckpoint(ManifestFile),
    /// A journal file that is not written any more: its first record, and that of the next file.
    OfJournal(u64, u64),
}

/// Reads one file of `place` from the disk: the first by name behind `after`, or any. `None` if there is none.
pub(crate) fn verify_next(
    place: &Place,
    cluster_id: [u8; 16],
    after: Option<&str>,
    progress: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Option<Verified>> {
    let (checkpoint_dir, files) = checkpoint::newest_files(place, cluster_id)?;
    let of_checkpoint = |file: ManifestFile| (file.name.clone(), CopyFile::OfCheckpoint(file));
    let mut files: Vec<(String, CopyFile)> = files.into_iter().map(of_checkpoint).collect();
    let journal_dir = place.journal_dir();
    for pair in journal_copy::list(&journal_dir)?.windows(2) {
        let [first, next] = *pair else { continue };
        files.push((file_name(first), CopyFile::OfJournal(first, next)));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let file_count = files.len();
    let index = match after {
        Some(after) => files.partition_point(|(name, _)| name.as_str() <= after),
        None => random_in(0..file_count.max(1)),
    };
    let Some((name, file)) = files.into_iter().nth(index) else {
        return Ok(None);
    };
    let size_bytes = match file {
        CopyFile::OfCheckpoint(file) => file.verify(&checkpoint_dir, progress)?,
        CopyFile::OfJournal(first, next) => {
            let sequences = (first, next);
            match journal_log::verify_closed(&journal_dir, sequences, cluster_id, progress) {
                Ok(size_bytes) => size_bytes,
                // A checkpoint has made it superfluous meanwhile, and its bytes are another file's.
                Err(_) if !journal_copy::list(&journal_dir)?.contains(&first) => 0,
                Err(error) => return Err(error.into()),
            }
        }
    };
    Ok(Some(Verified {
        name,
        size_bytes,
        file_count,
    }))
}

/// Bytes at no more than a rate, and only while somebody waits for them.
pub(crate) struct Pace {
    shared: Arc<Shared>,
    begun: Instant,
    bytes_per_second_max: u64,
    bytes: u64,
}

impl Pace {
    /// Begins now.
    pub(crate) fn new(shared: Arc<Shared>, bytes_per_second_max: u64) -> Self {
        Self {
            shared,
            begun: Instant::now(),
            bytes_per_second_max: bytes_per_second_max.max(1),
            bytes: 0,
        }
    }

    /// Waits until so many more bytes may have passed; fails when the store stops or the work was given up.
    pub(crate) fn advance(
        &mut self,
        size_bytes: usize,
        is_given_up: &AtomicBool,
    ) -> io::Result<()> {
        self.bytes += size_bytes as u64;
        let due =
            Duration::from_millis(self.bytes.saturating_mul(1000) / self.bytes_per_second_max);
        let stops = self.shared.pause(due.saturating_sub(self.begun.elapsed()));
        // Where the source hung and answers again, the target may be taking another checkpoint.
        still_wanted(is_given_up)?;
        if stops {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the store stops",
            ));
        }
        Ok(())
    }
}
