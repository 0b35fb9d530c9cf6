//! `cairn gateway`: S3 in front of storage nodes and a metadata service. Any number of them, all alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_gateway::admin_api::MetadataStatus;
use cairn_gateway::engine::{DiskEntry, DiskRole, Disks, Geometry, Locality};
use cairn_gateway::measured_kv::MeasuredKv;
use cairn_gateway::metadata_state::MetadataState;
use cairn_gateway::metrics::MetadataRequests;
use cairn_meta::kv::remote::RemoteKv;
use cairn_meta::kv::{Batch, KvError, KvStore as _};
use cairn_meta::{ClusterRecord, DiskNode, DiskRecord, DiskState, Meta, MetaError};
use cairn_rpc::clock::{Clock as _, SystemClock};
use cairn_rpc::tls::TlsTrust;
use cairn_rpc::{ClientOptions, ClusterSecret, Endpoint};
use cairn_storage_node::http::{NodeClient, NodeDescription, NodeError};
use cairn_storage_node::{DiskId, ShardStore};
use tokio_util::sync::CancellationToken;

use super::coding_choice::choose_coding;
use super::say;
use crate::command::CommandError;
use crate::config::GatewayConfig;
use crate::serve::{
    FoundDisk, Front, FrontListeners, FrontParts, StartError, cluster_id, geometry_of,
    is_coded_differently, register, register_disks,
};

