//! Rules that can be switched off, so that the tests of the promise can be shown to fail.
//!
//! A checker or a simulation that never found anything might be blind. Built with the feature `rule-switches`, each rule
//! below that guards the promise can be switched off for the whole process; without the feature every rule is
//! always on and the compiler removes the question. Nothing reads the environment here: a binary that wants to be
//! broken says so itself. Cargo unifies features, so a build of the whole workspace has the switches, too; until
//! somebody uses them they change nothing.

use std::fmt;
use std::str::FromStr;

/// A rule of SPEC 4 that guards the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RuleSwitch {
    /// After an unknown attempt the same provider tries again only under the channel's own deduplication.
    UnknownForbidsRetry,
    /// After an unknown attempt no other provider starts.
    UnknownForbidsFallback,
    /// A passed gate at the deadline leaves the attempt open; it isn't `not_sent`.
    PassedGateIsUnknown,
    /// What was open when the process ended is unknown.
    InterruptedIsUnknown,
    /// The intent is durable before the first byte.
    IntentBeforeSend,
    /// The settling is durable before the answer.
    SettlingBeforeAnswer,
    /// Two looks, far enough apart, prove absence; one doesn't.
    AbsenceTakesTwoLooks,
    /// Looks that prove absence begin after the channel has settled.
    AbsenceTakesSettling,
    /// Looks that prove absence saw everything that could match.
    AbsenceTakesCompleteLooks,
    /// Looks that prove absence see every stored state.
    AbsenceTakesEveryState,
    /// A duplicate after an unknown attempt proves nothing about it, and silence then proves nothing either.
    DuplicateProvesNothing,
    /// A reply that names a stored comment never has effect none.
    ReceiptsAreDistrusted,
    /// The channel's deduplication counts only within its window.
    DeduplicationHasAWindow,
    /// A comment id belongs to one delivery.
    ClaimsAreExclusive,
    /// What is certain is replayed, not tried again.
    CertainIsReplayed,
    /// What is unknown is looked up, not tried again.
    UnknownIsLookedUp,
    /// What comes on a connection while nobody has asked for anything is nobody's reply.
    RepliesAreAskedFor,
    /// After its caller's hang-up nothing is sent, whatever is known of its key.
    NothingIsSentForNobody,
    /// A settling that fails is tried again until it is recorded.
    SettlingsAreRetried,
    /// Nothing is said to be in flight that isn't.
    OnlyWhatIsInFlightIsSaidToBe,
    /// What takes a half open breaker's trial gives it back, whatever happens.
    TrialsAreGivenBack,
    /// A ledger whose log is lost or damaged isn't opened.
    LostLogsAreMissed,
    /// Nothing is recorded in a file that has lost its name.
    MovedLedgersRecordNothing,
    /// Deliveries are kept by the time that processes run, and not by a wall clock.
    OnlyRunningTimeCounts,
    /// A reply that says no is believed only where the channel itself wrote it.
    ErrorPagesProveNothing,
    /// A reply that names a thing twice can be read in two ways, and so in none.
    RepeatedNamesProveNothing,
    /// A no that answers another request says nothing about ours.
    RefusalsOfOthersProveNothing,
    /// What isn't recorded is no success, whatever an unknown outcome counts as.
    OnlyWhatIsRecordedSucceeds,
    /// A comment with exactly the text and no marker keeps silence from proving absence.
    AlikeVetoesAbsence,
    /// What comes from a cache by its own word doesn't show what isn't there.
    StaleAnswersProveNothing,
    /// Absence is believed only where a marker of ours was seen.
    AbsenceTakesASeenMarker,
    /// A reply that shows a comment which isn't known to be ours keeps silence from proving absence.
    ForeignEchoVetoesAbsence,
    /// What the channel calls a duplicate is looked for, where it can be, before it counts as none of ours.
    DuplicatesAreLookedUp,
    /// A duplicate after an attempt that was sent is unknown, whatever became of that attempt.
    DuplicateAfterASentOneIsUnknown,
}

impl RuleSwitch {
    /// All of them.
    pub const ALL: [RuleSwitch; 31] = [
        RuleSwitch::UnknownForbidsRetry,
        RuleSwitch::UnknownForbidsFallback,
        RuleSwitch::PassedGateIsUnknown,
        RuleSwitch::InterruptedIsUnknown,
        RuleSwitch::IntentBeforeSend,
        RuleSwitch::SettlingBeforeAnswer,
        RuleSwitch::AbsenceTakesTwoLooks,
        RuleSwitch::AbsenceTakesSettling,
        RuleSwitch::AbsenceTakesCompleteLooks,
        RuleSwitch::AbsenceTakesEveryState,
        RuleSwitch::DuplicateProvesNothing,
        RuleSwitch::ReceiptsAreDistrusted,
        RuleSwitch::DeduplicationHasAWindow,
        RuleSwitch::ClaimsAreExclusive,
        RuleSwitch::CertainIsReplayed,
        RuleSwitch::UnknownIsLookedUp,
        RuleSwitch::RepliesAreAskedFor,
        RuleSwitch::TrialsAreGivenBack,
        RuleSwitch::ErrorPagesProveNothing,
        RuleSwitch::RepeatedNamesProveNothing,
        RuleSwitch::RefusalsOfOthersProveNothing,
        RuleSwitch::NothingIsSentForNobody,
        RuleSwitch::SettlingsAreRetried,
        RuleSwitch::OnlyWhatIsInFlightIsSaidToBe,
        RuleSwitch::OnlyWhatIsRecordedSucceeds,
        RuleSwitch::AlikeVetoesAbsence,
        RuleSwitch::StaleAnswersProveNothing,
        RuleSwitch::AbsenceTakesASeenMarker,
        RuleSwitch::ForeignEchoVetoesAbsence,
        RuleSwitch::DuplicatesAreLookedUp,
        RuleSwitch::DuplicateAfterASentOneIsUnknown,
    ];

