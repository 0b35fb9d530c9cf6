//! Several machines, each a process of its own: storage nodes, one metadata service, gateways.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::authority::{Authority, CertificateFiles};
use crate::faults::{self, Messages};
use crate::process::CairnProcess;
use crate::serve::{ACCESS_KEY, SECRET_KEY};

const CLUSTER_SECRET: &str = "whole-system-tests-cluster-secret-0123456789abcdef";
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The database, its copy, and a witness.
const METADATA_DIRECTORIES: [&str; 3] = ["meta", "meta-copy1", "meta-copy2"];

/// Six storage nodes in three zones with a disk each, a metadata service with two copies, and gateways.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: nothing writes into the directories any more when they are removed.
    gateways: Vec<Node>,
    nodes: Vec<Node>,
    meta: Node,
    authority: Option<Authority>,
    root: TempDir,
}

/// One process that can be killed and started again under the same address.
#[derive(Debug)]
struct Node {
    name: String,
    arguments: Vec<String>,
    endpoint: String,
    process: Option<CairnProcess>,
    expected: Vec<Messages>,
}

/// One of the processes of a [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// A gateway.
    Gateway(usize),
    /// The metadata service.
    Meta,
    /// A storage node.
    StorageNode(usize),
}

impl Cluster {
    /// How many storage nodes there are.
    pub const NODE_COUNT: usize = 6;

