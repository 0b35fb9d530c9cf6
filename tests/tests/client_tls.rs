//! `cairn admin` and `cairn bench` against an HTTPS endpoint: who is believed, and what is said when nobody is.
//!
//! Method: `cairn serve` with a certificate of an authority that the test has made. Where the machine's own trusted
//! authorities count, `SSL_CERT_FILE` alone stands for them, so that the test does not depend on the machine.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking with the reason"
)]

use std::path::Path;

use cairn_tests::authority::Authority;
use cairn_tests::process::CairnProcess;
use cairn_tests::serve::{ACCESS_KEY, SECRET_KEY, Server};
use tempfile::TempDir;

struct Encrypted {
    server: Server,
    authority: Authority,
    directory: TempDir,
}

impl Encrypted {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours", directory.path());
        let files = authority.issue("127.0.0.1", directory.path(), "serve");
        let mut server = Server::stopped(1);
        server.arguments = files.arguments().into();
        server.restart().unwrap();
        Self {
            server,
            authority,
            directory,
        }
    }

    fn ca_file(&self) -> String {
        self.authority.file().display().to_string()
    }
}

const STATUS: [&str; 3] = ["admin", "cluster", "status"];
const BENCH: [&str; 9] = [
    "bench",
    "--size",
    "4KiB",
    "--concurrency",
    "2",
    "--count",
    "20",
    "--warm-up",
    "0s",
];

/// Runs a command to its end, the machine trusting the authorities in `trusted`; its exit code, and all it printed.
fn run(arguments: &[&str], endpoint: &str, trusted: &Path) -> (i32, String) {
    let environment = [
        ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY.to_owned()),
        ("CAIRN_ROOT_SECRET_KEY", SECRET_KEY.to_owned()),
        ("CAIRN_ENDPOINT", endpoint.to_owned()),
        ("SSL_CERT_FILE", trusted.display().to_string()),
        ("SSL_CERT_DIR", String::new()),
    ];
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let logs = tempfile::tempdir().unwrap();
    let mut process = CairnProcess::start("command", &arguments, &environment, logs.path());
    let code = process.wait().code().unwrap();
    (code, format!("{}{}", process.stdout(), process.stderr()))
}

#[test]
fn commands_believe_the_given_authority_or_the_machines() {
    let encrypted = Encrypted::start();
    let stranger = Authority::new("stranger", encrypted.directory.path());
    let endpoint = encrypted.server.endpoint();
    assert!(endpoint.starts_with("https://"), "{endpoint}");
    let ca_file = encrypted.ca_file();
    for command in [&STATUS[..], &BENCH[..]] {
        let (code, output) = run(
            &[command, &["--ca-file", &ca_file]].concat(),
            endpoint,
            stranger.file(),
        );
        assert_eq!(code, 0, "{output}");
        let (code, output) = run(command, endpoint, encrypted.authority.file());
        assert_eq!(code, 0, "{output}");
        let (code, output) = run(command, endpoint, stranger.file());
        assert_eq!(code, 1, "{output}");
        assert!(
            output.contains("issued by none of the authorities that this machine trusts"),
            "{output}"
        );
    }
}

#[test]
fn a_wrong_name_no_authorities_and_a_wrong_scheme_are_told_apart() {
    let encrypted = Encrypted::start();
    let ours = encrypted.authority.file();
    let endpoint = encrypted.server.endpoint();
    let fails = |endpoint: &str, trusted: &Path, expected: &str| {
        let (code, output) = run(&STATUS, endpoint, trusted);
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(expected), "{output}");
    };
    fails(
        &endpoint.replace("127.0.0.1", "localhost"),
        ours,
        "subject alternative name",
    );
    fails(endpoint, Path::new("/nonexistent/ca.pem"), "--ca-file");
    fails(&endpoint.replace("https", "http"), ours, "write https://");
}