/// Between two looks at the nodes: a disk that was added is used after this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// While the metadata service or all nodes are still starting.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the metadata service may take to say how it does. Who asks for health waits a few seconds.
const METADATA_STATE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(
    config: GatewayConfig,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let mut gateway = tokio::select! {
        started = start(&config) => started?,
        // Nothing is half-done by a start that is dropped, as in `cairn serve`.
        () = stop.cancelled() => return Ok(()),
    };
    say(&gateway.welcome());
    let Gateway { front, lookout, .. } = &mut gateway;
    let disks = front.disks().clone();
    let failure = tokio::select! {
        error = front.failed() => Some(error),
        () = lookout.keep_looking(&disks) => None,
        () = stop.cancelled() => None,
    };
    gateway.front.stop().await;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A gateway that serves.
#[derive(Debug)]
struct Gateway {
    front: Front,
    is_tls: bool,
    lookout: Lookout,
    disk_count: usize,
}

impl Gateway {
    fn welcome(&self) -> String {
        format!(
            "Cairn gateway at {}://{} with {} disks on {} nodes, coded {}\n",
            if self.is_tls { "https" } else { "http" },
            self.front.address(),
            self.disk_count,
            self.lookout.nodes.len(),
            self.lookout.geometry,
        )
    }
}

async fn start(config: &GatewayConfig) -> Result<Gateway, StartError> {
    let Peers { kv, nodes } = Peers::of(config)?;
    let requests =
        MetadataRequests::new().map_err(|error| StartError::Internal(error.to_string()))?;
    let measured = MeasuredKv::new(Arc::clone(&kv) as _, requests.clone());
    let meta = Meta::new(Arc::new(measured), config.master_key.clone())
        .with_delete_delay(config.front.delete_delay);

    let (seen, geometry) = first_look(&meta, &nodes, config).await?;
    let listeners = FrontListeners::bind(&config.front).await?;
    let cluster = cluster_id(&config.cluster, config.cluster_id);
    let now_ms = SystemClock.now_ms();
    register(&meta, cluster, geometry, &seen.found, now_ms).await?;
    let mut lookout = Lookout {
        meta: meta.clone(),
        nodes,
        served: seen.served,
        entries: Vec::new(),
        geometry,
        has_complained: false,
        doubles: seen.doubles,
    };
    lookout.renew_entries().await?;
    let front = Front::start(FrontParts {
        listeners,
        config: &config.front,
        root: &config.root,
        drain_timeout: config.drain_timeout,
        geometry,
        disks: lookout.entries.clone(),
        meta,
        metadata_state: Arc::new(RemoteState { kv, requests }),
    })
    .await?;
    Ok(Gateway {
        front,
        is_tls: config.front.tls.is_some(),
        lookout,
        disk_count: seen.found.len(),
    })
}

/// The other processes that a gateway calls.
#[derive(Debug)]
struct Peers {
    kv: Arc<RemoteKv>,
    nodes: Vec<Node>,
}

impl Peers {
    fn of(config: &GatewayConfig) -> Result<Self, StartError> {
        let secret = ClusterSecret::new(config.cluster.secret.reveal())?;
        let options = ClientOptions {
            trust: config
                .cluster_ca_file
                .as_deref()
                .map(TlsTrust::in_file)
                .transpose()?,
            ..ClientOptions::default()
        };
        let node = |endpoint: &Endpoint| Node {
            url: endpoint.to_string(),
            client: NodeClient::with_options(endpoint.clone(), secret.clone(), options.clone()),
            stores: HashMap::new(),
        };
        Ok(Self {
            nodes: config.nodes.iter().map(node).collect(),
            kv: Arc::new(RemoteKv::with_options(
                config.meta.clone(),
                secret.clone(),
                options.clone(),
            )),
        })
    }
}

/// One storage node.
#[derive(Debug)]
struct Node {
    url: String,
    client: NodeClient,
    /// One for each disk, always the same: by it is known whether a disk in a new map is the one that was in the old.
    stores: HashMap<DiskId, Arc<dyn ShardStore>>,
}

impl Node {
    fn store(&mut self, disk_id: DiskId) -> Arc<dyn ShardStore> {
        let client = &self.client;
        let store = self.stores.entry(disk_id);
        Arc::clone(store.or_insert_with(|| client.disk(disk_id)))
    }
}

/// Waits until the metadata answer, and as many nodes as it takes to know how new objects are coded.
async fn first_look(
    meta: &Meta,
    nodes: &[Node],
    config: &GatewayConfig,
) -> Result<(Seen, Geometry), StartError> {
    let mut complaint = String::new();
    loop {
        let problem = match look_at_all(meta, nodes).await {
            Ok((seen, cluster)) => {
                refuse_lost_metadata(cluster.as_ref(), &config.meta, seen.shard_count)?;
                let before = cluster.and_then(|cluster| geometry_of(cluster.geometry));
                match choose_coding(config.front.erasure, before, seen.found.len(), &seen.silent) {
                    Ok(geometry) => {
                        seen.tell_doubles();
                        let disk_count = seen.found.len();
                        if seen.silent.is_empty() && disk_count < geometry.shard_count() {
                            tracing::warn!(disk_count, coding = %geometry, "the storage nodes have fewer disks than a chunk has shards; set `node` to all storage nodes, or `erasure` if there are no more");
                        }
                        for error in &seen.silent {
                            tracing::warn!(%error, coding = %geometry, "a storage node does not answer; serving without it");
                        }
                        return Ok((seen, geometry));
                    }
                    Err(missing) => missing.to_string(),
                }
            }
            Err(error @ MetaError::Kv(_)) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if problem != complaint {
            tracing::warn!(%problem, "waiting before serving");
            complaint = problem;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// The cluster's record is read last: had another gateway begun this store while the nodes were asked, it would be there.
async fn look_at_all(
    meta: &Meta,
    nodes: &[Node],
) -> Result<(Seen, Option<ClusterRecord>), MetaError> {
    meta.check_master_key().await?;
    let seen = look(nodes).await;
    Ok((seen, meta.cluster().await?))
}

/// Storage nodes that were in use behind metadata that are new: an empty namespace would make all shards garbage.
fn refuse_lost_metadata(
    cluster: Option<&ClusterRecord>,
    endpoint: &Endpoint,
    shard_count: u64,
) -> Result<(), StartError> {
    if shard_count > 0 && cluster.is_none() {
        return Err(StartError::MetadataNew {
            endpoint: endpoint.to_string(),
            shard_count,
        });
    }
    Ok(())
}

/// What a look at all nodes gave.
#[derive(Debug, Default)]
struct Seen {
    found: Vec<FoundDisk>,
    /// On all of them.
    shard_count: u64,
    served: ServedDisks,
    /// Disks that a second node serves as well.
    doubles: Vec<Double>,
    silent: Vec<NodeError>,
}

/// One disk at two addresses: its directory was copied, or one node has two names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Double {
    disk_id: DiskId,
    used: DiskNode,
    unused: DiskNode,
}

impl Seen {
    /// Takes in what the next node says of itself. Of a disk at two nodes the first counts.
    fn add(&mut self, url: &str, description: NodeDescription) {
        let NodeDescription { info, disks } = description;
        let disk_ids = disks.iter().map(|disk| disk.disk_id).collect();
        self.served.disks_of.insert(url.to_owned(), disk_ids);
        for disk in disks {
            let node = DiskNode::Url(url.to_owned());
            let known = self
                .found
                .iter()
                .find(|found| found.disk_id == disk.disk_id);
            if let Some(known) = known {
                self.doubles.push(Double {
                    disk_id: disk.disk_id,
                    used: known.node.clone(),
                    unused: node,
                });
                continue;
            }
            self.served.node_of.insert(disk.disk_id, url.to_owned());
            let status = disk.status.as_ref();
            self.shard_count += status.map_or(0, |status| status.shard_count);
            self.found.push(FoundDisk {
                disk_id: disk.disk_id,
                node,
                path: status.map(|status| status.path.clone()),
                host: info.host.clone(),
                zone: info.zone.clone(),
            });
        }
    }

    fn tell_doubles(&self) {
        for Double {
            disk_id,
            used,
            unused,
        } in &self.doubles
        {
            tracing::error!(%disk_id, ?used, ?unused, "two disks have one identity; the second is not used");
        }
    }
}

/// Which node has which disk, by the nodes' URLs, when each last answered. Disks that a node waits for are among them.
#[derive(Debug, Default)]
struct ServedDisks {
    disks_of: HashMap<String, Vec<DiskId>>,
    /// Of a disk at two nodes the one that is used.
    node_of: HashMap<DiskId, String>,
}

impl ServedDisks {
    /// Whether the node has answered, and without this disk: it was replaced, or taken out of the node's configuration.
    fn is_without(&self, url: &str, disk_id: DiskId) -> bool {
        let disks = self.disks_of.get(url);
        disks.is_some_and(|disks| !disks.contains(&disk_id))
    }

    /// Takes in what was seen later. Of a node that was silent then counts what it said before.
    fn extend(&mut self, later: Self) {
        self.disks_of.extend(later.disks_of);
        self.node_of.extend(later.node_of);
    }
}

/// Asks all nodes for their disks, side by side.
async fn look(nodes: &[Node]) -> Seen {
    let asked = futures_util::future::join_all(
        nodes
            .iter()
            .map(|node| async move { (node, node.client.describe().await) }),
    )
    .await;
    let mut seen = Seen::default();
    for (node, answer) in asked {
        match answer {
            Ok(description) => seen.add(&node.url, description),
            Err(error) => seen.silent.push(error),
        }
    }
    seen
}

/// Renews a gateway's map of disks.
#[derive(Debug)]
struct Lookout {
    meta: Meta,
    nodes: Vec<Node>,
    served: ServedDisks,
    /// The map as it is.
    entries: Vec<DiskEntry>,
    /// How this gateway codes new objects.
    geometry: Geometry,
    /// Whether it was said that another gateway does otherwise.
    has_complained: bool,
    /// Those of the last look.
    doubles: Vec<Double>,
}

impl Lookout {
    /// Takes in disks that nodes have got since, and what an administrator decided about them; leaves out disks that are
    /// gone.
    async fn keep_looking(&mut self, disks: &Disks) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            match self.look_again().await {
                Ok(true) => disks.update(self.entries.clone()),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "the map of disks cannot be renewed now"),
            }
        }
    }

    /// Whether the map has changed.
    async fn look_again(&mut self) -> Result<bool, MetaError> {
        let seen = look(&self.nodes).await;
        if seen.doubles != self.doubles {
            seen.tell_doubles();
        }
        let Seen {
            found,
            served,
            doubles,
            silent,
            ..
        } = seen;
        self.doubles = doubles;
        for error in silent {
            tracing::debug!(%error, "a storage node does not answer");
        }
        self.served.extend(served);
        register_disks(&self.meta, &found, SystemClock.now_ms()).await?;
        let differs = is_coded_differently(&self.meta, self.geometry).await?;
        if differs && !self.has_complained {
            tracing::warn!(ours = %self.geometry, "another gateway codes new objects differently; set `erasure` to the same on all, or restart those that were started with fewer disks");
        }
        self.has_complained = differs;
        self.renew_entries().await
    }

    /// Makes the map of what the metadata and the nodes say. Whether it has changed.
    async fn renew_entries(&mut self) -> Result<bool, MetaError> {
        let records = self.meta.disks().await?;
        let Self { nodes, served, .. } = self;
        let entries: Vec<DiskEntry> = records
            .into_iter()
            .filter_map(|record| entry(record, nodes, served))
            .collect();
        let has_changed = !is_same(&entries, &self.entries);
        self.entries = entries;
        Ok(has_changed)
    }
}

/// A disk that one of the configured nodes serves, or served last. Where this gateway has seen it counts more than the
/// record: another gateway may call the node by another name.
fn entry(record: DiskRecord, nodes: &mut [Node], served: &ServedDisks) -> Option<DiskEntry> {
    let role = match record.state {
        DiskState::Active => DiskRole::Active,
        DiskState::Draining => DiskRole::Draining,
        DiskState::Retired => return None,
    };
    let disk_id = DiskId(record.id.0);
    let url = match (served.node_of.get(&disk_id), &record.node) {
        (Some(url), _) | (None, DiskNode::Url(url)) => url,
        (None, DiskNode::Local) => return None,
    };
    let node = nodes.iter_mut().find(|node| node.url == *url)?;
    if served.is_without(url, disk_id) {
        return None;
    }
    Some(DiskEntry {
        store: node.store(disk_id),
        path: record.path,
        host: record.host,
        zone: record.zone,
        locality: Locality::Remote,
        role,
    })
}

fn is_same(entries: &[DiskEntry], others: &[DiskEntry]) -> bool {
    let same = |a: &DiskEntry, b: &DiskEntry| {
        Arc::ptr_eq(&a.store, &b.store)
            && a.role == b.role
            && a.path == b.path
            && a.host == b.host
            && a.zone == b.zone
    };
    entries.len() == others.len() && entries.iter().zip(others).all(|(a, b)| same(a, b))
}

/// The metadata service as this gateway sees it.
#[derive(Debug)]
struct RemoteState {
    kv: Arc<RemoteKv>,
    requests: MetadataRequests,
}

impl RemoteState {
    /// What is refused as other commits are. A queue that is full for a moment says that commits are made.
    async fn commit_nothing(&self) -> Result<(), KvError> {
        match self.kv.commit(Batch::default()).await {
            Err(KvError::Busy) => Ok(()),
            outcome => outcome,
        }
    }

    /// `ask` within the bound; otherwise why there is no answer.
    async fn ask<T>(&self, ask: impl Future<Output = Result<T, KvError>>) -> Result<T, String> {
        match tokio::time::timeout(METADATA_STATE_TIMEOUT, ask).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{} does not answer", self.kv.endpoint())),
        }
    }
}

