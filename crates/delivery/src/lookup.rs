//! When to ask the channel whether a comment is there, and what its silence proves.

use crate::rule_switch::{RuleSwitch, is_off};
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use std::time::Duration;

/// What a provider's lookup can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupAbility {
    /// The longest that a cut request may still be stored after the attempt ended. `None`: nobody says, so
    /// silence proves nothing.
    pub settles_within: Option<Duration>,
    /// Whether the lookup sees every stored state (approved, held, spam, trash, under a missing parent).
    pub sees_every_state: bool,
    /// Whether it knows a comment only by a marker, which the channel may drop; false where the place tells.
    pub needs_marker: bool,
}

/// What one lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// There, and proved to be ours; the verdict has effect one.
    Found(Verdict),
    /// Not there. `complete` if the scan was.
    NotFound {
        /// Whether everything that could match was looked at.
        complete: bool,
    },
    /// Nothing is known to be ours, but the comment with this id has exactly our text and no delivery's marker: it may
    /// be ours, with its marker dropped. That is for a person to judge.
    Alike(String),
    /// The channel couldn't be asked, or its answer can't show what is there now: why.
    Failed(String),
    /// There is neither a marker nor a receipt nor a slot to know the comment by: asking never helps.
    CannotBeKnown,
}

/// What a lookup that didn't find the comment has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfound {
    /// Whether everything was read that could be the comment, and it would have been known.
    pub complete: bool,
    /// The answer's own word for coming from a cache, so that it may be old.
    pub stale: Option<String>,
    /// The id of a comment with exactly our text and no delivery's marker, not older than the attempt.
    pub alike: Option<String>,
}

impl Unfound {
    /// What it shows.
    pub fn finding(self) -> LookupResult {
        let alike = self.alike.filter(|_| !is_off(RuleSwitch::AlikeVetoesAbsence));
        let stale = self.stale.filter(|_| !is_off(RuleSwitch::StaleAnswersProveNothing));
        match (alike, stale) {
            (Some(comment_id), _) => LookupResult::Alike(comment_id),
            (None, Some(word)) => {
                LookupResult::Failed(format!("the answer comes from a cache ({word}), so it may be old"))
            }
            (None, None) => LookupResult::NotFound { complete: self.complete },
        }
    }
}

impl LookupResult {
    /// Why it leaves the question open, for people; `None` where it doesn't, or where that is no news.
    pub fn doubt(&self) -> Option<String> {
        match self {
            LookupResult::Failed(why) => Some(format!("the channel could not be asked for it: {why}")),
            LookupResult::Alike(comment_id) => Some(format!(
                "the lookup shows a comment with the same words and without a marker ({comment_id}), which may be \
                 this one; a person has to judge"
            )),
            LookupResult::Found(_) | LookupResult::NotFound { .. } | LookupResult::CannotBeKnown => None,
        }
    }
}

/// First wait between two lookups; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait between lookups is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Looks after which an attempt that can't be settled is left as it is (about an hour).
const MOST_LOOKS: u32 = 20;

/// The lookups for one ambiguous attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSchedule {
    ability: LookupAbility,
    ended: Moment,
    lookups: u32,
    absent_since: Option<Moment>,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLookup {
    /// Look again at this moment.
    At(Moment),
    /// The comment is not there and never will be by this attempt.
    Absent,
    /// Looking won't make it certain.
    GiveUp,
}

impl LookupSchedule {
    /// A search for an attempt that ended at `ended`. For an attempt of an earlier process, the start of this
    /// search serves: it is later, and that is the safe side.
    pub fn new(ability: LookupAbility, ended: Moment) -> Self {
        Self { ability, ended, lookups: 0, absent_since: None }
    }

    /// Whether nobody has looked yet.
    pub fn is_fresh(&self) -> bool {
        self.lookups == 0
    }

    /// Lets the waits between lookups begin anew, because somebody waits for what they find.
    pub fn hasten(&mut self) {
        self.lookups = 0;
    }

