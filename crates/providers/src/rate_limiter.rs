//! Whose turn it is: keeps requests to the channel's pace.
//!
//! A count of exactly the last so many requests, not a bucket that refills: servers count that way, and a bucket lets
//! almost twice as many through right after a pause.

use commentd_channels::Pace;
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::{Moment, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Targets that are counted apart; further ones share a count, which is slower and never too fast.
const MOST_TARGETS: usize = 4096;

/// The turns of one channel.
#[derive(Debug)]
pub(super) struct RateLimiter {
    rules: Vec<PaceRule>,
}

#[derive(Debug)]
struct PaceRule {
    pace: Pace,
    /// The starts of the last requests, oldest first, by target; a rule for all has one entry under no name.
    starts: Mutex<BTreeMap<Option<String>, VecDeque<Moment>>>,
}

/// A turn within a channel's pace. It counts while it lives and once it was used; dropped unused, it is given back.
#[derive(Debug)]
pub struct Slot {
    turns: Arc<RateLimiter>,
    target: Option<String>,
    /// When it begins.
    start: Moment,
    used: bool,
}

/// The turn would come too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooLate {
    /// What it is kept by.
    pub(super) pace: Pace,
    /// When it makes sense to ask again, from now.
    pub(super) wait: Duration,
}

impl RateLimiter {
    pub(super) fn new(paces: &[Pace]) -> Self {
        let rule = |pace: &Pace| PaceRule { pace: *pace, starts: Mutex::default() };
        Self { rules: paces.iter().map(rule).collect() }
    }

    /// The next turn, if it begins by `latest`. `target` is none for a request that isn't a comment on one: then
    /// only the rules for all count.
    pub(super) fn reserve(
        self: &Arc<Self>,
        target: Option<&str>,
        now: Moment,
        latest: Moment,
    ) -> Result<Slot, TooLate> {
        let turn =
            |start| Slot { turns: Arc::clone(self), target: target.map(str::to_owned), start, used: false };
        if self.rules.is_empty() {
            return Ok(turn(now));
        }
        // One after the other in the order of the rules, so that two callers never wait for each other.
        let mut counted: Vec<(&PaceRule, Option<String>, MutexGuard<'_, _>)> =
            Vec::with_capacity(self.rules.len());
        let mut start = now;
        let mut by = None;
        for rule in self.rules.iter().filter(|rule| target.is_some() || !rule.pace.by_target) {
            let mut starts = rule.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let name = rule.name(&mut starts, target, now);
            let free = starts.get(&name).map_or(now, |starts| rule.next_free(starts));
            if free > start {
                start = free;
                by = Some(rule.pace);
            }
            counted.push((rule, name, starts));
        }
        if let Some(pace) = by.filter(|_| start > latest) {
            return Err(TooLate { pace, wait: start - now });
        }
        for (rule, name, starts) in &mut counted {
            let starts = starts.entry(name.clone()).or_default();
            starts.push_back(start);
            // What is still in the window stays, because a later turn may yet be given back.
            while starts.front().is_some_and(|first| *first + rule.pace.window <= now) {
                starts.pop_front();
            }
        }
        drop(counted);
        Ok(turn(start))
    }

    /// Whether there is no pace to keep.
    pub(super) fn are_free(&self) -> bool {
        self.rules.is_empty()
    }
}

impl TooLate {
    /// Nothing was sent; the caller learns when it may come again.
    pub(super) fn verdict(&self, channel: &str) -> Verdict {
        let wait_ms = whole_ms(self.wait).saturating_add(1);
        let message = format!(
            "channel {channel} takes {}, and the next turn is in {wait_ms} ms, too late for the deadline",
            self.pace
        );
        let mut verdict = Verdict::new(VerdictKind::NotSent, message).with_code(Code::DeadlineExceeded);
        verdict.retry_after_ms = Some(wait_ms);
        verdict
    }
}

impl PaceRule {
    /// Under which name the target is counted, after what can be forgotten was forgotten.
    fn name(
        &self,
        starts: &mut BTreeMap<Option<String>, VecDeque<Moment>>,
        target: Option<&str>,
        now: Moment,
    ) -> Option<String> {
        let target = target.filter(|_| self.pace.by_target)?.to_owned();
        let name = Some(target);
        if !starts.contains_key(&name) && starts.len() >= MOST_TARGETS {
            starts.retain(|_, starts| starts.back().is_some_and(|last| *last + self.pace.window > now));
            if starts.len() >= MOST_TARGETS {
                return None;
            }
        }
        name
    }

