//! The structure of the code: three floors, each of which imports only from those below it. And the tests that the threat model
//! names.
//!
//! A routes file (`src/*/routes.rs`, `src/*/routes/`) belongs to the way in, to `http`, though it lies beside its feature.

#![expect(clippy::unwrap_used, reason = "a failed expectation ends the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules that may import `App` and everything below.
const WAY_IN: [&str; 12] =
    ["app", "cleanup", "cli", "doctor", "fuzzing", "http", "login", "main", "oauth", "principal", "server", "sync"];
const FEATURES: [&str; 14] = [
    "api_keys",
    "apply",
    "audit",
    "authority",
    "bootstrap",
    "clients",
    "import",
    "keys",
    "passwords",
    "revocations",
    "roles",
    "sessions",
    "throttle",
    "users",
];
const GROUND: [&str; 15] = [
    "client_address",
    "clock",
    "config",
    "error",
    "ids",
    "limits",
    "metrics",
    "names",
    "patch",
    "secret",
    "series",
    "store",
    "telemetry",
    "traces",
    "validation",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Ground,
    Features,
    WayIn,
}

fn floor(module: &str) -> Floor {
    let floors = [(Floor::WayIn, &WAY_IN[..]), (Floor::Features, &FEATURES), (Floor::Ground, &GROUND)];
    let found = floors.iter().find(|(_, modules)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("src/{module} belongs to no floor: add it to tests/floors.rs")).0
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    nested.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Returns the module that a file belongs to.
fn module(relative: &Path) -> String {
    let mut parts = relative.components().map(|part| part.as_os_str().to_str().unwrap().trim_end_matches(".rs"));
    let first = parts.next().unwrap().to_owned();
    if parts.any(|part| part == "routes") { "http".to_owned() } else { first }
}

/// Returns the modules that follow `crate::` in a text, alone or in a list. (Tests, from `#[cfg(test)]` on, do not count.)
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and a module's own name end the same way.
        let rest = &code[at + "crate::".len()..];
        let paths = match rest.strip_prefix('{') {
            Some(list) => top_level(list),
            None => vec![rest],
        };
        for path in paths {
            let path = path.trim_start();
            let name: String = path.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let is_routes = path[name.len()..].trim_start_matches("::").starts_with("routes");
            if !name.is_empty() {
                found.insert(if is_routes { "http".to_owned() } else { name });
            }
        }
    }
    found
}

/// Returns the items of a `use` list, up to its closing brace.
fn top_level(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let is_root = relative == Path::new("lib.rs") || relative == Path::new("main.rs");
        let is_test = relative.file_stem().is_some_and(|stem| stem == "tests");
        if !is_root && !is_test {
            let module = module(relative);
            let imports = imports(&fs::read_to_string(&file).unwrap());
            graph.entry(module.clone()).or_default().extend(imports.into_iter().filter(|import| *import != module));
        }
    }
    graph
}

#[test]
fn each_floor_imports_only_from_those_below() {
    for (module, imports) in graph() {
        for import in imports {
            assert!(floor(&import) <= floor(&module), "{module} imports {import}, which is on a floor above");
        }
    }
}

#[test]
fn no_cycle_has_more_than_three_modules() {
    let graph = graph();
    let reachable = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = left.pop() {
            for next in graph.get(&module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next.clone());
                }
            }
        }
        seen
    };
    let reachable: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|module| (module, reachable(module))).collect();
    for (module, reached) in &reachable {
        let cycle: Vec<_> =
            reached.iter().filter(|other| reachable.get(other).is_some_and(|back| back.contains(*module))).collect();
        assert!(cycle.len() <= 3, "a cycle of {} modules: {cycle:?}", cycle.len());
    }
}

#[test]
fn statements_are_only_in_sql_files_and_in_the_store() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        if relative.starts_with("store") || relative.file_stem().is_some_and(|stem| stem == "sql") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for verb in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM "] {
            assert!(!text.contains(verb), "{} has a statement with {verb}", relative.display());
        }
    }
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let named = text.split('`').filter(|code| code.starts_with("tests/") || code.starts_with("crates/"));
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !root.join(path).is_file()).collect();
    assert!(missing.is_empty(), "docs/threat-model.md names tests that do not exist: {missing:?}");
}
