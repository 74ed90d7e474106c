//! What a machine knows of its delivery.

use crate::breaker::{BreakerEpoch, BreakerPermit};
use crate::conclusion::Conclusion;
use crate::id::DeliveryId;
use crate::known::{KnownAttempt, KnownDelivery};
use crate::lookup::LookupSchedule;
use crate::outcome::outcome_of;
use crate::record::interrupted;
use crate::reply::SkippedProvider;
use crate::retry::RetryPermit;
use crate::step::{Action, Plan, ProviderHealth, ProviderRules};
use crate::verdict::{Effect, Verdict};
use commentd_contract::time::Moment;
use commentd_contract::{Outcome, ProviderName};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    /// Nothing is tried before the ledger has said what stands under the key.
    ReadingKey,
    Queueing {
        provider: usize,
    },
    RecordingIntent {
        provider: usize,
    },
    Sending {
        provider: usize,
    },
    Settling {
        attempt: usize,
        resolves: bool,
        known_at: Moment,
        failures: u32,
    },
    Waiting {
        provider: usize,
    },
    Resting {
        attempt: usize,
        provider: usize,
    },
    LookingUp {
        attempt: usize,
        provider: usize,
    },
    /// A person has settled it; what they have made of it is read.
    ReadingRecord,
    /// Nothing more is tried; the answer may still wait for the key.
    Over,
    Finished,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) name: ProviderName,
    /// `None` if where it was sent isn't configured any more.
    pub(super) provider: Option<usize>,
    /// `None` while it is open.
    pub(super) verdict: Option<Verdict>,
    /// When it began; `None` if an earlier process began it, whose clock says nothing here.
    pub(super) started: Option<Moment>,
    /// When the provider got it; `None` while the intent is being recorded.
    pub(super) sent: Option<Moment>,
    /// What its end gives back to the breaker.
    pub(super) permit: Option<BreakerPermit>,
    /// When the breaker was told that it is unknown.
    pub(super) counted_unknown: Option<BreakerEpoch>,
    /// Set while the attempt is unknown and a lookup may help.
    pub(super) lookups: Option<LookupSchedule>,
    /// Why the last lookup left it open, for people.
    pub(super) doubt: Option<String>,
    /// Whether it may have passed its gate.
    pub(super) was_sent: bool,
    pub(super) this_run: bool,
}

impl Attempt {
    pub(super) fn begun(name: ProviderName, provider: usize, now: Moment, permit: BreakerPermit) -> Self {
        Self {
            name,
            provider: Some(provider),
            verdict: None,
            started: Some(now),
            sent: None,
            permit: Some(permit),
            counted_unknown: None,
            lookups: None,
            doubt: None,
            was_sent: false,
            this_run: true,
        }
    }

    fn known(known: KnownAttempt) -> Self {
        Self {
            name: known.name,
            provider: known.provider,
            verdict: Some(known.verdict.unwrap_or_else(interrupted)),
            started: known.started,
            sent: None,
            permit: None,
            counted_unknown: None,
            lookups: None,
            doubt: None,
            was_sent: known.was_sent,
            this_run: false,
        }
    }

    /// Open or unknown.
    pub(super) fn is_unclear(&self) -> bool {
        self.verdict.as_ref().is_none_or(|verdict| verdict.rule().effect == Effect::Unclear)
    }
}

/// What is known of the key.
#[derive(Debug)]
pub(super) struct Key {
    /// Whether nothing can have been sent under it by an earlier delivery: the server made it, or the ledger has said
    /// so. Before that, nobody is told that nothing was sent.
    pub(super) is_clear: bool,
    pub(super) is_being_read: bool,
    /// The answer that nothing was sent, until the key is known to be clear.
    pub(super) held: Option<Box<Conclusion>>,
    /// How long that may take: as long past the deadline as a settling.
    pub(super) read_by: Moment,
}

/// Whether a delivery that is only looked up has the lookup permit that this takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupRight {
    None,
    Asked,
    Held,
}

/// One delivery's decisions. See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    pub(super) plan: Plan,
    pub(super) phase: Phase,
    pub(super) attempts: Vec<Attempt>,
    /// The attempt whose verdict isn't durable yet, and the durable one that it would replace.
    pub(super) unrecorded: Option<(usize, Option<Box<Verdict>>)>,
    /// Which providers were skipped in this run, and why, in order.
    pub(super) skipped: Vec<SkippedProvider>,
    pub(super) random: fastrand::Rng,
    /// The right to the retry that is being waited for, and at which provider.
    pub(super) retry: Option<(usize, RetryPermit)>,
    pub(super) key: Key,
    /// Whether the ledger has a record of this delivery.
    pub(super) opened: bool,
    /// Whether it is answered from the record, because nothing may be sent under its key.
    pub(super) replays: bool,
    /// Whether it is decided what the caller is told, or nobody waits for that.
    pub(super) answered: bool,
    /// Whether anything was told, be it to those who follow.
    pub(super) replied: bool,
    /// Whether the caller has hung up: nothing new may be sent, whatever turns out to be known of the key.
    pub(super) caller_is_gone: bool,
    /// The deadline has passed or the caller is gone: nothing new is sent.
    pub(super) closed: bool,
    /// When a verdict came past the deadline: from then on there is the grace for its recording.
    pub(super) late_since: Option<Moment>,
    /// When the outstanding wake-up is due.
    pub(super) wake_at: Option<Moment>,
    /// Until when somebody who follows waits for what its lookups find.
    pub(super) awaited_until: Moment,
    pub(super) lookup_right: LookupRight,
    pub(super) is_draining: bool,
    /// Whether those who follow know it as one that is only looked up.
    pub(super) shows_only_lookups: bool,
    pub(super) created_ms: Option<u64>,
}

