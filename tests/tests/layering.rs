//! The crates know each other only in one direction (docs: `ARCHITECTURE.md`), and no other crates than they use.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cairn_tests::sources::sources;

/// What `cargo metadata` says of our packages.
fn packages() -> Vec<serde_json::Value> {
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
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn crates_depend_only_downwards() {
    let packages = packages();
    let found: BTreeMap<&str, Vec<&str>> = packages.iter().map(cairn_dependencies).collect();

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

/// Named in a manifest for a feature that they switch on.
const FOR_THEIR_FEATURES: [(&str, &str); 1] = [("cairn-tests", "aws-credential-types")];

#[test]
fn manifests_name_no_crate_that_is_not_used() {
    let mut looked_at = 0;
    for package in packages() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let code = code_below(manifest.parent().unwrap());
        let package_name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            let imported = match name {
                "md-5" => "md5".to_owned(),
                other => other.replace('-', "_"),
            };
            looked_at += 1;
            assert!(
                is_named(&imported, &code) || FOR_THEIR_FEATURES.contains(&(package_name, name)),
                "{package_name} does not use {name}"
            );
        }
    }
    assert!(looked_at > 80, "only {looked_at} dependencies");
}

/// All lines of code of a package, comments left out.
fn code_below(directory: &Path) -> String {
    let mut code = String::new();
    let folders = ["src", "tests", "benches"].map(|folder| directory.join(folder));
    for path in folders.iter().filter(|path| path.is_dir()) {
        for source in sources(path) {
            for line in std::fs::read_to_string(source).unwrap().lines() {
                if !line.trim_start().starts_with("//") {
                    code.push_str(line);
                    code.push('\n');
                }
            }
        }
    }
    code
}

/// Whether a path begins with this crate, or it is imported whole.
fn is_named(imported: &str, code: &str) -> bool {
    let mut pieces = code.split(imported);
    let mut before = pieces.next().unwrap();
    pieces.any(|after| {
        let begins = !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        before = after;
        begins
            && ["::", ";", " as "]
                .iter()
                .any(|next| after.starts_with(next))
    })
}
