//! SPEC 4's table, written down again as data and compared with what the machine does in every situation.
//!
//! Nothing here asks `verdict::rule`: a slip in the rule table must show as a difference.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, what is missing should fail loudly"
)]

mod support;

use commentd_contract::Outcome::{self, Delivered, Held, Misplaced, NotSent, Refused, Unknown};
use commentd_contract::VerdictKind;
use commentd_delivery::machine::Machine;
use commentd_delivery::step::{Action, Ending, Event, Plan, ProviderRules};
use commentd_delivery::{Moment, Verdict};
use support::{DEDUPLICATING, FakeProviderHealth, PLAIN, SEEING, at, ms, plan, step, verdict, words};

/// When the same provider may try again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Same {
    No,
    /// Once the provider has renewed its token.
    Renewed,
    /// After the hint, or at once without one.
    AfterHint,
    /// Within the retry budget.
    Budget,
    /// Only where the channel deduplicates by our key.
    Deduplicated,
}

/// What follows where nobody may try any more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// An answer with this outcome and code.
    Answer(Outcome, u16),
    /// Look it up; where there is no lookup, answer with this outcome and code, but as `Doubt` after another attempt
    /// that was sent.
    LookFirst(Outcome, u16),
    /// Look it up; where there is no lookup, answer `unknown` with code 56.
    Doubt,
}

struct Row {
    verdict: &'static str,
    same: Same,
    next: bool,
    end: End,
}

const fn row(verdict: &'static str, same: Same, next: bool, end: End) -> Row {
    Row { verdict, same, next, end }
}

/// Where no attempt of the delivery is unresolved.
const FIRST: [Row; 9] = [
    row("delivered", Same::No, false, End::Answer(Delivered, 0)),
    row("held", Same::No, false, End::Answer(Held, 0)),
    row("misplaced", Same::No, false, End::Answer(Misplaced, 57)),
    row("duplicate", Same::No, false, End::LookFirst(Refused, 52)),
    row("refused", Same::No, false, End::Answer(Refused, 52)),
    row("denied", Same::Renewed, true, End::Answer(NotSent, 66)),
    row("throttled", Same::AfterHint, true, End::Answer(NotSent, 53)),
    row("not_sent", Same::Budget, true, End::Answer(NotSent, 51)),
    row("unknown", Same::Deduplicated, false, End::Doubt),
];

