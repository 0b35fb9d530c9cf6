//! Checkpoints: RocksDB's files on another disk, from which, with the journal behind them, it can be made anew.
//!
//! A checkpoint is the directory `checkpoint-<sequence>`: RocksDB's files and `cairn-checkpoint.json`, which is two
//! lines, the JSON of [`Manifest`] and the BLAKE3 of that line in hexadecimal. It appears under its name only when
//! all of it is durable. SST files that the previous checkpoint already has are linked, not copied: their names are
//! unique within one RocksDB, which [`Manifest::database`] identifies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::database::Database;
use super::place::Place;
use super::roster::DatabaseId;
use crate::durable_file::{self, CopyError, UNFINISHED_SUFFIX};

const MANIFEST_NAME: &str = "cairn-checkpoint.json";
const FORMAT_VERSION: u32 = 1;

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format_version: u32,
    /// Whose metadata.
    pub(crate) cluster_id: String,
    /// The journal is needed from the next record on (RocksDB may hold some of them already).
    pub(crate) sequence: u64,
    /// Of which RocksDB the files are.
    pub(crate) database: DatabaseId,
    files: Vec<ManifestFile>,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestFile {
    pub(crate) name: String,
    size_bytes: u64,
    blake3: String,
}

impl ManifestFile {
    /// SST files are never changed in place, so a second name is as good as a copy.
    fn is_immutable(&self) -> bool {
        is_sst(&self.name)
    }

    /// Reads the file in `dir` from the disk, and fails unless it is as it was; returns its size.
    pub(crate) fn verify(
        &self,
        dir: &Path,
        progress: &mut dyn FnMut(usize) -> io::Result<()>,
    ) -> io::Result<u64> {
        let path = dir.join(&self.name);
        durable_file::forget_cached(&path)?;
        let (size_bytes, hash) = durable_file::hash_file(&path, progress)?;
        self.check(size_bytes, &hash, &path)?;
        Ok(size_bytes)
    }

    /// Fails unless what was read at `path` is this file.
    fn check(&self, size_bytes: u64, hash: &blake3::Hash, path: &Path) -> io::Result<()> {
        if size_bytes == self.size_bytes && hash.to_hex().as_str() == self.blake3 {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} does not have the checksum that its checkpoint lists",
                path.display()
            ),
        ))
    }
}

fn is_sst(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "sst")
}

/// How much a publication moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// Copied from the primary.
    pub(crate) copied_bytes: u64,
    /// Already there.
    pub(crate) reused_bytes: u64,
}

/// Links RocksDB's files, as they are now, into the build directory of its place.
pub(crate) fn build(database: &Database, place: &Place) -> Result<(), String> {
    let build_dir = place.checkpoint_build_dir();
    durable_file::remove_dir_all(&build_dir).map_err(|error| error.to_string())?;
    database
        .checkpoint(&build_dir)
        .map_err(|error| error.to_string())
}

/// Copies the files in `build_dir` (made by [`build`]) to `target` as its newest checkpoint, and removes
/// the older ones. `progress` is called for each piece copied, and before and behind all of them; it may wait or fail.
pub(crate) fn publish(
    build_dir: &Path,
    target: &Place,
    (cluster_id, database, sequence): ([u8; 16], DatabaseId, u64),
    progress: &mut dyn FnMut(usize) -> io::Result<()>,
) -> Result<Published, CopyError> {
    progress(0).map_err(CopyError::Stopped)?;
    let older = target.checkpoints().map_err(CopyError::Target)?;
    let previous = older.into_iter().find_map(|(_, dir)| {
        let manifest = read_manifest(&dir, cluster_id).ok()?;
        (manifest.database == database).then_some((dir, manifest))
    });
    let finished = target.checkpoint_dir(sequence);
    match read_manifest(&finished, cluster_id) {
        // Nothing was committed since: one sequence is one state, whichever RocksDB it comes from.
        Ok(_) => return Ok(Published::default()),
        // What cannot be read now may be whole, and is not removed.
        Err(error) if !is_no_manifest(&error) => return Err(CopyError::Target(error)),
        Err(_) => {}
    }
    let unfinished = target
        .path
        .join(format!("checkpoint-{sequence:020}{UNFINISHED_SUFFIX}"));
    durable_file::remove_dir_all(&finished)
        .and_then(|()| durable_file::remove_dir_all(&unfinished))
        .and_then(|()| durable_file::create_dir(&unfinished))
        .map_err(CopyError::Target)?;
    let source = Source {
        build_dir,
        previous,
        identity: (cluster_id, database, sequence),
    };
    let copied = source.copy_to(target, &unfinished, progress);
    let wanted = copied.and_then(|published| {
        progress(0).map_err(CopyError::Stopped)?;
        Ok(published)
    });
    let published = match wanted {
        Ok(published) => published,
        Err(error) => {
            // The next one has another name, and a disk that is full needs the space. What cannot be removed now is
            // removed at the next start.
            durable_file::remove_dir_all(&unfinished).unwrap_or_default();
            return Err(error);
        }
    };
    durable_file::rename(&unfinished, &finished)
        .and_then(|()| remove_all_but_newest(target))
        .map_err(CopyError::Target)?;
    Ok(published)
}

