//! Documents that are made from the program's own tables say what the tables say.
//!
//! After a change: `CAIRN_UPDATE_DOCUMENTS=1 cargo test -p cairn-tools --test documents`.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot read the repository has failed"
)]

use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- operations:begin -->";
const END: &str = "<!-- operations:end -->";

fn repository_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn compare(name: &str, expected: &str) {
    let path = repository_file(name);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    if std::env::var_os("CAIRN_UPDATE_DOCUMENTS").is_some() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a file of the repository, written on request"
        )]
        std::fs::write(&path, expected).expect("the repository can be written");
    }
    assert_eq!(
        found, expected,
        "{name} is outdated; see the top of this file"
    );
}

#[test]
fn the_page_of_settings_is_that_of_the_program() {
    compare(
        "docs/configuration.md",
        &cairn_tools::config::documentation(),
    );
}

#[test]
fn the_readme_shows_the_table_of_operations() {
    let readme = std::fs::read_to_string(repository_file("README.md")).expect("there is a README");
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the README has the mark where the table begins");
    let (_, after) = rest
        .split_once(END)
        .expect("the README has the mark where the table ends");
    let table = cairn_gateway::operation::support_markdown();
    compare(
        "README.md",
        &format!("{before}{BEGIN}\n{table}{END}{after}"),
    );
}
