//! Several processes: any two storage nodes may die or lose their disk, and with them the metadata service a directory of
//! its three; the metadata service may die, a gateway may die.
//!
//! Method: six storage nodes in three zones, a metadata service and two gateways, all real processes. Each pair of
//! nodes in turn is killed, or has its disks taken away or their bytes flipped, and the metadata service is killed and
//! started again with one directory empty; all objects must be read back whole, and new writes succeed. Then the nodes
//! are back before the next pair is lost. With three gone, what cannot be read or written is refused with a clear error.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use aws_sdk_s3::Client;
use cairn_tests::cluster::Cluster;
use cairn_tests::damage::{flip_bytes_in_segments, pairs};
use cairn_tests::eventually::eventually;
use cairn_tests::faults::{self, Messages};
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, delete, get, list, put, refusal};

const BUCKET: &str = "cluster";
/// Empty, a copy, the smallest that is erasure-coded or nearly so, one chunk, several chunks.
const SIZES: [usize; 5] = [0, 1, 40_000, 4 << 20, 9_000_000];
/// Of these sizes on, objects are erasure-coded (4+2): not to be read from three disks, nor written to them.
const CODED_FROM: usize = 40_000;

/// A cluster with one gateway that has an object of each size, and a client of it.
async fn filled() -> (Cluster, Client) {
    let cluster = Cluster::start(1);
    let client = client(cluster.endpoint(0));
    fill(&client).await;
    (cluster, client)
}

async fn fill(client: &Client) {
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    store_all(client, "").await;
}

/// Stores an object of each size.
async fn store_all(client: &Client, prefix: &str) {
    for size in SIZES {
        let key = format!("{prefix}object-{size}");
        put(client, BUCKET, &key, payload(size, 5)).await.unwrap();
    }
}

async fn assert_all_readable(client: &Client, context: &str) {
    assert_readable(client, "", context).await;
}

async fn assert_readable(client: &Client, prefix: &str, context: &str) {
    for size in SIZES {
        let body = get(client, BUCKET, &format!("{prefix}object-{size}"))
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(body == payload(size, 5), "{context}: {size}");
    }
}

async fn assert_writable(client: &Client, context: &str) {
    for size in SIZES {
        put(client, BUCKET, "new", payload(size, 9))
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let body = get(client, BUCKET, "new").await;
        assert!(body.unwrap() == payload(size, 9), "{context}: {size}");
    }
}

#[tokio::test]
async fn two_gateways_show_the_same_objects() {
    let cluster = Cluster::start(2);
    let [first, second] = [0, 1].map(|gateway| client(cluster.endpoint(gateway)));
    fill(&first).await;
    assert_all_readable(&second, "through the other gateway").await;
    delete(&second, BUCKET, "object-1").await.unwrap();
    assert_eq!(
        get(&first, BUCKET, "object-1").await.unwrap_err(),
        "NoSuchKey"
    );
}

#[tokio::test]
async fn any_two_storage_nodes_may_be_killed() {
    damage_every_pair(Damage::Killed).await;
}

#[tokio::test]
async fn any_two_storage_nodes_may_lose_their_disks() {
    damage_every_pair(Damage::DisksRemoved).await;
}

#[tokio::test]
async fn bytes_may_be_flipped_on_the_disks_of_any_two_storage_nodes() {
    damage_every_pair(Damage::BytesFlipped).await;
}

/// What two storage nodes suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Killed,
    /// While they are running.
    DisksRemoved,
    /// While they are not running, and for good.
    BytesFlipped,
}