    /// Takes in a look that began at `began` and didn't find the comment.
    ///
    /// Absence is proved by two complete lookups that see every state, both begun after `settles_within` from the
    /// attempt's end, at least half of `settles_within` apart.
    pub fn missed(&mut self, complete: bool, began: Moment, now: Moment) -> NextLookup {
        self.lookups = self.lookups.saturating_add(1);
        let wait = FIRST_WAIT
            .saturating_mul(1u32.checked_shl(self.lookups - 1).unwrap_or(u32::MAX))
            .min(LONGEST_WAIT);
        let Some(settles_within) = self.ability.settles_within.filter(|_| self.sees_enough()) else {
            return self.again_at(now + wait);
        };
        let settled =
            if is_off(RuleSwitch::AbsenceTakesSettling) { self.ended } else { self.ended + settles_within };
        let complete = complete || is_off(RuleSwitch::AbsenceTakesCompleteLooks);
        if !complete || began < settled {
            return match self.again_at(now + wait) {
                // However many lookups there were, the ones that can prove something are still to come.
                NextLookup::At(next) if now < settled => NextLookup::At(next.min(settled)),
                _ if now < settled => NextLookup::At(settled),
                next => next,
            };
        }
        match self.absent_since {
            _ if is_off(RuleSwitch::AbsenceTakesTwoLooks) => NextLookup::Absent,
            Some(first) if began.since(first) >= settles_within / 2 => NextLookup::Absent,
            Some(first) => NextLookup::At(first + settles_within / 2),
            None => {
                self.absent_since = Some(began);
                NextLookup::At(began + settles_within / 2)
            }
        }
    }

    fn sees_enough(&self) -> bool {
        self.ability.sees_every_state || is_off(RuleSwitch::AbsenceTakesEveryState)
    }

    fn again_at(&self, moment: Moment) -> NextLookup {
        if self.lookups >= MOST_LOOKS { NextLookup::GiveUp } else { NextLookup::At(moment) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn search(sees_every_state: bool, settles_ms: Option<u64>) -> LookupSchedule {
        let ability = LookupAbility {
            settles_within: settles_ms.map(Duration::from_millis),
            sees_every_state,
            needs_marker: false,
        };
        LookupSchedule::new(ability, at(0))
    }

    #[test]
    fn what_was_not_found_is_not_therefore_absent() {
        let (stale, alike) = (Some("age: 60".to_owned()), Some("7".to_owned()));
        let read = Unfound { complete: true, stale: None, alike: None };
        assert_eq!(read.clone().finding(), LookupResult::NotFound { complete: true });
        assert_eq!(Unfound::default().finding(), LookupResult::NotFound { complete: false });
        let told = Unfound { stale: stale.clone(), ..read.clone() }.finding();
        assert!(told.doubt().unwrap().contains("from a cache (age: 60)"), "{told:?}");
        for complete in [false, true] {
            let told = Unfound { complete, stale: stale.clone(), alike: alike.clone() }.finding();
            assert_eq!(told, LookupResult::Alike("7".into()));
        }
    }

    #[test]
    fn absence_takes_two_late_complete_looks_far_enough_apart() {
        let mut search = search(true, Some(1000));
        assert_eq!(search.missed(true, at(0), at(10)), NextLookup::At(at(110)));
        assert_eq!(
            search.missed(true, at(990), at(999)),
            NextLookup::At(at(1000)),
            "began before it had settled"
        );
        assert_eq!(search.missed(true, at(1000), at(1010)), NextLookup::At(at(1500)));
        assert_eq!(
            search.missed(true, at(1499), at(1600)),
            NextLookup::At(at(1500)),
            "too near to the first"
        );
        assert_eq!(search.missed(true, at(1500), at(1600)), NextLookup::Absent);
    }

    /// Twenty lookups are over in less than an hour; a channel may take longer to settle.
    #[test]
    fn no_search_is_given_up_before_the_channel_has_settled() {
        for settles_ms in [60_000, 3_600_000, 4 * 3_600_000] {
            let mut search = search(true, Some(settles_ms));
            let mut now = at(0);
            let absent_at = loop {
                match search.missed(true, now, now) {
                    NextLookup::At(next) => now = next,
                    NextLookup::Absent => break now,
                    NextLookup::GiveUp => panic!("given up at {now:?}, before {settles_ms} ms"),
                }
            };
            assert_eq!(absent_at, at(settles_ms + settles_ms / 2));
        }
    }

    #[test]
    fn incomplete_or_blind_looks_prove_nothing() {
        for mut search in [search(false, Some(10)), search(true, None)] {
            let mut now = at(1_000_000);
            let mut lookups = 0;
            loop {
                match search.missed(true, now, now) {
                    NextLookup::At(next) => now = next,
                    NextLookup::GiveUp => break,
                    NextLookup::Absent => panic!("absence was claimed without proof"),
                }
                lookups += 1;
                assert!(lookups < 100);
            }
        }
        let mut incomplete = search(true, Some(10));
        for n in 1..15 {
            let began = at(n * 1000);
            assert_ne!(incomplete.missed(false, began, began), NextLookup::Absent);
        }
    }
}
