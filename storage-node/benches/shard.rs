//! A shard of a large chunk (1 MiB) on its way to a disk and back, without syncs: what it costs in CPU.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing better to do"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use cairn_storage_node::{
    ClusterId, DataId, Durability, LocalDisk, LocalDiskOptions, ShardId, ShardPut, ShardStore,
};
use criterion::{Criterion, Throughput};

const SHARD_SIZE_BYTES: u32 = 1 << 20;
const BLOCK_SIZE_BYTES: usize = 64 << 10;

/// Shards are replaced after so many, so that the disk does not fill.
const SHARD_COUNT: u32 = 64;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    hash_blocks(&mut criterion);
    put_and_get(&mut criterion);
    criterion.final_summary();
}

fn payload() -> Bytes {
    vec![0x5a; SHARD_SIZE_BYTES as usize].into()
}

/// The library, called as records are made.
fn hash_blocks(criterion: &mut Criterion) {
    let payload = payload();
    let mut group = criterion.benchmark_group("blake3");
    group.throughput(Throughput::Bytes(SHARD_SIZE_BYTES.into()));
    group.bench_function("blocks_of_a_shard", |bencher| {
        bencher.iter(|| {
            for block in payload.chunks(BLOCK_SIZE_BYTES) {
                black_box(blake3::hash(block));
            }
        });
    });
    group.finish();
}

fn put_and_get(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cluster_id = ClusterId([1; 16]);
    LocalDisk::format(directory.path(), cluster_id).unwrap();
    let disk = {
        let _context = runtime.enter();
        LocalDisk::open(LocalDiskOptions::new(directory.path(), cluster_id)).unwrap()
    };
    let payload = payload();
    let id = |number| ShardId {
        data_id: DataId([2; 16]),
        chunk_index: number,
        shard_index: 0,
    };
    let mut group = criterion.benchmark_group("local_disk");
    group.throughput(Throughput::Bytes(SHARD_SIZE_BYTES.into()));
    let mut number = 0;
    let mut put = || {
        number = (number + 1) % SHARD_COUNT;
        let shard = ShardPut {
            id: id(number),
            descriptor: Bytes::from_static(b"descriptor"),
            payload: payload.clone(),
        };
        runtime
            .block_on(disk.put(shard, Durability::Buffered))
            .unwrap()
    };
    put();
    group.bench_function("put", |bencher| bencher.iter(&mut put));
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            runtime
                .block_on(disk.get(id(1), 0..SHARD_SIZE_BYTES))
                .unwrap()
        });
    });
    group.finish();
    runtime.block_on(disk.close()).unwrap();
}
