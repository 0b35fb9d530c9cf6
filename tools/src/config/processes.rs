//! The immutable configuration of each process.

use std::path::PathBuf;
use std::time::Duration;

use cairn_meta::MasterKey;
use cairn_rpc::Endpoint;

use super::problem::Problems;
use super::raw::{RawSettings, Sources};
use super::reader::{Effective, Reader};
use super::setting::Process;
use super::shared::{
    ClusterConfig, FrontConfig, ListenConfig, LogConfig, RootCredentials, directory, domain_label,
    drain_timeout, endpoint, file, master_key, read_root, yes_or_no,
};
use super::value::ByteSize;
use crate::local_disks::SpaceLimits;

const DISK_RESERVE: ByteSize = ByteSize(1 << 30);

/// `cairn serve`.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// One directory per disk, in the order given; not empty.
    pub data: Vec<PathBuf>,
    /// Where the metadata database is, if not in the first data directory.
    pub meta: Option<PathBuf>,
    /// Whether to start although missing disks may have newer metadata.
    pub accept_missing_metadata_copies: bool,
    /// What faces clients.
    pub front: FrontConfig,
    /// Root credentials, if given.
    pub root: Option<RootCredentials>,
    /// The master key, if it is kept outside.
    pub master_key: Option<MasterKey>,
    /// Left free on each disk.
    pub disk_reserve: ByteSize,
    /// What each disk may hold, if less than its file system does.
    pub disk_capacity_max: Option<ByteSize>,
    /// Bound on finishing running requests.
    pub drain_timeout: Duration,
    /// The log.
    pub log: LogConfig,
}

/// `cairn gateway`.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The metadata service.
    pub meta: Endpoint,
    /// The storage nodes; not empty.
    pub nodes: Vec<Endpoint>,
    /// Who may vouch for them; set if, and only if, one of them is called through TLS.
    pub cluster_ca_file: Option<PathBuf>,
    /// What faces clients.
    pub front: FrontConfig,
    /// Root credentials.
    pub root: RootCredentials,
    /// The master key.
    pub master_key: MasterKey,
    /// What this process proves to the others.
    pub cluster: ClusterConfig,
    /// Identity of the cluster, if not derived from its secret.
    pub cluster_id: Option<[u8; 16]>,
    /// Bound on finishing running requests.
    pub drain_timeout: Duration,
    /// The log.
    pub log: LogConfig,
}

/// `cairn storage-node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageNodeConfig {
    /// One directory per disk; not empty.
    pub data: Vec<PathBuf>,
    /// Where gateways reach it.
    pub listen: ListenConfig,
    /// Failure domain of all its disks; `None`: the machine's name.
    pub host: Option<String>,
    /// Failure domain of the host.
    pub zone: String,
    /// What this process proves to the others.
    pub cluster: ClusterConfig,
    /// Identity of the cluster, if not derived from its secret.
    pub cluster_id: Option<[u8; 16]>,
    /// Left free on each disk.
    pub disk_reserve: ByteSize,
    /// What each disk may hold, if less than its file system does.
    pub disk_capacity_max: Option<ByteSize>,
    /// Bound on finishing running requests.
    pub drain_timeout: Duration,
    /// The log.
    pub log: LogConfig,
}

/// `cairn meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaConfig {
    /// The database.
    pub data: PathBuf,
    /// Journal copies and checkpoints.
    pub copies: Vec<PathBuf>,
    /// Whether to start although missing directories may have newer metadata.
    pub accept_missing_metadata_copies: bool,
    /// Where gateways reach it.
    pub listen: ListenConfig,
    /// What this process proves to the others.
    pub cluster: ClusterConfig,
    /// Identity of the cluster, if not derived from its secret.
    pub cluster_id: Option<[u8; 16]>,
    /// Bound on finishing running requests.
    pub drain_timeout: Duration,
    /// The log.
    pub log: LogConfig,
}

impl ServeConfig {
    /// What each disk may take.
    pub(crate) fn space_limits(&self) -> SpaceLimits {
        space_limits(self.disk_reserve, self.disk_capacity_max)
    }

