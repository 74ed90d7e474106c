//! The dispatcher's histories: a fixed few, and that each is a function of its seed.

use commentd_simulation::Tier;

/// Enough for every `cargo test`; `commentd-simulate dispatcher` plays more.
const SEEDS: u64 = 150;

#[test]
fn promises_hold_in_a_fixed_set_of_histories() {
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..SEEDS {
        let story = Tier::Dispatcher.play(seed, false);
        assert_eq!(
            story.broken,
            None,
            "seed {seed}: commentd-simulate dispatcher --seeds {seed}..{} --trace",
            seed + 1
        );
        for (what, count) in story.counts {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{seen:?}");
    for what in [
        "lookups",
        "disk full",
        "disk full for long",
        "lives that calm down",
        "sync errors",
        "requests cut",
        "unsynced writes lost",
        "hang-ups",
        "deduplicated",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 0), "no history has seen {what}: {seen:?}");
    }
}

#[test]
fn own_waiting_is_nobodys_failure_and_trials_are_given_back_in_a_fixed_set_of_histories() {
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..SEEDS {
        let story = Tier::Paced.play(seed, false);
        assert_eq!(
            story.broken,
            None,
            "seed {seed}: commentd-simulate paced --seeds {seed}..{} --trace",
            seed + 1
        );
        for (what, count) in story.counts {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{seen:?}");
    for what in ["healthy all the time", "down for a while", "delivered", "not sent"] {
        assert!(seen.get(what).is_some_and(|count| *count > 0), "no history has seen {what}: {seen:?}");
    }
}

#[test]
fn a_history_is_a_function_of_its_seed() {
    for (tier, seed) in
        [Tier::Dispatcher, Tier::Paced].into_iter().flat_map(|tier| (0..60).map(move |n| (tier, n)))
    {
        let [one, two] = [(); 2].map(|()| tier.play(seed, true));
        assert_eq!(one.trace, two.trace, "{tier:?} {seed}");
        assert!(one.trace.len() > 5);
    }
}