fn remove_all_but_newest(place: &Place) -> io::Result<()> {
    for (_, older) in place.checkpoints()?.into_iter().skip(1) {
        durable_file::remove_dir_all(&older)?;
    }
    Ok(())
}

/// What a checkpoint is made from.
struct Source<'a> {
    build_dir: &'a Path,
    /// An older checkpoint of the same RocksDB, on the target.
    previous: Option<(PathBuf, Manifest)>,
    identity: ([u8; 16], DatabaseId, u64),
}

impl Source<'_> {
    /// What is to be in it, with sizes in bytes.
    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = fs::read_dir(self.build_dir)?.map(|entry| {
            let entry = entry?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| io::Error::other("odd file name"))?;
            Ok((name, entry.metadata()?.len()))
        });
        entries.collect()
    }

    /// The same file in the older checkpoint, and where that is.
    fn reusable(&self, name: &str, size_bytes: u64) -> Option<(&Path, &ManifestFile)> {
        let (dir, manifest) = self.previous.as_ref()?;
        let file = manifest.files.iter().find(|file| file.name == name)?;
        (file.is_immutable() && file.size_bytes == size_bytes).then_some((dir, file))
    }

    /// Fills the new directory `unfinished` of `target`, durably. What does not leave room for journals there is not copied.
    fn copy_to(
        &self,
        target: &Place,
        unfinished: &Path,
        progress: &mut dyn FnMut(usize) -> io::Result<()>,
    ) -> Result<Published, CopyError> {
        let mut published = Published::default();
        let mut files = Vec::new();
        let mut uncopied = Vec::new();
        for (name, size_bytes) in self.files().map_err(CopyError::Source)? {
            if let Some((dir, file)) = self.reusable(&name, size_bytes) {
                durable_file::link(&dir.join(&name), &unfinished.join(&name))
                    .map_err(CopyError::Target)?;
                published.reused_bytes += size_bytes;
                files.push(file.clone());
            } else {
                uncopied.push((name, size_bytes));
            }
        }
        let mut left_bytes: u64 = uncopied.iter().map(|(_, size_bytes)| size_bytes).sum();
        for (name, size_bytes) in uncopied {
            // Each time: others write to this disk too.
            target.check_room(left_bytes).map_err(CopyError::Target)?;
            left_bytes -= size_bytes;
            let (from, to) = (self.build_dir.join(&name), unfinished.join(&name));
            let (size_bytes, hash) = durable_file::copy_file(&from, &to, progress)?;
            published.copied_bytes += size_bytes;
            files.push(ManifestFile {
                name,
                size_bytes,
                blake3: hash.to_hex().to_string(),
            });
        }
        let (cluster_id, database, sequence) = self.identity;
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            cluster_id: hex::encode(cluster_id),
            sequence,
            database,
            files,
        };
        encode(&manifest)
            .and_then(|bytes| durable_file::replace_file(&unfinished.join(MANIFEST_NAME), &bytes))
            .and_then(|()| durable_file::sync_dir(unfinished))
            .map_err(CopyError::Target)?;
        Ok(published)
    }
}