    /// Starts all processes on fresh directories.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start(gateway_count: usize) -> Self {
        Self::start_with(gateway_count, &[])
    }

    /// As [`Cluster::start`], with further arguments for the gateways.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start_with(gateway_count: usize, gateway_arguments: &[&str]) -> Self {
        Self::start_in(directory(), None, gateway_count, gateway_arguments)
    }

    /// As [`Cluster::start`], with TLS between the processes: each has a certificate of one authority.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start_encrypted(gateway_count: usize) -> Self {
        let root = directory();
        let authority = Authority::new("cluster-ca", root.path());
        Self::start_in(root, Some(authority), gateway_count, &[])
    }

    fn start_in(
        root: TempDir,
        authority: Option<Authority>,
        gateway_count: usize,
        gateway_arguments: &[&str],
    ) -> Self {
        let identity = |name: &str| -> Vec<String> {
            let files = authority
                .as_ref()
                .map(|authority| authority.issue("127.0.0.1", root.path(), name));
            files.iter().flat_map(CertificateFiles::arguments).collect()
        };
        std::fs::write(root.path().join("master-key"), MASTER_KEY).unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        for directory in METADATA_DIRECTORIES {
            std::fs::create_dir(path(directory)).unwrap();
        }
        let copies = [
            "--copy".to_owned(),
            path("meta-copy1"),
            "--copy".to_owned(),
            path("meta-copy2"),
        ];
        let meta = ["meta".to_owned(), "--data".to_owned(), path("meta")]
            .into_iter()
            .chain(copies)
            .chain(identity("meta"))
            .collect();
        let mut meta = Node::new("meta", meta);
        meta.expect(&[faults::ONE_FILE_SYSTEM]);
        meta.start(root.path());
        let mut nodes = Vec::new();
        for index in 0..Self::NODE_COUNT {
            let name = format!("node{index}");
            std::fs::create_dir(root.path().join(&name)).unwrap();
            let data = root.path().join(&name).display().to_string();
            let zone = ["a", "b", "c"][index / 2];
            let arguments = [
                "storage-node",
                "--data",
                &data,
                "--host",
                &name,
                "--zone",
                zone,
            ];
            let arguments = arguments.map(str::to_owned).into_iter();
            let mut node = Node::new(&name, arguments.chain(identity(&name)).collect());
            node.start(root.path());
            nodes.push(node);
        }
        let mut cluster = Self {
            meta,
            nodes,
            gateways: Vec::new(),
            authority,
            root,
        };
        for index in 0..gateway_count {
            let mut gateway = cluster.gateway(&format!("gateway{index}"), gateway_arguments);
            gateway.start(cluster.root.path());
            cluster.gateways.push(gateway);
        }
        cluster
    }

    /// A gateway of this cluster, not started yet.
    fn gateway(&self, name: &str, further: &[&str]) -> Node {
        let mut arguments = vec![
            "gateway".to_owned(),
            "--meta".to_owned(),
            self.meta.endpoint.clone(),
        ];
        for node in &self.nodes {
            arguments.extend(["--node".to_owned(), node.endpoint.clone()]);
        }
        if let Some(authority) = &self.authority {
            arguments.extend([
                "--cluster-ca-file".to_owned(),
                authority.file().display().to_string(),
            ]);
        }
        arguments.extend(further.iter().map(|&argument| argument.to_owned()));
        Node::new(name, arguments)
    }

    /// Starts one more gateway, its arguments changed, that is not expected to serve, or not yet.
    pub fn start_misled_gateway(&self, mislead: impl FnOnce(&mut Vec<String>)) -> CairnProcess {
        let mut gateway = self.gateway("misled", &[]);
        mislead(&mut gateway.arguments);
        gateway.spawn(self.root.path())
    }

    /// As [`CairnProcess::expect`] for every process, from now on and over restarts.
    pub fn expect(&mut self, faults: &[Messages]) {
        self.all_mut().for_each(|node| node.expect(faults));
    }

    /// Where a storage node listens, as a URL.
    pub fn node_endpoint(&self, node: usize) -> &str {
        &self.nodes[node].endpoint
    }

    /// Where the metadata service listens, as a URL.
    pub fn meta_endpoint(&self) -> &str {
        &self.meta.endpoint
    }

    /// Who issued the certificates of an encrypted cluster.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("the cluster is encrypted")
    }

    /// Gives a storage node a new certificate of the same authority, in the files that it reads.
    pub fn renew_certificate(&self, node: usize) {
        self.authority()
            .issue("127.0.0.1", self.root.path(), &self.nodes[node].name);
    }

    /// The directory that all of it is in; for further files of a test.
    pub fn directory(&self) -> &Path {
        self.root.path()
    }

    /// Where a gateway listens, as a URL.
    pub fn endpoint(&self, gateway: usize) -> &str {
        &self.gateways[gateway].endpoint
    }

    /// The directory of a storage node's disk.
    pub fn disk(&self, node: usize) -> PathBuf {
        self.root.path().join(&self.nodes[node].name)
    }

    /// Puts an empty directory in the place of a storage node's disk.
    pub fn replace_disk(&self, node: usize) {
        std::fs::remove_dir_all(self.disk(node)).unwrap();
        std::fs::create_dir(self.disk(node)).unwrap();
    }

    /// Ends a process at once.
    pub fn kill(&mut self, process: Process) {
        self.node(process).kill();
    }

    /// Starts a process again where it was.
    pub fn restart(&mut self, process: Process) {
        let root = self.root.path().to_owned();
        self.node(process).start(&root);
    }

    /// Ends all processes at once.
    pub fn kill_all(&mut self) {
        for node in self.all_mut() {
            node.process.as_mut().expect("it was running").begin_kill();
        }
        self.all_mut().for_each(Node::kill);
    }

    /// Starts all processes again where they were.
    pub fn restart_all(&mut self) {
        let root = self.root.path().to_owned();
        self.all_mut().for_each(|node| node.start(&root));
    }

    /// All processes, those first that others call when they start.
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        let called = std::iter::once(&mut self.meta).chain(&mut self.nodes);
        called.chain(&mut self.gateways)
    }

    fn node(&mut self, process: Process) -> &mut Node {
        match process {
            Process::Gateway(index) => &mut self.gateways[index],
            Process::Meta => &mut self.meta,
            Process::StorageNode(index) => &mut self.nodes[index],
        }
    }

    /// Ends a storage node at once.
    pub fn kill_node(&mut self, node: usize) {
        self.kill(Process::StorageNode(node));
    }

    /// Starts a storage node again where it was.
    pub fn restart_node(&mut self, node: usize) {
        self.restart(Process::StorageNode(node));
    }

    /// Ends the metadata service at once.
    pub fn kill_meta(&mut self) {
        self.kill(Process::Meta);
    }

    /// Starts the metadata service again where it was.
    pub fn restart_meta(&mut self) {
        self.restart(Process::Meta);
    }

    /// Puts an empty directory in the place of one of the metadata directories, which are taken in turn; the first
    /// has the database.
    pub fn empty_metadata_directory(&self, turn: usize) {
        let name = METADATA_DIRECTORIES[turn % METADATA_DIRECTORIES.len()];
        let directory = self.root.path().join(name);
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
    }

    /// Takes a storage node's disk away, whether the node is running or not.
    pub fn hide_disk(&self, node: usize) {
        let disk = self.disk(node);
        std::fs::rename(&disk, disk.with_extension("hidden")).unwrap();
    }

    /// Undoes [`Cluster::hide_disk`].
    pub fn bring_disk_back(&self, node: usize) {
        let disk = self.disk(node);
        std::fs::rename(disk.with_extension("hidden"), &disk).unwrap();
    }

    /// Puts empty directories in the place of the metadata database and its copies.
    pub fn set_metadata_aside(&self) {
        for name in METADATA_DIRECTORIES {
            let directory = self.root.path().join(name);
            std::fs::rename(&directory, directory.with_extension("aside")).unwrap();
            std::fs::create_dir(&directory).unwrap();
        }
    }

    /// Undoes [`Cluster::set_metadata_aside`].
    pub fn bring_metadata_back(&self) {
        for name in METADATA_DIRECTORIES {
            let directory = self.root.path().join(name);
            std::fs::remove_dir_all(&directory).unwrap();
            std::fs::rename(directory.with_extension("aside"), &directory).unwrap();
        }
    }

    /// Ends a gateway at once.
    pub fn kill_gateway(&mut self, gateway: usize) {
        self.kill(Process::Gateway(gateway));
    }

    /// Starts a gateway again where it was.
    pub fn restart_gateway(&mut self, gateway: usize) {
        self.restart(Process::Gateway(gateway));
    }
}

