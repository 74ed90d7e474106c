//! What every ledger must do, as one suite that each implementation runs in its tests.
//!
//! Each case takes an empty ledger and panics if that doesn't behave. [`run`] runs them all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test suite: panicking is how a case fails"
)]

mod keeping;
mod opening;
mod reading;
mod sample;
mod settling;

pub use sample::{attempt, id, opening, settling, verdict};

use crate::Ledger;
use std::future::Future;
use std::pin::Pin;

/// One case: takes an empty ledger, panics if that doesn't behave.
pub type Case = for<'a> fn(&'a dyn Ledger) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every case, by name.
        pub const CASES: &[(&str, Case)] =
            &[$((stringify!($name), |ledger| Box::pin($module::$name(ledger)))),*];
    };
}

cases![
    opening::a_key_is_opened_once,
    opening::item_and_caller_are_part_of_the_key,
    opening::only_a_first_intent_opens,
    opening::a_taken_id_opens_nothing,
    opening::of_many_at_once_one_is_new,
    opening::after_not_sent_comes_the_next_attempt,
    opening::an_unknown_attempt_may_be_repeated,
    opening::a_final_outcome_has_no_further_attempt,
    settling::every_verdict_has_its_outcome,
    settling::what_is_not_there_is_not_found,
    settling::a_verdict_is_given_once,
    settling::lookup_and_person_make_certain,
    settling::only_the_unknown_is_resolved,
    settling::a_final_outcome_never_changes,
    settling::a_comment_belongs_to_one_delivery,
    settling::a_claim_is_lost_to_a_lookup_too,
    settling::only_a_proven_comment_is_claimed,
    settling::a_claim_outlives_forgetting,
    reading::records_come_back_whole,
    reading::large_and_odd_content_comes_back,
    reading::what_items_share_comes_back_with_each,
    reading::absent_records_are_none,
    reading::lists_are_newest_first_and_filtered,
    reading::lists_follow_what_becomes_of_a_delivery,
    reading::lists_show_one_caller_or_all,
    keeping::recovery_ends_what_was_open,
    keeping::recovery_keeps_the_chain,
    keeping::recovery_meets_every_state,
    keeping::forgetting_keeps_key_and_outcome,
    keeping::sweeping_spares_the_unknown_and_the_open,
    keeping::sweeping_ends_claims_and_keys,
    keeping::sweeping_counts_from_the_last_settling,
    keeping::no_wall_clock_makes_a_ledger_old,
    keeping::places_that_keep_markers_are_remembered,
    keeping::a_check_changes_nothing,
    keeping::a_dropped_answer_undoes_nothing,
    keeping::a_closed_ledger_says_so,
];

/// Runs every case on a ledger of its own.
///
/// # Panics
/// If a case fails.
pub async fn run<L: Ledger>(mut fresh: impl FnMut() -> L) {
    for (name, case) in CASES {
        let ledger = fresh();
        tracing::debug!("conformance: {name}");
        case(&ledger).await;
    }
}
