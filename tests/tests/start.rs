//! Starting, stopping and refusing to start: what an operator sees at 3 a.m.
#![expect(
    clippy::disallowed_methods,
    reason = "a file damaged on purpose need not be durable"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cairn_tests::faults;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, client_with_bucket, client_with_keys, code, get, put};
use cairn_tests::serve::{ACCESS_KEY, Server};
use rustix::fs::Mode;
use rustix::process::umask;

#[tokio::test]
async fn what_was_stored_is_there_after_a_clean_restart() {
    let mut server = Server::start(6);
    let before = client_with_bucket(server.endpoint(), "restart").await;
    put(&before, "restart", "key", payload(100_000, 1))
        .await
        .unwrap();
    assert!(
        server.terminate().success(),
        "SIGTERM ends with exit code 0"
    );
    server.restart().unwrap();
    assert_eq!(
        get(&client(server.endpoint()), "restart", "key")
            .await
            .unwrap(),
        payload(100_000, 1)
    );
}

#[tokio::test]
async fn what_is_stored_can_be_read_by_its_user_alone() {
    // What the server inherits: most systems let everybody read new files.
    umask(Mode::WGRP | Mode::WOTH);
    let mut server = Server::start(3);
    let client = client_with_bucket(server.endpoint(), "private").await;
    for size in [1, 5_000_000] {
        put(&client, "private", &size.to_string(), payload(size, 1))
            .await
            .unwrap();
    }
    assert!(server.terminate().success());
    let mut directories: Vec<PathBuf> = (0..3).map(|index| server.disk(index)).collect();
    let mut file_count = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata())).unwrap();
            let metadata = metadata.unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            if metadata.is_dir() {
                directories.push(path);
            } else {
                file_count += 1;
            }
        }
    }
    // Identities, segments, indexes, journals.
    assert!(file_count > 20, "{file_count} files");
}

#[tokio::test]
async fn every_number_of_disks_serves() {
    for disk_count in 1..=8 {
        let mut server = Server::start(disk_count);
        let client = client_with_bucket(server.endpoint(), "disks").await;
        for size in [0, 1, 40_000, 5_000_000] {
            put(&client, "disks", "key", payload(size, 1))
                .await
                .unwrap();
            assert!(
                get(&client, "disks", "key").await.unwrap() == payload(size, 1),
                "{disk_count} disks, {size} bytes"
            );
        }
        assert!(server.terminate().success());
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_disks_is_refused() {
    let mut first = Server::start(3);
    let arguments: Vec<String> = ["serve", "--listen", "127.0.0.1:0"]
        .map(str::to_owned)
        .into_iter()
        .chain(
            (0..3).flat_map(|index| ["--data".to_owned(), first.disk(index).display().to_string()]),
        )
        .collect();
    let logs = tempfile::tempdir().unwrap();
    let environment = [
        ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY.to_owned()),
        ("CAIRN_ROOT_SECRET_KEY", "x".repeat(40)),
    ];
    let mut second =
        cairn_tests::process::CairnProcess::start("second", &arguments, &environment, logs.path());
    let refusal = second.endpoint().unwrap_err();
    assert!(
        refusal.contains("disk0"),
        "the message names the disk: {refusal}"
    );
    assert!(first.process().is_running());
}

#[tokio::test]
async fn a_damaged_identity_file_is_refused_and_left_alone() {
    let mut server = Server::start(3);
    assert!(server.terminate().success());
    let identity = server.disk(1).join("cairn-disk.json");
    std::fs::write(&identity, "{ not json").unwrap();
    let refusal = server.restart().unwrap_err();
    assert!(
        refusal.contains("cairn-disk.json"),
        "the message names the file: {refusal}"
    );
    assert_eq!(std::fs::read_to_string(&identity).unwrap(), "{ not json");
}

#[tokio::test]
async fn an_identity_that_cannot_be_read_costs_one_disk_and_not_the_store() {
    let mut server = Server::start(6);
    let before = client_with_bucket(server.endpoint(), "eio").await;
    put(&before, "eio", "key", payload(100_000, 1))
        .await
        .unwrap();
    assert!(server.terminate().success());
    // Reading a directory as a file fails as reading a bad sector does.
    let identity = server.disk(5).join("cairn-disk.json");
    std::fs::remove_file(&identity).unwrap();
    std::fs::create_dir(&identity).unwrap();
    server.expect(&[
        faults::DISK_IS_MISSING,
        faults::METADATA_DIRECTORY_IS_MISSING,
    ]);
    server.restart().unwrap();
    let after = client(server.endpoint());
    assert!(get(&after, "eio", "key").await.unwrap() == payload(100_000, 1));
}

#[tokio::test]
async fn metadata_on_a_fresh_file_system_start_and_are_not_taken_for_those_of_other_disks() {
    let ssd = tempfile::tempdir().unwrap();
    std::fs::create_dir(ssd.path().join("lost+found")).unwrap();
    let mut server = Server::stopped(3);
    server.arguments = vec!["--meta".to_owned(), ssd.path().display().to_string()];
    server.restart().unwrap();
    assert!(server.terminate().success());
    // None of its disks is mounted.
    for index in 0..3 {
        server.remove_disk(index);
        std::fs::create_dir(server.disk(index)).unwrap();
    }
    let refusal = server.restart().unwrap_err();
    assert!(refusal.contains("are not there"), "{refusal}");
    for index in 0..3 {
        assert_eq!(std::fs::read_dir(server.disk(index)).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let server = Server::start(1);
    let intruder = client_with_keys(
        server.endpoint(),
        ACCESS_KEY,
        "a wrong secret key of some length",
    );
    let refusal = intruder.list_buckets().send().await.unwrap_err();
    assert_eq!(code(&refusal), "SignatureDoesNotMatch");
}
