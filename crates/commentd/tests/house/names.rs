//! A type's name says which of our types it is: no more than two in all crates share one.

use super::circles::{packages, targets};
use super::modules::Modules;
use std::collections::{BTreeMap, BTreeSet};
use syn::Item;

/// How many types may share a name.
const MOST: usize = 2;

/// Names that still have more types. The list only shrinks: a name that needs it no longer fails the test.
const NOT_YET: &[&str] = &[
    "Answer", "Args", "Channel", "End", "Entry", "Failure", "Fate", "Fault", "Given", "Item", "Kept", "Kind",
    "Known", "Line", "Log", "Place", "Refusal", "Reply", "Request", "Run", "State", "Stored", "Stream",
    "Told", "Turn", "Wanted", "World",
];

#[test]
fn no_more_than_two_types_share_a_name() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for target in packages().iter().flat_map(targets) {
        for (name, file) in types(&target) {
            places.entry(name).or_default().insert(file);
        }
    }
    places.retain(|_, files| files.len() > MOST);
    let free: Vec<&&str> = NOT_YET.iter().filter(|name| !places.contains_key(**name)).collect();
    places.retain(|name, _| !NOT_YET.contains(&name.as_str()));
    assert!(places.is_empty(), "give each a name that tells it from the others: {places:#?}");
    assert!(free.is_empty(), "take these off the list: {free:?}");
}

/// The structs, enums and traits of a target, with their files.
fn types(target: &Modules) -> Vec<(String, String)> {
    let named = |(file, item): (&str, &Item)| {
        let name = match item {
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            _ => return None,
        };
        Some((name.to_string(), file.to_owned()))
    };
    target.items().filter_map(named).collect()
}

#[test]
fn example() {
    let text = "struct A; enum B {} trait C {} type D = A; mod inner { pub struct E; } \
                #[cfg(test)] struct F; #[cfg(test)] mod tests { struct G; }";
    let sources = BTreeMap::from([("x/src/lib.rs".to_owned(), text.to_owned())]);
    let found: Vec<String> = targets(&sources).iter().flat_map(types).map(|(name, _)| name).collect();
    assert_eq!(found, ["A", "B", "C", "E"]);
}
