//! Documents that name tests name tests that exist.

use std::path::Path;

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
