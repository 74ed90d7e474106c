//! The delivery machine: (state, event, now) → actions.
//!
//! It owns every decision about one delivery and none of its effects. The caller carries out each [`Action`]
//! and reports what came of it as an [`Event`]. At most one of its wake-ups is outstanding: a later
//! [`Action::Wake`] replaces an earlier one.
//!
//! ```text
//! Start ─▶ (Skip …) ─▶ (Queue) ─▶ RecordIntent ─▶ Send ─▶ Ended ─▶ RecordSettling ─▶ Settled ─┬▶ Answer, Finish
//!             ▲                                                                              ├▶ Wake (backoff) ─┐
//!             └──────────────────────────────────────────────────────────────────────────────┴─────────────────┘
//!                                                                                            └▶ Look ─▶ Looked …
//! ```
//!
//! Which link is next, and what keeps it from being tried, is in `machine/links.rs`; what a duplicate means, and what
//! speaks against absence, in `machine/duplicates.rs`.

mod duplicates;
mod links;

use crate::answers::{
    STILL_OPEN, UNRECORDABLE, UNRECORDABLE_INTENT, UNRECORDED_IN_TIME, absent, not_sent_in_time, skipped,
    unrecorded,
};
use crate::breaker::{BreakerEpoch, BreakerPermit};
use crate::lookup::{LookupResult, LookupSchedule, NextLookup};
use crate::record::{outcome_of, was_sent};
use crate::retry::RetryPermit;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::step::{Action, Answer, Event, Plan, ProviderHealth, ProviderRules};
use crate::verdict::{Effect, Verdict};
use commentd_contract::time::Moment;
use commentd_contract::{Code, Outcome, VerdictKind};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Queueing { link: usize },
    RecordingIntent { link: usize },
    Sending { link: usize },
    Settling { attempt: usize, resolves: bool, before: Option<Verdict> },
    Waiting { link: usize },
    Resting { attempt: usize, link: usize },
    Looking { attempt: usize, link: usize },
    Over,
}

#[derive(Debug)]
struct Attempt {
    link: Option<usize>,
    /// `None` while it is open.
    verdict: Option<Verdict>,
    /// When it began; `None` if an earlier process began it, whose clock says nothing here.
    started: Option<Moment>,
    /// When the provider got it; `None` while the intent is being recorded.
    sent: Option<Moment>,
    /// What its end gives back to the breaker.
    permit: Option<BreakerPermit>,
    /// When the breaker was told that it is unknown.
    counted_unknown: Option<BreakerEpoch>,
    /// Set while the attempt is unknown and a lookup may help.
    search: Option<LookupSchedule>,
    /// Why the last look left it open, for people.
    doubt: Option<String>,
    /// Whether it may have passed its gate.
    was_sent: bool,
    this_run: bool,
}

impl Attempt {
    /// Open or unknown.
    fn is_unclear(&self) -> bool {
        self.verdict.as_ref().is_none_or(|verdict| verdict.rule().effect == Effect::Unclear)
    }
}

/// One delivery's decisions. See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    plan: Plan,
    phase: Phase,
    attempts: Vec<Attempt>,
    /// Why links were skipped in this run, in order.
    skips: Vec<Verdict>,
    random: fastrand::Rng,
    /// The right to the retry that is being waited for, and at which link.
    retry: Option<(usize, RetryPermit)>,
    answered: bool,
    /// The deadline has passed or the caller is gone: nothing new is sent.
    closed: bool,
    /// When a verdict came past the deadline: from then on there is the grace for its recording.
    late_since: Option<Moment>,
    /// When the outstanding wake-up is due.
    wake_at: Option<Moment>,
}

impl Machine {
    /// A machine that waits for [`Event::Start`].
    pub fn new(plan: Plan) -> Self {
        let attempts: Vec<Attempt> = plan
            .earlier
            .iter()
            .map(|earlier| Attempt {
                link: earlier.link,
                verdict: Some(earlier.verdict.clone()),
                started: earlier.started,
                sent: None,
                permit: None,
                counted_unknown: None,
                search: None,
                doubt: None,
                was_sent: earlier.was_sent,
                this_run: false,
            })
            .collect();
        let random = fastrand::Rng::with_seed(plan.seed);
        // Without a caller nobody asked for another attempt.
        let (answered, closed) = (!plan.has_caller, !plan.has_caller);
        Self {
            plan,
            phase: Phase::New,
            attempts,
            skips: Vec::new(),
            random,
            retry: None,
            answered,
            closed,
            late_since: None,
            wake_at: None,
        }
    }