/// One step: what it is decided by, and what it asks for.
pub(super) struct Step<'a> {
    pub(super) now: Moment,
    pub(super) health: &'a mut dyn ProviderHealth,
    pub(super) actions: Vec<Action>,
}

impl Step<'_> {
    pub(super) fn ask(&mut self, action: Action) {
        self.actions.push(action);
    }
}

impl Machine {
    /// A machine that waits for [`Event::Start`](crate::step::Event::Start).
    pub fn new(mut plan: Plan) -> Self {
        let known = plan.known.take();
        let (has_caller, read_by) = (plan.has_caller, plan.deadline + plan.grace);
        let key = Key { is_clear: plan.key_is_new, is_being_read: false, held: None, read_by };
        let random = fastrand::Rng::with_seed(plan.id.seed());
        let mut machine = Self {
            plan,
            phase: Phase::New,
            attempts: Vec::new(),
            unrecorded: None,
            skipped: Vec::new(),
            random,
            retry: None,
            key,
            opened: false,
            replays: false,
            // Without a caller nobody asked for another attempt.
            answered: !has_caller,
            replied: false,
            caller_is_gone: false,
            closed: !has_caller,
            late_since: None,
            wake_at: None,
            awaited_until: Moment::START,
            lookup_right: if has_caller { LookupRight::None } else { LookupRight::Held },
            is_draining: false,
            shows_only_lookups: false,
            created_ms: None,
        };
        if let Some(known) = known {
            machine.take_over(*known);
        }
        machine
    }

    /// Goes on with a delivery that the ledger has.
    pub(super) fn take_over(&mut self, known: KnownDelivery) {
        self.plan.id = known.id;
        self.plan.trace_id = known.trace_id;
        self.created_ms = Some(known.created_ms);
        self.random = fastrand::Rng::with_seed(known.id.seed());
        self.attempts = known.attempts.into_iter().map(Attempt::known).collect();
        self.opened = true;
    }

    /// The delivery's id: its own, or that of the one that has the key.
    pub fn id(&self) -> DeliveryId {
        self.plan.id
    }

    /// The trace of the request that made the delivery.
    pub fn trace_id(&self) -> &Arc<str> {
        &self.plan.trace_id
    }

    /// When the caller gets an answer; earlier than in the plan after [`Event::AnswerNow`](crate::step::Event::AnswerNow).
    pub fn deadline(&self) -> Moment {
        self.plan.deadline
    }

    /// Wall time of the delivery's first intent, in milliseconds since 1970, where an earlier request made it.
    pub fn created_ms(&self) -> Option<u64> {
        self.created_ms
    }

    /// How many attempts there are over the delivery's whole life.
    pub fn attempts(&self) -> usize {
        self.attempts.len()
    }

    /// When each attempt began, as far as that is known.
    pub fn started(&self) -> Vec<Option<Moment>> {
        self.attempts.iter().map(|attempt| attempt.started).collect()
    }

    /// What the delivery comes to by now.
    pub fn outcome(&self) -> Outcome {
        outcome_of(self.attempts.iter().map(|attempt| attempt.verdict.as_ref()))
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Whether it sends nothing any more and only waits for lookups.
    pub fn is_only_lookups(&self) -> bool {
        self.answered && matches!(self.phase, Phase::Resting { .. } | Phase::LookingUp { .. })
    }

    /// Whether it knows that the sidecar is shutting down.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    pub(super) fn rules(&self, provider: usize) -> Option<&ProviderRules> {
        self.plan.chain.get(provider)
    }

    pub(super) fn time_left(&self, now: Moment) -> Duration {
        self.plan.deadline.since(now)
    }

    /// The last attempt's provider and verdict, if it has ended and its provider is there.
    pub(super) fn last_ended(&self) -> Option<(usize, &Verdict)> {
        self.attempts.last().and_then(|last| Some((last.provider?, last.verdict.as_ref()?)))
    }

    pub(super) fn wake(&mut self, due: Moment, step: &mut Step<'_>) {
        self.wake_at = Some(due);
        step.ask(Action::Wake(due));
    }
}
