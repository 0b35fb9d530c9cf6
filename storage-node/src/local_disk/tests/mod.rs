//! The disk as its callers see it, on real files.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]

mod compacting;
mod crash;
mod damage;
mod failed_calls;
mod faulty_calls;
mod opening;
mod operation;
mod space;
mod waiting;
mod writing;

use super::*;
use crate::DataId;
use bytes::Bytes;
use std::path::PathBuf;

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

/// A formatted directory that goes away with the value.
struct TestDisk {
    directory: tempfile::TempDir,
}

impl TestDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        LocalDisk::format(directory.path(), CLUSTER).unwrap();
        Self { directory }
    }

    /// For tests that sync often and are not about the file system: on tmpfs, where there is one.
    fn in_memory() -> Self {
        let dir = Self::unformatted();
        LocalDisk::format(dir.path(), CLUSTER).unwrap();
        dir
    }

    fn unformatted() -> Self {
        Self {
            directory: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn options(&self) -> LocalDiskOptions {
        LocalDiskOptions {
            segment_size_bytes: 1 << 20,
            ..LocalDiskOptions::new(self.path(), CLUSTER)
        }
    }

    fn open(&self) -> LocalDisk {
        LocalDisk::open(self.options()).unwrap()
    }

    /// The segment files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.path().join("segments"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    }

    fn drop_index(&self) {
        std::fs::remove_dir_all(self.path().join("index")).unwrap();
    }
}

fn id(number: u32) -> ShardId {
    ShardId {
        data_id: DataId([5; 16]),
        chunk_index: number,
        shard_index: 0,
    }
}

/// Bytes that differ from shard to shard and from version to version, and do not compress.
fn payload(number: u32, version: u32, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&number.to_be_bytes())
        .update(&version.to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn shard(number: u32, version: u32, len: usize) -> ShardPut {
    let descriptor = Bytes::from(format!("shard {number} version {version}"));
    ShardPut {
        id: id(number),
        descriptor,
        payload: payload(number, version, len),
    }
}

async fn put(disk: &LocalDisk, number: u32, len: usize) {
    disk.put(shard(number, 0, len), Durability::Synced)
        .await
        .unwrap();
}

async fn read_whole(disk: &LocalDisk, number: u32) -> Result<Bytes, ShardError> {
    let Some(stat) = disk.stat(id(number)).await? else {
        return Err(ShardError::NotFound {
            id: id(number),
            disk_id: disk.disk_id(),
        });
    };
    Ok(disk.get(id(number), 0..stat.size_bytes).await?.into_bytes())
}

async fn counter(disk: &LocalDisk, name: &str) -> u64 {
    disk.status().await.unwrap().counters[name]
}
