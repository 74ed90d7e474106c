//! The breaker of one provider: whether it may be tried at all.
//!
//! ```text
//!          7 failures in a row, or under 50 % of ≥ 20 in 10 s
//! closed ─────────────────────────────────────────────────────▶ open ◀─── red probe, failed trial
//!    ▲                                                           │ cool-off over
//!    │                                                           ▼
//!    └── one real delivery succeeds ── half open ◀── green ── probing (only where there is a probe)
//! ```
//!
//! Every attempt gets a [`BreakerPermit`] when it starts and gives it back when it ends. A permit of an earlier state
//! doesn't count: what started before the breaker opened says nothing about what came after. A half open breaker's
//! trial lasts as long as its permit lives: dropped unused (a replay, a reused key, a failed claim, a panic), it lets
//! the next delivery try.

use crate::rule_switch::{RuleSwitch, is_off};
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use commentd_contract::{Code, VerdictKind};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// This many failures in a row open it.
const MOST_IN_A_ROW: u32 = 7;
/// It opens when fewer than half of the attempts in the window succeed …
const LEAST_RATE: f64 = 0.5;
/// … as soon as there are this many.
const LEAST_ATTEMPTS: u32 = 20;
/// How long an attempt counts for the rate.
const WINDOW: Duration = Duration::from_secs(10);
/// The window is counted in slices of this length, so that memory is bounded whatever the rate.
const SLICE: Duration = Duration::from_millis(500);
/// How long it stays open the first time. Short, because the net below is slow: a second's comments by the hook
/// cost more than one more try of the main path.
const FIRST_COOL_OFF: Duration = Duration::from_secs(1);
/// It doubles each time that a probe or a trial fails, up to this.
const LONGEST_COOL_OFF: Duration = Duration::from_secs(30);
/// A probe that never reports back gives way to another after this.
const LONGEST_PROBE: Duration = Duration::from_secs(60);
/// An attempt that a deadline cut before its gate counts against the provider only after this: a caller with little
/// time is no fault of the provider.
pub const FAIR_TIME: Duration = Duration::from_millis(500);

/// What an attempt says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It works.
    Success,
    /// It doesn't.
    Failure,
    /// It works, but has too much to do: counts against the rate, not as one of the failures in a row.
    Slow,
    /// Nothing.
    Nothing,
}

/// What an attempt with this verdict says, which took `took` from its start to its end.
///
/// `not_sent` under the codes 61 and 62 is queueing and deadlines, ours or the provider's, and not the connection.
/// What is [`Verdict::uncounted`] says nothing, whatever it is.
pub fn weigh(verdict: &Verdict, took: Duration) -> Weight {
    if verdict.uncounted {
        return Weight::Nothing;
    }
    match verdict.kind {
        VerdictKind::Delivered
        | VerdictKind::Held
        | VerdictKind::Misplaced
        | VerdictKind::Duplicate
        | VerdictKind::Refused => Weight::Success,
        VerdictKind::Throttled => Weight::Slow,
        VerdictKind::Denied => Weight::Nothing,
        VerdictKind::NotSent if verdict.code == Code::Overloaded => Weight::Nothing,
        VerdictKind::NotSent if verdict.code == Code::DeadlineExceeded && took < FAIR_TIME => Weight::Nothing,
        VerdictKind::NotSent | VerdictKind::Unknown => Weight::Failure,
    }
}

/// The states that a breaker has been through, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerEpoch(u64);

/// What an attempt gets when it starts, and gives back when it ends. Dropped, it gives itself back unused.
#[derive(Debug, Default)]
#[must_use]
pub struct BreakerPermit {
    epoch: BreakerEpoch,
    /// ProviderHealth with the half open breaker whose trial the attempt is.
    _trial: Option<Arc<()>>,
}

impl BreakerPermit {
    /// The breaker's state that it was given in.
    pub fn epoch(&self) -> BreakerEpoch {
        self.epoch
    }
}

/// Where a breaker stands, for people and programs that ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything may pass.
    Closed,
    /// Nothing may pass, at least for this long.
    Open(Duration),
    /// One delivery may try.
    HalfOpen,
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    Open {
        until: Moment,
    },
    Probing {
        since: Moment,
    },
    /// The trial is under way as long as its permit lives.
    HalfOpen {
        trial: Weak<()>,
    },
}

/// The breaker of one provider.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    epoch: BreakerEpoch,
    has_probe: bool,
    in_a_row: u32,
    slices: VecDeque<Slice>,
    cool_off: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    start: Moment,
    successes: u32,
    others: u32,
}

impl Breaker {
    /// A closed one. With `has_probe` it asks for a green probe before it lets a delivery try again.
    pub fn new(has_probe: bool) -> Self {
        Self {
            state: State::Closed,
            epoch: BreakerEpoch::default(),
            has_probe,
            in_a_row: 0,
            slices: VecDeque::new(),
            cool_off: FIRST_COOL_OFF,
        }
    }

