//! The service and its client over real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use cairn_rpc::{ClientOptions, ClusterSecret};
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::wire::{self, GetRequest, ListRequest, REPLY_SIZE_BYTES_MAX, WireError};
use super::{NodeClient, NodeDescription, NodeInfo, node_service};
use crate::fault::{Fault, FaultyShardStore};
use crate::{
    DataId, DiskHealth, DiskId, Durability, LIST_LIMIT_MAX, MemoryShardStore, ShardError, ShardId,
    ShardPage, ShardPut, ShardStat, ShardStore, WriteTicket, conformance,
};

const DISK: DiskId = DiskId([1; 16]);
const ID: ShardId = ShardId {
    data_id: DataId([2; 16]),
    chunk_index: 3,
    shard_index: 4,
};

fn secret() -> ClusterSecret {
    ClusterSecret::new("the secret of the cluster under test").unwrap()
}

fn info() -> NodeInfo {
    NodeInfo {
        host: "host-1".to_owned(),
        zone: "zone-a".to_owned(),
    }
}

struct Server {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { url, task }
}

impl Server {
    async fn of(disks: Vec<Arc<dyn ShardStore>>) -> Self {
        serve(node_service(disks, info(), secret())).await
    }

    fn client(&self) -> NodeClient {
        NodeClient::connect(self.url.parse().unwrap(), secret())
    }
}

