//! Verification of what is not read before it is needed: the checkpoints and journals of the copies, and the primary's
//! files before a copy is made of them.
//!
//! Copies are read one file at a time, so that all were read in about the configured time. Which comes next goes by
//! place and name: checkpoints are replaced all the while, and most of their files are in the next one too. A copy that
//! does not have what its checkpoint lists, or all records in the journal files that are not written any more, is given
//! up, and made anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::checkpoint::{self, ManifestFile};
use super::journal_copy::{self, is_of_the_process};
use super::journal_file::file_name;
use super::journal_log;
use super::maintenance::{Maintenance, Setback};
use super::place::Place;
use super::roster::PlaceId;
use super::shared::{Live, Shared, Suspicion};
use super::status::add;
use super::watched::still_wanted;

/// Into so many parts the time in which all is read is divided, for pauses of which nothing better is known.
const PAUSE_COUNT: u32 = 100;

/// Which file is read next, and when.
#[derive(Debug)]
pub(crate) struct Verification {
    every: Duration,
    due: Instant,
    /// The place that was read from last, and the file; at first neither, and it begins anywhere, so that frequent starts
    /// do not keep it from most of the files.
    last: Option<(PlaceId, String)>,
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
    fn next<'places>(
        &self,
        places: &'places [Arc<Place>],
    ) -> Option<(&'places Arc<Place>, Option<String>)> {
        let Some((last, name)) = &self.last else {
            let index = rand::random_range(0..places.len().max(1));
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

    fn postpone(&mut self, parts: usize) {
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        self.due = Instant::now() + self.every / parts;
    }
}

/// The place after that with `id`, in the order of identities; after the last comes the first.
fn behind(places: &[Arc<Place>], id: PlaceId) -> Option<&Arc<Place>> {
    let mut ordered: Vec<&Arc<Place>> = places.iter().collect();
    ordered.sort_by_key(|place| (place.id <= id, place.id));
    ordered.first().copied()
}

/// A file of a copy that is as it was.
#[derive(Debug)]
struct Verified {
    name: String,
    size_bytes: u64,
    /// How many the copy has.
    file_count: usize,
}

/// What can be verified of a copy.
enum CopyFile {
    OfCheckpoint(ManifestFile),
    /// A journal file that is not written any more: its first record, and that of the next file.
    OfJournal(u64, u64),
}

/// Reads one file of `place` from the disk: the first by name behind `after`, or any. `None` if there is none.
fn verify_next(
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
        None => rand::random_range(0..file_count.max(1)),
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

impl Maintenance {
    /// Reads one file of a copy, if it is time.
    pub(crate) fn verify_if_due(&mut self) {
        if !self.verification.pause().is_zero() {
            return;
        }
        self.verification.postpone(PAUSE_COUNT as usize);
        let live = self.shared.live();
        let mut copies = self.shared.view().holders.clone();
        copies.retain(|place| place.id != live.place.id);
        let Some((place, after)) = self.verification.next(&copies) else {
            return;
        };
        let (copy, cluster_id) = (Arc::clone(place), self.cluster_id);
        let mut rate = self.pace();
        let verified = self.work_on(&[place], move |is_given_up| {
            verify_next(&copy, cluster_id, after.as_deref(), &mut |size_bytes| {
                rate.advance(size_bytes, is_given_up)
            })
        });
        match verified {
            Ok(Some(file)) => {
                add(&self.shared.counters.verified_bytes, file.size_bytes);
                self.verification.postpone(file.file_count * copies.len());
                self.verification.last = Some((place.id, file.name));
            }
            Ok(None) => {
                let next = behind(&copies, place.id).unwrap_or(place);
                self.verification.last = Some((next.id, String::new()));
            }
            Err(Setback::Failed(error))
                if !is_of_the_process(&error) && !self.shared.pause(Duration::ZERO) =>
            {
                tracing::error!(path = %place.path.display(), %error, "a metadata copy is damaged; it is made anew");
                self.give_up(place, live.generation, Suspicion::failed(error));
            }
            Err(_) => {}
        }
    }

    /// Reads all of the primary, and fails with [`Setback::Unread`] if that cannot be done, or if something is damaged
    /// while there is another copy to move to. Without one, a copy of what is left is better than none.
    pub(crate) fn verify_primary(&self, live: &Arc<Live>) -> Result<(), Setback> {
        let database = Arc::clone(live);
        let mut rate = self.pace();
        let read = self.work_on(&[&live.place], move |is_given_up| {
            database
                .database
                .read_all(&mut |size_bytes| rate.advance(size_bytes, is_given_up))
        });
        let error = match read {
            Err(Setback::Failed(error)) if !self.shared.pause(Duration::ZERO) => error,
            other => return other,
        };
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::error!(path = %live.place.path.display(), %error, "the metadata database is damaged");
            if self.shared.view().holders.len() < 2 {
                return Ok(());
            }
        }
        Err(Setback::Unread(error))
    }

    /// What copies and reads in the background keep to.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(Arc::clone(&self.shared), self.bytes_per_second_max)
    }
}
