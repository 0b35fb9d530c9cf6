//! Within a crate modules import one another in one direction, so that each can be read before those that use it.
//!
//! Method: the `use` declarations of all files are resolved to modules. Of each one, what counts is where the two
//! modules' paths part: the two siblings there, files or folders, are an edge. No siblings may be on a circle. (A
//! folder's `mod.rs` is its face and part of the folder; unit tests may look at whatever they like.)
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_tests::sources::{repository, sources};

/// The path of a module in its crate: empty for the crate itself.
type Module = Vec<String>;
/// An import: who imports whom, among the siblings below one module.
type Edges = BTreeMap<Module, BTreeSet<(String, String)>>;

#[test]
fn modules_import_one_another_in_one_direction() {
    let mut module_count = 0;
    for name in [
        "gateway",
        "meta",
        "storage-node",
        "storage-node/rpc",
        "tools",
    ] {
        let modules = modules_below(&repository().join(name).join("src"));
        module_count += modules.len();
        for (parent, edges) in edges(&modules) {
            let circle = circle(&edges);
            assert!(circle.is_empty(), "{name}, below {parent:?}: {circle:?}");
        }
    }
    assert!(module_count > 300, "only {module_count} modules");
}

#[test]
fn circles_are_found_and_chains_are_none() {
    let modules = |files: &[(&str, &str)]| {
        let file = |(path, code): &(&str, &str)| {
            let module: Module = path.split('/').map(str::to_owned).collect();
            (module, (*code).to_owned())
        };
        files.iter().map(file).collect::<BTreeMap<_, _>>()
    };
    let chain = modules(&[
        ("a", "use crate::{b::c::X, d};"),
        ("b", ""),
        ("b/c", "use super::e::Y;\nuse crate::d::Z;"),
        ("b/e", ""),
        ("d", ""),
    ]);
    assert!(edges(&chain).values().all(|edges| circle(edges).is_empty()));
    let circular = modules(&[
        ("a", "use crate::b::c::X;"),
        ("b", ""),
        ("b/c", "use crate::d::{\n    self, Z,\n};"),
        ("d", "use super::a::W;"),
    ]);
    assert_eq!(circle(&edges(&circular)[&Module::new()]).len(), 3);
}

/// The code of each module, without its unit tests.
fn modules_below(directory: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for path in sources(directory) {
        let relative = path.strip_prefix(directory).unwrap().with_extension("");
        let mut module: Module = relative
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        let is_test =
            |part: &String| part == "tests" || part == "testing" || part.ends_with("_tests");
        if module.iter().any(is_test) {
            continue;
        }
        if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
            module.pop();
        }
        let code = std::fs::read_to_string(&path).unwrap();
        let own = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        modules.insert(module, own.to_owned());
    }
    modules
}

fn edges(modules: &BTreeMap<Module, String>) -> Edges {
    let mut edges = Edges::new();
    for (module, code) in modules {
        for path in imports(code) {
            let Some(imported) = resolve(module, &path, modules) else {
                continue;
            };
            let shared = module
                .iter()
                .zip(&imported)
                .take_while(|(a, b)| a == b)
                .count();
            if let (Some(from), Some(to)) = (module.get(shared), imported.get(shared)) {
                let siblings = edges.entry(module[..shared].to_vec()).or_default();
                siblings.insert((from.clone(), to.clone()));
            }
        }
    }
    edges
}

/// The paths that the `use` declarations of a file name, one for each leaf.
fn imports(code: &str) -> Vec<Vec<String>> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.flat_map(|line| [line.trim(), " "]).collect();
    let declarations = code.split("use ").skip(1);
    let trees = declarations.filter_map(|rest| rest.split_once(';').map(|(tree, _)| tree));
    trees.flat_map(|tree| leaves(tree.trim())).collect()
}

fn leaves(tree: &str) -> Vec<Vec<String>> {
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![
            path.split("::")
                .map(|part| part.trim().to_owned())
                .collect(),
        ];
    };
    let group = group.trim_end().trim_end_matches('}');
    let mut depth = 0;
    let parts = group.split(|letter: char| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts
        .flat_map(|part| leaves(&format!("{prefix}{part}")))
        .collect()
}

/// The module that a path leads to, or into; `None` for one of another crate.
fn resolve(from: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let first = path.first()?.as_str();
    let above = path.iter().take_while(|part| *part == "super").count();
    let (mut module, rest) = match first {
        "crate" => (Module::new(), &path[1..]),
        "super" => (
            from[..from.len().checked_sub(above)?].to_vec(),
            &path[above..],
        ),
        "self" => (from.clone(), &path[1..]),
        _ => {
            let child = [from.as_slice(), &path[..1]].concat();
            modules
                .contains_key(&child)
                .then_some((from.clone(), path))?
        }
    };
    for part in rest {
        module.push(part.clone());
        if !modules.contains_key(&module) {
            module.pop();
            break;
        }
    }
    Some(module)
}

/// The imports that are left when all modules that import nothing, or only such ones, are taken away.
fn circle(edges: &BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    let mut left = edges.clone();
    loop {
        let importing: BTreeSet<String> = left.iter().map(|(from, _)| from.clone()).collect();
        let before = left.len();
        left.retain(|(_, to)| importing.contains(to));
        if left.len() == before {
            return left;
        }
    }
}
