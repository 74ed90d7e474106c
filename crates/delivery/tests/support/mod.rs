//! What the tests of this crate share: moments, providers, short texts for events and actions, and a player for
//! scenes that are written down as (moment, event, expected actions).

#![allow(dead_code, reason = "every test binary compiles this and uses its own part of it")]
#![allow(clippy::indexing_slicing, reason = "in a test, an index that is wrong should fail loudly")]

use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::breaker::{BreakerEpoch, BreakerPermit};
use commentd_delivery::gate::OwnWait;
use commentd_delivery::known::{KnownAttempt, KnownDelivery};
use commentd_delivery::lookup::{LookupAbility, LookupResult};
use commentd_delivery::machine::Machine;
use commentd_delivery::retry::RetryPermit;
use commentd_delivery::step::{Action, Event, Plan, ProviderHealth, ProviderRules, SettleFailure};
use commentd_delivery::{DeliveryId, Fingerprint, Moment, Verdict};
use std::fmt::Write as _;
use std::time::Duration;

/// This many milliseconds.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The moment this many milliseconds after the start of the process.
pub(crate) const fn at(milliseconds: u64) -> Moment {
    Moment::at(ms(milliseconds))
}

/// A provider without lookup or deduplication: three tries, 50 ms at least.
pub(crate) const PLAIN: ProviderRules = ProviderRules {
    name: ProviderName::NativeHttp,
    max_attempts: 3,
    min_useful: ms(50),
    deduplicates_within: None,
    lookup: None,
    queues: false,
};

/// A provider with lanes, for which attempts queue.
pub(crate) const QUEUED: ProviderRules = ProviderRules { queues: true, ..PLAIN };

/// A provider that deduplicates for a day.
pub(crate) const DEDUPLICATING: ProviderRules =
    ProviderRules { deduplicates_within: Some(ms(86_400_000)), ..PLAIN };

/// What a lookup that can prove absence 200 ms after an attempt's end says of itself.
pub(crate) const SEEING: LookupAbility =
    LookupAbility { settles_within: Some(ms(200)), sees_every_state: true, needs_marker: true };

/// A provider with such a lookup.
pub(crate) const LOOKED_UP: ProviderRules = ProviderRules { lookup: Some(SEEING), ..PLAIN };

/// A provider that deduplicates and has such a lookup.
pub(crate) const BOTH: ProviderRules = ProviderRules { lookup: Some(SEEING), ..DEDUPLICATING };

/// A plan over these providers with a second until the deadline and 20 ms of grace.
pub(crate) fn plan(chain: &[ProviderRules]) -> Plan {
    Plan {
        chain: chain.to_vec(),
        deadline: at(1000),
        grace: ms(20),
        id: ID,
        trace_id: "trace".into(),
        fingerprint: FINGERPRINT,
        key_is_new: true,
        known: None,
        has_caller: true,
    }
}

/// The same plan after attempts of earlier runs that came to these verdicts, all at the first provider.
pub(crate) fn after(plan: Plan, verdicts: &[VerdictKind]) -> Plan {
    let attempt = |kind: &VerdictKind| before(Some(0), verdict(*kind), None, *kind != VerdictKind::NotSent);
    Plan { known: known(verdicts.iter().map(attempt).collect()), ..plan }
}

/// The delivery's id, also where it is known.
pub(crate) const ID: DeliveryId = DeliveryId::from_bytes([7; 16]);

/// What its comment is.
pub(crate) const FINGERPRINT: Fingerprint = Fingerprint([1; 32]);

/// A delivery that the ledger knows with these attempts; `None` without any.
pub(crate) fn known(attempts: Vec<KnownAttempt>) -> Option<Box<KnownDelivery>> {
    let (id, fingerprint, trace_id) = (ID, FINGERPRINT, "earlier trace".into());
    let known = KnownDelivery { id, fingerprint, trace_id, created_ms: 1, attempts };
    (!known.attempts.is_empty()).then(|| Box::new(known))
}

/// An attempt of an earlier run.
pub(crate) fn before(
    provider: Option<usize>,
    verdict: Verdict,
    started: Option<Moment>,
    was_sent: bool,
) -> KnownAttempt {
    KnownAttempt { name: ProviderName::NativeHttp, provider, verdict: Some(verdict), started, was_sent }
}

/// What became of a cancellation; the attempt hasn't waited for anything of ours.
pub(crate) fn cancelled(unsent: bool) -> Event {
    Event::Cancelled { unsent, own_wait: OwnWait::Never }
}

