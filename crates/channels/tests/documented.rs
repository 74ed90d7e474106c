//! docs/channels.md says what manifests can say: no less, no more, and in both languages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use commentd_channels::{Manifest, check};
use std::collections::BTreeSet;

const WRITTEN: &str = include_str!("../src/written.rs");
const DOCUMENTS: [(&str, &str); 2] = [
    ("docs/channels.md", include_str!("../../../docs/channels.md")),
    ("docs/channels.zh-CN.md", include_str!("../../../docs/channels.zh-CN.md")),
];

/// Where each table of a manifest is documented.
const PLACES: [(&str, &str); 14] = [
    ("WrittenManifest", "(top)"),
    ("WrittenRequired", "[[require]]"),
    ("WrittenSetting", "[settings.NAME]"),
    ("WrittenRequest", "[send]"),
    ("WrittenVerdict", "[[verdict]]"),
    ("WrittenFailure", "[failure]"),
    ("WrittenAuth", "[auth]"),
    ("WrittenProbe", "[probe]"),
    ("WrittenLookup", "[lookup]"),
    ("WrittenState", "[[lookup.state]]"),
    ("WrittenLimits", "[limits]"),
    ("WrittenExample", "[[example]]"),
    ("WrittenComment", "[example.comment]"),
    ("WrittenReply", "[example.reply]"),
];

/// The keys of a struct of the code, as TOML has them.
fn keys_in_code(name: &str) -> BTreeSet<String> {
    let start =
        WRITTEN.find(&format!("pub struct {name} {{\n")).unwrap_or_else(|| panic!("no struct {name}"));
    let body = WRITTEN[start..].split("\n}").next().unwrap();
    let mut renamed = None;
    let mut keys = BTreeSet::new();
    for line in body.lines().map(str::trim) {
        if let Some((_, after)) = line.split_once("rename = \"") {
            renamed = after.split('"').next().map(str::to_owned);
        }
        if let Some(field) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
            keys.insert(renamed.take().unwrap_or_else(|| field.0.to_owned()));
        }
    }
    keys.remove(&format!("struct {name} {{"));
    keys
}

/// The keys in the table under this heading, each of which must have a type, a default and a meaning.
fn keys_in_document(text: &str, place: &str) -> BTreeSet<String> {
    let heading = format!("### `{place}`\n");
    let start = text.find(&heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = text[start + heading.len()..].split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        cells[0].trim_matches('`').to_owned()
    })
    .collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let structs = WRITTEN.matches("pub struct ").count();
    assert_eq!(structs, PLACES.len(), "a table of manifests has no place in the documents");
    for (name, text) in DOCUMENTS {
        for (table, place) in PLACES {
            assert_eq!(keys_in_document(text, place), keys_in_code(table), "{name}: {place}");
        }
    }
}

#[test]
fn every_word_of_a_choice_is_documented() {
    let mut words = BTreeSet::new();
    for choice in ["SettingKind", "AuthKind", "SendAs"] {
        let start = WRITTEN.find(&format!("pub enum {choice} {{\n")).unwrap();
        let body = WRITTEN[start..].split("\n}").next().unwrap();
        let variants = body.lines().skip(1).map(str::trim).filter(|line| !line.starts_with(['/', '#']));
        words.extend(variants.map(|line| line.trim_end_matches(',').to_lowercase()));
    }
    assert!(words.len() >= 10, "{words:?}");
    for (name, text) in DOCUMENTS {
        for word in &words {
            assert!(text.contains(&format!("`{word}`")), "{name} doesn't name `{word}`");
        }
    }
}

fn manifests(text: &str) -> Vec<&str> {
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.filter(|block| block.starts_with("manifest = 1")).collect()
}

#[test]
fn the_manifests_in_the_documents_prove_themselves() {
    let all: Vec<Vec<&str>> = DOCUMENTS.iter().map(|(_, text)| manifests(text)).collect();
    assert_eq!(all[0].len(), 2);
    assert_eq!(all[0], all[1], "the languages differ in their manifests");
    for text in &all[0] {
        let manifest = Manifest::parse(text, "docs/channels.md").unwrap();
        let checked = check::check(&manifest);
        assert!(checked.problems.is_empty(), "{}: {:#?}", manifest.written().name, checked.problems);
        assert!(checked.passed >= 8);
    }
}
