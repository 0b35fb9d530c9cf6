//! The cluster: its identity, its geometry, its disks.

use serde::{Deserialize, Serialize};

use super::Coding;
use crate::codec::Record;
use crate::ids::{ClusterId, DiskId};

/// What is fixed for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its identity, also on every disk.
    pub cluster_id: ClusterId,
    /// How new chunks are coded.
    pub geometry: Coding,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
}

impl Record for ClusterRecord {
    const NAME: &'static str = "cluster record";
}

/// That the metadata were made anew from the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RebuildRecord {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

impl Record for RebuildRecord {
    const NAME: &'static str = "rebuild record";
}

/// A disk of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// Its identity, also in its identity file.
    pub id: DiskId,
    /// How it is reached.
    pub node: DiskNode,
    /// Its directory on its node.
    pub path: String,
    /// The host it is in: a failure domain.
    pub host: String,
    /// The zone the host is in: a failure domain.
    pub zone: String,
    /// Whether it takes new shards.
    pub state: DiskState,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: u64,
}

impl Record for DiskRecord {
    const NAME: &'static str = "disk record";
}

/// How a disk is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskNode {
    /// In this process.
    Local,
    /// Through the storage node at this URL.
    Url(String),
}

/// What a disk is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskState {
    /// Takes new shards.
    Active,
    /// Is read, takes no new shards; what it holds is moved away.
    Draining,
    /// Holds nothing and is not asked.
    Retired,
}
