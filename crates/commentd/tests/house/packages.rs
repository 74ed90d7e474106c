//! Which crate may know which, and what comes in from outside.

use super::root;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Which of our crates each of our crates may use. Tests may use more.
const ARROWS: &[(&str, &[&str])] = &[
    ("commentd-contract", &[]),
    ("commentd-delivery", &["commentd-contract"]),
    ("commentd-ledger", &["commentd-contract", "commentd-delivery"]),
    ("commentd-channels", &["commentd-contract", "commentd-delivery"]),
    ("commentd-providers", &["commentd-channels", "commentd-contract", "commentd-delivery"]),
    (
        "commentd-sidecar",
        &[
            "commentd-channels",
            "commentd-contract",
            "commentd-delivery",
            "commentd-ledger",
            "commentd-providers",
        ],
    ),
    ("commentd-acceptance", &["commentd-contract"]),
    ("commentd-board", &["commentd-contract"]),
    ("commentd-checker", &["commentd-contract"]),
    (
        "commentd-chaos",
        &[
            "commentd",
            "commentd-board",
            "commentd-checker",
            "commentd-contract",
            "commentd-delivery",
            "commentd-ledger",
            "commentd-providers",
            "commentd-sidecar",
        ],
    ),
    ("commentd-test-support", &["commentd-board"]),
    ("commentd-benches", &["commentd-contract", "commentd-delivery", "commentd-ledger"]),
    ("commentd-fuzz", &["commentd-channels", "commentd-contract", "commentd-delivery", "commentd-providers"]),
    (
        "commentd-simulation",
        &[
            "commentd-contract",
            "commentd-delivery",
            "commentd-ledger",
            "commentd-channels",
            "commentd-providers",
            "commentd-sidecar",
            "commentd-checker",
        ],
    ),
    (
        "commentd",
        &[
            "commentd-contract",
            "commentd-delivery",
            "commentd-ledger",
            "commentd-channels",
            "commentd-providers",
            "commentd-sidecar",
            "commentd-acceptance",
            "commentd-board",
        ],
    ),
];

/// Crates that would break the pure middle's promise.
const IMPURE: [&str; 9] =
    ["tokio", "hyper", "axum", "rusqlite", "socket2", "futures-util", "tracing", "getrandom", "clap"];

const LICENCES: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "MIT-0",
    "NCSA",
    "Unlicense",
];

const BANNED: [&str; 3] = ["openssl-sys", "native-tls", "reqwest-retry"];

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".into(), "--locked".into()]);
    command.exec().unwrap()
}

#[test]
fn arrows_point_as_drawn() {
    let arrows: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, arrows.keys().copied().collect(), "a crate without arrows, or arrows without a crate");
    for package in members {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let name = dependency.name.as_str();
            if names.contains(name) {
                assert!(
                    arrows[package.name.as_str()].contains(name),
                    "{} must not know {name}",
                    package.name
                );
            }
        }
    }
}

#[test]
fn the_middle_is_pure() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        if ["commentd-channels", "commentd-delivery", "commentd-contract"].contains(&package.name.as_str()) {
            for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
                // Optional ones, as those of the contract's client, come only with a feature that nobody here asks for.
                let is_pure = dependency.optional || !IMPURE.contains(&dependency.name.as_str());
                let asks_for_none =
                    !dependency.name.starts_with("commentd") || dependency.features.is_empty();
                assert!(is_pure && asks_for_none, "{} uses {}", package.name, dependency.name);
            }
        }
    }
}

#[test]
fn dependencies_are_licensed_and_wanted() {
    let accepted: Vec<spdx::Licensee> =
        LICENCES.iter().map(|name| spdx::Licensee::parse(name).unwrap()).collect();
    let mut problems = Vec::new();
    for package in metadata().packages.iter().filter(|package| package.source.is_some()) {
        if BANNED.contains(&package.name.as_str()) {
            problems.push(format!("{} is banned, see deny.toml", package.name));
        }
        let Some(licence) = &package.license else {
            problems.push(format!("{} names no licence", package.name));
            continue;
        };
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).unwrap();
        if !expression.evaluate(|wanted| accepted.iter().any(|licensee| licensee.satisfies(wanted))) {
            problems.push(format!("{} is {licence}", package.name));
        }
        let source = package.source.as_ref().unwrap().repr.as_str();
        if !source.starts_with("registry+") {
            problems.push(format!("{} comes from {source}", package.name));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Dependencies")).unwrap();
    let reasons = section.replace(['|', ','], " ");
    let words: BTreeSet<&str> = reasons.split_whitespace().collect();
    for package in metadata().workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| !d.name.starts_with("commentd")) {
            assert!(
                words.contains(dependency.name.as_str()),
                "ARCHITECTURE.md doesn't say why {} uses {}",
                package.name,
                dependency.name
            );
        }
    }
}
