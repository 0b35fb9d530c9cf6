//! The crates know each other only in one direction (docs: `ARCHITECTURE.md`).
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeMap;
use std::process::Command;

#[test]
fn crates_depend_only_downwards() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: BTreeMap<&str, Vec<&str>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(cairn_dependencies)
        .collect();

    // The reason for each absence is in the `lib.rs` of the crate that must not know the other.
    let allowed = BTreeMap::from([
        ("cairn-rpc", vec![]),
        ("cairn-storage-node", vec!["cairn-rpc"]),
        ("cairn-meta", vec!["cairn-rpc"]),
        (
            "cairn-gateway",
            vec!["cairn-meta", "cairn-rpc", "cairn-storage-node"],
        ),
        (
            "cairn-tools",
            vec![
                "cairn-gateway",
                "cairn-meta",
                "cairn-rpc",
                "cairn-storage-node",
            ],
        ),
    ]);
    for (package, allowed) in allowed {
        for dependency in &found[package] {
            assert!(
                allowed.contains(dependency),
                "{package} must not know {dependency}"
            );
        }
    }
}

fn cairn_dependencies(package: &serde_json::Value) -> (&str, Vec<&str>) {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let ours = dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| name.starts_with("cairn-"));
    (package["name"].as_str().unwrap(), ours.collect())
}