/// The intent can't be recorded.
pub(crate) fn intent_failed() -> Event {
    Event::IntentFailed("disk full".into())
}

/// The settling can't be recorded, and never will be.
pub(crate) fn settling_failed() -> Event {
    Event::SettleFailed(SettleFailure::Permanent, "closed".into())
}

/// Somebody follows.
pub(crate) fn asks() -> Event {
    Event::FollowerAsks { until: at(0) }
}

/// A verdict of this kind with a text that names it.
pub(crate) fn verdict(kind: VerdictKind) -> Verdict {
    Verdict::new(kind, format!("the channel says {kind}"))
}

/// The event that an attempt ended with such a verdict.
pub(crate) fn ended(kind: VerdictKind) -> Event {
    Event::AttemptEnded(verdict(kind))
}

/// The event that a look which began at `began_ms` found the comment.
pub(crate) fn found(kind: VerdictKind, began_ms: u64) -> Event {
    Event::LookupDone(LookupResult::Found(verdict(kind)), at(began_ms))
}

/// The event that a look which began at `began_ms` read everything and found nothing.
pub(crate) fn missed(began_ms: u64) -> Event {
    Event::LookupDone(LookupResult::NotFound { complete: true }, at(began_ms))
}

/// A retry budget with this much left in it, and the providers that can't be tried.
#[derive(Debug, Default)]
pub(crate) struct FakeProviderHealth {
    /// Retries left.
    pub(crate) retries: u32,
    /// Links whose breaker is open.
    pub(crate) shut: Vec<usize>,
    /// Providers whose breaker lets one at a time try.
    pub(crate) half_open: Vec<usize>,
    /// Attempts that were sent and have not ended.
    pub(crate) under_way: i64,
    /// Links at whose place no marker was seen yet.
    pub(crate) unmarked: Vec<usize>,
    /// What ended attempts said, in order, and `found` where one was found after it counted as a failure.
    pub(crate) said: Vec<String>,
}

impl FakeProviderHealth {
    /// One with this many retries and no provider shut.
    pub(crate) fn of(retries: u32) -> Self {
        Self { retries, ..Self::default() }
    }
}

impl ProviderHealth for FakeProviderHealth {
    fn obstacle(&mut self, provider: usize, _now: Moment) -> Option<Verdict> {
        self.shut.contains(&provider).then(|| Verdict {
            retry_after_ms: Some(1000),
            ..Verdict::new(VerdictKind::Denied, format!("provider {provider} is shut"))
        })
    }

    fn is_half_open(&mut self, provider: usize, _now: Moment) -> bool {
        self.half_open.contains(&provider)
    }

    fn has_seen_marker(&mut self, provider: usize) -> bool {
        !self.unmarked.contains(&provider)
    }

    fn attempt_starts(&mut self, provider: usize) -> BreakerPermit {
        assert!(!self.shut.contains(&provider), "an attempt at a provider that is shut");
        BreakerPermit::default()
    }

    fn attempt_is_sent(&mut self, _link: usize, _retry: Option<RetryPermit>, _now: Moment) {
        self.under_way += 1;
    }

    fn attempt_ends(
        &mut self,
        _link: usize,
        _pass: BreakerPermit,
        verdict: &Verdict,
        _took: Duration,
        _now: Moment,
    ) {
        self.under_way -= 1;
        self.said.push(verdict.kind.to_string());
    }

    fn attempt_is_found(&mut self, _link: usize, _era: BreakerEpoch) {
        self.said.push("found".into());
    }

    fn withdraw_retry(&mut self, _link: usize, _now: Moment) -> Option<RetryPermit> {
        let granted = (self.retries > 0).then(RetryPermit::default);
        self.retries = self.retries.saturating_sub(1);
        granted
    }
}

/// One step, in which a lookup permit is granted at once. What only those who follow are told, and what is only logged,
/// is left out; the simulation judges what followers are told.
pub(crate) fn step(
    machine: &mut Machine,
    event: Event,
    now: Moment,
    health: &mut FakeProviderHealth,
) -> Vec<Action> {
    let mut actions = machine.step(event, now, health);
    if actions.contains(&Action::TakeLookupPermit) {
        actions.extend(machine.step(Event::LookupPermit(true), now, health));
    }
    let is_aside = |action: &Action| {
        matches!(
            action,
            Action::TakeLookupPermit | Action::UpdateReply(_) | Action::ShowProgress { .. } | Action::Log(_)
        )
    };
    actions.retain(|action| !is_aside(action));
    actions
}