    /// Where it stands.
    pub fn standing(&self, now: Moment) -> Standing {
        match self.state {
            State::Closed => Standing::Closed,
            State::Open { until } if now < until || self.has_probe => Standing::Open(until.since(now)),
            State::Probing { .. } => Standing::Open(Duration::ZERO),
            State::Open { .. } | State::HalfOpen { .. } => Standing::HalfOpen,
        }
    }

    /// Whether an attempt may start now.
    pub fn is_passable(&self, now: Moment) -> bool {
        match &self.state {
            State::Closed => true,
            State::Open { until } => !self.has_probe && now >= *until,
            State::Probing { .. } => false,
            State::HalfOpen { trial } => trial.strong_count() == 0,
        }
    }

    /// An attempt starts; ask [`Breaker::is_passable`] before. Where it is half open, the attempt is the trial.
    pub fn start(&mut self) -> BreakerPermit {
        let mut permit = BreakerPermit::default();
        if matches!(self.state, State::Open { .. } | State::HalfOpen { .. }) {
            let trial = Arc::new(());
            if is_off(RuleSwitch::TrialsAreGivenBack) {
                std::mem::forget(Arc::clone(&trial));
            }
            self.enter(State::HalfOpen { trial: Arc::downgrade(&trial) });
            permit._trial = Some(trial);
        }
        BreakerPermit { epoch: self.epoch, ..permit }
    }

    /// An attempt that had this permit has ended with this verdict after this time.
    pub fn end(&mut self, permit: BreakerPermit, verdict: &Verdict, took: Duration, now: Moment) {
        self.take_in(permit, weigh(verdict, took), now);
    }

    /// An attempt of this epoch, whose reply was cut and which counted as a failure, has been found at the channel.
    pub fn found(&mut self, epoch: BreakerEpoch) {
        if epoch != self.epoch || !matches!(self.state, State::Closed) {
            return;
        }
        self.in_a_row = 0;
        // Whichever slice it was counted in: it is one failure less and one success more.
        if let Some(slice) = self.slices.iter_mut().rev().find(|slice| slice.others > 0) {
            slice.others -= 1;
            slice.successes = slice.successes.saturating_add(1);
        }
    }

    fn take_in(&mut self, permit: BreakerPermit, weight: Weight, now: Moment) {
        if permit.epoch != self.epoch {
            return;
        }
        match (&self.state, weight) {
            (State::Closed, weight) => self.count(weight, now),
            (State::HalfOpen { .. }, Weight::Success) => self.close(),
            (State::HalfOpen { .. }, Weight::Failure) => self.open_again(now),
            // It says nothing about whether the provider is back: the next delivery tries.
            (State::HalfOpen { .. }, Weight::Slow | Weight::Nothing) => {
                self.enter(State::HalfOpen { trial: Weak::new() });
            }
            (State::Open { .. } | State::Probing { .. }, _) => {}
        }
    }

    /// Whether a probe is due; if so, it counts as begun, and [`Breaker::probed`] must follow.
    #[must_use]
    pub fn wants_probe(&mut self, now: Moment) -> bool {
        let due = match self.state {
            State::Open { until } => self.has_probe && now >= until,
            State::Probing { since } => now.since(since) >= LONGEST_PROBE,
            State::Closed | State::HalfOpen { .. } => false,
        };
        if due {
            self.enter(State::Probing { since: now });
        }
        due
    }

    /// What the probe came to.
    pub fn probed(&mut self, green: bool, now: Moment) {
        match self.state {
            State::Probing { .. } if green => self.enter(State::HalfOpen { trial: Weak::new() }),
            State::Probing { .. } => self.open_again(now),
            _ => {}
        }
    }

    fn count(&mut self, weight: Weight, now: Moment) {
        match weight {
            Weight::Nothing => return,
            Weight::Success => self.in_a_row = 0,
            Weight::Failure => self.in_a_row = self.in_a_row.saturating_add(1),
            Weight::Slow => {}
        }
        while self.slices.front().is_some_and(|slice| now.since(slice.start) >= WINDOW) {
            self.slices.pop_front();
        }
        if self.slices.back().is_none_or(|slice| now.since(slice.start) >= SLICE) {
            self.slices.push_back(Slice { start: now, successes: 0, others: 0 });
        }
        if let Some(slice) = self.slices.back_mut() {
            let counter = if weight == Weight::Success { &mut slice.successes } else { &mut slice.others };
            *counter = counter.saturating_add(1);
        }
        if self.in_a_row >= MOST_IN_A_ROW || self.is_mostly_failing() {
            self.cool_off = FIRST_COOL_OFF;
            self.enter(State::Open { until: now + self.cool_off });
        }
    }

