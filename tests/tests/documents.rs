//! Documents name tests that exist, explain the errors that the program logs and no others, and list all decisions.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeSet;
use std::path::Path;

use cairn_tests::sources::{repository, sources};

/// What clients may rely on, a bullet each, and not what follows under another heading.
fn guarantees(semantics: &str) -> Vec<&str> {
    let (guaranteed, _) = semantics.split_once("## What is not guaranteed").unwrap();
    let bullets = guaranteed.split("\n- ").skip(1);
    bullets
        .map(|bullet| bullet.split("\n#").next().unwrap_or_default())
        .collect()
}

/// The tests that a text names as `file: test`.
fn named_tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|quoted| quoted.split_once(": "))
        .filter(|(file, _)| file.contains('/'))
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let root = repository();
    let semantics = std::fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let guarantees = guarantees(&semantics);
    assert!(guarantees.len() > 10, "only {guarantees:#?}");
    for guarantee in guarantees {
        let (_, held_by) = guarantee
            .split_once("Held by ")
            .unwrap_or_else(|| panic!("no test holds this: {guarantee}"));
        assert!(named_tests(held_by).count() > 0, "no test: {guarantee}");
    }
    for (file, test) in named_tests(&semantics) {
        let source = std::fs::read_to_string(root.join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there =
            source.contains(&format!("fn {test}(")) || source.contains(&format!("def {test}("));
        assert!(is_there, "{file} has no test {test}");
    }
}

/// The folders of all sources of the program.
const SOURCES: [&str; 5] = [
    "gateway/src",
    "meta/src",
    "storage-node/src",
    "storage-node/rpc/src",
    "tools/src",
];

/// The text of each of them.
fn source_texts(root: &Path) -> impl Iterator<Item = String> {
    let paths = SOURCES.map(|folder| sources(&root.join(folder)));
    let paths = paths.into_iter().flatten();
    paths.map(|path| std::fs::read_to_string(path).unwrap())
}

/// What operators read when something is wrong.
fn page_for_the_night(root: &Path) -> String {
    let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    page.split_once("## At 3 a.m.").unwrap().1.to_owned()
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
    let root = repository();
    let page = page_for_the_night(root);
    let mut messages = BTreeSet::new();
    for source in source_texts(root) {
        messages.extend(error_messages(&source));
    }
    assert!(messages.len() > 20, "only {messages:?}");
    let unexplained: Vec<&String> = messages
        .iter()
        .filter(|message| !page.contains(&format!("`{message}`")))
        .collect();
    assert!(unexplained.is_empty(), "not explained: {unexplained:?}");
}

#[test]
fn every_message_that_is_explained_to_operators_is_in_the_sources() {
    let root = repository();
    let page = page_for_the_night(root);
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(explained.len() > 40, "only {explained:?}");
    let all: String = source_texts(root).collect();
    for message in explained {
        // What differs from case to case is left out of it.
        for piece in message.split('…').map(str::trim) {
            assert!(all.contains(piece), "nothing says `{message}`");
        }
    }
}

#[test]
fn the_index_of_decisions_lists_each_with_its_title() {
    let root = repository();
    let folder = root.join("docs/adr");
    let mut expected = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        let page = std::fs::read_to_string(folder.join(&name)).unwrap();
        let title = page.lines().next().and_then(|line| line.strip_prefix("# "));
        let (number, title) = title.and_then(|title| title.split_once(". ")).unwrap();
        let file_number = name.split('-').next().and_then(|text| text.parse().ok());
        assert_eq!(file_number, number.parse::<u32>().ok(), "{name}");
        expected.insert(format!("| {number} | [{title}]({name}) |"));
    }
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let rows = index.lines().filter(|line| line.contains("](0"));
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(listed, expected);
}
