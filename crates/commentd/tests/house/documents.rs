//! What the documents name exists.

use super::circles::packages;
use super::root;
use std::collections::BTreeSet;

#[test]
fn what_the_documents_name_exists() {
    for document in [
        "ARCHITECTURE.md",
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/channels.md",
        "docs/channels.zh-CN.md",
        "docs/migrate.md",
        "docs/migrate.zh-CN.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for name in quoted.chain(linked) {
            let is_path = ["crates/", "testing/", "channels/", "scripts/", "docs/", "workers/", ".ci/"]
                .iter()
                .any(|at| name.starts_with(at));
            let is_stand_in =
                |part: &str| part.len() > 1 && part.bytes().all(|letter| letter.is_ascii_uppercase());
            if !is_path || name.contains(['*', '{', ' ', '…']) || name.split('/').any(is_stand_in) {
                continue;
            }
            let path = name.split('#').next().unwrap();
            assert!(root().join(path).exists(), "{document} names {name}, which doesn't exist");
        }
    }
}

#[test]
fn what_the_glossary_names_exists() {
    let sources: String = packages().into_iter().flat_map(|package| package.into_values()).collect();
    let identifiers: BTreeSet<&str> =
        sources.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).collect();
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let glossary = text.split("\n## ").find(|section| section.starts_with("Glossary")).unwrap();
    let rows = glossary.lines().filter(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(4));
    let names: Vec<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 50);
    let is_there = |name: &str| {
        if name.contains('/') { root().join(name).exists() } else { identifiers.contains(name) }
    };
    let missing: Vec<&str> = names.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "the glossary names what isn't there: {missing:?}");
}
