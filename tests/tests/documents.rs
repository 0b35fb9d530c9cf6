//! Documents name tests that exist, and explain the errors that the program logs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_guarantee_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let semantics = std::fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let mut named_count = 0;
    for quoted in semantics.split('`').skip(1).step_by(2) {
        let Some((file, test)) = quoted
            .split_once(": ")
            .filter(|(file, _)| file.contains('/'))
        else {
            continue;
        };
        let source = std::fs::read_to_string(root.join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there =
            source.contains(&format!("fn {test}(")) || source.contains(&format!("def {test}("));
        assert!(is_there, "{file} has no test {test}");
        named_count += 1;
    }
    assert!(named_count > 10, "only {named_count} tests are named");
}

/// The folders of all sources of the program.
const SOURCES: [&str; 5] = [
    "gateway/src",
    "meta/src",
    "storage-node/src",
    "storage-node/rpc/src",
    "tools/src",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The messages of all `tracing::error!(…)` of a source: in each the last text is the message.
fn error_messages(source: &str) -> impl Iterator<Item = String> {
    let calls = source.split("tracing::error!(").skip(1);
    calls.map(|rest| texts_within_parenthesis(rest).pop().unwrap())
}

/// The quoted texts up to the parenthesis that closes one opened before.
fn texts_within_parenthesis(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut depth = 1;
    for (number, piece) in source.split('"').enumerate() {
        // Every other piece is inside of quotes; no message has one in it.
        if number % 2 == 1 {
            texts.push(piece.to_owned());
            continue;
        }
        for letter in piece.chars() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 {
                return texts;
            }
        }
    }
    panic!("no end of {source}");
}

#[test]
fn every_error_of_the_log_is_explained_to_operators() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, page) = page.split_once("## At 3 a.m.").unwrap();
    let mut messages = BTreeSet::new();
    for path in SOURCES
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
    {
        let source = std::fs::read_to_string(path).unwrap();
        messages.extend(error_messages(&source));
    }
    assert!(messages.len() > 20, "only {messages:?}");
    let unexplained: Vec<&String> = messages
        .iter()
        .filter(|message| !page.contains(&format!("`{message}`")))
        .collect();
    assert!(unexplained.is_empty(), "not explained: {unexplained:?}");
}
