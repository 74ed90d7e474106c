//! The documents' commands: each exists, and both languages have the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use clap::Parser;
use commentd::cli::Cli;
use std::collections::BTreeSet;
use std::path::Path;

const DOCUMENTS: [&str; 4] = ["docs/migrate.md", "docs/migrate.zh-CN.md", "README.md", "README.zh-CN.md"];

fn text(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of its blocks of code that run commentd, continued lines joined, without what a shell doesn't hand over.
fn commands(document: &str) -> Vec<String> {
    let blocks = text(document);
    let lines = blocks
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>());
    let commands = lines.filter(|line| line.starts_with("commentd "));
    commands.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect()
}

/// As a shell would, as far as the documents need it: blanks, and double quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate().flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    parts.collect()
}

/// The names in backquotes outside of blocks of code that stand for something of ours: flags, variables, fields.
fn names(document: &str) -> BTreeSet<String> {
    let prose: String = text(document).split("```").step_by(2).collect();
    let quoted = prose.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[test]
fn every_command_in_the_documents_is_one_that_we_take() {
    for document in DOCUMENTS {
        let commands = commands(document);
        assert!(!commands.is_empty(), "{document} has no command");
        for command in commands {
            if let Err(error) = Cli::try_parse_from(words(&command)) {
                panic!("{document}: {command}\n{error}");
            }
        }
    }
}

#[test]
fn both_languages_of_the_readme_have_the_same_commands() {
    assert_eq!(commands(DOCUMENTS[2]), commands(DOCUMENTS[3]));
}

#[test]
fn both_languages_of_the_migration_say_the_same() {
    let (english, chinese) = (DOCUMENTS[0], DOCUMENTS[1]);
    assert_eq!(commands(english), commands(chinese));
    assert_eq!(names(english), names(chinese));
    let headings = |document| text(document).lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings(english), headings(chinese));
}
