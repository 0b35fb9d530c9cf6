//! What scripts rely on: exit codes, where results go, and what an empty environment variable means.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking with the reason"
)]

use std::os::unix::fs::symlink;
use std::path::Path;

use cairn_tests::eventually::eventually;
use cairn_tests::http::get;
use cairn_tests::process::CairnProcess;
use cairn_tests::serve::{ACCESS_KEY, SECRET_KEY, Server};

/// Starts `cairn ARGUMENTS` with root's credentials.
fn cairn(arguments: &[&str], variables: &[(&str, &str)], logs: &Path) -> CairnProcess {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let root = [
        ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY),
        ("CAIRN_ROOT_SECRET_KEY", SECRET_KEY),
    ];
    let variables: Vec<(&str, String)> = root
        .iter()
        .chain(variables)
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    CairnProcess::start("command", &arguments, &variables, logs)
}

/// Whatever the next process writes to its standard output meets a full disk.
fn fill_standard_output(logs: &Path) {
    symlink("/dev/full", logs.join("command.stdout")).unwrap();
}

#[test]
fn a_command_whose_result_cannot_be_written_fails() {
    let server = Server::start(1);
    let logs = tempfile::tempdir().unwrap();
    fill_standard_output(logs.path());
    for command in [
        &["admin", "cluster", "status"][..],
        &["admin", "health", "--json"],
    ] {
        let mut command = cairn(
            command,
            &[("CAIRN_ENDPOINT", server.endpoint())],
            logs.path(),
        );
        assert_eq!(command.wait().code(), Some(1));
        let stderr = command.stderr();
        assert!(stderr.contains("standard output"), "{stderr}");
    }
}

#[tokio::test]
async fn a_server_serves_though_nobody_can_be_told_where() {
    let logs = tempfile::tempdir().unwrap();
    fill_standard_output(logs.path());
    let disk = logs.path().join("disk").display().to_string();
    // Free a moment ago, and the system hands such ports out in turn.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let arguments = ["serve", "--data", &disk, "--listen", &address];
    let mut server = cairn(&arguments, &[], logs.path());
    eventually("a server that answers", async || {
        match get(&format!("http://{address}/-/health/live")).await? {
            (200, _) => Ok(()),
            (status, _) => Err(status.to_string()),
        }
    })
    .await;
    assert!(server.terminate().success());
}

#[test]
fn an_empty_variable_is_not_set() {
    let fails = |arguments: &[&str], empty: &[&str], expected: &str| {
        let empty: Vec<(&str, &str)> = empty.iter().map(|name| (*name, "")).collect();
        let logs = tempfile::tempdir().unwrap();
        let mut command = cairn(arguments, &empty, logs.path());
        command.wait();
        let stderr = command.stderr();
        assert!(stderr.contains(expected), "no `{expected}` in {stderr}");
    };
    let root = ["CAIRN_ROOT_ACCESS_KEY", "CAIRN_ROOT_SECRET_KEY"];
    fails(
        &["admin", "user", "list"],
        &root,
        "set CAIRN_ROOT_ACCESS_KEY",
    );
    let aws = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    fails(&["bench"], &[root, aws].concat(), "give --access-key");
    // All problems are those of the settings, not that a file without a name cannot be read.
    fails(&["serve"], &["CAIRN_CONFIG", "CAIRN_CA_FILE"], "--data");
}
