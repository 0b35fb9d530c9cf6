//! Disks as directories, images of them as a crash leaves them, and waiting for conditions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::{OpenError, OpenReport, RocksKv, RocksKvOptions, RocksKvStatus};
use crate::kv::{Batch, KvError, KvStore};

/// Directories `0`, `1`, … in a temporary directory, each with a place `meta` in it; the first is the metadata
/// directory.
#[derive(Debug)]
pub(super) struct Disks {
    root: TempDir,
    pub(super) options: RocksKvOptions,
}

impl Disks {
    pub(super) fn new(disk_count: usize, copy_count: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        for disk in 0..disk_count {
            fs::create_dir(root.path().join(disk.to_string())).unwrap();
        }
        let place = |disk: usize| root.path().join(disk.to_string()).join("meta");
        let mut options = RocksKvOptions::new(place(0), [7; 16]);
        options.copies = (1..disk_count).map(place).collect();
        options.copy_count = copy_count;
        options.journal_file_size_bytes = 32 << 10;
        options.block_cache_bytes = 1 << 20;
        options.copy_timeout = Duration::from_secs(30);
        // Whose files are looked at while it runs shall not change them by itself.
        options.quiet_after = Duration::MAX;
        // With so few disks, those left when as many are lost as may be could be stale: somebody has to say that it is right.
        options.accept_missing_copies = disk_count <= 2 * copy_count;
        Self { root, options }
    }

    /// As [`Disks::new`], with a checkpoint after so many bytes of journal.
    pub(super) fn with_checkpoints(
        disk_count: usize,
        copy_count: usize,
        checkpoint_after_bytes: u64,
    ) -> Self {
        let mut disks = Self::new(disk_count, copy_count);
        disks.options.checkpoint_after_bytes = checkpoint_after_bytes;
        disks
    }

    /// What all disks are in.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn place(&self, disk: usize) -> PathBuf {
        self.root.path().join(disk.to_string()).join("meta")
    }

    pub(super) fn open(&self) -> (RocksKv, OpenReport) {
        self.try_open().unwrap()
    }

    pub(super) fn try_open(&self) -> Result<(RocksKv, OpenReport), OpenError> {
        RocksKv::open(&self.options)
    }

    /// What a crash now would leave, asked from elsewhere.
    pub(super) fn imaging(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let (root, options) = (self.root.path().to_owned(), self.options.clone());
        move || Self::image_of(&root, &options)
    }

    /// What a crash now would leave (RocksDB has no log, so that its memtable is lost).
    pub(super) fn image(&self) -> Self {
        Self::image_of(self.root.path(), &self.options)
    }

    fn image_of(root: &Path, options: &RocksKvOptions) -> Self {
        let disk_count = options.copies.len() + 1;
        let mut image = Self::new(disk_count, options.copy_count);
        for disk in 0..disk_count {
            let place = root.join(disk.to_string()).join("meta");
            copy_tree(&place, &image.place(disk)).unwrap();
        }
        let moved = |place: &PathBuf| image.root.path().join(place.strip_prefix(root).unwrap());
        image.options = RocksKvOptions {
            dir: moved(&options.dir),
            copies: options.copies.iter().map(moved).collect(),
            ..options.clone()
        };
        image
    }

    /// Empties a disk, as a new one in its place would be.
    pub(super) fn lose(&self, disk: usize) {
        // The store may be creating files at the same time, which makes the removal of a directory fail.
        while let Err(error) = fs::remove_dir_all(self.place(disk)) {
            assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty, "{error}");
        }
    }

    /// Takes a disk away with its mount point, or brings back what `take_away` took.
    pub(super) fn take_away(&self, disk: usize) {
        rename(
            &self.root.path().join(disk.to_string()),
            &self.root.path().join(format!("{disk}.away")),
        );
    }

    pub(super) fn bring_back(&self, disk: usize) {
        rename(
            &self.root.path().join(format!("{disk}.away")),
            &self.root.path().join(disk.to_string()),
        );
    }

    pub(super) fn journal_file_count(&self, disk: usize) -> usize {
        fs::read_dir(self.place(disk).join("journal"))
            .unwrap()
            .count()
    }

    /// The only entry of a place whose name begins so.
    pub(super) fn entry(&self, disk: usize, prefix: &str) -> PathBuf {
        entries(&self.place(disk), prefix)
            .into_iter()
            .next()
            .unwrap()
    }
}

pub(super) fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    });
    paths.sort();
    paths
}

fn rename(from: &Path, to: &Path) {
    crate::durable_file::rename(from, to).unwrap();
}

/// Copies a directory; what vanishes meanwhile (unfinished files) is left out.
pub(super) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    fs::create_dir(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            match fs::copy(entry.path(), target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// Writes `bytes` over a file.
pub(super) fn overwrite(path: &Path, bytes: &[u8]) {
    crate::durable_file::replace_file(path, bytes).unwrap();
}

/// Flips a bit in the middle of a file.
pub(in super::super) fn flip_bit(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    overwrite(path, &bytes);
}

/// Has whoever writes these files, in place of any that are there, told that the disk is full.
pub(super) fn fill(unfinished: &[PathBuf]) {
    for path in unfinished {
        crate::durable_file::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
}

/// Undoes [`fill`].
pub(super) fn make_room(unfinished: &[PathBuf]) {
    for path in unfinished {
        fs::remove_file(path).unwrap();
    }
}

/// The places that hold the whole journal.
pub(super) fn holders(status: &RocksKvStatus) -> Vec<PathBuf> {
    let holders = status.places.iter().filter(|place| place.is_holder);
    holders.map(|place| place.path.clone()).collect()
}

pub(super) async fn try_put(store: &RocksKv, key: &str, value: &str) -> Result<(), KvError> {
    let mut batch = Batch::default();
    batch.put(key.to_owned(), value.to_owned());
    store.commit(batch).await
}

pub(super) async fn put(store: &RocksKv, key: &str, value: &str) {
    try_put(store, key, value).await.unwrap();
}

pub(super) async fn value(store: &RocksKv, key: &str) -> Option<String> {
    let value = store.get(key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

/// Asserts that these keys have these values.
pub(super) async fn assert_values(store: &RocksKv, expected: &[(&str, &str)]) {
    for (key, expected) in expected {
        let found = value(store, key).await;
        assert_eq!(found.as_deref(), Some(*expected), "{key}");
    }
}

/// Waits until a condition holds, looking every few milliseconds.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for 30 s in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
