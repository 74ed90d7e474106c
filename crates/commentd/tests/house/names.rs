//! A type's name says which of our types it is: no more than two in all crates share one.

use super::circles::{packages, targets};
use super::modules::Modules;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use syn::Item;

/// How many types may share a name.
const MOST: usize = 2;

/// Names that don't say of what, or that are metaphors of our own; and what to say instead.
const NOT_A_NAME: &[(&str, &str)] = &[
    ("Aloft", "RunInCaller"),
    ("Answer", "a reply says of whom"),
    ("Back", "Completion"),
    ("Book", "TxContext"),
    ("Desk", "WriterState"),
    ("Entry", "what is entered, and where"),
    ("Fence", "Failpoint"),
    ("Flight", "InFlight, DeliveryTask"),
    ("Flights", "InFlight"),
    ("Gauge", "ProviderState"),
    ("Kept", "what is kept"),
    ("Landing", "what ends"),
    ("Link", "ProviderRules, or a provider's index"),
    ("Links", "Chain"),
    ("Looks", "LookupLimiter"),
    ("Passenger", "Follower"),
    ("Pilot", "Leader"),
    ("Purse", "FakeProviderHealth"),
    ("Room", "AdmissionPermit"),
    ("Row", "which row"),
    ("Scan", "LookupPager"),
    ("Search", "LookupSchedule"),
    ("Seat", "a permit says for what"),
    ("Shared", "ProviderHealth, or what is shared"),
    ("Sighting", "LookupResult"),
    ("Stored", "what is stored"),
    ("Told", "DeliveryReply"),
    ("Turn", "Slot"),
    ("Turns", "RateLimiter"),
    ("UnderWay", "Pending"),
];

/// Such names that are still there. The list only shrinks.
const STILL_A_NAME: &[&str] = &["Kept", "Row"];

/// Names that still have more types. The list only shrinks: a name that needs it no longer fails the test.
const NOT_YET: &[&str] = &["Fate"];

#[test]
fn no_more_than_two_types_share_a_name() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in all_types() {
        places.entry(name.clone()).or_default().insert(file.clone());
    }
    places.retain(|_, files| files.len() > MOST);
    let free: Vec<&&str> = NOT_YET.iter().filter(|name| !places.contains_key(**name)).collect();
    places.retain(|name, _| !NOT_YET.contains(&name.as_str()));
    assert!(places.is_empty(), "give each a name that tells it from the others: {places:#?}");
    assert!(free.is_empty(), "take these off NOT_YET: {free:?}");
}

#[test]
fn names_say_of_what() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in all_types() {
        if let Some((_, instead)) = NOT_A_NAME.iter().find(|(banned, _)| banned == name) {
            places.entry(name.clone()).or_default().insert(format!("{file} (say {instead})"));
        }
    }
    let free: Vec<&&str> = STILL_A_NAME.iter().filter(|name| !places.contains_key(**name)).collect();
    places.retain(|name, _| !STILL_A_NAME.contains(&name.as_str()));
    assert!(places.is_empty(), "{places:#?}");
    assert!(free.is_empty(), "take these off STILL_A_NAME: {free:?}");
}

/// The types of all crates, with their files.
fn all_types() -> &'static [(String, String)] {
    static TYPES: LazyLock<Vec<(String, String)>> =
        LazyLock::new(|| packages().iter().flat_map(targets).flat_map(|target| types(&target)).collect());
    &TYPES
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