    /// Whether it is about how a channel's reply is read. The simulation's channels hand out verdicts, and so can't miss
    /// it; the providers' own tests show that it is missed.
    pub const fn is_about_replies(self) -> bool {
        matches!(
            self,
            RuleSwitch::ErrorPagesProveNothing
                | RuleSwitch::RepeatedNamesProveNothing
                | RuleSwitch::RefusalsOfOthersProveNothing
        )
    }

    /// Its name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            RuleSwitch::UnknownForbidsRetry => "unknown_forbids_retry",
            RuleSwitch::UnknownForbidsFallback => "unknown_forbids_fallback",
            RuleSwitch::PassedGateIsUnknown => "passed_gate_is_unknown",
            RuleSwitch::InterruptedIsUnknown => "interrupted_is_unknown",
            RuleSwitch::IntentBeforeSend => "intent_before_send",
            RuleSwitch::SettlingBeforeAnswer => "settling_before_answer",
            RuleSwitch::AbsenceTakesTwoLooks => "absence_takes_two_looks",
            RuleSwitch::AbsenceTakesSettling => "absence_takes_settling",
            RuleSwitch::AbsenceTakesCompleteLooks => "absence_takes_complete_looks",
            RuleSwitch::AbsenceTakesEveryState => "absence_takes_every_state",
            RuleSwitch::DuplicateProvesNothing => "duplicate_proves_nothing",
            RuleSwitch::ReceiptsAreDistrusted => "receipts_are_distrusted",
            RuleSwitch::DeduplicationHasAWindow => "deduplication_has_a_window",
            RuleSwitch::ClaimsAreExclusive => "claims_are_exclusive",
            RuleSwitch::CertainIsReplayed => "certain_is_replayed",
            RuleSwitch::UnknownIsLookedUp => "unknown_is_looked_up",
            RuleSwitch::RepliesAreAskedFor => "replies_are_asked_for",
            RuleSwitch::NothingIsSentForNobody => "nothing_is_sent_for_nobody",
            RuleSwitch::SettlingsAreRetried => "settlings_are_retried",
            RuleSwitch::LostLogsAreMissed => "lost_logs_are_missed",
            RuleSwitch::MovedLedgersRecordNothing => "moved_ledgers_record_nothing",
            RuleSwitch::OnlyRunningTimeCounts => "only_running_time_counts",
            RuleSwitch::OnlyWhatIsInFlightIsSaidToBe => "only_what_is_in_flight_is_said_to_be",
            RuleSwitch::TrialsAreGivenBack => "trials_are_given_back",
            RuleSwitch::ErrorPagesProveNothing => "error_pages_prove_nothing",
            RuleSwitch::RepeatedNamesProveNothing => "repeated_names_prove_nothing",
            RuleSwitch::RefusalsOfOthersProveNothing => "refusals_of_others_prove_nothing",
            RuleSwitch::OnlyWhatIsRecordedSucceeds => "only_what_is_recorded_succeeds",
            RuleSwitch::AlikeVetoesAbsence => "alike_vetoes_absence",
            RuleSwitch::StaleAnswersProveNothing => "stale_answers_prove_nothing",
            RuleSwitch::AbsenceTakesASeenMarker => "absence_takes_a_seen_marker",
            RuleSwitch::ForeignEchoVetoesAbsence => "foreign_echo_vetoes_absence",
            RuleSwitch::DuplicatesAreLookedUp => "duplicates_are_looked_up",
            RuleSwitch::DuplicateAfterASentOneIsUnknown => "duplicate_after_a_sent_one_is_unknown",
        }
    }
}

impl fmt::Display for RuleSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No rule has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRule(String);

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = RuleSwitch::ALL.iter().map(|rule| rule.as_str()).collect();
        write!(f, "there is no rule {:?}; the rules are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownRule {}

impl FromStr for RuleSwitch {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        RuleSwitch::ALL.into_iter().find(|rule| rule.as_str() == name).ok_or_else(|| UnknownRule(name.into()))
    }
}

#[cfg(feature = "rule-switches")]
mod switches {
    use super::RuleSwitch;
    use std::sync::atomic::{AtomicU64, Ordering};

    static OFF: AtomicU64 = AtomicU64::new(0);

    /// Switches a rule off, for the whole process.
    pub fn switch_off(rule: RuleSwitch) {
        OFF.fetch_or(1_u64 << rule as u8, Ordering::Relaxed);
    }

    /// Switches all rules on again.
    pub fn restore() {
        OFF.store(0, Ordering::Relaxed);
    }

    /// Whether a rule is on.
    pub fn is_on(rule: RuleSwitch) -> bool {
        OFF.load(Ordering::Relaxed) & (1_u64 << rule as u8) == 0
    }
}

#[cfg(feature = "rule-switches")]
pub use switches::{is_on, restore, switch_off};

/// Whether a rule is on: always, in a build without the switches.
#[cfg(not(feature = "rule-switches"))]
#[inline(always)]
pub const fn is_on(_rule: RuleSwitch) -> bool {
    true
}

/// Whether a rule is off.
#[inline(always)]
pub fn is_off(rule: RuleSwitch) -> bool {
    !is_on(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_name_and_on_by_itself() {
        for rule in RuleSwitch::ALL {
            assert_eq!(rule.as_str().parse(), Ok(rule));
            assert!(is_on(rule));
        }
        assert!(
            "no_such_rule".parse::<RuleSwitch>().unwrap_err().to_string().contains("unknown_forbids_retry")
        );
    }
}