    /// What the delivery comes to by now.
    pub fn outcome(&self) -> Outcome {
        outcome_of(self.attempts.iter().map(|attempt| attempt.verdict.as_ref()))
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it sends nothing any more and only waits for the next look.
    pub fn is_only_looking(&self) -> bool {
        self.answered && matches!(self.phase, Phase::Resting { .. } | Phase::Looking { .. })
    }

    /// Takes in an event. Events that don't belong to the current phase (a verdict of an attempt that was
    /// cancelled) are ignored; a wake-up before its time is asked for again.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Moment, shared: &mut dyn ProviderHealth) -> Vec<Action> {
        let mut actions = Vec::with_capacity(2);
        self.take_in(event, now, shared, &mut actions);
        self.give_back(now, shared);
        actions
    }

    fn take_in(
        &mut self,
        event: Event,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        match (self.phase.clone(), event) {
            (Phase::New, Event::Start) => self.start(now, shared, actions),
            (_, Event::CallerGone) => self.caller_gone(now, actions),
            (phase, Event::AnswerNow) => self.answer_now(&phase, now, shared, actions),
            (Phase::Queueing { link }, Event::LaneFree { link: free }) if link == free => {
                self.lane_free(link, now, shared, actions);
            }
            (Phase::Queueing { link }, Event::NoTurn { link: late, verdict }) if link == late => {
                self.leave(link, verdict, now, shared, actions);
            }
            (Phase::RecordingIntent { link }, Event::IntentRecorded) => {
                self.intent_recorded(link, now, shared, actions);
            }
            (Phase::RecordingIntent { .. }, Event::IntentFailed) => {
                self.intent_failed(now, actions);
            }
            (Phase::Sending { .. }, Event::Cancelled(unsent))
                if unsent || is_off(RuleSwitch::PassedGateIsUnknown) =>
            {
                self.settle_last(not_sent_in_time(), now, actions);
            }
            (Phase::Sending { .. }, Event::Cancelled(_)) => {
                // What is open counts as unknown. The attempt runs on; its verdict is recorded when it comes.
                self.closed = true;
                self.answer(actions);
            }
            (Phase::Sending { .. }, Event::Ended(verdict)) => {
                // It was there, and is read only now because the process was stopped: it has its grace as well.
                self.late_since = Some(now).filter(|now| *now > self.plan.deadline);
                self.settle_last(verdict, now, actions);
            }
            (Phase::Settling { .. }, Event::Settled) => self.settled(now, shared, actions),
            (Phase::Settling { attempt, resolves, before }, Event::ClaimLost) => {
                self.claim_lost(attempt, resolves, before, now, actions);
            }
            (Phase::Settling { attempt, before, .. }, Event::SettlingFailed) => {
                self.settling_failed(attempt, before, actions);
            }
            (Phase::Looking { attempt, link }, Event::Looked(finding, began)) => {
                self.looked(attempt, link, finding, began, now, shared, actions);
            }
            (Phase::Looking { attempt, .. }, Event::LookNow) => self.hasten(attempt),
            (Phase::Resting { attempt, link }, Event::LookNow) => {
                self.hasten(attempt);
                self.look(attempt, link, actions);
            }
            (_, Event::Woken) if self.wake_at.is_some_and(|due| now < due) => {
                // One that was replaced, or a timer that is early: the one that counts is still to come.
                actions.extend(self.wake_at.map(Action::Wake));
            }
            (phase, Event::Woken) => self.woken(&phase, now, shared, actions),
            _ => {}
        }
    }

    fn start(&mut self, now: Moment, shared: &mut dyn ProviderHealth, actions: &mut Vec<Action>) {
        match self.outcome() {
            Outcome::NotSent => self.begin(0, now, shared, actions),
            Outcome::Unknown if is_off(RuleSwitch::UnknownIsLookedUp) => self.begin(0, now, shared, actions),
            _ if is_off(RuleSwitch::CertainIsReplayed) => self.begin(0, now, shared, actions),
            Outcome::Unknown => {
                for attempt in &mut self.attempts {
                    attempt.search = search_of(&self.plan.chain, attempt, now);
                }
                if let Some((link, _)) = self.last_ended().filter(|(link, last)| self.may_repeat(*link, last))
                {
                    return self.begin(link, now, shared, actions);
                }
                self.look_or_rest(now, actions);
            }
            // Certain by an earlier run: whoever asks, nothing may follow.
            _ => self.conclude(actions),
        }
    }