/// Makes the new RocksDB directory `target_dir` from the checkpoint in `dir`, verifying every byte. Files are linked
/// where the checkpoint is on the same disk, copied otherwise.
pub(crate) fn restore(dir: &Path, cluster_id: [u8; 16], target_dir: &Path) -> io::Result<()> {
    let manifest = read_manifest(dir, cluster_id)?;
    let unfinished = unfinished(target_dir);
    durable_file::remove_dir_all(&unfinished)?;
    durable_file::create_dir(&unfinished)?;
    for file in &manifest.files {
        let (from, to) = (dir.join(&file.name), unfinished.join(&file.name));
        let is_linked = file.is_immutable() && durable_file::link(&from, &to).is_ok();
        let (size_bytes, hash) = if is_linked {
            durable_file::hash_file(&to, &mut |_| Ok(()))?
        } else {
            durable_file::copy_file(&from, &to, &mut |_| Ok(()))?
        };
        file.check(size_bytes, &hash, &from)?;
    }
    durable_file::sync_dir(&unfinished)?;
    durable_file::rename(&unfinished, target_dir)
}

/// The files of the newest checkpoint of `place`, and where they are; none if it has no checkpoint.
pub(crate) fn newest_files(
    place: &Place,
    cluster_id: [u8; 16],
) -> io::Result<(PathBuf, Vec<ManifestFile>)> {
    let Some((_, dir)) = place.checkpoints()?.into_iter().next() else {
        return Ok((place.path.clone(), Vec::new()));
    };
    let manifest = read_manifest(&dir, cluster_id)?;
    Ok((dir, manifest.files))
}

/// Where [`restore`] makes a directory before it has its name.
pub(crate) fn unfinished(target_dir: &Path) -> PathBuf {
    let mut name = target_dir.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    name.into()
}

/// Reads a checkpoint's manifest. The error is the system's, or says that the file is damaged.
pub(crate) fn read_manifest(dir: &Path, cluster_id: [u8; 16]) -> io::Result<Manifest> {
    let path = dir.join(MANIFEST_NAME);
    parse(&fs::read(&path)?)
        .filter(|manifest| manifest.cluster_id == hex::encode(cluster_id))
        .ok_or_else(|| {
            let detail = format!("{} is damaged", path.display());
            io::Error::new(io::ErrorKind::InvalidData, detail)
        })
}

/// Whether there is no manifest, or none that could be read another time.
fn is_no_manifest(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::InvalidData].contains(&error.kind())
}

fn encode(manifest: &Manifest) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(manifest)?;
    let hash = blake3::hash(&bytes).to_hex();
    bytes.push(b'\n');
    bytes.extend_from_slice(hash.as_bytes());
    bytes.push(b'\n');
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Manifest> {
    let lines = bytes.strip_suffix(b"\n")?;
    let at = lines.iter().position(|&byte| byte == b'\n')?;
    let (json, hash) = (lines.get(..at)?, lines.get(at + 1..)?);
    (blake3::hash(json).to_hex().as_bytes() == hash).then_some(())?;
    let manifest: Manifest = serde_json::from_slice(json).ok()?;
    // A name with a slash would lead out of the directory.
    let names_are_plain = manifest.files.iter().all(|file| !file.name.contains('/'));
    (manifest.format_version == FORMAT_VERSION && names_are_plain).then_some(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place with a checkpoint of record 1 whose manifest cannot be opened, which says nothing of the checkpoint.
    fn place_with_checkpoint(dir: &Path) -> Place {
        let place = Place::claim(&dir.join("place"), [7; 16]).unwrap();
        durable_file::create_dir(&place.checkpoint_dir(1)).unwrap();
        let manifest = place.checkpoint_dir(1).join(MANIFEST_NAME);
        std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
        place
    }

    #[test]
    fn what_the_system_says_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let place = place_with_checkpoint(dir.path());
        let error = newest_files(&place, [7; 16]).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
    }

    #[test]
    fn a_checkpoint_that_may_be_whole_is_not_removed_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let place = place_with_checkpoint(dir.path());
        let identity = ([7; 16], DatabaseId([1; 8]), 1);
        let outcome = publish(&dir.path().join("build"), &place, identity, &mut |_| Ok(()));
        assert!(matches!(outcome, Err(CopyError::Target(_))), "{outcome:?}");
        assert_eq!(place.checkpoints().unwrap(), [(1, place.checkpoint_dir(1))]);
    }
}
