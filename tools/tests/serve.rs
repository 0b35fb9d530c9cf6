//! A whole store in this process, started, stopped and started again on the same directories.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot prepare itself has failed, and its directories need not be durable"
)]

use std::path::PathBuf;

use cairn_tools::config::{ServeConfig, Sources};
use cairn_tools::serve::{self, StartError};
use cairn_tools::{CommandError, DisksError};

struct Directories {
    root: tempfile::TempDir,
}

impl Directories {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.root.path().join(format!("disk{number}"))
    }

    fn config(&self) -> ServeConfig {
        self.config_listening("127.0.0.1:0")
    }

    fn config_listening(&self, address: &str) -> ServeConfig {
        let disks = (1..=6)
            .map(|number| self.disk(number).display().to_string())
            .collect();
        let flags = [
            ("data".to_owned(), disks),
            ("listen".to_owned(), vec![address.to_owned()]),
        ];
        let sources = Sources {
            flags: flags.into(),
            ..Sources::default()
        };
        ServeConfig::parse(&sources)
            .map_err(CommandError::from)
            .expect("a valid configuration")
            .0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_credentials_survive_restarts_and_the_loss_of_any_two_disks() {
    let directories = Directories::new();
    let config = directories.config();
    let server = serve::start(&config).await.expect("the first start");
    let root = server.root().clone();
    assert!(
        server
            .welcome(&config)
            .text()
            .contains(root.secret_key.reveal()),
        "new credentials are shown"
    );
    server.stop().await;

    // The first two hold metadata and secrets.
    for number in [1, 2] {
        std::fs::remove_dir_all(directories.disk(number)).expect("a disk can be taken away");
    }
    let server = serve::start(&config)
        .await
        .expect("a start without two disks");
    assert_eq!(server.root(), &root);
    assert!(
        !server
            .welcome(&config)
            .text()
            .contains(root.secret_key.reveal()),
        "known credentials are not shown"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_made_by_a_start_that_cannot_serve() {
    let directories = Directories::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address");
    let config = directories.config_listening(&address.to_string());
    let refused = serve::start(&config).await.expect_err("the port is taken");
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
    assert!(!directories.disk(1).exists(), "nothing was written");

    drop(taken);
    let server = serve::start(&config).await.expect("the first start");
    let secret = server.root().secret_key.reveal().to_owned();
    assert!(
        server.welcome(&config).text().contains(&secret),
        "new credentials are shown"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_three_disks_is_refused_and_succeeds_when_one_is_back() {
    let directories = Directories::new();
    let config = directories.config();
    serve::start(&config)
        .await
        .expect("the first start")
        .stop()
        .await;

    let away = |number: usize| directories.root.path().join(format!("away{number}"));
    for number in [1, 3, 5] {
        rename(directories.disk(number), away(number));
    }
    let refused = serve::start(&config)
        .await
        .expect_err("a start without three of six disks");
    assert!(
        matches!(
            refused,
            StartError::Disks(DisksError::TooManyMissing { .. })
        ),
        "{refused}"
    );

    rename(away(3), directories.disk(3));
    serve::start(&config)
        .await
        .expect("a start without two disks")
        .stop()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_disks_is_refused() {
    let directories = Directories::new();
    let config = directories.config();
    let server = serve::start(&config).await.expect("the first start");
    let refused = serve::start(&config)
        .await
        .expect_err("a second server on the same disks");
    assert!(refused.to_string().contains("in use"), "{refused}");
    server.stop().await;
}

fn rename(from: PathBuf, to: PathBuf) {
    std::fs::rename(from, to).expect("a directory can be renamed");
}
