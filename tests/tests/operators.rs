//! What operators see of every process: health for everybody, metrics for this machine, the token's bearer, or whoever
//! reaches the listener that was made for it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends by panicking with the reason, and disks that are taken away need not be durable"
)]

use std::path::Path;

use cairn_tests::cluster::Cluster;
use cairn_tests::eventually::eventually;
use cairn_tests::faults;
use cairn_tests::http::{get, get_with};
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::process::CairnProcess;
use cairn_tests::s3::{client_with_bucket, put};
use cairn_tests::serve::Server;
use rustix::process::{Resource, getrlimit, setrlimit};

const TOKEN: &str = "metrics-token-0123456789-abcdefgh";
const PROXIED: (&str, &str) = ("x-forwarded-for", "192.0.2.1");

#[tokio::test]
async fn every_process_of_a_cluster_tells_its_health_and_its_figures() {
    let cluster = Cluster::start(1);
    let client = client_with_bucket(cluster.endpoint(0), "figures").await;
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
        metrics.push(Metrics::of(endpoint).await.unwrap());
        let (status, refusal) = get_with(&url, &[PROXIED]).await.unwrap();
        let refusal = String::from_utf8_lossy(&refusal).into_owned();
        assert_eq!(status, 403, "{url}");
        assert!(refusal.contains("metrics_token"), "{url}: {refusal}");
    }
    let [gateway, meta, node] = [0, 1, 2].map(|index: usize| metrics.get(index).unwrap());
    for verb in ["get", "scan", "commit"] {
        let labels = format!("{{outcome=\"ok\",verb=\"{verb}\"}}");
        let requests = format!("cairn_meta_requests_total{labels}");
        assert!(gateway.value(&requests).unwrap() > 0);
        let count = format!("cairn_meta_request_duration_seconds_count{{verb=\"{verb}\"}}");
        assert!(gateway.value(&count).unwrap() > 0);
    }
    assert_eq!(meta.value("cairn_meta_healthy"), Ok(1));
    assert!(meta.value("cairn_meta_commits_total").unwrap() > 0);
    // Of its three directories one is a witness.
    for (figure, value) in [("copies", 2), ("has_room", 1)] {
        let figure = format!("cairn_meta_figure{{figure=\"{figure}\"}}");
        assert_eq!(meta.value(&figure), Ok(value), "{figure}");
    }
    for counter in ["cairn_disk_puts_total", "cairn_disk_written_bytes_total"] {
        let disks = node.samples(counter).unwrap();
        assert!(matches!(disks[..], [(_, 1..)]), "{counter}: {disks:?}");
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
    node.process.expect(&[faults::STRANGER_CALLS]);
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
    node.process.expect(&[faults::DISK_FAILS]);
    let endpoint = node.process.endpoint().unwrap();
    let disk = node.directory.path().join("disk");
    std::fs::remove_dir_all(disk).unwrap();
    eventually("not ready without a disk", async || {
        match get(&format!("{endpoint}/-/health/ready")).await? {
            (503, body) if body == "not ready\n" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let live = get(&format!("{endpoint}/-/health/live")).await.unwrap();
    assert_eq!(live.0, 200);
    let metrics = Metrics::of(&endpoint).await.unwrap();
    assert_eq!(metrics.disk_count("failed"), Ok(1));
}

/// Puts a disk in the place of another that does not answer when it is asked who it is.
fn replace_by_one_that_hangs(disk: &Path) {
    let hanging = disk.with_extension("hanging");
    std::fs::create_dir(&hanging).unwrap();
    make_hang(&hanging.join("cairn-disk.json"));
    std::fs::rename(disk, disk.with_extension("gone")).unwrap();
    std::fs::rename(hanging, disk).unwrap();
}

/// Whoever opens a pipe to read waits for somebody who writes.
fn make_hang(file: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, file, mode).unwrap();
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_end_of_a_process() {
    let hangs = async |process: &CairnProcess| {
        eventually("a disk that failed", async || {
            let log = process.stderr();
            log.contains("a disk failed").then_some(()).ok_or(log)
        })
        .await;
    };
    let mut node = Node::start(&[]);
    node.process.expect(&[faults::DISK_HANGS]);
    node.process.endpoint().unwrap();
    replace_by_one_that_hangs(&node.directory.path().join("disk"));
    hangs(&node.process).await;
    assert!(node.process.terminate().success());
    let log = node.process.stderr();
    assert!(log.contains("ending without closing it"), "{log}");

    let mut server = Server::start(6);
    server.expect(&[faults::DISK_HANGS]);
    replace_by_one_that_hangs(&server.disk(5));
    hangs(server.process()).await;
    assert!(server.terminate().success());
}

#[test]
fn a_process_that_waits_for_a_disk_while_it_starts_ends_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    for (command, file) in [
        ("serve", "cairn-disk.json"),
        ("storage-node", "cairn-disk.json"),
        ("meta", "cairn-meta.json"),
    ] {
        let disk = directory.path().join(command);
        std::fs::create_dir(&disk).unwrap();
        make_hang(&disk.join(file));
        let disk = disk.display().to_string();
        let arguments = [command, "--listen", "127.0.0.1:0", "--data", &disk].map(str::to_owned);
        let secret = [("CAIRN_CLUSTER_SECRET", "s".repeat(40))];
        let mut process = CairnProcess::start(command, &arguments, &secret, directory.path());
        process.handles_sigterm();
        assert!(process.terminate().success(), "{command}");
    }
}

#[test]
fn every_process_may_open_as_many_files_as_the_administrator_allows() {
    let mut lowered = getrlimit(Resource::Nofile);
    // Enough for the tests beside this one, and less than any hard limit.
    lowered.current = Some(900);
    setrlimit(Resource::Nofile, lowered).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let master_key = directory.path().join("master-key");
    std::fs::write(&master_key, "0".repeat(64)).unwrap();
    let environment = [
        ("CAIRN_CLUSTER_SECRET", "s".repeat(40)),
        ("CAIRN_ROOT_ACCESS_KEY", "root".to_owned()),
        ("CAIRN_ROOT_SECRET_KEY", "s".repeat(40)),
        ("CAIRN_MASTER_KEY_FILE", master_key.display().to_string()),
    ];
    let nobody = "http://127.0.0.1:1";
    for command in ["serve", "gateway", "storage-node", "meta"] {
        let data = directory.path().join(command).display().to_string();
        let further: &[&str] = match command {
            "gateway" => &["--meta", nobody, "--node", nobody],
            _ => &["--data", &data],
        };
        let arguments: Vec<String> = [command, "--listen", "127.0.0.1:0"]
            .iter()
            .chain(further)
            .map(|text| (*text).to_owned())
            .collect();
        let mut process = CairnProcess::start(command, &arguments, &environment, directory.path());
        // The gateway's metadata service does not answer.
        process.expect(&[faults::GATEWAY_HAS_TO_WAIT]);
        process.handles_sigterm();
        let [soft, hard] = process.open_files_limits();
        assert_eq!(soft, hard, "{command}");
        assert!(process.terminate().success(), "{command}");
    }
}

/// Waits until a process reads a pipe, which then waits for bytes for as long as the result lives.
async fn is_read(pipe: &Path) -> rustix::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    eventually("a process that reads the pipe", async || {
        // Refused as long as nobody reads.
        rustix::fs::open(pipe, flags, Mode::empty()).map_err(|errno| errno.to_string())
    })
    .await
}

#[tokio::test]
async fn a_process_that_waits_for_secrets_while_it_starts_ends_when_told_to() {
    let mut server = Server::start(1);
    assert!(server.terminate().success());
    let secrets = server.disk(0).join("cairn-secrets.json");
    std::fs::remove_file(&secrets).unwrap();
    make_hang(&secrets);
    let disk = server.disk(0).display().to_string();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", &disk].map(str::to_owned);
    let logs = tempfile::tempdir().unwrap();
    let mut process = CairnProcess::start("serve", &arguments, &[], logs.path());
    let _hanging = is_read(&secrets).await;
    assert!(process.terminate().success());
}