/// A temporary directory of a whole cluster.
fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("cairn-test-")
        .tempdir()
        .unwrap()
}

impl Node {
    fn new(name: &str, arguments: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            arguments,
            endpoint: String::new(),
            process: None,
            expected: Vec::new(),
        }
    }

    fn expect(&mut self, faults: &[Messages]) {
        self.expected.extend(faults);
        if let Some(process) = &mut self.process {
            process.expect(faults);
        }
    }

    fn kill(&mut self) {
        self.process.take().expect("it was running").kill();
    }

    /// The first start takes a port of the system's choice, later ones the same again.
    fn start(&mut self, root: &Path) {
        let mut process = self.spawn(root);
        self.endpoint = process.endpoint().unwrap();
        self.process = Some(process);
    }

    fn spawn(&self, root: &Path) -> CairnProcess {
        let address = match self.endpoint.split_once("://") {
            Some((_, address)) => address.to_owned(),
            None => "127.0.0.1:0".to_owned(),
        };
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .cloned()
            .chain(["--listen".to_owned(), address])
            .collect();
        let mut environment = vec![("CAIRN_CLUSTER_SECRET", CLUSTER_SECRET.to_owned())];
        if self
            .arguments
            .first()
            .is_some_and(|command| command == "gateway")
        {
            environment.extend([
                ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY.to_owned()),
                ("CAIRN_ROOT_SECRET_KEY", SECRET_KEY.to_owned()),
                (
                    "CAIRN_MASTER_KEY_FILE",
                    root.join("master-key").display().to_string(),
                ),
            ]);
        }
        let mut process = CairnProcess::start(&self.name, &arguments, &environment, root);
        process.expect(&self.expected);
        process
    }
}
