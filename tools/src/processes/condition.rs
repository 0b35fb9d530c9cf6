//! What a storage node or the metadata service says of itself to operators.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_gateway::metadata_state::MetadataState as _;
use cairn_gateway::metrics::{MetricsError, export_disks, export_metadata};
use cairn_meta::kv::rocks::RocksKv;
use cairn_storage_node::ShardStore as _;

use crate::local_disks::Slot;
use crate::serve::RocksState;

/// The state of a process, as of now.
#[async_trait]
pub(super) trait Condition: fmt::Debug + Send + Sync + 'static {
    /// Whether it can do what gateways call it for.
    async fn is_ready(&self) -> bool;

    /// Its figures, in Prometheus' text format.
    async fn metrics(&self) -> Result<String, MetricsError>;
}

/// A storage node: ready while one of its disks works, since disks fail alone.
#[derive(Debug)]
pub(super) struct NodeCondition(pub(super) Vec<Arc<Slot>>);

#[async_trait]
impl Condition for NodeCondition {
    async fn is_ready(&self) -> bool {
        for slot in &self.0 {
            if slot.is_working().await {
                return true;
            }
        }
        false
    }

    async fn metrics(&self) -> Result<String, MetricsError> {
        let mut disks = Vec::with_capacity(self.0.len());
        for slot in &self.0 {
            match slot.status().await {
                Ok(status) => disks.push(status),
                Err(error) => tracing::warn!(%error, "a disk has no figures now"),
            }
        }
        export_disks(&disks)
    }
}

/// The metadata service: ready while the database can be used.
#[derive(Debug)]
pub(super) struct MetadataCondition(RocksState);

impl MetadataCondition {
    pub(super) fn of(kv: &Arc<RocksKv>) -> Self {
        Self(RocksState(Arc::clone(kv)))
    }
}

#[async_trait]
impl Condition for MetadataCondition {
    async fn is_ready(&self) -> bool {
        self.0.status().await.healthy
    }

    async fn metrics(&self) -> Result<String, MetricsError> {
        export_metadata(&self.0.status().await)
    }
}