    /// Merges and parses.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(sources: &Sources) -> Result<(Self, Vec<Effective>), Problems> {
        parse(Process::Serve, sources, |reader| {
            let data = reader.some("data", directory);
            let front = FrontConfig::read(reader);
            check_disk_count(reader, &front, data.len());
            let root = read_root(reader);
            let master_key = reader.optional("master_key_file", master_key);
            let (disk_reserve, disk_capacity_max) = disk_space(reader);
            Some(Self {
                data,
                meta: reader.optional("meta", directory),
                accept_missing_metadata_copies: accept_missing(reader),
                front,
                root,
                master_key,
                disk_reserve,
                disk_capacity_max,
                drain_timeout: drain_timeout(reader),
                log: LogConfig::read(reader),
            })
        })
    }
}

impl GatewayConfig {
    /// Merges and parses.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(sources: &Sources) -> Result<(Self, Vec<Effective>), Problems> {
        parse(Process::Gateway, sources, |reader| {
            let meta = reader.required("meta", endpoint);
            let nodes = reader.some("node", endpoint);
            check_nodes(reader, &nodes);
            let cluster_ca_file = reader.optional("cluster_ca_file", file);
            check_cluster_ca(reader, meta.iter().chain(&nodes));
            let front = FrontConfig::read(reader);
            let root = read_root(reader);
            if !reader.is_set("root_access_key") && !reader.is_set("root_secret_key") {
                reader.conflict("root_access_key", "must be set for a gateway, to the same value on all of them, with root_secret_key");
            }
            let master_key = reader.optional("master_key_file", master_key);
            if !reader.is_set("master_key_file") {
                reader.conflict(
                    "master_key_file",
                    "must be set for a gateway, to a file with the same key on all of them",
                );
            }
            let cluster = ClusterConfig::read(reader);
            let cluster_id = reader.optional("cluster_id", cluster_id);
            let drain_timeout = drain_timeout(reader);
            let log = LogConfig::read(reader);
            Some(Self {
                meta: meta?,
                nodes,
                cluster_ca_file,
                front,
                root: root?,
                master_key: master_key?,
                cluster: cluster?,
                cluster_id,
                drain_timeout,
                log,
            })
        })
    }
}

impl StorageNodeConfig {
    /// What each disk may take.
    pub(crate) fn space_limits(&self) -> SpaceLimits {
        space_limits(self.disk_reserve, self.disk_capacity_max)
    }

    /// Merges and parses.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(sources: &Sources) -> Result<(Self, Vec<Effective>), Problems> {
        parse(Process::StorageNode, sources, |reader| {
            let data = reader.some("data", directory);
            let listen = ListenConfig::read(reader, 9200);
            let host = reader.optional("host", domain_label);
            let zone = reader.or("zone", "default".to_owned(), domain_label);
            let cluster = ClusterConfig::read(reader);
            let cluster_id = reader.optional("cluster_id", cluster_id);
            let (disk_reserve, disk_capacity_max) = disk_space(reader);
            let drain_timeout = drain_timeout(reader);
            let log = LogConfig::read(reader);
            Some(Self {
                data,
                listen,
                host,
                zone,
                cluster: cluster?,
                cluster_id,
                disk_reserve,
                disk_capacity_max,
                drain_timeout,
                log,
            })
        })
    }
}

impl MetaConfig {
    /// Merges and parses.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(sources: &Sources) -> Result<(Self, Vec<Effective>), Problems> {
        parse(Process::Meta, sources, |reader| {
            let data = reader.required("data", directory);
            let copies = reader.many("copy", directory);
            let accept_missing_metadata_copies = accept_missing(reader);
            let listen = ListenConfig::read(reader, 9100);
            let cluster = ClusterConfig::read(reader);
            let cluster_id = reader.optional("cluster_id", cluster_id);
            let drain_timeout = drain_timeout(reader);
            let log = LogConfig::read(reader);
            Some(Self {
                data: data?,
                copies,
                accept_missing_metadata_copies,
                listen,
                cluster: cluster?,
                cluster_id,
                drain_timeout,
                log,
            })
        })
    }
}

