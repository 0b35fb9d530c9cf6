//! The namespace over the store in memory: what keys, records and checks cost without a disk.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing better to do"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta::kv::MemoryKv;
use cairn_meta::{
    BucketName, BucketRecord, CanonicalId, ChunkRecord, Coding, DataId, DataOwner, DataRecord,
    DiskId, MasterKey, Meta, NewData, NewObject, ObjectKey, SystemHeaders,
};
use cairn_rpc::random::random_bytes;
use criterion::Criterion;
use tokio::runtime::Runtime;

const OWNER: CanonicalId = CanonicalId([1; 32]);

/// Objects are replaced after so many, so that the store does not grow.
const OBJECT_COUNT: u32 = 1000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    put_object(&mut criterion, &runtime);
    criterion.final_summary();
}

fn put_object(criterion: &mut Criterion, runtime: &Runtime) {
    let meta = Meta::new(Arc::new(MemoryKv::new()), MasterKey::new([7; 32]));
    let name = BucketName::parse("bucket").unwrap();
    let bucket = runtime
        .block_on(meta.create_bucket(name, OWNER, "us-east-1", 1))
        .unwrap();
    let mut number = 0;
    criterion.bench_function("put_object", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % OBJECT_COUNT;
            let key = ObjectKey::parse(format!("directory/object-{number:06}")).unwrap();
            let object = object(&bucket, &key);
            let always = |_: Option<&_>| Ok::<(), Infallible>(());
            runtime
                .block_on(meta.put_object(&bucket, &key, object, 2, &always))
                .unwrap()
        });
    });
}

/// One of a chunk of 4 MiB.
fn object(bucket: &BucketRecord, key: &ObjectKey) -> NewObject {
    let size_bytes = 4 << 20;
    let record = DataRecord {
        size_bytes: u64::from(size_bytes),
        owner: DataOwner {
            bucket: bucket.id,
            key: key.clone(),
            part: None,
        },
        created_at_ms: 1,
        chunks: vec![ChunkRecord {
            size_bytes,
            coding: Coding::Erasure { data: 4, parity: 2 },
            shards: (0..6).map(|disk| Some(DiskId([disk; 16]))).collect(),
        }],
    };
    NewObject {
        modified_ms: None,
        size_bytes: record.size_bytes,
        etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        owner: OWNER,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
        data: Some(NewData::placed(DataId(random_bytes()), record)),
    }
}