    fn caller_gone(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.answered = true;
        self.closed = true;
        match self.phase {
            Phase::Sending { .. } => actions.push(Action::Cancel),
            Phase::Queueing { .. } => {
                actions.push(Action::Leave);
                self.look_or_rest(now, actions);
            }
            Phase::Waiting { .. } => self.look_or_rest(now, actions),
            Phase::New => self.finish(actions),
            _ => {}
        }
    }

    fn answer_now(
        &mut self,
        phase: &Phase,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        if self.answered || now >= self.plan.deadline {
            return;
        }
        self.plan.deadline = now;
        if matches!(phase, Phase::Settling { .. }) {
            self.wake(now + self.plan.grace, actions);
        } else {
            self.woken(phase, now, shared, actions);
        }
    }

    fn intent_recorded(
        &mut self,
        link: usize,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Sending { link };
        if self.closed || now >= self.plan.deadline {
            self.closed = true;
            return self.settle_last(not_sent_in_time(), now, actions);
        }
        let retry = self.retry.take().filter(|(at, _)| *at == link);
        shared.attempt_is_sent(link, retry.map(|(_, permit)| permit), now);
        if let Some(last) = self.attempts.last_mut() {
            last.sent = Some(now);
        }
        actions.push(Action::Send { attempt: self.attempts.len() - 1, link });
    }

