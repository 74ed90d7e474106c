//! The corpora, and a fixed number of inputs near them.

use commentd_fuzz::Target;
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

fn find_near(target: &Target, corpus: Vec<Vec<u8>>) -> Option<String> {
    let words = [words("common"), words(target.name)].concat();
    let config = Config { cases: INPUTS, failure_persistence: None, ..Config::default() };
    // The same inputs in every run.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ran = runner.run(&near(corpus, words), |input| target.try_one(&input).map_err(TestCaseError::fail));
    ran.err().map(|what| format!("{}: {what}", target.name))
}

#[test]
fn nothing_is_found_in_the_corpora_and_near_them() {
    let mut found = Vec::new();
    for target in ALL {
        let corpus = target.corpus().unwrap();
        assert!(corpus.len() >= 3, "{} has a corpus of {}", target.name, corpus.len());
        for (path, input) in &corpus {
            found.extend(target.try_one(input).err().map(|what| format!("{}: {what}", path.display())));
        }
        found.extend(find_near(target, corpus.into_iter().map(|(_, input)| input).collect()));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn dictionaries_are_read_as_libfuzzer_reads_them() {
    assert_eq!(unescaped(r#"a\"b\\c\x0d\x0a"#), b"a\"b\\c\r\n");
    for target in ALL {
        assert!(words(target.name).len() >= 10, "{}", target.name);
    }
}
