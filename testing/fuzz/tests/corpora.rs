//! The corpora, and a fixed number of inputs made from them.

use commentd_fuzz::targets::ALL;

/// Inputs for each target in every `cargo test`; `scripts/fuzz` makes more.
const INPUTS: u64 = 2_000;

#[test]
fn nothing_is_found_in_the_corpora_and_near_them() {
    let mut found = Vec::new();
    for target in ALL {
        let corpus = target.corpus().unwrap();
        assert!(corpus.len() >= 3, "{} has a corpus of {}", target.name, corpus.len());
        for (path, input) in &corpus {
            found
                .extend(target.try_one(input).map(|finding| format!("{}: {}", path.display(), finding.what)));
        }
        let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
        for number in 0..INPUTS {
            let finding = target.try_one(&target.input(&corpus, number));
            found.extend(finding.map(|finding| format!("{} {number}: {}", target.name, finding.what)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_input_is_a_function_of_its_number() {
    for target in ALL {
        let corpus: Vec<Vec<u8>> = target.corpus().unwrap().into_iter().map(|(_, input)| input).collect();
        for number in 0..50 {
            assert_eq!(target.input(&corpus, number), target.input(&corpus, number));
        }
    }
}