fn shard() -> ShardPut {
    ShardPut {
        id: ID,
        descriptor: Bytes::from_static(b"descriptor"),
        payload: Bytes::from_static(b"payload"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_disk_conforms() {
    conformance::run(async || {
        let server = Server::of(vec![Arc::new(MemoryShardStore::new(DISK))]).await;
        (server.client().disk(DISK) as Arc<dyn ShardStore>, server)
    })
    .await;
}

#[tokio::test]
async fn a_node_describes_itself_and_its_disks() {
    let failed = FaultyShardStore::new(Arc::new(MemoryShardStore::new(DiskId([9; 16]))));
    failed.switch().set(Fault::Failed);
    let server = Server::of(vec![
        Arc::new(MemoryShardStore::new(DISK)),
        Arc::new(failed),
    ])
    .await;
    let NodeDescription { info, disks } = server.client().describe().await.unwrap();
    assert_eq!(info, self::info());
    let known: Vec<_> = disks
        .iter()
        .map(|disk| (disk.disk_id, disk.status.is_some()))
        .collect();
    assert_eq!(known, [(DISK, true), (DiskId([9; 16]), false)]);
}

#[tokio::test]
async fn a_disk_that_hangs_says_so_and_its_node_can_be_described_to_all() {
    let disk = FaultyShardStore::new(Arc::new(MemoryShardStore::new(DISK)));
    disk.switch().set(Fault::SaysHung);
    let server = Server::of(vec![Arc::new(disk)]).await;
    let status = server.client().disk(DISK).status().await.unwrap();
    assert_eq!(status.health, DiskHealth::Hung);
    let described = server.client().describe().await.unwrap().disks.remove(0);
    assert_eq!(described.status.unwrap().health, DiskHealth::Failed);
    // What gateways know that are older than it.
    let known = [DiskHealth::Healthy, DiskHealth::Full, DiskHealth::Failed];
    for (place, health) in (0_u8..).zip(known.into_iter().chain([DiskHealth::Hung])) {
        assert_eq!(wire::encode(&health).unwrap(), [place].as_slice());
    }
}

#[tokio::test]
async fn every_fault_of_a_disk_arrives_as_what_it_was() {
    let disk = FaultyShardStore::new(Arc::new(MemoryShardStore::new(DISK)));
    let switch = disk.switch();
    let server = Server::of(vec![Arc::new(disk)]).await;
    let remote = server.client().disk(DISK);
    let ticket = remote.put(shard(), Durability::Synced).await.unwrap();

    switch.set(Fault::Full);
    let full = remote.put(shard(), Durability::Synced).await;
    assert!(
        matches!(full, Err(ShardError::DiskFull { disk_id: DISK })),
        "{full:?}"
    );
    switch.set(Fault::Failed);
    let failed = remote.stat(ID).await;
    assert!(
        matches!(&failed, Err(ShardError::DiskFailed { path, .. }) if path.ends_with("injected")),
        "{failed:?}"
    );
    switch.set(Fault::CorruptReads);
    assert!(matches!(
        remote.get(ID, 0..1).await,
        Err(ShardError::Corrupt {
            id: ID,
            disk_id: DISK,
            ..
        })
    ));
    switch.set(Fault::Busy);
    assert!(matches!(
        remote.list(None, 1).await,
        Err(ShardError::Busy { disk_id: DISK })
    ));
    switch.set(Fault::Restarted);
    assert!(matches!(
        remote.sync(ticket).await,
        Err(ShardError::Restarted { disk_id: DISK })
    ));
    switch.set(Fault::Down);
    assert!(matches!(
        remote.verify(ID).await,
        Err(ShardError::Unreachable { disk_id: DISK, .. })
    ));
}

#[tokio::test]
async fn a_disk_that_the_node_does_not_have_has_failed() {
    let server = Server::of(vec![Arc::new(MemoryShardStore::new(DISK))]).await;
    let outcome = server.client().disk(DiskId([7; 16])).stat(ID).await;
    assert!(
        matches!(
            outcome,
            Err(ShardError::DiskFailed {
                disk_id: DiskId([7, ..]),
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn silence_and_absence_are_unreachable() {
    let disk = FaultyShardStore::new(Arc::new(MemoryShardStore::new(DISK)));
    disk.switch().set(Fault::Hang);
    let server = Server::of(vec![Arc::new(disk)]).await;
    let options = ClientOptions {
        call_timeout: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let client = NodeClient::with_options(server.url.parse().unwrap(), secret(), options);
    assert!(matches!(
        client.disk(DISK).status().await,
        Err(ShardError::Unreachable { .. })
    ));

    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = NodeClient::connect(format!("http://{nobody}").parse().unwrap(), secret());
    assert!(matches!(
        client.disk(DISK).status().await,
        Err(ShardError::Unreachable { .. })
    ));
    assert!(
        client
            .describe()
            .await
            .unwrap_err()
            .to_string()
            .contains(&nobody.to_string())
    );
}

#[tokio::test]
async fn another_secret_reaches_nothing() {
    let disk = Arc::new(MemoryShardStore::new(DISK));
    let server = Server::of(vec![Arc::clone(&disk) as Arc<dyn ShardStore>]).await;
    let stranger = ClusterSecret::new("a secret that is some other cluster's").unwrap();
    let remote = NodeClient::connect(server.url.parse().unwrap(), stranger).disk(DISK);
    let outcome = remote.put(shard(), Durability::Synced).await;
    assert!(
        matches!(&outcome, Err(ShardError::Unreachable { detail, .. }) if detail.contains("cluster secret"))
    );
    assert_eq!(disk.stat(ID).await.unwrap(), None);
}

#[test]
fn the_bytes_of_messages_are_those_documented() {
    let (head, payload) = (b"\x00\x00\x00\x16", b"payload");
    let header = [&[2; 16][..], b"\x03\x04\x01\x02de"].concat();
    let put = ShardPut {
        descriptor: Bytes::from_static(b"de"),
        ..shard()
    };
    let expected = Bytes::from([&head[..], &header, payload].concat());
    let (decoded, durability) = wire::decode_put(&expected).unwrap();
    assert_eq!(
        (decoded.id, &decoded.descriptor[..], durability),
        (ID, &b"de"[..], Durability::Synced)
    );
    assert_eq!(decoded.payload, put.payload);
    assert_eq!(
        wire::encode_put(put, Durability::Synced).unwrap().len(),
        expected.len()
    );
    let get = wire::encode(&GetRequest::new(ID, &(0..300))).unwrap();
    assert_eq!(get, [&[2; 16][..], b"\x03\x04\x00\xac\x02"].concat());
    assert_eq!(
        wire::encode(&WireError::UnknownDisk).unwrap(),
        b"\x09".as_slice()
    );
}

/// Listings are bounded by count, and what they list has no descriptors: that bounds their bytes.
#[test]
fn the_largest_page_of_a_listing_fits_into_a_reply() {
    let stat = ShardStat {
        id: ShardId {
            data_id: DataId([0xff; 16]),
            chunk_index: u32::MAX,
            shard_index: u8::MAX,
        },
        size_bytes: u32::MAX,
        written_at_ms: u64::MAX,
        descriptor: None,
    };
    let page = ShardPage {
        shards: vec![stat; LIST_LIMIT_MAX],
        is_truncated: true,
    };
    let len = wire::encode(&page).unwrap().len();
    assert_eq!(len, 380_003);
    assert!(len <= REPLY_SIZE_BYTES_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        drop(wire::decode_put(&Bytes::from(bytes.clone())));
        prop_assert!(wire::decode::<GetRequest>(&bytes).is_none() || bytes.len() >= 20);
        prop_assert!(wire::decode::<ListRequest>(&bytes).is_none() || bytes.len() >= 2);
        drop(wire::decode::<Vec<ShardId>>(&bytes));
        prop_assert!(wire::decode::<WriteTicket>(&bytes).is_none() || !bytes.is_empty());
        drop(wire::decode::<WireError>(&bytes));
        drop(wire::decode::<NodeDescription>(&bytes));
        drop(wire::decode::<ShardPage>(&bytes));
        drop(wire::decode::<Option<ShardStat>>(&bytes));
    }

    #[test]
    fn a_put_cut_anywhere_in_its_header_is_refused(cut in 0..26_usize) {
        let header = [b"\x00\x00\x00\x16", &[2; 16][..], b"\x03\x04\x01\x02de"].concat();
        prop_assert!(wire::decode_put(&Bytes::copy_from_slice(&header[..cut])).is_none());
    }
}
