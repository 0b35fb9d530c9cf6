//! What a large PUT costs in the gateway: MD5 of concurrent streams, and coding a chunk.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing better to do"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use cairn_gateway::md5_lanes::{Md5Pool, Md5Stream};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::join_all;
use md5::{Digest, Md5};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// What a request hands over at a time.
const BATCH_SIZE_BYTES: usize = 512 << 10;

const CHUNK_SIZE_BYTES: usize = 4 << 20;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    md5_of_streams(&mut criterion);
    encode_chunk(&mut criterion);
    criterion.final_summary();
}

/// One batch of each stream, hashed one after the other, and by the pool.
fn md5_of_streams(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    // The pool's workers are tasks of the runtime in whose context it is given work.
    let _context = runtime.enter();
    let pool = Md5Pool::new();
    let mut group = criterion.benchmark_group("md5");
    for stream_count in [1, 4, 8] {
        let batches: Vec<Bytes> = (0..stream_count)
            .map(|stream| vec![stream; BATCH_SIZE_BYTES].into())
            .collect();
        let size_bytes = batches.iter().map(|batch| batch.len() as u64).sum();
        group.throughput(Throughput::Bytes(size_bytes));
        group.bench_function(BenchmarkId::new("one_by_one", stream_count), |bencher| {
            bencher.iter(|| -> Vec<_> { batches.iter().map(Md5::digest).collect() });
        });
        group.bench_function(BenchmarkId::new("pool", stream_count), |bencher| {
            bencher.iter(|| {
                let update = |batch: &Bytes| pool.update(Md5Stream::new(), vec![batch.clone()]);
                runtime.block_on(join_all(batches.iter().map(update)))
            });
        });
    }
    group.finish();
}

/// The library, called as the engine calls it.
fn encode_chunk(criterion: &mut Criterion) {
    let coder = ReedSolomon::new(4, 2).unwrap();
    let data = vec![0x5a; CHUNK_SIZE_BYTES];
    let data: Vec<&[u8]> = data.chunks(CHUNK_SIZE_BYTES / 4).collect();
    let mut parity = vec![vec![0; CHUNK_SIZE_BYTES / 4]; 2];
    let mut group = criterion.benchmark_group("erasure_code");
    group.throughput(Throughput::Bytes(CHUNK_SIZE_BYTES as u64));
    group.bench_function("encode_4+2", |bencher| {
        bencher.iter(|| {
            coder.encode_sep(&data, &mut parity).unwrap();
            black_box(&parity);
        });
    });
    group.finish();
}