fn parse<T>(
    process: Process,
    sources: &Sources,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<(T, Vec<Effective>), Problems> {
    let mut problems = Vec::new();
    let raw = RawSettings::merge(process, sources, &mut problems);
    let mut reader = Reader::new(&raw, problems);
    let config = read(&mut reader);
    reader.finish(config)
}

fn accept_missing(reader: &mut Reader<'_>) -> bool {
    reader.or("accept_missing_metadata_copies", false, yes_or_no)
}

/// What writes must leave free, and what a disk may hold at most. `disk_reserve` must fit into the latter.
fn disk_space(reader: &mut Reader<'_>) -> (ByteSize, Option<ByteSize>) {
    let reserve = reader.or("disk_reserve", DISK_RESERVE, str::parse);
    let capacity_max = reader.optional("disk_capacity_max", str::parse::<ByteSize>);
    if capacity_max.is_some_and(|capacity_max| capacity_max <= reserve) {
        reader.conflict(
            "disk_capacity_max",
            format!("must be more than disk_reserve, which is {reserve}"),
        );
    }
    (reserve, capacity_max)
}

fn space_limits(reserve: ByteSize, capacity_max: Option<ByteSize>) -> SpaceLimits {
    SpaceLimits {
        reserve_bytes: reserve.0,
        capacity_bytes_max: capacity_max.map(|capacity_max| capacity_max.0),
    }
}

fn check_disk_count(reader: &mut Reader<'_>, front: &FrontConfig, disk_count: usize) {
    if let Some(erasure) = front.erasure
        && disk_count < erasure.shard_count()
    {
        let needed = erasure.shard_count();
        reader.conflict(
            "erasure",
            format!("`{erasure}` needs {needed} disks, and `data` names {disk_count}"),
        );
    }
}

/// A certificate authority without anybody to verify is a mistake as well: somebody believes that calls are encrypted.
fn check_cluster_ca<'a>(
    reader: &mut Reader<'_>,
    mut endpoints: impl Iterator<Item = &'a Endpoint>,
) {
    let is_set = reader.is_set("cluster_ca_file");
    match (is_set, endpoints.any(Endpoint::is_tls)) {
        (false, true) => reader.conflict(
            "cluster_ca_file",
            "must be set where `meta` or `node` is https://, to the CA that issued their certificates",
        ),
        (true, false) => reader.conflict(
            "cluster_ca_file",
            "is set, but neither `meta` nor any `node` is https://: nothing would be encrypted",
        ),
        (true, true) | (false, false) => {}
    }
}

/// A node that was counted twice would make its disks twice as many as they are.
fn check_nodes(reader: &mut Reader<'_>, nodes: &[Endpoint]) {
    let is_repeated =
        |(index, node): &(usize, &Endpoint)| nodes.iter().take(*index).any(|other| other == *node);
    if let Some((_, node)) = nodes.iter().enumerate().find(is_repeated) {
        reader.conflict("node", format!("names {node} twice; name each node once"));
    }
}

