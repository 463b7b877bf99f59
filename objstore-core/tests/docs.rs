//! What the documents claim exists, exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The texts between backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_promise_has_a_test_of_that_name() {
    let text = read("objstore-core/docs/durability.md");
    let mut promises = 0;
    for section in text.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        if heading.starts_with("Known limits") {
            continue;
        }
        promises += 1;
        let (file, names) = body
            .rsplit_once("\n`tests/")
            .unwrap_or(("", body.strip_prefix("`tests/").unwrap_or("")));
        let _ = file;
        let (file, names) = names.split_once('`').unwrap_or_else(|| panic!("{heading}: no test"));
        let tests = read(&format!("objstore-core/tests/{file}"));
        let names = quoted(names);
        assert!(!names.is_empty(), "{heading}: no test is named");
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "{heading}: there is no test {name}");
        }
    }
    assert!(promises > 5);
}

#[test]
fn every_promise_of_trust_has_tests_of_that_name() {
    let text = read("objstore-core/docs/trust.md");
    let (_, promises) = text.split_once("\n## Promises").unwrap();
    assert!(!promises.contains("\n## "), "what comes behind the promises is taken for one");
    for section in promises.split("\n### ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        let mut tests = String::new();
        let mut named = 0;
        for name in quoted(body) {
            if name.ends_with(".rs") {
                tests = read(&format!("objstore-core/{name}"));
            } else {
                assert!(tests.contains(&format!("fn {name}(")), "{heading}: no test {name}");
                named += 1;
            }
        }
        assert!(named > 0, "{heading}: no test is named");
    }
}

#[test]
fn every_path_in_the_where_is_table_exists() {
    let readme = read("README.md");
    let (_, table) = readme.split_once("## Where is …?").expect("README has the table");
    let rows = table.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|'));
    let mut paths = 0;
    for row in rows.skip(2) {
        let place = row.split('|').nth(2).unwrap();
        for path in quoted(place) {
            assert!(root().join(path).exists(), "README names {path}, which is not there");
            paths += 1;
        }
    }
    assert!(paths > 10);
}

#[test]
fn the_paths_in_the_architecture_exist() {
    let text = read("objstore-core/docs/architecture.md");
    for path in text.split('`').skip(1).step_by(2).filter(|p| p.ends_with(".rs")) {
        let found = ["objstore-core", "objstore-core/src"]
            .iter()
            .any(|d| root().join(d).join(path).exists());
        assert!(found, "{path}");
    }
}

/// The lines of README's embedding example are those of the crate's, which is compiled and run.
#[test]
fn the_embedding_example_is_the_one_that_runs() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("```rust\n").expect("README has a Rust example");
    let (example, _) = rest.split_once("```").unwrap();
    let library = read("objstore-core/src/lib.rs");
    for line in example.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(library.contains(line), "README's example has a line that nothing runs: {line}");
    }
}

/// Names README gives to files of a node are those that a node makes.
#[test]
fn no_document_names_a_machine() {
    for path in [
        "README.md",
        "CHANGELOG.md",
        "objstore-core/docs/architecture.md",
        "objstore-core/docs/bucket.md",
        "objstore-core/docs/consistency.md",
        "objstore-core/docs/durability.md",
        "objstore-core/docs/formats.md",
        "objstore-core/docs/metrics.md",
        "objstore-core/docs/object_store.md",
    ] {
        let text = read(path);
        for bad in ["/root/", "/work/"] {
            assert!(!text.contains(bad), "{path} names {bad}");
        }
    }
}

/// Levels and fields of the events of a target.
type Events = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

#[test]
fn every_event_is_in_the_table_of_targets() {
    let text = read("objstore-core/docs/metrics.md");
    let (_, table) = text.split_once("| target | levels | fields |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: Events = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let levels = cells[2].split(", ").map(str::to_owned).collect();
            let fields = quoted(cells[3]).into_iter().map(str::to_owned).collect();
            (cells[1].replace('`', ""), (levels, fields))
        })
        .collect();
    let mut events = Events::new();
    for (directory, name) in
        [("objstore-core/src", "objstore_core"), ("objstore-client/src", "objstore_client")]
    {
        for path in sources(&root().join(directory)) {
            let source = std::fs::read_to_string(&path).unwrap();
            assert!(!source.contains("use tracing::{"), "{path:?}: a macro is named otherwise");
            let path = path.strip_prefix(root().join(directory)).unwrap().with_extension("");
            let parts = path.iter().map(|part| part.to_str().unwrap());
            let parts = parts.filter(|part| !["mod", "lib"].contains(part));
            let module: Vec<&str> = std::iter::once(name).chain(parts).collect();
            note_events(&module.join("::"), &source, &mut events);
        }
    }
    assert_eq!(documented, events);
    assert!(events.len() > 20);
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    };
    entries.flat_map(below).collect()
}

fn note_events(module: &str, source: &str, events: &mut Events) {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    for call in source.split("tracing::").skip(1) {
        let Some((name, arguments)) = call.split_once("!(") else { continue };
        let (level, is_span) = match name.strip_suffix("_span") {
            Some(level) => (level, true),
            None => (name, false),
        };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let (mut target, mut fields) = (module.to_owned(), BTreeSet::new());
        for argument in arguments_of(arguments) {
            if let Some(given) = argument.strip_prefix("target:") {
                target = given.trim().trim_matches('"').to_owned();
            } else if argument.starts_with('"') {
                // Of a span the name, of an event the message, behind which there are no fields.
                if !is_span {
                    break;
                }
            } else {
                let field = argument.trim_start_matches(['%', '?']);
                let end = field.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                fields.insert(field[..end.unwrap_or(field.len())].to_owned());
            }
        }
        let (levels, known) = events.entry(target).or_default();
        levels.insert(if is_span { format!("{level} span") } else { level.to_owned() });
        known.extend(fields);
    }
}

/// The arguments of a macro up to the parenthesis that ends them.
fn arguments_of(text: &str) -> Vec<String> {
    let (mut found, mut current, mut depth) = (Vec::new(), String::new(), 0);
    let (mut in_text, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '"' if !escaped => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' if !in_text && depth == 0 => break,
            ')' | ']' | '}' if !in_text => depth -= 1,
            ',' if !in_text && depth == 0 => {
                found.push(std::mem::take(&mut current).trim().to_owned());
                continue;
            }
            _ => {}
        }
        escaped = in_text && c == '\\' && !escaped;
        current.push(c);
    }
    found.push(current.trim().to_owned());
    found.retain(|argument| !argument.is_empty());
    found
}