impl Damage {
    fn expected(self) -> &'static [Messages] {
        match self {
            Self::Killed => &[],
            Self::DisksRemoved => &[faults::DISK_FAILS],
            // Chunks of what was stored for earlier pairs, and is not read again.
            Self::BytesFlipped => &[faults::BYTES_ARE_FLIPPED, faults::CHUNK_IS_LOST],
        }
    }

    fn inflict(self, cluster: &mut Cluster, node: usize) {
        match self {
            Self::Killed => cluster.kill_node(node),
            Self::DisksRemoved => cluster.hide_disk(node),
            Self::BytesFlipped => {
                cluster.kill_node(node);
                flip_bytes_in_segments(&cluster.disk(node));
                cluster.restart_node(node);
            }
        }
    }

    fn undo(self, cluster: &mut Cluster, node: usize) {
        match self {
            Self::Killed => cluster.restart_node(node),
            Self::DisksRemoved => cluster.bring_disk_back(node),
            Self::BytesFlipped => {}
        }
    }
}

/// Damages each pair of nodes in turn, and the metadata at the same time: all objects must be read back whole, and new
/// writes succeed. Then the nodes are back before the next pair is damaged.
async fn damage_every_pair(damage: Damage) {
    let (mut cluster, client) = filled().await;
    cluster.expect(damage.expected());
    cluster.expect(&[
        faults::SHARDS_ARE_AWAY,
        faults::DISK_OWNER_IS_KILLED,
        faults::METADATA_ARE_AWAY,
        faults::METADATA_DIRECTORY_IS_MISSING,
    ]);
    for (turn, pair) in pairs().enumerate() {
        let context = format!("{damage:?}: nodes {pair:?}");
        let mut prefix = String::new();
        if damage == Damage::BytesFlipped {
            // What was stored before has lost as much as it may to the pairs before.
            prefix = format!("{turn}/");
            store_all(&client, &prefix).await;
        }
        for node in pair {
            damage.inflict(&mut cluster, node);
        }
        if damage == Damage::DisksRemoved {
            // Before the gateway knows of it, and after: else it would take them for back while they are not.
            assert_writable(&client, &context).await;
            eventually(&context, async || left_are(&cluster, 4).await).await;
        }
        lose_metadata_directory(&mut cluster, turn).await;
        if damage == Damage::BytesFlipped {
            eventually(&context, async || all_is_back(&cluster).await).await;
        }
        assert_readable(&client, &prefix, &context).await;
        assert_writable(&client, &context).await;
        for node in pair {
            damage.undo(&mut cluster, node);
        }
        eventually(&context, async || all_is_back(&cluster).await).await;
    }
}

/// Kills the metadata service, empties one of its directories, and starts it again.
async fn lose_metadata_directory(cluster: &mut Cluster, turn: usize) {
    cluster.kill_meta();
    cluster.empty_metadata_directory(turn);
    cluster.restart_meta();
    eventually("metadata that answer", async || {
        let client = client(cluster.endpoint(0));
        list(&client, BUCKET).await
    })
    .await;
}

/// Whether the gateway knows that only so many disks can be used.
async fn left_are(cluster: &Cluster, count: usize) -> Result<(), String> {
    let healthy = Metrics::of(cluster.endpoint(0))
        .await?
        .disk_count("healthy")?;
    if healthy == count {
        Ok(())
    } else {
        Err(format!("{healthy} healthy disks"))
    }
}

/// Whether the gateway reports every disk as usable, and the metadata may lose another directory.
async fn all_is_back(cluster: &Cluster) -> Result<(), String> {
    let disks = Metrics::of(cluster.endpoint(0)).await?;
    let healthy = disks.disk_count("healthy")?;
    let metadata = Metrics::of(cluster.meta_endpoint()).await?;
    let copies = metadata.value("cairn_meta_figure{figure=\"copies\"}")?;
    match (healthy, copies) {
        (Cluster::NODE_COUNT, 2) => Ok(()),
        _ => Err(format!("{healthy} healthy disks, {copies} copies")),
    }
}

/// What became of a write: `Ok`, or status and code of the refusal.
async fn try_put(client: &Client, key: &str, size: usize) -> Result<(), String> {
    let request = client.put_object().bucket(BUCKET).key(key);
    let answer = request.body(payload(size, 9).into()).send().await;
    answer.map(drop).map_err(|error| refusal(&error))
}

