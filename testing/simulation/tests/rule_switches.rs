//! A simulation that never finds anything might be blind. With each rule that guards the promise switched off, it must
//! find a broken promise within a bounded number of seeds.
//!
//! The switches are the process's, so this is a test binary of its own with a single test.

use commentd_delivery::rule_switch::{RuleSwitch, restore, switch_off};
use commentd_simulation::Tier;

/// Seeds within which each rule's absence must show.
const MACHINE_SEEDS: u64 = 20_000;
const DISPATCHER_SEEDS: u64 = 500;
const PACED_SEEDS: u64 = 200;

fn found_by(tier: Tier, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| Some((seed, tier.play(seed, false).broken?)))
}

#[test]
fn every_rule_that_is_switched_off_is_missed() {
    let mut unnoticed = Vec::new();
    for rule in RuleSwitch::ALL.into_iter().filter(|rule| !rule.is_about_replies()) {
        switch_off(rule);
        // Claims are the ledger's, which only the second tier has.
        let found = found_by(Tier::Machine, MACHINE_SEEDS)
            .or_else(|| found_by(Tier::Dispatcher, DISPATCHER_SEEDS))
            .or_else(|| found_by(Tier::Paced, PACED_SEEDS));
        match found {
            Some((seed, broken)) => println!("{rule}: history {} shows that {broken}", seed + 1),
            None => unnoticed.push(rule),
        }
        restore();
    }
    assert!(unnoticed.is_empty(), "nobody missed {unnoticed:?}");
    assert_eq!(found_by(Tier::Machine, 1000), None, "with every rule on again");
}
