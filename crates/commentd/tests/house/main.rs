//! The house rules that a compiler can't check: which crate may know which and what licences come in (`packages`),
//! that no files of a crate use each other in a circle (`circles`), which words and names are not used (`words`,
//! `names`), how long files may get, and that what the documents name exists (`documents`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, prints to its log, and measures by the clock"
)]

mod circles;
mod documents;
mod modules;
mod names;
mod packages;
mod words;

use std::path::{Path, PathBuf};

/// A file that one can hold in the head.
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", ".work", "acceptance_reports"].contains(&name.as_str()) {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_enough_to_hold_in_the_head() {
    let mut found = Vec::new();
    files(&root().join("crates"), &mut found);
    files(&root().join("testing"), &mut found);
    for path in found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
    let main = std::fs::read_to_string(root().join("crates/commentd/src/main.rs")).unwrap();
    assert!(main.lines().count() < 130);
}