#[tokio::test]
async fn a_new_cluster_is_coded_for_all_its_disks_however_late_their_nodes_are() {
    let mut cluster = Cluster::start(0);
    let late = 1..Cluster::NODE_COUNT;
    for node in late.clone() {
        cluster.kill_node(node);
    }
    let mut waiting = cluster.start_misled_gateway(|_| {});
    waiting.expect(&[faults::GATEWAY_HAS_TO_WAIT, faults::SHARDS_ARE_AWAY]);
    eventually("a line that names those it waits for", async || {
        let log = waiting.stderr();
        let mut lines = log.lines();
        let names_all = |line: &&str| {
            late.clone()
                .all(|node| line.contains(cluster.node_endpoint(node)))
        };
        lines
            .find(|line| line.contains("waiting before serving") && names_all(line))
            .filter(|line| line.contains("--erasure"))
            .map(drop)
            .ok_or_else(|| log.clone())
    })
    .await;
    assert_eq!(waiting.stdout(), "", "it must not serve");
    for node in late {
        cluster.restart_node(node);
    }
    waiting.endpoint().unwrap();
    let welcome = waiting.stdout();
    assert!(
        welcome.contains("with 6 disks on 6 nodes, coded 4+2"),
        "{welcome}"
    );

    // It has its coding now, and waits for nobody.
    for node in 1..Cluster::NODE_COUNT {
        cluster.kill_node(node);
    }
    let mut second = cluster.start_misled_gateway(|_| {});
    second.expect(&[faults::SHARDS_ARE_AWAY]);
    second.endpoint().unwrap();
    let welcome = second.stdout();
    assert!(
        welcome.contains("with 1 disks on 6 nodes, coded 4+2"),
        "{welcome}"
    );
}

/// Which disk a storage node has in the map of a gateway; an error while the map has not one disk for each node.
async fn disk_of_node(gateway: &str, node: usize) -> Result<String, String> {
    let metrics = Metrics::of(gateway).await?;
    let disks = metrics.samples("cairn_disk_info")?;
    let host = format!("host=\"node{node}\"");
    match disks.iter().find(|(labels, _)| labels.contains(&host)) {
        Some((labels, _)) if disks.len() == Cluster::NODE_COUNT => Ok((*labels).to_owned()),
        _ => Err(format!("{disks:?}")),
    }
}