    fn intent_failed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        // The attempt never existed: nothing may be sent that can't be recorded.
        self.attempts.pop();
        self.closed = true;
        if self.outcome() != Outcome::Unknown {
            let answer = Answer {
                outcome: self.outcome(),
                code: Code::Overloaded,
                message: UNRECORDABLE_INTENT.into(),
                retry_after_ms: Some(1000),
                recorded: !self.attempts.is_empty(),
            };
            self.answer_with(answer, actions);
        }
        self.look_or_rest(now, actions);
    }

    /// The last attempt has ended: make its verdict durable.
    fn settle_last(&mut self, verdict: Verdict, now: Moment, actions: &mut Vec<Action>) {
        let verdict = self.doubting_duplicates(verdict.distrusting_receipts());
        let attempt = self.attempts.len().saturating_sub(1);
        self.settle(attempt, verdict, false, actions);
        if let Some(last) = self.attempts.get_mut(attempt) {
            last.was_sent = was_sent(last.verdict.as_ref());
            last.search = search_of(&self.plan.chain, last, now);
        }
    }

    fn settle(&mut self, attempt: usize, verdict: Verdict, resolves: bool, actions: &mut Vec<Action>) {
        let Some(entry) = self.attempts.get_mut(attempt) else { return };
        let before = entry.verdict.replace(verdict.clone());
        self.phase = Phase::Settling { attempt, resolves, before };
        actions.push(Action::RecordSettling { attempt, verdict, resolves });
        if is_off(RuleSwitch::SettlingBeforeAnswer) {
            self.answer(actions);
        }
        if !self.answered {
            self.wake(self.late_since.unwrap_or(self.plan.deadline) + self.plan.grace, actions);
        }
    }

    fn settled(&mut self, now: Moment, shared: &mut dyn ProviderHealth, actions: &mut Vec<Action>) {
        if now >= self.plan.deadline {
            self.closed = true;
        }
        let outcome = self.outcome();
        if outcome != Outcome::Unknown && outcome != Outcome::NotSent {
            return self.conclude(actions);
        }
        // The last verdict says what may follow, even if it was an earlier one that a lookup has resolved.
        match self.last_ended() {
            Some((link, verdict)) if self.may_repeat(link, &verdict) => {
                self.retry(link, &verdict, now, shared, actions);
            }
            Some((link, verdict)) => self.next_link(link, &verdict, now, shared, actions),
            None => self.look_or_rest(now, actions),
        }
    }

    /// The last attempt's link and verdict, if it has ended and its link is there.
    fn last_ended(&self) -> Option<(usize, Verdict)> {
        self.attempts.last().and_then(|last| Some((last.link?, last.verdict.clone()?)))
    }

    fn claim_lost(
        &mut self,
        attempt: usize,
        resolves: bool,
        before: Option<Verdict>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let entry = self.attempts.get_mut(attempt);
        let lost = entry.and_then(|entry| std::mem::replace(&mut entry.verdict, before));
        if resolves {
            // What another delivery has claimed is not found.
            let Some(link) = self.attempts.get(attempt).and_then(|entry| entry.link) else { return };
            return match self.duplicate_in_anothers_slot(attempt, link) {
                Some(none_of_ours) => self.settle(attempt, none_of_ours, true, actions),
                None => self.missed(attempt, link, false, now, now, actions),
            };
        }
        let verdict = Verdict::new(
            VerdictKind::Unknown,
            "the channel's reply names a comment that belongs to another delivery",
        )
        .with_code(Code::UpstreamBadReply)
        .after_ms(lost.map_or(0, |verdict| verdict.latency_ms));
        self.settle_last(verdict, now, actions);
    }

    fn settling_failed(&mut self, attempt: usize, before: Option<Verdict>, actions: &mut Vec<Action>) {
        // The durable intent already implies unknown; so does a durable unknown that wasn't resolved.
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.verdict = before;
        }
        self.answer_with(unrecorded(UNRECORDABLE), actions);
        self.finish(actions);
    }

    /// Starts the next look that is due, or sets the time for it; concludes if looking won't help.
    fn look_or_rest(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let next = self.attempts.iter().enumerate().find_map(|(index, attempt)| {
            (attempt.is_unclear() && attempt.search.is_some()).then_some((index, attempt.link?))
        });
        let Some((attempt, link)) = next else { return self.conclude(actions) };
        if self.attempts.get(attempt).and_then(|a| a.search.as_ref()).is_some_and(LookupSchedule::is_fresh) {
            return self.look(attempt, link, actions);
        }
        self.rest(attempt, link, now, actions);
    }

    fn look(&mut self, attempt: usize, link: usize, actions: &mut Vec<Action>) {
        self.phase = Phase::Looking { attempt, link };
        actions.push(Action::Look { attempt, link });
        if !self.answered {
            self.wake(self.plan.deadline, actions);
        }
    }

    fn rest(&mut self, attempt: usize, link: usize, until: Moment, actions: &mut Vec<Action>) {
        self.phase = Phase::Resting { attempt, link };
        self.wake(if self.answered { until } else { until.min(self.plan.deadline) }, actions);
    }

    #[expect(clippy::too_many_arguments, reason = "an event with two fields, and what every step has")]
    fn looked(
        &mut self,
        attempt: usize,
        link: usize,
        finding: LookupResult,
        began: Moment,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        if let Some(none_of_ours) = self.duplicate_of_anothers(attempt, &finding) {
            return self.settle(attempt, none_of_ours, true, actions);
        }
        let veto =
            self.veto(attempt, link, shared).filter(|_| finding == LookupResult::NotFound { complete: true });
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.doubt = veto.map(str::to_owned).or_else(|| finding.doubt());
        }
        let complete = match finding {
            LookupResult::Found(verdict) if verdict.rule().effect == Effect::One => {
                return self.settle(attempt, verdict, true, actions);
            }
            LookupResult::NotFound { complete } => complete && veto.is_none(),
            LookupResult::Found(_) | LookupResult::Failed(_) | LookupResult::Alike(_) => false,
            LookupResult::CannotBeKnown => return self.give_up(attempt, now, actions),
        };
        self.missed(attempt, link, complete, began, now, actions);
    }

    /// A look that began at `began` hasn't found the attempt's comment.
    fn missed(
        &mut self,
        attempt: usize,
        link: usize,
        complete: bool,
        began: Moment,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(search) = self.attempts.get_mut(attempt).and_then(|a| a.search.as_mut()) else { return };
        match search.missed(complete, began, now) {
            NextLookup::Absent => self.settle(attempt, absent(), true, actions),
            NextLookup::At(moment) => self.rest(attempt, link, moment, actions),
            NextLookup::GiveUp => self.give_up(attempt, now, actions),
        }
    }

    /// Somebody waits for what the looks find: the waits between them begin anew.
    fn hasten(&mut self, attempt: usize) {
        if let Some(search) = self.attempts.get_mut(attempt).and_then(|attempt| attempt.search.as_mut()) {
            search.hasten();
        }
    }

    /// Looking won't make this attempt certain; another one's search may go on.
    fn give_up(&mut self, attempt: usize, now: Moment, actions: &mut Vec<Action>) {
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.search = None;
        }
        self.look_or_rest(now, actions);
    }

    fn woken(
        &mut self,
        phase: &Phase,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let late = now >= self.plan.deadline;
        match *phase {
            Phase::RecordingIntent { .. } if late => {
                self.closed = true;
                // The record isn't there yet, and nothing will be sent once it is.
                self.answer_with(self.answer_for(Some(&not_sent_in_time())), actions);
            }
            Phase::Sending { .. } if late && !self.closed => {
                self.closed = true;
                actions.push(Action::Cancel);
            }
            Phase::Settling { .. } => {
                self.closed = true;
                self.answer_with(unrecorded(UNRECORDED_IN_TIME), actions);
            }
            Phase::Waiting { link } => self.begin(link, now, shared, actions),
            Phase::Queueing { link } => self.queued_in_vain(link, now, shared, actions),
            Phase::Looking { .. } if late => {
                self.closed = true;
                self.answer(actions);
            }
            Phase::Resting { attempt, link } => {
                if late && !self.answered {
                    self.closed = true;
                    self.answer(actions);
                }
                self.look(attempt, link, actions);
            }
            _ => {}
        }
    }

    /// Answers with what is known, and ends or goes on looking.
    fn conclude(&mut self, actions: &mut Vec<Action>) {
        self.answer(actions);
        self.finish(actions);
    }

    fn answer(&mut self, actions: &mut Vec<Action>) {
        self.answer_with(self.answer_for(None), actions);
    }

    fn answer_with(&mut self, answer: Answer, actions: &mut Vec<Action>) {
        if !self.answered {
            self.answered = true;
            actions.push(Action::Answer(answer));
        }
    }

    fn wake(&mut self, due: Moment, actions: &mut Vec<Action>) {
        self.wake_at = Some(due);
        actions.push(Action::Wake(due));
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Over;
        self.wake_at = None;
        actions.push(Action::Finish);
    }

    /// The answer that the attempts give; `instead` speaks for the one that is open.
    fn answer_for(&self, instead: Option<&Verdict>) -> Answer {
        let verdicts = || self.attempts.iter().map(move |attempt| attempt.verdict.as_ref().or(instead));
        let outcome = outcome_of(verdicts());
        let recorded = !self.attempts.is_empty();
        if outcome == Outcome::NotSent && !self.attempts.iter().any(|attempt| attempt.this_run) {
            return skipped(&self.skips, recorded);
        }
        let speaks_for = |verdict: &&Verdict| match verdict.rule().effect {
            Effect::One => outcome.is_final() && outcome != Outcome::Refused,
            Effect::Unclear => outcome == Outcome::Unknown,
            Effect::None => outcome == Outcome::Refused || outcome == Outcome::NotSent,
        };
        match verdicts().flatten().rfind(speaks_for) {
            Some(verdict) => Answer {
                outcome,
                code: verdict.code,
                message: self.with_doubt(outcome, &verdict.message),
                retry_after_ms: verdict.retry_after_ms,
                recorded,
            },
            None if outcome == Outcome::Unknown => Answer {
                outcome,
                code: Code::OutcomeUnknown,
                message: STILL_OPEN.into(),
                retry_after_ms: None,
                recorded: true,
            },
            None => skipped(&[], recorded),
        }
    }

    /// What is said of the outcome, and why looking hasn't made it certain.
    fn with_doubt(&self, outcome: Outcome, message: &str) -> String {
        let doubt = self.attempts.iter().rev().find_map(|attempt| attempt.doubt.as_deref());
        match doubt.filter(|_| outcome == Outcome::Unknown) {
            Some(doubt) => format!("{message}; {doubt}"),
            None => message.to_owned(),
        }
    }
}

fn search_of(chain: &[ProviderRules], attempt: &Attempt, ended: Moment) -> Option<LookupSchedule> {
    let ability = chain.get(attempt.link?)?.lookup?;
    attempt.is_unclear().then(|| LookupSchedule::new(ability, ended))
}
