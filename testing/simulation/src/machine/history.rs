//! One whole life of a delivery: several runs of the machine against model channels and a model ledger, with
//! crashes, hang-ups and returns in between. A history is a pure function of its dice.

use super::channel::Channel;
use super::dice::Dice;
use super::promise::{self, Row, Run, comes_to};
use super::{FakeProviderHealth, ms, verdict};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::machine::Machine;
use commentd_delivery::record::interrupted;
use commentd_delivery::step::{EarlierAttempt, Event, Plan};
use commentd_delivery::{Gate, Moment, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// A wrongness planted in the driver, which the promises must reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// An unknown verdict is reported as not_sent.
    UnknownIsNotSent,
    /// An unknown verdict is reported as denied.
    UnknownIsDenied,
    /// An attempt that a crash interrupted counts as not_sent.
    InterruptedIsNotSent,
    /// A lookup that failed or was incomplete counts as a complete one that found nothing.
    FailureIsAbsence,
    /// A lookup is said to have begun later than it did.
    EarlyLook,
    /// A lookup is said to see every state, though it doesn't.
    BlindLook,
    /// A lookup asks another link's channel.
    LookElsewhere,
    /// A cancellation is confirmed although the attempt goes on.
    CancelledInName,
    /// A settling is reported as durable without being recorded.
    SettlingSkipped,
    /// An intent is reported as durable without being recorded.
    IntentSkipped,
    /// A settling that the ledger refused is reported as durable.
    FailureIsSettled,
    /// A comment of another delivery may be claimed.
    ClaimIgnored,
    /// A channel is said to deduplicate, though it doesn't.
    NoDeduplication,
    /// What earlier runs did is forgotten.
    EarlierForgotten,
    /// Wake-ups get lost.
    WakeLost,
    /// A hang-up reaches the machine late.
    HangUpUnheard,
}

impl Planted {
    /// Every planted wrongness.
    pub const ALL: [Planted; 16] = [
        Planted::UnknownIsNotSent,
        Planted::UnknownIsDenied,
        Planted::InterruptedIsNotSent,
        Planted::FailureIsAbsence,
        Planted::EarlyLook,
        Planted::BlindLook,
        Planted::LookElsewhere,
        Planted::CancelledInName,
        Planted::SettlingSkipped,
        Planted::IntentSkipped,
        Planted::FailureIsSettled,
        Planted::ClaimIgnored,
        Planted::NoDeduplication,
        Planted::EarlierForgotten,
        Planted::WakeLost,
        Planted::HangUpUnheard,
    ];
}

/// What a history came to.
#[derive(Debug)]
pub struct Told {
    /// The first promise that was broken.
    pub broken: Option<String>,
    /// The events and actions, if they were asked for.
    pub trace: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// The choices that made it.
    pub tape: Vec<u16>,
}

/// Plays a history.
pub fn play(dice: Dice, planted: Option<Planted>, traced: bool) -> Told {
    let mut world = World::new(dice, planted, traced);
    let mut broken = world.live().err();
    if let (Some(foul), Some(_)) = (world.foul, &broken) {
        // The promise doesn't hold against a channel that breaks its own word: counted, and not ours.
        world.count(foul);
        broken = None;
    }
    Told { broken, trace: world.trace, counts: world.counts, tape: world.dice.into_tape() }
}

/// What is still to come in a run.
#[derive(Debug)]
pub(super) enum Coming {
    IntentRecorded { row: Row, told: bool, durable: bool },
    Settled { attempt: usize, verdict: Verdict, resolves: bool, reply: Event, durable: bool },
    GatePassed,
    Ended(Verdict),
    Tell(Event),
    Reads { channel: usize, began: Moment },
    Crash,
}

/// The attempt that is on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) channel: usize,
    pub(super) gate: Gate,
    /// The machine still waits for its end.
    pub(super) awaited: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) planted: Option<Planted>,
    pub(super) channels: Vec<Channel>,
    pub(super) rows: Vec<Row>,
    /// What will be stored: when, in which channel, which entry. Outlives runs and crashes.
    pub(super) stores: Vec<(Moment, usize, usize)>,
    pub(super) now: Moment,
    /// The start of the present process, where its monotonic clock begins.
    pub(super) born: Moment,
    pub(super) coming: Vec<(Moment, Coming)>,
    pub(super) wake: Option<Moment>,
    pub(super) flight: Option<Flight>,
    /// The link whose lane the delivery has.
    pub(super) lane: Option<usize>,
    /// The chain of the present run.
    pub(super) order: Vec<usize>,
    pub(super) run: Run,
    pub(super) finished: bool,
    pub(super) traced: bool,
    pub(super) trace: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// How a channel has broken the assumptions of the promise, if one has.
    pub(super) foul: Option<&'static str>,
}