/// Whether no disk is missed and nothing waits to be repaired.
async fn is_whole(gateway: &str) -> Result<(), String> {
    let metrics = Metrics::of(gateway).await?;
    for queue in ["missed_disks", "repairs"] {
        let depth = metrics.value(&format!("cairn_engine_queue_depth{{queue=\"{queue}\"}}"))?;
        if depth != 0 {
            return Err(format!("{depth} {queue}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_replaced_disk_is_refilled_and_the_old_one_is_forgotten() {
    let mut cluster = Cluster::start_with(1, &["--disk-lost-after=1s"]);
    let faults = [faults::SHARDS_ARE_AWAY, faults::DISK_OWNER_IS_KILLED];
    cluster.expect(&faults);
    let gateway = cluster.endpoint(0).to_owned();
    fill(&client(&gateway)).await;
    let old = disk_of_node(&gateway, 0).await.unwrap();

    cluster.kill_node(0);
    cluster.replace_disk(0);
    cluster.restart_node(0);
    eventually("one disk in the place of the other", async || {
        let disk = disk_of_node(&gateway, 0).await?;
        (disk != old).then_some(()).ok_or(disk)
    })
    .await;
    eventually("redundancy", async || is_whole(&gateway).await).await;

    // If it were still known, this one would miss it for a quarter of an hour.
    let mut second = cluster.start_misled_gateway(|_| {});
    second.expect(&faults);
    let gateway = second.endpoint().unwrap();
    eventually("redundancy", async || is_whole(&gateway).await).await;
    assert_ne!(disk_of_node(&gateway, 0).await.unwrap(), old);

    cluster.kill_node(2);
    cluster.kill_node(5);
    assert_all_readable(&client(&gateway), "two other nodes killed").await;
}

#[tokio::test]
async fn with_three_nodes_gone_errors_are_clear_and_all_is_back_when_they_are() {
    let (mut cluster, client) = filled().await;
    cluster.expect(&[
        faults::SHARDS_ARE_AWAY,
        faults::TOO_MANY_SHARDS_ARE_AWAY,
        faults::DISK_OWNER_IS_KILLED,
    ]);
    for node in [0, 2, 4] {
        cluster.kill_node(node);
    }
    let mut written = Vec::new();
    for size in SIZES {
        let read = client.get_object().bucket(BUCKET);
        let read = read.key(format!("object-{size}")).send().await;
        let read = read.map_err(|error| refusal(&error)).err();
        let key = format!("new-{size}");
        let refused = try_put(&client, &key, size).await.err();
        for refusal in [&read, &refused].into_iter().flatten() {
            assert_eq!(refusal, "503 ServiceUnavailable", "{size}");
        }
        // Copies may all be on the three that are left.
        if size >= CODED_FROM {
            assert!(read.is_some(), "{size} was read");
            assert!(refused.is_some(), "{size} was written");
        }
        written.push((key, size, refused.is_none()));
    }
    for node in [0, 2, 4] {
        cluster.restart_node(node);
    }
    eventually("three nodes are back", async || all_is_back(&cluster).await).await;
    assert_all_readable(&client, "three nodes are back").await;
    for (key, size, is_written) in written {
        let expected = if is_written {
            Ok(payload(size, 9))
        } else {
            Err("NoSuchKey".to_owned())
        };
        assert!(get(&client, BUCKET, &key).await == expected, "{key}");
    }
    assert_writable(&client, "three nodes are back").await;
}

#[tokio::test]
async fn the_metadata_service_may_die_and_lose_its_directory() {
    let (mut cluster, client) = filled().await;
    cluster.expect(&[
        faults::METADATA_ARE_AWAY,
        faults::METADATA_DIRECTORY_IS_MISSING,
    ]);
    cluster.kill_meta();
    assert!(get(&client, BUCKET, "object-1").await.is_err());
    cluster.empty_metadata_directory(0);
    cluster.restart_meta();
    eventually("restored metadata", async || {
        get(&client, BUCKET, "object-1").await
    })
    .await;
    assert_all_readable(&client, "restored metadata").await;
}

#[tokio::test]
async fn metadata_that_begin_anew_under_disks_in_use_are_refused() {
    let (mut cluster, _) = filled().await;
    cluster.expect(&[faults::GATEWAY_IS_KILLED]);
    cluster.kill_gateway(0);
    cluster.kill_meta();
    cluster.set_metadata_aside();
    cluster.restart_meta();
    let mut gateway = cluster.start_misled_gateway(|_| {});
    assert!(!gateway.wait().success());
    let stderr = gateway.stderr();
    assert!(
        stderr.contains("is empty, and the storage nodes hold"),
        "{stderr}"
    );

    cluster.kill_meta();
    cluster.bring_metadata_back();
    cluster.restart_meta();
    cluster.restart_gateway(0);
    assert_all_readable(&client(cluster.endpoint(0)), "its own metadata").await;
}

#[tokio::test]
async fn a_killed_gateway_takes_nothing_with_it() {
    let mut cluster = Cluster::start(2);
    cluster.expect(&[faults::GATEWAY_IS_KILLED]);
    let [first, second] = [0, 1].map(|gateway| client(cluster.endpoint(gateway)));
    fill(&first).await;
    cluster.kill_gateway(0);
    assert_all_readable(&second, "the other gateway").await;
    cluster.restart_gateway(0);
    assert_all_readable(&client(cluster.endpoint(0)), "the restarted gateway").await;
}
