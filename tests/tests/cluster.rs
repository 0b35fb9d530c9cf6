//! Several processes: any two storage nodes may die, the metadata service may die, a gateway may die.
//!
//! Method: six storage nodes in three zones, a metadata service and two gateways, all real processes. Each pair of
//! nodes is killed in turn while objects are read and written through both gateways.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use aws_sdk_s3::Client;
use cairn_tests::cluster::Cluster;
use cairn_tests::eventually::eventually;
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, get, put};

const BUCKET: &str = "cluster";
const SIZES: [usize; 5] = [0, 1, 40_000, 4 << 20, 9_000_000];

async fn fill(client: &Client) {
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    for size in SIZES {
        put(client, BUCKET, &format!("object-{size}"), payload(size, 5))
            .await
            .unwrap();
    }
}

async fn assert_all_readable(client: &Client, context: &str) {
    for size in SIZES {
        let body = get(client, BUCKET, &format!("object-{size}"))
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(body == payload(size, 5), "{context}: {size}");
    }
}

#[tokio::test]
async fn two_gateways_show_the_same_objects() {
    let cluster = Cluster::start(2);
    let [first, second] = [0, 1].map(|gateway| client(cluster.endpoint(gateway)));
    fill(&first).await;
    assert_all_readable(&second, "through the other gateway").await;
    second
        .delete_object()
        .bucket(BUCKET)
        .key("object-1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        get(&first, BUCKET, "object-1").await.unwrap_err(),
        "NoSuchKey"
    );
}

#[tokio::test]
async fn any_two_storage_nodes_may_be_killed() {
    let mut cluster = Cluster::start(1);
    let client = client(cluster.endpoint(0));
    fill(&client).await;
    for first in 0..6 {
        for second in first + 1..6 {
            let context = format!("nodes {first} and {second} killed");
            cluster.kill_node(first);
            cluster.kill_node(second);
            assert_all_readable(&client, &context).await;
            for size in SIZES {
                put(&client, BUCKET, "new", payload(size, 9))
                    .await
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(
                    get(&client, BUCKET, "new").await.unwrap() == payload(size, 9),
                    "{context}"
                );
            }
            cluster.restart_node(first);
            cluster.restart_node(second);
            // Full redundancy is noticed again before the next pair dies.
            eventually(&context, async || ready(&cluster).await).await;
        }
    }
}

/// Whether the gateway reports every disk as usable.
async fn ready(cluster: &Cluster) -> Result<(), String> {
    match Metrics::of(cluster.endpoint(0))
        .await?
        .disk_count("healthy")?
    {
        Cluster::NODE_COUNT => Ok(()),
        count => Err(format!("{count} healthy disks")),
    }
}

#[tokio::test]
async fn a_new_cluster_is_coded_for_all_its_disks_however_late_their_nodes_are() {
    let mut cluster = Cluster::start(0);
    let late = 1..Cluster::NODE_COUNT;
    for node in late.clone() {
        cluster.kill_node(node);
    }
    let mut waiting = cluster.start_misled_gateway(|_| {});
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
    let gateway = second.endpoint().unwrap();
    eventually("redundancy", async || is_whole(&gateway).await).await;
    assert_ne!(disk_of_node(&gateway, 0).await.unwrap(), old);

    cluster.kill_node(2);
    cluster.kill_node(5);
    assert_all_readable(&client(&gateway), "two other nodes killed").await;
}

#[tokio::test]
async fn with_three_nodes_gone_errors_are_clear_and_all_is_back_when_they_are() {
    let mut cluster = Cluster::start(1);
    let client = client(cluster.endpoint(0));
    fill(&client).await;
    cluster.expect_errors(&["object unavailable"]);
    for node in [0, 2, 4] {
        cluster.kill_node(node);
    }
    let refusal = get(&client, BUCKET, "object-9000000").await.unwrap_err();
    assert_eq!(refusal, "ServiceUnavailable");
    for node in [0, 2, 4] {
        cluster.restart_node(node);
    }
    eventually("three nodes are back", async || {
        get(&client, BUCKET, "object-9000000").await
    })
    .await;
    assert_all_readable(&client, "three nodes are back").await;
}

#[tokio::test]
async fn the_metadata_service_may_die_and_lose_its_directory() {
    let mut cluster = Cluster::start(1);
    let client = client(cluster.endpoint(0));
    fill(&client).await;
    cluster.kill_meta();
    assert!(get(&client, BUCKET, "object-1").await.is_err());
    cluster.remove_meta_directory();
    cluster.restart_meta();
    eventually("restored metadata", async || {
        get(&client, BUCKET, "object-1").await
    })
    .await;
    assert_all_readable(&client, "restored metadata").await;
}

#[tokio::test]
async fn metadata_that_begin_anew_under_disks_in_use_are_refused() {
    let mut cluster = Cluster::start(1);
    fill(&client(cluster.endpoint(0))).await;
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
    let [first, second] = [0, 1].map(|gateway| client(cluster.endpoint(gateway)));
    fill(&first).await;
    cluster.kill_gateway(0);
    assert_all_readable(&second, "the other gateway").await;
    cluster.restart_gateway(0);
    assert_all_readable(&client(cluster.endpoint(0)), "the restarted gateway").await;
}