fn cluster_id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id)
        .map(|()| id)
        .map_err(|_| String::new())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn flags(flags: &[(&str, &[&str])]) -> Sources {
        let flags = flags
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.iter().map(|v| (*v).to_owned()).collect()));
        Sources {
            flags: flags.collect(),
            ..Sources::default()
        }
    }

    #[test]
    fn one_directory_is_all_serve_needs() {
        let (config, effective) = ServeConfig::parse(&flags(&[("data", &["/d1"])])).unwrap();
        assert_eq!(config.front.listen.to_string(), "127.0.0.1:9000");
        assert_eq!(config.front.region, "us-east-1");
        assert_eq!(
            effective
                .iter()
                .filter(|line| line.origin == super::super::Origin::Flag)
                .count(),
            1
        );
    }

    #[test]
    fn all_problems_are_reported_at_once_with_three_names_value_rule_and_example() {
        let sources = Sources {
            environment: [
                ("CAIRN_LISTEN".to_owned(), "nowhere".to_owned()),
                ("CAIRN_ROOT_SECRET_KEY".to_owned(), "short".to_owned()),
            ]
            .into(),
            file: Some((
                "cairn.toml".into(),
                "typo = 1\ndrain_timeout = \"2h\"".to_owned(),
            )),
            ..flags(&[("erasure", &["4+2"])])
        };
        let text = ServeConfig::parse(&sources).unwrap_err().to_string();
        for expected in [
            "7 problems",
            "`typo`",
            "--data (variable CAIRN_DATA, in the file `data`): is not set",
            "`nowhere` (from the environment) is not an address and a port",
            "--listen 0.0.0.0:9000",
            "(hidden)",
            "`2h` (from the file cairn.toml)",
            "needs 6 disks, and `data` names 0",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        assert!(!text.contains("short"), "{text}");
    }

    #[test]
    fn a_coding_that_is_refused_is_told_why() {
        let refusal = |erasure: &str| {
            let given = flags(&[("data", &["/d1"]), ("erasure", &[erasure])]);
            ServeConfig::parse(&given).unwrap_err().to_string()
        };
        let too_wide = refusal("30+4");
        assert!(
            too_wide.contains("34 shards are more than 32"),
            "{too_wide}"
        );
    }

    #[test]
    fn a_disk_must_hold_more_than_its_reserve() {
        let sized = |capacity| {
            let (config, _) = ServeConfig::parse(&flags(&[
                ("data", &["/d1"]),
                ("disk_reserve", &["1MiB"]),
                ("disk_capacity_max", &[capacity]),
            ]))
            .map_err(|problems| problems.to_string())?;
            Ok::<_, String>(config.space_limits().capacity_bytes_max)
        };
        assert_eq!(sized("2MiB"), Ok(Some(2 << 20)));
        assert!(
            sized("1MiB")
                .unwrap_err()
                .contains("more than disk_reserve")
        );
    }

    #[test]
    fn secrets_are_not_in_the_effective_configuration() {
        let secret = "0123456789abcdef0123456789abcdef";
        let sources = flags(&[("data", &["/m"]), ("cluster_secret", &[secret])]);
        let (config, effective) = MetaConfig::parse(&sources).unwrap();
        assert_eq!(config.cluster.secret.reveal(), secret);
        assert!(!format!("{effective:?}{config:?}").contains(secret));
    }

    #[test]
    fn a_cluster_ca_and_https_addresses_go_together() {
        let problems = |meta: &str, ca: Option<&str>| {
            let mut given = flags(&[("meta", &[meta]), ("node", &["http://n:9200"])]);
            if let Some(ca) = ca {
                given
                    .flags
                    .insert("cluster_ca_file".to_owned(), vec![ca.to_owned()]);
            }
            GatewayConfig::parse(&given).unwrap_err().to_string()
        };
        let readable = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(problems("https://m:9100", None).contains("--cluster-ca-file "));
        assert!(problems("http://m:9100", Some(readable)).contains("nothing would be encrypted"));
        assert!(
            problems("https://m:9100", Some("/nonexistent/ca.pem")).contains("/nonexistent/ca.pem")
        );
        for (meta, ca) in [("https://m:9100", Some(readable)), ("http://m:9100", None)] {
            let text = problems(meta, ca);
            assert!(!text.contains("cluster-ca-file"), "{text}");
        }
    }

    #[test]
    fn a_node_named_twice_is_refused() {
        let nodes = |nodes: &[&str]| {
            let given = flags(&[("node", nodes)]);
            GatewayConfig::parse(&given).unwrap_err().to_string()
        };
        let twice = nodes(&["http://n:9200", "http://o:9200", "http://n:9200/"]);
        assert!(twice.contains("names http://n:9200 twice"), "{twice}");
        let different = nodes(&["http://n:9200", "http://n:9201", "https://n:9200"]);
        assert!(!different.contains("twice"), "{different}");
    }

    #[test]
    fn a_master_key_file_without_a_key_is_refused_before_anything_is_done() {
        let file = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let path = file.path().to_str().unwrap();
            let parsed =
                ServeConfig::parse(&flags(&[("data", &["/d1"]), ("master_key_file", &[path])]));
            parsed.map(|(config, _)| config.master_key)
        };
        let key = file(&format!("{}\n", "0a".repeat(32))).unwrap().unwrap();
        assert_eq!(key.expose(), &[10; 32]);
        for wrong in ["0a0b", "", &"0a".repeat(33)] {
            let refusal = file(wrong).unwrap_err().to_string();
            assert!(refusal.contains("64 hexadecimal digits"), "{refusal}");
            assert!(wrong.is_empty() || !refusal.contains(wrong), "{refusal}");
        }
    }

    #[test]
    fn a_gateway_refuses_to_invent_secrets() {
        let text = GatewayConfig::parse(&flags(&[])).unwrap_err().to_string();
        for name in [
            "--meta ",
            "--node ",
            "--root-access-key ",
            "--master-key-file ",
            "--cluster-secret ",
        ] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
    }
}
