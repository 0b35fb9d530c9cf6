//! What scripts rely on: exit codes, where results go, and what an empty environment variable means.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking with the reason"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
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
fn wrong_usage_ends_with_2_and_what_fails_with_1() {
    let logs = tempfile::tempdir().unwrap();
    let file = logs.path().join("file").display().to_string();
    std::fs::File::create(&file).unwrap();
    for (arguments, code, reason) in [
        (
            &["serve", "--data", "d", "--listen", "nowhere"][..],
            2,
            "--listen 0.0.0.0:9000",
        ),
        (&["serve", "--no-such-flag"], 2, "--no-such-flag"),
        (
            &["serve", "--data", "d", "--master-key-file", &file],
            2,
            "64 hexadecimal digits",
        ),
        (&["serve", "--data", &file], 1, "file"),
        (
            &["admin", "health", "--endpoint", "http://127.0.0.1:1"],
            1,
            "127.0.0.1:1",
        ),
    ] {
        let mut command = cairn(arguments, &[], logs.path());
        assert_eq!(
            command.wait().code(),
            Some(code),
            "{arguments:?}: {}",
            command.stderr()
        );
        assert!(command.stderr().contains(reason), "{}", command.stderr());
    }
}

/// Answers 200 to everything but DELETE, for as long as the test runs.
fn server_that_deletes_nothing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer_all(&stream));
        }
    });
    endpoint
}

/// Until the client leaves.
fn answer_all(mut stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            head.push(std::mem::take(&mut line).to_ascii_lowercase());
        }
        let Some(first) = head.first() else {
            return;
        };
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: u64 = length.map_or(0, |length| length.trim().parse().unwrap());
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
        let status = if first.starts_with("delete") {
            "503 Slow Down"
        } else {
            "200 OK"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn what_bench_measured_is_told_though_nothing_can_be_deleted() {
    let logs = tempfile::tempdir().unwrap();
    // No request is begun within a measurement of no time; each of the three workers measures one nevertheless.
    let arguments =
        "bench --operations put --size 1B --concurrency 3 --warm-up 0s --duration 0s --json";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let endpoint = server_that_deletes_nothing();
    let mut command = cairn(&arguments, &[("CAIRN_ENDPOINT", &endpoint)], logs.path());
    assert_eq!(command.wait().code(), Some(1));
    assert!(command.stderr().contains("503"), "{}", command.stderr());
    let told: serde_json::Value = serde_json::from_str(&command.stdout()).unwrap();
    let put = &told["measurements"][0];
    assert!(put["request_count"].as_u64().unwrap() >= 3, "{told}");
    assert!(put["requests_per_second"].as_f64().unwrap() > 0.0, "{told}");
}

#[test]
fn an_empty_variable_is_not_set() {
    let fails = |arguments: &[&str], empty: &[&str], expected: &str| {
        let empty: Vec<(&str, &str)> = empty.iter().map(|name| (*name, "")).collect();
        let logs = tempfile::tempdir().unwrap();
        let mut command = cairn(arguments, &empty, logs.path());
        assert_eq!(command.wait().code(), Some(2));
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