    fn is_mostly_failing(&self) -> bool {
        let (successes, others) = self.slices.iter().fold((0u32, 0u32), |(successes, others), slice| {
            (successes.saturating_add(slice.successes), others.saturating_add(slice.others))
        });
        let attempts = successes.saturating_add(others);
        attempts >= LEAST_ATTEMPTS && f64::from(successes) < f64::from(attempts) * LEAST_RATE
    }

    fn close(&mut self) {
        self.cool_off = FIRST_COOL_OFF;
        self.enter(State::Closed);
    }

    fn open_again(&mut self, now: Moment) {
        self.cool_off = self.cool_off.saturating_mul(2).min(LONGEST_COOL_OFF);
        self.enter(State::Open { until: now + self.cool_off });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch.0 += 1;
        self.in_a_row = 0;
        self.slices.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    /// Attempts that start and end at the given moment and say this.
    fn weighs(breaker: &mut Breaker, weights: &[Weight], ms: u64) {
        for weight in weights {
            let permit = breaker.start();
            breaker.take_in(permit, *weight, at(ms));
        }
    }

    fn opened(has_probe: bool) -> Breaker {
        let mut breaker = Breaker::new(has_probe);
        weighs(&mut breaker, &[Weight::Failure; 7], 0);
        breaker
    }

    /// SPEC 4, written down a second time.
    #[test]
    fn every_verdict_weighs_as_specified() {
        use Weight::{Failure, Nothing, Slow, Success};
        let fair = Duration::from_secs(1);
        for (word, weight) in [
            ("delivered", Success),
            ("held", Success),
            ("misplaced", Success),
            ("duplicate", Success),
            ("refused", Success),
            ("denied", Nothing),
            ("throttled", Slow),
            ("not_sent", Failure),
            ("unknown", Failure),
        ] {
            let kind = VerdictKind::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap();
            assert_eq!(weigh(&Verdict::new(kind, ""), fair), weight, "{word}");
        }
        let not_sent = |code| Verdict::new(VerdictKind::NotSent, "").with_code(code);
        assert_eq!(weigh(&not_sent(Code::Overloaded), fair), Nothing, "queueing");
        assert_eq!(weigh(&not_sent(Code::DeadlineExceeded), Duration::from_millis(80)), Nothing);
        assert_eq!(weigh(&not_sent(Code::DeadlineExceeded), fair), Failure, "no connection in a fair time");
    }

    #[test]
    fn seven_failures_in_a_row_open_it_and_six_do_not() {
        let mut breaker = Breaker::new(false);
        weighs(&mut breaker, &[Weight::Failure; 6], 0);
        weighs(&mut breaker, &[Weight::Slow, Weight::Nothing], 0);
        assert_eq!(breaker.standing(at(0)), Standing::Closed);
        weighs(&mut breaker, &[Weight::Success], 0);
        weighs(&mut breaker, &[Weight::Failure; 6], 0);
        assert!(breaker.is_passable(at(0)), "a success between them starts the count anew");
        weighs(&mut breaker, &[Weight::Failure], 0);
        assert_eq!(breaker.standing(at(0)), Standing::Open(FIRST_COOL_OFF));
        assert!(!breaker.is_passable(at(0)));
    }

    #[test]
    fn a_rate_under_half_of_twenty_within_ten_seconds_opens_it() {
        let pair = [Weight::Slow, Weight::Success];
        let mut even = Breaker::new(false);
        (0..50).for_each(|_| weighs(&mut even, &pair, 0));
        assert!(even.is_passable(at(0)), "half is enough");
        let mut few = Breaker::new(false);
        weighs(&mut few, &[Weight::Slow; 19], 0);
        assert!(few.is_passable(at(0)), "19 are too few to judge");
        weighs(&mut few, &[Weight::Slow], 10_000);
        assert!(few.is_passable(at(10_000)), "the 19 have left the window");
        weighs(&mut few, &[Weight::Slow; 19], 19_000);
        assert!(!few.is_passable(at(19_000)));
    }

    #[test]
    fn after_the_cool_off_one_delivery_tries_and_the_others_wait_for_it() {
        let mut breaker = opened(false);
        assert!(!breaker.is_passable(at(999)));
        assert!(breaker.is_passable(at(1000)));
        let trial = breaker.start();
        assert_eq!(breaker.standing(at(1000)), Standing::HalfOpen);
        assert!(!breaker.is_passable(at(1001)));
        breaker.take_in(trial, Weight::Success, at(1100));
        assert_eq!(breaker.standing(at(1100)), Standing::Closed);
    }

    #[test]
    fn the_cool_off_doubles_with_each_failed_trial_up_to_its_cap() {
        let mut breaker = opened(false);
        let mut now = 1000;
        for cool_off_ms in [2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let trial = breaker.start();
            breaker.take_in(trial, Weight::Failure, at(now));
            assert_eq!(breaker.standing(at(now)), Standing::Open(Duration::from_millis(cool_off_ms)));
            now += cool_off_ms;
        }
        let trial = breaker.start();
        breaker.take_in(trial, Weight::Success, at(now));
        weighs(&mut breaker, &[Weight::Failure; 7], now);
        assert_eq!(breaker.standing(at(now)), Standing::Open(FIRST_COOL_OFF), "and begins anew");
    }

    #[test]
    fn where_there_is_a_probe_it_must_be_green_first() {
        let mut breaker = opened(true);
        assert!(!breaker.wants_probe(at(999)));
        assert!(!breaker.is_passable(at(5000)), "not without the probe");
        assert!(breaker.wants_probe(at(5000)));
        assert!(!breaker.wants_probe(at(5001)), "one at a time");
        breaker.probed(false, at(5100));
        assert_eq!(breaker.standing(at(5100)), Standing::Open(Duration::from_secs(2)));
        assert!(breaker.wants_probe(at(7100)));
        breaker.probed(true, at(7200));
        assert!(breaker.is_passable(at(7200)));
        let _trial = breaker.start();
        assert!(!breaker.is_passable(at(7201)));
    }

    #[test]
    fn what_started_before_it_opened_says_nothing_about_what_came_after() {
        let mut breaker = Breaker::new(false);
        let early: Vec<BreakerPermit> = (0..10).map(|_| breaker.start()).collect();
        weighs(&mut breaker, &[Weight::Failure; 7], 1);
        let trial = breaker.start();
        for permit in early {
            breaker.take_in(permit, Weight::Success, at(1002));
        }
        assert_eq!(breaker.standing(at(1002)), Standing::HalfOpen);
        breaker.take_in(trial, Weight::Failure, at(1003));
        assert!(!breaker.is_passable(at(1003)));
    }

    #[test]
    fn a_trial_that_says_nothing_or_is_lost_gives_way() {
        let mut breaker = opened(false);
        let denied = breaker.start();
        breaker.take_in(denied, Weight::Nothing, at(1001));
        assert!(breaker.is_passable(at(1001)));
        let lost = breaker.start();
        assert!(!breaker.is_passable(at(600_000)), "however long it lasts");
        drop(lost);
        assert!(breaker.is_passable(at(600_000)));
    }

    #[test]
    fn a_shortage_of_our_own_says_nothing_about_the_provider() {
        for kind in VerdictKind::ALL {
            assert_eq!(weigh(&Verdict::new(kind, "").uncounted(), Duration::from_secs(1)), Weight::Nothing);
        }
    }

    #[test]
    fn a_cut_reply_that_is_found_later_counts_as_success() {
        let mut breaker = Breaker::new(false);
        let epoch = breaker.start().epoch();
        weighs(&mut breaker, &[Weight::Failure; 6], 0);
        breaker.found(epoch);
        weighs(&mut breaker, &[Weight::Failure; 6], 0);
        assert!(breaker.is_passable(at(0)), "seven failures, but not in a row");
        (0..10).for_each(|_| breaker.found(epoch));
        weighs(&mut breaker, &[Weight::Slow; 8], 0);
        assert!(breaker.is_passable(at(0)), "of 20, 11 were found, one failed and 8 were slow");
        weighs(&mut breaker, &[Weight::Failure; 7], 0);
        let open = breaker.standing(at(0));
        breaker.found(epoch);
        assert_eq!(breaker.standing(at(0)), open, "what began before it opened says nothing about now");
    }

    proptest::proptest! {
        /// Whatever happens: in a row of trials there is never more than one under way, and after the longest
        /// cool-off it always lets somebody try again.
        #[test]
        fn at_most_one_trial_and_never_shut_for_good(
            steps in proptest::collection::vec((0u8..4, 0u64..3_000), 1..400),
            has_probe: bool,
        ) {
            let mut breaker = Breaker::new(has_probe);
            let mut now = 0;
            for (weight, wait) in steps {
                now += wait;
                if breaker.wants_probe(at(now)) {
                    breaker.probed(weight != 1, at(now));
                }
                if !breaker.is_passable(at(now)) {
                    continue;
                }
                let half_open = breaker.standing(at(now)) == Standing::HalfOpen;
                let permit = breaker.start();
                if half_open {
                    proptest::prop_assert!(!breaker.is_passable(at(now)), "a second trial");
                }
                let weight = [Weight::Success, Weight::Failure, Weight::Slow, Weight::Nothing][usize::from(weight)];
                breaker.take_in(permit, weight, at(now));
                proptest::prop_assert!(breaker.slices.len() <= 21);
            }
            now += 30_000;
            if breaker.wants_probe(at(now)) {
                breaker.probed(true, at(now));
            }
            proptest::prop_assert!(breaker.is_passable(at(now)));
        }
    }
}
