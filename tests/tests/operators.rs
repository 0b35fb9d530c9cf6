//! What operators see of every process: health for everybody, metrics for this machine, the token's bearer, or whoever
//! reaches the listener that was made for it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use std::time::{Duration, Instant};

use cairn_tests::cluster::Cluster;
use cairn_tests::http::{get, get_text, get_with};
use cairn_tests::payload::payload;
use cairn_tests::process::CairnProcess;
use cairn_tests::s3::{client, put};

const TOKEN: &str = "metrics-token-0123456789-abcdefgh";
const PROXIED: (&str, &str) = ("x-forwarded-for", "192.0.2.1");

/// The value of a sample, by its name and labels.
fn sample(metrics: &str, name: &str) -> u64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{name} is not in:\n{metrics}"));
    line.parse().unwrap()
}

#[tokio::test]
async fn every_process_of_a_cluster_tells_its_health_and_its_figures() {
    let cluster = Cluster::start(1);
    let client = client(cluster.endpoint(0));
    client
        .create_bucket()
        .bucket("figures")
        .send()
        .await
        .unwrap();
    put(&client, "figures", "key", payload(9_000_000, 1))
        .await
        .unwrap();
    let processes = [
        cluster.endpoint(0),
        cluster.meta_endpoint(),
        cluster.node_endpoint(0),
    ];
    let mut metrics = Vec::new();
    for endpoint in processes {
        for health in ["live", "ready"] {
            let url = format!("{endpoint}/-/health/{health}");
            assert_eq!(get_with(&url, &[PROXIED]).await.unwrap().0, 200, "{url}");
        }
        let url = format!("{endpoint}/-/metrics");
        metrics.push(get_text(&url).await.unwrap());
        let (status, refusal) = get_with(&url, &[PROXIED]).await.unwrap();
        let refusal = String::from_utf8_lossy(&refusal).into_owned();
        assert_eq!(status, 403, "{url}");
        assert!(refusal.contains("metrics_token"), "{url}: {refusal}");
    }
    let [gateway, meta, node] = [0, 1, 2].map(|index: usize| metrics.get(index).unwrap().as_str());
    for verb in ["get", "scan", "commit"] {
        let labels = format!("{{outcome=\"ok\",verb=\"{verb}\"}}");
        assert!(sample(gateway, &format!("cairn_meta_requests_total{labels}")) > 0);
        let count = format!("cairn_meta_request_duration_seconds_count{{verb=\"{verb}\"}}");
        assert!(sample(gateway, &count) > 0);
    }
    assert_eq!(sample(meta, "cairn_meta_healthy"), 1);
    assert!(sample(meta, "cairn_meta_commits_total") > 0);
    assert_eq!(sample(meta, "cairn_meta_figure{figure=\"copies\"}"), 3);
    for counter in ["cairn_disk_puts_total", "cairn_disk_written_bytes_total"] {
        let line = node.lines().find(|line| line.starts_with(counter)).unwrap();
        assert!(!line.ends_with(" 0"), "{line}");
    }
}

/// A storage node on a disk of its own.
struct Node {
    process: CairnProcess,
    directory: tempfile::TempDir,
}

impl Node {
    fn start(further: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("disk")).unwrap();
        let disk = directory.path().join("disk").display().to_string();
        let arguments = ["storage-node", "--listen", "127.0.0.1:0", "--data", &disk];
        let arguments: Vec<String> = arguments
            .iter()
            .chain(further)
            .map(|text| (*text).to_owned())
            .collect();
        let environment = [
            ("CAIRN_CLUSTER_SECRET", "s".repeat(40)),
            ("CAIRN_METRICS_TOKEN", TOKEN.to_owned()),
        ];
        let process = CairnProcess::start("node", &arguments, &environment, directory.path());
        Self { process, directory }
    }
}

#[tokio::test]
async fn the_token_opens_metrics_beside_the_calls_and_shows_nowhere() {
    let mut node = Node::start(&[]);
    let metrics = format!("{}/-/metrics", node.process.endpoint().unwrap());
    for (authorization, expected) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("Bearer {TOKEN}x"), 403),
        ("Bearer".to_owned(), 403),
    ] {
        let headers = [PROXIED, ("authorization", authorization.as_str())];
        let (status, _) = get_with(&metrics, &headers).await.unwrap();
        assert_eq!(status, expected, "{authorization}");
    }
    assert!(!node.process.stderr().contains(TOKEN));
    assert!(node.process.terminate().success());
}

#[tokio::test]
async fn a_listener_for_operators_shows_metrics_to_whoever_reaches_it() {
    let mut node = Node::start(&["--admin-listen", "127.0.0.1:0"]);
    let calls = node.process.endpoint().unwrap();
    let printed = node.process.stdout();
    let (_, admin) = printed.split_once("metrics at ").unwrap();
    let (admin, _) = admin.split_once(')').unwrap();
    for (path, status) in [
        ("metrics", 200),
        ("health/live", 200),
        ("health/ready", 200),
    ] {
        let url = format!("{admin}/-/{path}");
        assert_eq!(get_with(&url, &[PROXIED]).await.unwrap().0, status, "{url}");
    }
    // Only health is left beside the calls; everything else there is the guard's.
    for (path, status) in [
        ("-/metrics", 401),
        ("-/health/live", 200),
        ("-/health/ready", 200),
        ("anything", 401),
    ] {
        let url = format!("{calls}/{path}");
        assert_eq!(get(&url).await.unwrap().0, status, "{url}");
    }
    // And no call is served to operators.
    let call = format!("{admin}/node/v1/describe");
    assert_eq!(get(&call).await.unwrap().0, 404);
    assert!(node.process.terminate().success());
}

#[tokio::test]
async fn a_node_without_a_working_disk_is_alive_and_not_ready() {
    let mut node = Node::start(&[]);
    let endpoint = node.process.endpoint().unwrap();
    let disk = node.directory.path().join("disk");
    std::fs::remove_dir_all(disk).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let (status, body) = get(&format!("{endpoint}/-/health/ready")).await.unwrap();
        if status == 503 {
            assert_eq!(&body[..], b"not ready\n");
            break;
        }
        assert!(Instant::now() < deadline, "{status} without a disk");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let live = get(&format!("{endpoint}/-/health/live")).await.unwrap();
    assert_eq!(live.0, 200);
    let metrics = get_text(&format!("{endpoint}/-/metrics")).await.unwrap();
    assert!(metrics.contains("health=\"failed\""), "{metrics}");
}