pub(super) type Kept = Result<(), String>;

const MOST_STEPS: u32 = 600;

impl World {
    fn new(mut dice: Dice, planted: Option<Planted>, traced: bool) -> Self {
        let channels = (0..=dice.below(4)).map(|_| Channel::random(&mut dice)).collect();
        let start = Moment::at(ms(1_000_000));
        let run = Run {
            has_caller: false,
            gone: false,
            deadline: start,
            grace: ms(20),
            answer: None,
            ledger_failed: false,
            unrecorded: false,
            sends: Vec::new(),
            patience: Vec::new(),
        };
        Self {
            dice,
            planted,
            channels,
            rows: Vec::new(),
            stores: Vec::new(),
            now: start,
            born: start,
            coming: Vec::new(),
            wake: None,
            flight: None,
            lane: None,
            order: Vec::new(),
            run,
            finished: false,
            traced,
            trace: Vec::new(),
            counts: BTreeMap::new(),
            foul: None,
        }
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>8} ms  {}", self.now.since(self.born).as_millis(), text());
            self.trace.push(line);
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn plants(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    pub(super) fn effects(&self) -> usize {
        self.channels.iter().map(Channel::effects).sum()
    }

    /// Up to five runs, and then everything that may still be stored is.
    fn live(&mut self) -> Kept {
        if self.traced {
            let chain: Vec<String> = self.channels.iter().map(|c| format!("  {:?}", c.rules)).collect();
            self.trace.push(format!("channels:\n{}", chain.join("\n")));
        }
        for turn in 0..5 {
            let outcome = comes_to(self.rows.iter());
            let again = if outcome.is_final() { 20 } else { 85 };
            if turn > 0 && !self.dice.chance(again) {
                break;
            }
            self.run_once()?;
            self.somebody_may_settle()?;
            let idle = self.dice.pick_ms(&[0, 10, 300, 4_000, 3_600_000]);
            self.pass(self.now + idle)?;
        }
        self.pass(self.now + ms(100_000_000))?;
        promise::on_truth(comes_to(self.rows.iter()), self.effects())
    }

    /// A person looks at the channel, once nothing is open there any more, and settles what is unknown.
    fn somebody_may_settle(&mut self) -> Kept {
        let open = self.rows.iter().any(|row| row.verdict.is_none());
        let unknown = comes_to(self.rows.iter()) == Outcome::Unknown;
        if open || !unknown || !self.stores.is_empty() || !self.dice.chance(10) {
            return Ok(());
        }
        let mut exists = self.effects() > 0;
        for row in self.rows.iter_mut().filter(|row| row.is_unresolved()) {
            // One of them was it; a person doesn't know which, and needn't.
            let kind =
                if std::mem::take(&mut exists) { VerdictKind::Delivered } else { VerdictKind::NotSent };
            row.resolution = Some(verdict(kind));
        }
        self.count("settled by a person");
        promise::on_truth(comes_to(self.rows.iter()), self.effects())
    }

    /// Lets time pass in which only channels do something.
    fn pass(&mut self, until: Moment) -> Kept {
        while let Some(index) = self.next_store().filter(|index| self.stores[*index].0 <= until) {
            self.store(index)?;
        }
        self.now = until;
        Ok(())
    }

    fn next_store(&self) -> Option<usize> {
        (0..self.stores.len()).min_by_key(|index| self.stores[*index].0)
    }

    fn store(&mut self, index: usize) -> Kept {
        let (moment, channel, entry) = self.stores.swap_remove(index);
        self.now = self.now.max(moment);
        self.channels[channel].store(entry, self.now, &mut self.dice);
        self.note(|| format!("        channel {channel} stores the comment"));
        // An attempt that is recorded as effect-free has had an effect: even the next outcome would be wrong.
        promise::on_truth(comes_to(self.rows.iter()), self.effects())
    }

    fn plan(&mut self) -> Plan {
        self.order = (0..self.channels.len()).collect();
        if self.dice.chance(12) {
            match self.dice.below(3) {
                0 => self.order.reverse(),
                1 => self.order.truncate(1),
                _ => drop(self.order.remove(0)),
            }
        }
        let chain = self.order.iter().map(|channel| {
            let mut rules = self.channels[*channel].rules;
            if self.plants(Planted::NoDeduplication) {
                rules.deduplicates_within = Some(ms(86_400_000));
            }
            if let (true, Some(ability)) = (self.plants(Planted::BlindLook), rules.lookup.as_mut()) {
                ability.sees_every_state = true;
            }
            rules
        });
        let chain = chain.collect();
        let earlier = |row: &Row| {
            let link = self.order.iter().position(|channel| *channel == row.channel);
            let was_sent = row.verdict.as_ref().is_none_or(|verdict| verdict.kind != VerdictKind::NotSent);
            EarlierAttempt {
                link,
                verdict: row.settled().cloned().unwrap_or_else(interrupted),
                was_sent,
                // A process that has begun since knows no moment of the earlier one.
                started: (row.started >= self.born).then(|| Moment::at(row.started.since(self.born))),
            }
        };
        let forgotten = self.plants(Planted::EarlierForgotten);
        let earlier = if forgotten { Vec::new() } else { self.rows.iter().map(earlier).collect() };
        let deadline = Moment::at(self.run.deadline.since(self.born));
        let seed = self.dice.below(1 << 16) as u64;
        Plan { chain, deadline, grace: self.run.grace, earlier, seed, has_caller: self.run.has_caller }
    }

    fn run_once(&mut self) -> Kept {
        let given = self.dice.pick_ms(&[1000, 300, 5_000, 60, 0]);
        self.run.has_caller = !self.dice.chance(if self.rows.is_empty() { 0 } else { 25 });
        self.run.deadline = self.now + given;
        self.run.gone = false;
        self.run.answer = None;
        self.run.ledger_failed = false;
        self.run.unrecorded = false;
        self.run.sends.clear();
        self.run.patience.clear();
        self.finished = false;
        // What was open when the process ended is unknown now, for the ledger too.
        let crashed = if self.plants(Planted::InterruptedIsNotSent) {
            verdict(VerdictKind::NotSent)
        } else {
            interrupted()
        };
        for row in &mut self.rows {
            row.verdict.get_or_insert_with(|| crashed.clone());
            row.phantom = false;
        }
        let plan = self.plan();
        let mut health = FakeProviderHealth::of(self.dice.pick(&[100, 0, 1, 2]));
        health.shut = (0..self.order.len()).filter(|_| self.dice.chance(10)).collect();
        self.lane = None;
        let order = self.order.clone();
        self.note(|| {
            format!("RUN over channels {order:?}, deadline in {given:?}, caller {}", plan.has_caller)
        });
        self.count(if plan.has_caller { "runs with a caller" } else { "recoveries" });
        let mut machine = Machine::new(plan);
        self.plan_disturbances(given);
        self.tell(Event::Start, &mut machine, &mut health)?;
        let crashed = self.run_to_the_end(&mut machine, &mut health)?;
        self.coming.clear();
        self.wake = None;
        self.flight = None;
        if crashed {
            self.count("crashes");
            self.born = self.now;
            return Ok(());
        }
        if health.under_way != 0 {
            return Err("an attempt ended and its breaker never heard of it".into());
        }
        promise::on_finish(&self.run)
    }

    fn plan_disturbances(&mut self, given: Duration) {
        let span = given + ms(500);
        if self.run.has_caller && self.dice.chance(15) {
            let when = self.now + self.dice.up_to(span);
            self.coming.push((when, Coming::Tell(Event::CallerGone)));
        }
        if self.dice.chance(20) {
            let when = self.now + self.dice.up_to(span);
            self.coming.push((when, Coming::Crash));
        }
        if self.dice.chance(20) {
            let when = self.now + self.dice.up_to(span * 4);
            self.coming.push((when, Coming::Tell(Event::LookNow)));
        }
        // A wake-up that was replaced and comes all the same.
        if self.dice.chance(10) {
            let when = self.now + self.dice.up_to(span);
            self.coming.push((when, Coming::Tell(Event::Woken)));
        }
    }

    /// Whether it ended by a crash.
    fn run_to_the_end(
        &mut self,
        machine: &mut Machine,
        health: &mut FakeProviderHealth,
    ) -> Result<bool, String> {
        for _ in 0..MOST_STEPS {
            if self.finished {
                let quiet = machine.step(Event::Woken, self.local(), health).is_empty() && machine.is_over();
                return if quiet { Ok(false) } else { Err("it goes on after its end".into()) };
            }
            let next = (0..self.coming.len()).min_by_key(|index| self.coming[*index].0);
            let at = next.map(|index| self.coming[index].0);
            let wakes = self
                .wake
                .filter(|wake| at.is_none_or(|at| *wake < at || (*wake == at && self.dice.chance(50))));
            let Some(moment) = wakes.or(at) else { return Err("it waits for nothing and isn't over".into()) };
            let moment = moment.max(self.now);
            self.pass(moment)?;
            if wakes.is_some() {
                self.wake = None;
                self.tell(Event::Woken, machine, health)?;
                continue;
            }
            let Some(index) = next else { continue };
            match self.coming.remove(index).1 {
                Coming::Crash => {
                    self.crash()?;
                    return Ok(true);
                }
                other => self.happens(other, machine, health)?,
            }
        }
        Err(format!("it isn't over after {MOST_STEPS} events"))
    }

    pub(super) fn local(&self) -> Moment {
        Moment::at(self.now.since(self.born))
    }
}