#[async_trait]
impl MetadataState for RemoteState {
    async fn status(&self) -> MetadataStatus {
        let reads_and_commits = async {
            self.kv.get(b"\0health").await?;
            self.commit_nothing().await
        };
        let answer = self.ask(reads_and_commits).await;
        let healthy = answer.is_ok();
        let is_there = || format!("service at {}", self.kv.endpoint());
        MetadataStatus {
            backend: "remote".to_owned(),
            healthy,
            detail: answer.err().unwrap_or_else(is_there),
            ..MetadataStatus::default()
        }
    }

    async fn refusal(&self) -> Option<String> {
        self.ask(self.commit_nothing()).await.err()
    }

    fn requests(&self) -> Option<&MetadataRequests> {
        Some(&self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::MasterKey;
    use cairn_meta::kv::MemoryKv;
    use cairn_storage_node::http::{NodeDisk, NodeInfo};

    /// Nobody listens there.
    const NODES: [&str; 2] = ["http://127.0.0.1:1", "http://127.0.0.1:2"];

    fn disk(number: u8, node: &str) -> FoundDisk {
        FoundDisk {
            disk_id: DiskId([number; 16]),
            node: DiskNode::Url(node.to_owned()),
            path: None,
            host: "host".to_owned(),
            zone: "zone".to_owned(),
        }
    }

    /// Of a gateway with disks 1, 2 and 3 on one node and disk 4 on another.
    async fn lookout() -> Lookout {
        let secret = ClusterSecret::new("a secret of the cluster, long enough").unwrap();
        let nodes = NODES.map(|url| Node {
            url: url.to_owned(),
            client: NodeClient::connect(url.parse().unwrap(), secret.clone()),
            stores: HashMap::new(),
        });
        let [one, other] = NODES;
        let found = [disk(1, one), disk(2, one), disk(3, one), disk(4, other)];
        let meta = Meta::new(Arc::new(MemoryKv::new()), MasterKey::random());
        register_disks(&meta, &found, 1).await.unwrap();
        let mut lookout = Lookout {
            meta,
            nodes: nodes.into(),
            served: ServedDisks::default(),
            entries: Vec::new(),
            geometry: Geometry::for_disk_count(found.len()),
            has_complained: false,
            doubles: Vec::new(),
        };
        lookout.renew_entries().await.unwrap();
        lookout
    }

    /// The numbers of the disks in the map.
    fn numbers(lookout: &Lookout) -> Vec<u8> {
        let entries = lookout.entries.iter();
        entries.map(|entry| entry.store.disk_id().0[0]).collect()
    }

    #[tokio::test]
    async fn a_disk_is_reached_by_the_same_store_until_it_is_at_another_node() {
        let mut lookout = lookout().await;
        let before = lookout.entries.clone();
        assert!(!lookout.look_again().await.unwrap());
        assert!(is_same(&before, &lookout.entries));

        let moved = [disk(1, NODES[1])];
        register_disks(&lookout.meta, &moved, 2).await.unwrap();
        assert!(lookout.renew_entries().await.unwrap());
        let kept: Vec<bool> = before
            .iter()
            .zip(&lookout.entries)
            .map(|(before, now)| Arc::ptr_eq(&before.store, &now.store))
            .collect();
        assert_eq!(kept, [false, true, true, true]);
    }

    fn description(numbers: &[u8]) -> NodeDescription {
        let disk = |number: &u8| NodeDisk {
            disk_id: DiskId([*number; 16]),
            status: None,
        };
        NodeDescription {
            info: NodeInfo {
                host: "host".to_owned(),
                zone: "zone".to_owned(),
            },
            disks: numbers.iter().map(disk).collect(),
        }
    }

    #[tokio::test]
    async fn a_disk_at_two_nodes_counts_once_and_stays_at_the_first() {
        let mut seen = Seen::default();
        seen.add(NODES[0], description(&[1, 2]));
        seen.add(NODES[1], description(&[2, 3]));
        assert_eq!(
            seen.found,
            [disk(1, NODES[0]), disk(2, NODES[0]), disk(3, NODES[1])]
        );
        let [double] = &seen.doubles[..] else {
            panic!("{:?}", seen.doubles);
        };
        let [one, other] = NODES.map(|url| DiskNode::Url(url.to_owned()));
        assert_eq!(
            (double.disk_id, &double.used, &double.unused),
            (DiskId([2; 16]), &one, &other)
        );

        let mut lookout = lookout().await;
        lookout.served = seen.served;
        // As another gateway sees it, or as it calls the node.
        for node in [NODES[1], "http://another-name:1"] {
            let recorded = [disk(2, node)];
            register_disks(&lookout.meta, &recorded, 2).await.unwrap();
            lookout.renew_entries().await.unwrap();
            assert!(is_reached_through(&mut lookout, 2, 0), "{node}");
        }
        // The first node is gone, and the second has the disk.
        let mut later = Seen::default();
        later.add(NODES[1], description(&[2, 3]));
        lookout.served.extend(later.served);
        lookout.renew_entries().await.unwrap();
        assert!(is_reached_through(&mut lookout, 2, 1));
    }

    fn is_reached_through(lookout: &mut Lookout, disk: u8, node_index: usize) -> bool {
        let store = lookout.nodes[node_index].store(DiskId([disk; 16]));
        let mut entries = lookout.entries.iter();
        entries.any(|entry| Arc::ptr_eq(&entry.store, &store))
    }

    #[tokio::test]
    async fn a_disk_that_its_node_no_longer_serves_leaves_the_map_and_those_of_silent_nodes_stay() {
        let mut lookout = lookout().await;
        assert_eq!(numbers(&lookout), [1, 2, 3, 4]);
        // Disk 2 was replaced by disk 5.
        let answer = [1, 3, 5].map(|number| DiskId([number; 16]));
        lookout
            .served
            .disks_of
            .insert(NODES[0].to_owned(), answer.into());
        assert!(lookout.renew_entries().await.unwrap());
        assert_eq!(numbers(&lookout), [1, 3, 4]);
        // The node is silent now, and disk 2 does not come back for that.
        assert!(!lookout.look_again().await.unwrap());
        assert_eq!(numbers(&lookout), [1, 3, 4]);
    }
}
