//! The promises of SPEC 3 over many random histories, each with several runs, crashes, hang-ups, lookups and a
//! ledger that fails. A failure prints its seed and the shortest history found that still breaks the promise.
//!
//! `COMMENTD_HISTORIES=1000000` plays that many; with `COMMENTD_SEED=17` they begin at that seed.

use commentd_simulation::machine::dice::{Dice, shrink};
use commentd_simulation::machine::history::{Played, play};
use commentd_simulation::machine::world::Planted;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Instant;

const HISTORIES: u64 = 100_000;
/// Histories within which each planted wrongness must show.
const HISTORIES_PER_PLANT: u64 = 20_000;

#[allow(clippy::panic, reason = "a mistyped number must not pass for the default")]
fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: must be a number, is {text:?}")))
}

/// The simplest history that breaks a promise as this one does, played in full.
fn story(played: Played, planted: Option<Planted>) -> String {
    let tape = shrink(played.tape, |tape| play(Dice::taped(tape), planted, false).broken.is_some());
    let played = play(Dice::taped(&tape), planted, true);
    format!("{}\n{}\ntape: {tape:?}", played.broken.unwrap_or_default(), played.trace.join("\n"))
}

#[test]
fn promises_hold_in_every_history() {
    let histories = number_from("COMMENTD_HISTORIES").unwrap_or(HISTORIES);
    let first = number_from("COMMENTD_SEED").unwrap_or(0);
    let mut counts = BTreeMap::<&str, u64>::new();
    #[allow(clippy::disallowed_methods, reason = "only the speed that is printed depends on it")]
    let began = Instant::now();
    for seed in first..first + histories {
        let played = play(Dice::seeded(seed), None, false);
        for (what, count) in &played.counts {
            *counts.entry(what).or_default() += count;
        }
        if let Some(broken) = played.broken.clone() {
            panic!("seed {seed}: {broken}\nThe shortest history found:\n{}", story(played, None));
        }
    }
    let rate = histories as f64 / began.elapsed().as_secs_f64().max(1e-9);
    println!("{histories} histories kept every promise, {rate:.0} a second: {counts:?}");
    if histories >= HISTORIES {
        for what in SEEN {
            let count = counts.get(what).copied().unwrap_or(0);
            assert!(count >= 1000, "{what} came up only {count} times: the histories don't test it");
        }
    }
}

/// What the histories must have gone through to be worth anything.
const SEEN: [&str; 14] = [
    "runs with a caller",
    "recoveries",
    "crashes",
    "hang-ups",
    "attempts sent",
    "unknowns repeated",
    "lookups",
    "absences proved",
    "delivered",
    "held",
    "misplaced",
    "refused",
    "not_sent",
    "unknown",
];

#[test]
fn planted_wrongness_is_found() {
    let mut missed = Vec::new();
    for planted in Planted::ALL {
        let found = (0..HISTORIES_PER_PLANT)
            .find_map(|seed| Some((seed, play(Dice::seeded(seed), Some(planted), false).broken?)));
        match found {
            Some((seed, broken)) => println!("{planted:?}: history {} shows that {broken}", seed + 1),
            None => missed.push(planted),
        }
    }
    assert!(missed.is_empty(), "{missed:?} went unnoticed over {HISTORIES_PER_PLANT} histories each");
}

#[test]
fn a_failure_is_told_as_a_short_history() {
    let planted = Some(Planted::UnknownIsNotSent);
    let played = (0..HISTORIES_PER_PLANT)
        .map(|seed| play(Dice::seeded(seed), planted, false))
        .find(|played| played.broken.is_some())
        .unwrap();
    let story = story(played, planted);
    println!("{story}");
    assert!(story.contains("→ intent 0@0") && story.lines().count() < 40, "{story}");
}

#[test]
fn a_history_is_a_function_of_its_seed() {
    for seed in 0..200 {
        let [one, two] = [(); 2].map(|()| play(Dice::seeded(seed), None, true));
        assert_eq!(one.trace, two.trace);
        let again = play(Dice::taped(&one.tape), None, true);
        assert_eq!(one.trace, again.trace, "seed {seed} and its tape differ");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_for_every_tape(tape in proptest::collection::vec(any::<u16>(), 0..300)) {
        let played = play(Dice::taped(&tape), None, false);
        prop_assert!(played.broken.is_none(), "{}", story(played, None));
    }
}
