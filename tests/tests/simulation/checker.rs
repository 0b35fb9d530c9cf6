//! What has to hold once nothing goes wrong any more and the background work is done. It knows nothing of the workload.

use std::collections::{BTreeMap, BTreeSet};

use cairn_meta::DataId;
use cairn_storage_node::{DiskId, ShardId};

use crate::process::Stores;

/// The first thing that is not as it has to be: a shard that is missing, one that nothing names, or work that waits.
pub(crate) async fn unsettled(stores: &Stores) -> Option<String> {
    let meta = stores.plain_metadata();
    let disks: BTreeMap<DiskId, _> = stores.disks.iter().map(|disk| (disk.id(), disk)).collect();
    let mut named: BTreeSet<(DiskId, ShardId)> = BTreeSet::new();
    let data = meta.list_data(None, 10_000).await.expect("a listing").data;
    for (data_id, record) in data {
        let record = record.expect("a record");
        for (chunk_index, chunk) in (0..).zip(&record.chunks) {
            let mut taken = BTreeSet::new();
            for (shard_index, placed) in (0..).zip(&chunk.shards) {
                let shard = ShardId {
                    data_id: cairn_storage_node::DataId(data_id.0),
                    chunk_index,
                    shard_index,
                };
                let Some(disk_id) = placed.map(|disk| DiskId(disk.0)) else {
                    return Some(format!("{shard} is placed nowhere"));
                };
                if !taken.insert(disk_id) {
                    return Some(format!("two shards of one chunk on {disk_id}: {shard}"));
                }
                if !disks[&disk_id].is_intact(shard).await {
                    return Some(format!("{shard} is not on {disk_id}, or is damaged"));
                }
                named.insert((disk_id, shard));
            }
        }
    }
    for disk in &stores.disks {
        for shard in disk.shards().await {
            if !named.contains(&(disk.id(), shard)) {
                return Some(format!("nothing names {shard} on {}", disk.id()));
            }
        }
    }
    let depths = meta.queue_depths().await.expect("depths");
    if depths.deletions.count > 0 || depths.repairs.count > 0 {
        return Some(format!("work waits: {depths:?}"));
    }
    let staged = meta.list_staged(None, 1).await.expect("a listing");
    staged.first().map(|id| format!("{id} is staged"))
}

/// All data that there are.
pub(crate) async fn data(stores: &Stores) -> Vec<DataId> {
    let meta = stores.plain_metadata();
    let data = meta.list_data(None, 10_000).await.expect("a listing").data;
    data.into_iter().map(|(id, _)| id).collect()
}
