//! Several machines, each a process of its own: storage nodes, one metadata service, gateways.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::process::CairnProcess;
use crate::serve::{ACCESS_KEY, SECRET_KEY};

const CLUSTER_SECRET: &str = "whole-system-tests-cluster-secret-0123456789abcdef";
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Six storage nodes in three zones with a disk each, a metadata service with two copies, and gateways.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: nothing writes into the directories any more when they are removed.
    gateways: Vec<Node>,
    nodes: Vec<Node>,
    meta: Node,
    root: TempDir,
}

/// One process that can be killed and started again under the same address.
#[derive(Debug)]
struct Node {
    name: String,
    arguments: Vec<String>,
    endpoint: String,
    process: Option<CairnProcess>,
}

impl Cluster {
    /// Starts all processes on fresh directories.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start(gateway_count: usize) -> Self {
        let root = tempfile::Builder::new()
            .prefix("cairn-test-")
            .tempdir()
            .unwrap();
        std::fs::write(root.path().join("master-key"), MASTER_KEY).unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        for directory in ["meta", "meta-copy1", "meta-copy2"] {
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
            .collect();
        let mut cluster = Self {
            meta: Node::new("meta", meta),
            nodes: Vec::new(),
            gateways: Vec::new(),
            root,
        };
        cluster.meta.start(cluster.root.path());
        for index in 0..6 {
            let name = format!("node{index}");
            std::fs::create_dir(cluster.root.path().join(&name)).unwrap();
            let data = cluster.root.path().join(&name).display().to_string();
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
            let mut node = Node::new(&name, arguments.map(str::to_owned).into());
            node.start(cluster.root.path());
            cluster.nodes.push(node);
        }
        for index in 0..gateway_count {
            let mut arguments = vec![
                "gateway".to_owned(),
                "--meta".to_owned(),
                cluster.meta.endpoint.clone(),
            ];
            for node in &cluster.nodes {
                arguments.extend(["--node".to_owned(), node.endpoint.clone()]);
            }
            let mut gateway = Node::new(&format!("gateway{index}"), arguments);
            gateway.start(cluster.root.path());
            cluster.gateways.push(gateway);
        }
        cluster
    }

    /// Where a gateway listens, as a URL.
    pub fn endpoint(&self, gateway: usize) -> &str {
        &self.gateways[gateway].endpoint
    }

    /// The directory of a storage node's disk.
    pub fn disk(&self, node: usize) -> PathBuf {
        self.root.path().join(&self.nodes[node].name)
    }

    /// Ends a storage node at once.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a storage node again where it was.
    pub fn restart_node(&mut self, node: usize) {
        self.nodes[node].start(self.root.path());
    }

    /// Ends the metadata service at once.
    pub fn kill_meta(&mut self) {
        self.meta.kill();
    }

    /// Starts the metadata service again where it was.
    pub fn restart_meta(&mut self) {
        self.meta.start(self.root.path());
    }

    /// Removes the directory of the metadata database; its copies stay.
    pub fn remove_meta_directory(&self) {
        std::fs::remove_dir_all(self.root.path().join("meta")).unwrap();
        std::fs::create_dir(self.root.path().join("meta")).unwrap();
    }

    /// Ends a gateway at once.
    pub fn kill_gateway(&mut self, gateway: usize) {
        self.gateways[gateway].kill();
    }

    /// Starts a gateway again where it was.
    pub fn restart_gateway(&mut self, gateway: usize) {
        self.gateways[gateway].start(self.root.path());
    }
}

impl Node {
    fn new(name: &str, arguments: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            arguments,
            endpoint: String::new(),
            process: None,
        }
    }

    fn kill(&mut self) {
        self.process.take().expect("it was running").kill();
    }

    /// The first start takes a port of the system's choice, later ones the same again.
    fn start(&mut self, root: &std::path::Path) {
        let address = match self.endpoint.strip_prefix("http://") {
            Some(address) => address.to_owned(),
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
        self.endpoint = process.endpoint().unwrap();
        self.process = Some(process);
    }
}