/// All actions of a step, parted by commas.
pub(crate) fn words(actions: &[Action]) -> String {
    actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether `actual` reads as `expected`, where `?` in the latter stands for any one word.
fn reads_as(actual: &str, expected: &str) -> bool {
    let tokens =
        |text: &str| text.replace(',', " ,").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (actual, expected) = (tokens(actual), tokens(expected));
    actual.len() == expected.len() && actual.iter().zip(&expected).all(|(a, e)| e == "?" || a == e)
}

/// A story told to one machine, with what it must do at each step.
pub(crate) struct Scene {
    name: &'static str,
    machine: Machine,
    health: FakeProviderHealth,
    told: String,
    wrong: Vec<String>,
}

impl Scene {
    /// A scene that begins with [`Event::Start`] still to come.
    pub(crate) fn new(name: &'static str, plan: Plan) -> Self {
        Self {
            name,
            machine: Machine::new(plan),
            health: FakeProviderHealth::of(100),
            told: String::new(),
            wrong: Vec::new(),
        }
    }

    /// From now on the breakers of these providers are open.
    pub(crate) fn shut(mut self, providers: &[usize]) -> Self {
        self.health.shut = providers.to_vec();
        self
    }

    /// No marker was seen yet at the places of these providers.
    pub(crate) fn unmarked(mut self, providers: &[usize]) -> Self {
        self.health.unmarked = providers.to_vec();
        self
    }

    /// The breakers have heard this of the attempts that ended, and of every attempt that started.
    pub(crate) fn heard(mut self, expected: &[&str]) -> Self {
        if self.health.said != expected || self.health.under_way != 0 {
            self.wrong.push(format!(
                "  expected the breakers to hear {expected:?}, they heard {:?}, {} under way",
                self.health.said, self.health.under_way
            ));
        }
        self
    }

    /// At this moment that happens, and these actions follow.
    pub(crate) fn on(mut self, now_ms: u64, event: Event, expected: &str) -> Self {
        let event_text = format!("{event:?}");
        let actions = words(&step(&mut self.machine, event, at(now_ms), &mut self.health));
        let _ = writeln!(self.told, "    {now_ms} {event_text:.90} → {actions}");
        if !reads_as(&actions, expected) {
            self.wrong.push(format!("  at {now_ms}: expected \"{expected}\", got \"{actions}\""));
        }
        self
    }

    /// The first attempt, at provider 0, is on its way at 2 ms.
    pub(crate) fn sent(self) -> Self {
        self.on(0, Event::Start, "intent 0@0, wake 1000").on(2, Event::IntentRecorded, "send 0@0")
    }

    /// The first attempt ended at 100 ms with this verdict, which is being recorded.
    pub(crate) fn settling(self, kind: VerdictKind) -> Self {
        self.sent().on(100, ended(kind), "settle 0 ?, wake 1020")
    }

    /// By now the delivery comes to this.
    pub(crate) fn comes_to(mut self, expected: Outcome) -> Self {
        let outcome = self.machine.outcome();
        if outcome != expected {
            self.wrong.push(format!("  expected the outcome {expected}, got {outcome}"));
        }
        self
    }

    /// Nothing more will happen.
    pub(crate) fn over(mut self) -> Self {
        if !self.machine.is_over() {
            self.wrong.push("  expected it to be over".into());
        }
        self
    }

    fn report(&self) -> Option<String> {
        (!self.wrong.is_empty()).then(|| format!("{}:\n{}\n{}", self.name, self.wrong.join("\n"), self.told))
    }
}

/// Fails with everything that is wrong in any of the scenes.
#[track_caller]
pub(crate) fn check(scenes: impl IntoIterator<Item = Scene>) {
    let wrong: Vec<String> = scenes.into_iter().filter_map(|scene| scene.report()).collect();
    assert!(wrong.is_empty(), "{} scenes went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The first attempt was unknown and the second, in a channel that deduplicates, is on its way at 152 ms.
pub(crate) fn repeated(name: &'static str, provider: ProviderRules) -> Scene {
    Scene::new(name, plan(&[provider, PLAIN]))
        .settling(VerdictKind::Unknown)
        .on(101, Event::Settled, "wake ?")
        .on(151, Event::Woken, "intent 1@0, wake 1000")
        .on(152, Event::IntentRecorded, "send 1@0")
}

/// The first attempt was unknown and is being looked for from 101 ms on.
pub(crate) fn looking(name: &'static str) -> Scene {
    Scene::new(name, plan(&[LOOKED_UP, PLAIN])).settling(VerdictKind::Unknown).on(
        101,
        Event::Settled,
        "lookup 0@0, wake 1000",
    )
}
