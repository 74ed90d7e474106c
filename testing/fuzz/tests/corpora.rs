//! The corpora, and a fixed number of inputs near them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use commentd_fuzz::targets::ALL;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::Path;

/// Inputs near each corpus in every `cargo test`; `scripts/fuzz` makes more.
const INPUTS: u32 = 2_000;
/// The longest of them, in bytes.
const LONGEST: usize = 8192;

/// The entries of a dictionary of libFuzzer's: texts in quotes, with `\\`, `\"` and `\xNN`.
fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries").join(format!("{dictionary}.dict"));
    let text = std::fs::read_to_string(file).unwrap();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut found) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        found.push(match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (_, Some(b'x')) => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (_, Some(escaped)) => escaped,
            (plain, None) => plain,
        });
    }
    found
}

/// Inputs of the corpus in which up to five pieces are replaced, by words that matter, numbers, or ends of others.
fn near(corpus: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let end = (select(corpus.clone()), any::<Index>());
    let piece = prop_oneof![
        Just(Vec::new()),
        any::<u8>().prop_map(|byte| vec![byte]),
        any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        end.prop_map(|(other, from)| other[from.index(other.len() + 1)..].to_vec()),
        (select(words.clone()), 1..20usize).prop_map(|(word, times)| word.repeat(times)),
        select(words),
    ];
    (select(corpus), vec((any::<Index>(), 0..16usize, piece), 1..6)).prop_map(|(mut input, changes)| {
        for (at, length, piece) in changes {
            let start = at.index(input.len() + 1);
            let end = (start + length).min(input.len());
            input.splice(start..end, piece);
        }
        input.truncate(LONGEST);
        input
    })
}

fn nothing_is_found_in_and_near_the_corpus_of(name: &str) {
    // Not every system has all of them.
    let Some(target) = ALL.iter().find(|target| target.name == name) else { return };
    let corpus = target.corpus().unwrap();
    assert!(corpus.len() >= 3, "a corpus of {}", corpus.len());
    for (path, input) in &corpus {
        assert_eq!(target.try_one(input), Ok(()), "{}", path.display());
    }
    let words = [words("common"), words(name)].concat();
    let inputs = near(corpus.into_iter().map(|(_, input)| input).collect(), words);
    let config = Config { cases: INPUTS, failure_persistence: None, ..Config::default() };
    // The same inputs in every run.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ran = runner.run(&inputs, |input| target.try_one(&input).map_err(TestCaseError::fail));
    assert!(ran.is_ok(), "{}", ran.unwrap_err());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            nothing_is_found_in_and_near_the_corpus_of(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert!(ALL.iter().all(|target| tested.contains(&target.name)));
        }
    };
}

targets! { request manifest render reply pipe }

#[test]
fn dictionaries_are_read_as_libfuzzer_reads_them() {
    assert_eq!(unescaped(r#"a\"b\\c\x0d\x0a"#), b"a\"b\\c\r\n");
    for target in ALL {
        assert!(words(target.name).len() >= 10, "{}", target.name);
    }
}