/// After an `unknown` in a channel that deduplicates: no other provider, and no certainty but effect one.
const AFTER_UNKNOWN: [Row; 9] = [
    row("delivered", Same::No, false, End::Answer(Delivered, 0)),
    row("held", Same::No, false, End::Answer(Held, 0)),
    row("misplaced", Same::No, false, End::Answer(Misplaced, 57)),
    row("duplicate", Same::No, false, End::Doubt),
    row("refused", Same::No, false, End::Doubt),
    row("denied", Same::Renewed, false, End::Doubt),
    row("throttled", Same::AfterHint, false, End::Doubt),
    row("not_sent", Same::Budget, false, End::Doubt),
    row("unknown", Same::Deduplicated, false, End::Doubt),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hint {
    Absent,
    Inside,
    Beyond,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Window {
    /// The channel doesn't deduplicate.
    Absent,
    /// It does, but for less time than the deadline leaves for passing a gate.
    Short,
    Long,
}

/// One situation: the verdict comes from provider `provider` of `providers`.
#[derive(Clone, Copy, Debug)]
struct Case {
    providers: usize,
    provider: usize,
    kind: VerdictKind,
    after_unknown: bool,
    tries_left: bool,
    budget_left: bool,
    hint: Hint,
    renewed: bool,
    lookup: bool,
    window: Window,
}

#[derive(Clone, Debug, PartialEq)]
enum Follows {
    SameProvider,
    NextProvider,
    Answer(Outcome, u16),
    Look,
    Other(String),
}

const DEADLINE_MS: u64 = 10_000;
const INSIDE_MS: u64 = 1_000;
const BEYOND_MS: u64 = 60_000;

fn expected(case: &Case) -> Follows {
    let table = if case.after_unknown { &AFTER_UNKNOWN } else { &FIRST };
    let row = table.iter().find(|row| row.verdict == case.kind.as_str()).unwrap();
    let same = match row.same {
        Same::No => false,
        Same::Renewed => case.renewed,
        Same::AfterHint | Same::Budget => true,
        Same::Deduplicated => case.window == Window::Long,
    };
    if same && case.tries_left && case.budget_left && case.hint != Hint::Beyond {
        return Follows::SameProvider;
    }
    if row.next && case.provider + 1 < case.providers {
        return Follows::NextProvider;
    }
    match row.end {
        End::Answer(outcome, code) => Follows::Answer(outcome, code),
        End::Doubt | End::LookFirst(..) if case.lookup => Follows::Look,
        // The providers before this one have all had it.
        End::LookFirst(outcome, code) if case.provider == 0 => Follows::Answer(outcome, code),
        End::LookFirst(..) => Follows::Answer(Unknown, 56),
        End::Doubt => Follows::Answer(Unknown, 56),
    }
}

impl Case {
    fn hint_ms(&self) -> Option<u64> {
        match self.hint {
            Hint::Absent => None,
            Hint::Inside => Some(INSIDE_MS),
            Hint::Beyond => Some(BEYOND_MS),
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict { retry_after_ms: self.hint_ms(), renewed: self.renewed, ..verdict(self.kind) }
    }

    fn plan(&self) -> Plan {
        let rules = ProviderRules {
            deduplicates_within: match self.window {
                Window::Absent => None,
                Window::Short => Some(ms(DEADLINE_MS / 2)),
                Window::Long => Some(ms(DEADLINE_MS * 2)),
            },
            lookup: self.lookup.then_some(SEEING),
            ..PLAIN
        };
        let mut chain = vec![rules; self.providers];
        chain[self.provider].max_attempts = 1 + u32::from(self.after_unknown) + u32::from(self.tries_left);
        Plan { deadline: at(DEADLINE_MS), ..plan(&chain) }
    }
}

/// A machine that is walked along one path, with the last actions at hand.
struct Walk {
    machine: Machine,
    health: FakeProviderHealth,
    now: Moment,
    actions: Vec<Action>,
}

impl Walk {
    fn on(&mut self, event: Event) -> &[Action] {
        self.now = self.now + ms(1);
        self.actions = step(&mut self.machine, event, self.now, &mut self.health);
        &self.actions
    }

    fn attempt(&mut self, verdict: Verdict) -> &[Action] {
        self.on(Event::IntentRecorded);
        self.on(Event::AttemptEnded(verdict));
        self.on(Event::Settled)
    }

    /// Lets the wait that the last actions asked for pass.
    fn wait(&mut self) -> Option<&[Action]> {
        let [Action::Wake(moment)] = self.actions[..] else { return None };
        self.now = moment;
        self.actions = step(&mut self.machine, Event::Woken, moment, &mut self.health);
        Some(&self.actions)
    }
}

fn what_follows(case: &Case) -> Follows {
    let retries = u32::from(case.after_unknown) + u32::from(case.budget_left);
    let mut walk = Walk {
        machine: Machine::new(case.plan()),
        health: FakeProviderHealth::of(retries),
        now: at(0),
        actions: Vec::new(),
    };
    walk.on(Event::Start);
    for _ in 0..case.provider {
        walk.attempt(verdict(VerdictKind::Denied));
    }
    if case.after_unknown {
        walk.attempt(verdict(VerdictKind::Unknown));
        if walk.wait().is_none() {
            return Follows::Other(format!("no repetition after the unknown: {}", words(&walk.actions)));
        }
    }
    walk.attempt(case.verdict());
    follows(case, &mut walk)
}

fn follows(case: &Case, walk: &mut Walk) -> Follows {
    let settled = walk.now;
    let text = words(&walk.actions);
    match &walk.actions[..] {
        [Action::RecordIntent { provider, .. }, Action::Wake(_)] if *provider == case.provider + 1 => {
            Follows::NextProvider
        }
        [Action::LookUp { attempt, provider, .. }, Action::Wake(_)]
            if (*attempt, *provider) == (case.provider, case.provider) =>
        {
            Follows::Look
        }
        [Action::Reply(Ok(reply)), Action::Finish(Ending::Over)] => {
            let spoken = reply.outcome == Unknown || reply.message == case.verdict().message;
            let hinted = case.after_unknown || reply.retry_after_ms == case.hint_ms();
            if !spoken || !hinted || reply.id.is_none() {
                return Follows::Other(format!("{text} ({reply:?})"));
            }
            Follows::Answer(reply.outcome, reply.code.number())
        }
        [Action::Wake(moment)] => {
            let waited = moment.since(settled);
            let least = ms(case.hint_ms().unwrap_or(0));
            let attempt = case.provider + 1 + usize::from(case.after_unknown);
            match walk.wait() {
                Some([Action::RecordIntent { attempt: number, provider, .. }, Action::Wake(_)])
                    if (*number, *provider) == (attempt, case.provider) && waited >= least =>
                {
                    Follows::SameProvider
                }
                _ => Follows::Other(format!("{text}, then {}", words(&walk.actions))),
            }
        }
        _ => Follows::Other(text),
    }
}

fn situations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (providers, provider) in [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
        for kind in VerdictKind::ALL {
            for hint in [Hint::Absent, Hint::Inside, Hint::Beyond] {
                for (window, after_unknown) in [
                    (Window::Absent, false),
                    (Window::Short, false),
                    (Window::Long, false),
                    (Window::Long, true),
                ] {
                    for bits in 0..16u8 {
                        let [tries_left, budget_left, renewed, lookup] =
                            [1, 2, 4, 8].map(|bit| bits & bit != 0);
                        cases.push(Case {
                            providers,
                            provider,
                            kind,
                            after_unknown,
                            tries_left,
                            budget_left,
                            hint,
                            renewed,
                            lookup,
                            window,
                        });
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn what_follows_a_verdict_is_as_specified_in_every_situation() {
    let cases = situations();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let (expected, actual) = (expected(case), what_follows(case));
        let kind = match expected {
            Follows::SameProvider => "same provider",
            Follows::NextProvider => "next provider",
            Follows::Look => "look",
            Follows::Answer(..) | Follows::Other(_) => "answer",
        };
        *seen.entry(kind).or_default() += 1;
        if expected != actual {
            wrong.push(format!("{case:?}\n    expected {expected:?}, got {actual:?}"));
        }
    }
    println!("{} situations: {seen:?}", cases.len());
    assert_eq!(seen.len(), 4, "a kind of consequence was never expected");
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The table's condition on renewals: once, as an attempt of its own, whatever the budget would allow.
#[test]
fn a_second_renewal_goes_to_the_next_provider() {
    let case = |providers| Case {
        providers,
        provider: 0,
        kind: VerdictKind::Denied,
        after_unknown: false,
        tries_left: true,
        budget_left: true,
        hint: Hint::Absent,
        renewed: true,
        lookup: false,
        window: Window::Absent,
    };
    for (providers, then) in [(1, "answer not_sent 66, finish"), (2, "intent 2@1, wake 10000")] {
        let mut plan = case(providers).plan();
        plan.chain[0].max_attempts = 10;
        let mut walk = Walk {
            machine: Machine::new(plan),
            health: FakeProviderHealth::of(10),
            now: at(0),
            actions: vec![],
        };
        walk.on(Event::Start);
        walk.attempt(case(providers).verdict());
        assert_eq!(words(walk.wait().unwrap()), "intent 1@0, wake 10000");
        assert_eq!(words(walk.attempt(case(providers).verdict())), then);
    }
}

/// A reply that shows a stored object never has effect none, whatever its predicate says.
#[test]
fn an_effect_free_reply_with_a_receipt_is_in_doubt() {
    for kind in VerdictKind::ALL {
        let mut walk = Walk {
            machine: Machine::new(plan(&[PLAIN, PLAIN])),
            health: FakeProviderHealth::of(10),
            now: at(0),
            actions: vec![],
        };
        walk.on(Event::Start);
        let verdict = Verdict { comment_id: "17".into(), ..verdict(kind) };
        let actions = words(walk.attempt(verdict));
        let certain = matches!(kind, VerdictKind::Delivered | VerdictKind::Held | VerdictKind::Misplaced);
        let doubted = actions.starts_with("answer unknown ");
        assert_eq!(doubted, !certain, "{kind}: {actions}");
    }
}

/// At most as many attempts as the provider allows, and then the next one's own count begins.
#[test]
fn attempts_are_counted_per_provider() {
    for kind in [VerdictKind::NotSent, VerdictKind::Throttled] {
        let mut walk = Walk {
            machine: Machine::new(Plan { deadline: at(100_000), ..plan(&[PLAIN, DEDUPLICATING]) }),
            health: FakeProviderHealth::of(100),
            now: at(0),
            actions: vec![],
        };
        let mut providers = Vec::new();
        walk.on(Event::Start);
        while let [Action::RecordIntent { provider, .. }, ..] = walk.actions[..] {
            providers.push(provider);
            walk.attempt(verdict(kind));
            walk.wait();
        }
        assert_eq!(providers, [0, 0, 0, 1, 1, 1], "{kind}");
    }
}