    fn next_free(&self, starts: &VecDeque<Moment>) -> Moment {
        let last_but = starts.len().checked_sub(self.pace.requests as usize);
        let counts = last_but.and_then(|index| starts.get(index));
        counts.map_or(Moment::START, |start| *start + self.pace.window)
    }
}

impl Slot {
    /// Waits until it begins, from when it was reserved.
    pub(super) async fn wait(&self, now: Moment) {
        let wait = self.start - now;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// The request goes out: the turn counts.
    pub fn count(mut self) {
        self.used = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        for rule in &self.turns.rules {
            let mut starts = rule.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let name = self.target.clone().filter(|_| rule.pace.by_target);
            let Some(starts) = starts.get_mut(&name) else { continue };
            if let Some(index) = starts.iter().rposition(|start| *start == self.start) {
                starts.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn turns_of(paces: &[Pace]) -> Arc<RateLimiter> {
        Arc::new(RateLimiter::new(paces))
    }

    fn start(turns: &Arc<RateLimiter>, target: Option<&str>, now: u64, latest: u64) -> Result<u64, u64> {
        let ms = whole_ms;
        match turns.reserve(target, at(now), at(latest)) {
            Ok(turn) => {
                let start = ms(turn.start.since_start());
                turn.count();
                Ok(start)
            }
            Err(late) => Err(ms(late.wait)),
        }
    }

    #[test]
    fn no_window_ever_has_more_than_the_pace() {
        let turns = turns_of(&[Pace::parse("2 per 60s by target").unwrap()]);
        assert_eq!(start(&turns, Some("a"), 1000, 2000), Ok(1000));
        assert_eq!(start(&turns, Some("a"), 40_000, 41_000), Ok(40_000));
        assert_eq!(start(&turns, Some("a"), 41_000, 42_000), Err(20_000));
        assert_eq!(start(&turns, Some("b"), 41_000, 42_000), Ok(41_000), "another target");
        assert_eq!(start(&turns, Some("a"), 60_500, 61_500), Ok(61_000), "waits for its turn");
        assert_eq!(start(&turns, Some("a"), 61_500, 62_500), Err(38_500));
    }

    #[test]
    fn rules_go_together_and_reads_count_only_for_all() {
        let paces = ["1 per 10s by target", "3 per 60s"].map(|pace| Pace::parse(pace).unwrap());
        let turns = turns_of(&paces);
        assert_eq!(start(&turns, Some("a"), 0, 0), Ok(0));
        assert_eq!(start(&turns, None, 0, 0), Ok(0), "a read");
        assert_eq!(start(&turns, Some("a"), 0, 0), Err(10_000));
        assert_eq!(start(&turns, Some("b"), 0, 0), Ok(0));
        assert_eq!(start(&turns, Some("c"), 0, 0), Err(60_000));
        assert_eq!(start(&turns, None, 0, 0), Err(60_000));
    }

    #[test]
    fn a_turn_that_was_not_used_is_given_back() {
        let turns = turns_of(&[Pace::parse("1 per 60s by target").unwrap()]);
        drop(turns.reserve(Some("a"), at(0), at(0)));
        assert_eq!(start(&turns, Some("a"), 1, 1), Ok(1));
        assert_eq!(start(&turns, Some("a"), 1, 1), Err(60_000));
        // One that waits and is given back leaves the count as it was.
        drop(turns.reserve(Some("a"), at(30_000), at(90_000)));
        assert_eq!(start(&turns, Some("a"), 30_000, 30_000), Err(30_001));
    }

    #[test]
    fn however_many_targets_there_are_memory_is_bounded() {
        let turns = turns_of(&[Pace::parse("1 per 1s by target").unwrap()]);
        for number in 0..MOST_TARGETS {
            assert_eq!(start(&turns, Some(&number.to_string()), 0, 0), Ok(0));
        }
        assert_eq!(start(&turns, Some("x"), 0, 0), Ok(0), "the first that shares");
        assert_eq!(start(&turns, Some("y"), 0, 0), Err(1000), "the second waits for it");
        assert!(turns.rules[0].starts.lock().unwrap().len() <= MOST_TARGETS + 1);
        assert_eq!(start(&turns, Some("z"), 1000, 1000), Ok(1000));
        assert_eq!(turns.rules[0].starts.lock().unwrap().len(), 1, "what has passed is forgotten");
    }
}
