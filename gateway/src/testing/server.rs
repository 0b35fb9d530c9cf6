//! A gateway over in-memory metadata and disks, listening on a loopback port.

use std::net::SocketAddr;
use std::sync::Arc;

use cairn_meta::kv::{KvStore, MemoryKv};
use cairn_meta::{MasterKey, Meta, UserName};
use cairn_storage_node::fault::{FaultSwitch, FaultyShardStore};
use cairn_storage_node::{DiskId, MemoryShardStore, ShardStore};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Client;
use crate::clock::{Clock, SystemClock};
use crate::config::{GatewayConfig, RootCredentials};
use crate::engine::{DiskEntry, DiskRole, Disks, Engine, EngineOptions, Geometry, Locality};
use crate::gateway::{Components, Gateway};
use crate::metadata_state::{MetadataState, SilentMetadata};
use crate::server::{self, ListenerOptions};

/// Root's access key.
pub const ROOT_ACCESS_KEY: &str = "ROOTACCESSKEY";
/// Root's secret key, for tests that sign in a way of their own.
pub const ROOT_SECRET_KEY: &str = "root-secret-key";

/// What a test wants different.
#[derive(Debug, Clone)]
pub struct TestServerOptions {
    /// The region.
    pub region: String,
    /// Base domains of virtual-hosted-style addresses.
    pub domains: Vec<String>,
    /// How many disks.
    pub disk_count: usize,
    /// Changes the gateway's settings.
    pub configure: fn(&mut GatewayConfig),
    /// What is served.
    pub listener: ListenerOptions,
    /// What time the gateway thinks it is.
    pub clock: Arc<dyn Clock>,
    /// The metadata of a server that does not share another's.
    pub kv: Arc<dyn KvStore>,
    /// What they say of themselves.
    pub metadata_state: Arc<dyn MetadataState>,
}

impl Default for TestServerOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
            disk_count: 6,
            configure: |_| {},
            listener: ListenerOptions::default(),
            clock: Arc::new(SystemClock),
            kv: Arc::new(MemoryKv::new()),
            metadata_state: Arc::new(SilentMetadata),
        }
    }
}

/// A running gateway; dropping it stops it.
#[derive(Debug)]
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its disks.
    pub disks: Vec<Arc<dyn ShardStore>>,
    /// Breaks the disks, in their order.
    pub faults: Vec<FaultSwitch>,
    region: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// A server on six disks.
    pub async fn start() -> Self {
        Self::start_with(TestServerOptions::default()).await
    }

    /// A server as the test wants it.
    pub async fn start_with(options: TestServerOptions) -> Self {
        let meta = Meta::new(Arc::clone(&options.kv), MasterKey::random());
        let stores: Vec<FaultyShardStore> = (0..options.disk_count).map(faulty_disk).collect();
        let faults = stores.iter().map(FaultyShardStore::switch).collect();
        let disks: Vec<Arc<dyn ShardStore>> = stores
            .into_iter()
            .map(|store| Arc::new(store) as Arc<dyn ShardStore>)
            .collect();
        Self::start_over(meta, disks, faults, options).await
    }

    /// Another gateway over the metadata and the disks of this one.
    pub async fn start_beside(&self, options: TestServerOptions) -> Self {
        let meta = self.gateway.meta().clone();
        Self::start_over(meta, self.disks.clone(), self.faults.clone(), options).await
    }

    async fn start_over(
        meta: Meta,
        disks: Vec<Arc<dyn ShardStore>>,
        faults: Vec<FaultSwitch>,
        options: TestServerOptions,
    ) -> Self {
        let entries = disks
            .iter()
            .enumerate()
            .map(|(index, store)| entry(index, store))
            .collect();
        let clock = options.clock;
        let engine_options = EngineOptions::new(Geometry::for_disk_count(disks.len()));
        let engine = Engine::new(
            engine_options,
            meta.clone(),
            Disks::new(entries),
            Arc::clone(&clock),
        );
        let mut config = GatewayConfig::new(RootCredentials::new(ROOT_ACCESS_KEY, ROOT_SECRET_KEY));
        config.region.clone_from(&options.region);
        config.domains = options.domains;
        (options.configure)(&mut config);
        let components = Components {
            meta,
            engine: Arc::new(engine),
            clock,
            metadata_state: options.metadata_state,
        };
        let gateway = Gateway::new(config, components).expect("a gateway");

        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn({
            let gateway = Arc::clone(&gateway);
            async move {
                let shutdown = async { drop(stopped.await) };
                server::serve(gateway, listener, options.listener, shutdown)
                    .await
                    .expect("a listener that serves");
            }
        });
        Self {
            address,
            gateway,
            disks,
            faults,
            region: options.region,
            stop: Some(stop),
            serving,
        }
    }

    /// A client with the root credentials.
    pub fn client(&self) -> Client {
        Client::new(self.address, &self.region, ROOT_ACCESS_KEY, ROOT_SECRET_KEY)
    }

    /// A client that does not sign.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.address, &self.region)
    }

    /// A client with the key of a new user.
    pub async fn user(&self, name: &str) -> Client {
        let meta = self.gateway.meta();
        let name = UserName::parse(name).expect("a user's name");
        meta.create_user(name.clone(), None, None, self.gateway.now_ms())
            .await
            .expect("a new user");
        let key = meta
            .create_key(&name, None, self.gateway.now_ms())
            .await
            .expect("a new key");
        Client::new(
            self.address,
            &self.region,
            key.access_key.as_str(),
            key.secret.expose(),
        )
    }

    /// How many shards are on all disks.
    pub async fn shard_count(&self) -> usize {
        let mut count = 0;
        for disk in &self.disks {
            count += disk
                .list(None, 10_000)
                .await
                .expect("a listing")
                .shards
                .len();
        }
        count
    }

    /// Stops accepting and waits until running requests are done.
    pub async fn shut_down(mut self) {
        if let Some(stop) = self.stop.take() {
            // A server that has ended by itself needs no telling.
            stop.send(()).unwrap_or_default();
        }
        (&mut self.serving).await.expect("a server that ends");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn faulty_disk(index: usize) -> FaultyShardStore {
    let number = u8::try_from(index + 1).expect("few disks");
    FaultyShardStore::new(Arc::new(MemoryShardStore::new(DiskId([number; 16]))))
}

fn entry(index: usize, store: &Arc<dyn ShardStore>) -> DiskEntry {
    DiskEntry {
        store: Arc::clone(store),
        path: format!("/disk-{index}"),
        host: format!("host-{index}"),
        zone: "zone".to_owned(),
        locality: Locality::Local,
        role: DiskRole::Active,
    }
}
