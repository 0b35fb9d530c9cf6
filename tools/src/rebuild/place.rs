//! The new metadata directory while it is written: below its final place, so that it is on the same file system, and
//! in a directory that keeps a server from starting on it.
//!
//! ```text
//! meta/rebuilding/…          being written; interrupted, it is cleared by the next rebuild
//! meta/…, meta/rebuilding/   moved in part
//! meta/cairn-meta.json       moved last: now it is a metadata directory
//! ```

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::error::RebuildError;
use crate::durable_file;
use crate::serve::PLACE_FILE_NAME;

const UNFINISHED_NAME: &str = "rebuilding";
/// What may be in a directory that holds no metadata.
const HARMLESS_NAMES: [&str; 2] = ["LOCK", "lost+found"];

/// A metadata directory in the making.
#[derive(Debug)]
pub(super) struct NewPlace {
    target: PathBuf,
    unfinished: PathBuf,
}

impl NewPlace {
    /// Makes the directories.
    pub(super) fn begin(target: &Path) -> Result<Self, RebuildError> {
        let unfinished = target.join(UNFINISHED_NAME);
        durable_file::create_dir_all(&unfinished).map_err(RebuildError::io(&unfinished))?;
        Ok(Self {
            target: target.to_owned(),
            unfinished,
        })
    }

    /// Where to write.
    pub(super) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// Makes what was written the metadata of the store.
    pub(super) fn finish(self) -> Result<(), RebuildError> {
        durable_file::move_entries(&self.unfinished, &self.target, PLACE_FILE_NAME)
            .map_err(RebuildError::io(&self.target))
    }
}

/// Refuses if any of these directories holds something else than what an interrupted rebuild left.
pub(super) fn refuse_existing<'a>(
    places: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), RebuildError> {
    for place in places {
        let names = names(place)?;
        let is_ours = names.iter().any(|name| name == UNFINISHED_NAME)
            && names.iter().all(|name| name != PLACE_FILE_NAME);
        let is_vacant = names
            .iter()
            .all(|name| HARMLESS_NAMES.iter().any(|harmless| name == harmless));
        if !is_ours && !is_vacant {
            return Err(RebuildError::Exists {
                place: place.clone(),
            });
        }
    }
    Ok(())
}

/// Removes what an interrupted rebuild left in a directory that was not refused.
pub(super) fn clear_unfinished(place: &Path) -> Result<(), RebuildError> {
    let names = names(place)?;
    if names.iter().all(|name| name != UNFINISHED_NAME) {
        return Ok(());
    }
    // What makes them leftovers of a rebuild goes last.
    let others = names.iter().filter(|name| *name != UNFINISHED_NAME);
    let leftovers = others.filter(|name| *name != "lost+found");
    for name in leftovers.chain([&OsString::from(UNFINISHED_NAME)]) {
        let path = place.join(name);
        durable_file::remove(&path).map_err(RebuildError::io(&path))?;
    }
    Ok(())
}

fn names(place: &Path) -> Result<Vec<OsString>, RebuildError> {
    match std::fs::read_dir(place) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(RebuildError::io(place)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // The disk is not there or broken, which was judged when the disks were looked at.
        Err(error)
            if place
                .parent()
                .is_some_and(|disk| std::fs::read_dir(disk).is_err()) =>
        {
            tracing::warn!(path = %place.display(), %error, "it cannot be seen whether there are metadata");
            Ok(Vec::new())
        }
        Err(error) => Err(RebuildError::io(place)(error)),
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;

    fn refused(place: &Path) -> bool {
        refuse_existing([place.to_owned()].iter()).is_err()
    }

    fn make(place: &Path, names: &[&str]) {
        for name in names {
            std::fs::create_dir_all(place.join(name)).unwrap();
        }
    }

    #[test]
    fn only_vacant_places_and_leftovers_of_a_rebuild_are_taken() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("meta");
        assert!(!refused(&place));
        make(&place, &["lost+found"]);
        assert!(!refused(&place));
        make(&place, &["journal"]);
        assert!(refused(&place));
        make(&place, &[UNFINISHED_NAME]);
        assert!(!refused(&place));
        make(&place, &[PLACE_FILE_NAME]);
        assert!(refused(&place));
    }

    #[test]
    fn an_interrupted_rebuild_is_cleared_and_a_finished_one_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("meta");
        make(&place, &["journal", UNFINISHED_NAME]);
        clear_unfinished(&place).unwrap();
        assert_eq!(names(&place).unwrap(), Vec::<OsString>::new());

        let new = NewPlace::begin(&place).unwrap();
        make(new.unfinished(), &["journal", PLACE_FILE_NAME]);
        new.finish().unwrap();
        let mut names = names(&place).unwrap();
        names.sort();
        assert_eq!(names, [PLACE_FILE_NAME, "journal"]);
        clear_unfinished(&place).unwrap();
        assert!(refused(&place));
    }
}
