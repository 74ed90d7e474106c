//! One whole life of a delivery: several runs of the machine against model channels and a model ledger, with
//! crashes, hang-ups and returns in between. A history is a pure function of its dice.

use super::dice::Dice;
use super::health::FakeProviderHealth;
use super::promise::{self, Run, comes_to};
use super::samples::{ms, verdict};
use super::world::{COMMENT, Coming, Kept, Planted, Trouble, World};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::follower::Progress;
use commentd_delivery::machine::Machine;
use commentd_delivery::record::interrupted;
use commentd_delivery::step::{Event, Plan};
use commentd_delivery::{DeliveryId, Fingerprint, Moment};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a history came to.
#[derive(Debug)]
pub struct Played {
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
pub fn play(dice: Dice, planted: Option<Planted>, traced: bool) -> Played {
    let mut world = World::new(dice, planted, traced);
    let mut broken = world.live().err();
    if let (Some(foul), Some(_)) = (world.foul, &broken) {
        // The promise doesn't hold against a channel that breaks its own word: counted, and not ours.
        world.count(foul);
        broken = None;
    }
    Played { broken, trace: world.trace, counts: world.counts, tape: world.dice.into_tape() }
}

const MOST_STEPS: u32 = 600;

impl World {
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
        if self.dice.chance(10) {
            self.person_settles()?;
        }
        Ok(())
    }

    /// False if there is nothing that a person may settle.
    pub(super) fn person_settles(&mut self) -> Result<bool, String> {
        let open = self.rows.iter().any(|row| row.verdict.is_none());
        let unknown = comes_to(self.rows.iter()) == Outcome::Unknown;
        if open || !unknown || !self.stores.is_empty() {
            return Ok(false);
        }
        let mut exists = self.effects() > 0;
        for row in self.rows.iter_mut().filter(|row| row.is_unresolved()) {
            // One of them was it; a person doesn't know which, and needn't.
            let kind =
                if std::mem::take(&mut exists) { VerdictKind::Delivered } else { VerdictKind::NotSent };
            row.resolution = Some(verdict(kind));
        }
        self.count("settled by a person");
        promise::on_truth(comes_to(self.rows.iter()), self.effects())?;
        Ok(true)
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
            if let (true, Some(ability)) = (self.plants(Planted::BlindLookup), rules.lookup.as_mut()) {
                ability.sees_every_state = true;
            }
            rules
        });
        let chain = chain.collect();
        let deadline = Moment::at(self.run.deadline.since(self.born));
        let seed = self.dice.below(1 << 16) as u128;
        Plan {
            id: DeliveryId::from_bytes(seed.to_be_bytes()),
            trace_id: "trace".into(),
            fingerprint: if self.run.other_comment { Fingerprint([2; 32]) } else { COMMENT },
            chain,
            deadline,
            grace: self.run.grace,
            key_is_new: self.run.key_is_new,
            known: if self.run.has_caller { None } else { self.known() },
            has_caller: self.run.has_caller,
        }
    }

    /// What kind of run it is, and how the ledger fails in it.
    fn begin_run(&mut self, given: Duration) {
        let has_caller = !self.dice.chance(if self.rows.is_empty() { 0 } else { 25 });
        self.run = Run::new(self.now + given, self.run.grace);
        self.run.has_caller = has_caller;
        self.run.other_comment = has_caller && !self.rows.is_empty() && self.dice.chance(5);
        self.run.key_is_new = self.rows.is_empty() && self.dice.chance(50);
        self.run.unknown_is_success = self.dice.chance(50);
        self.ending = None;
        self.progress = Progress::default();
        let full = self.dice.chance(12).then(|| {
            let from = self.now + self.dice.up_to(given + ms(500));
            (from, from + self.dice.pick_ms(&[200, 3_000, 20_000]))
        });
        self.trouble =
            Trouble { full, unreadable: self.dice.chance(5), silent: has_caller && self.dice.chance(4) };
        // What was open when the process ended is unknown now, for the ledger too. What a fault of ours has left open
        // in this process is found open.
        let stays_open = has_caller && self.dice.chance(10);
        let crashed = if self.plants(Planted::InterruptedIsNotSent) {
            verdict(VerdictKind::NotSent)
        } else {
            interrupted()
        };
        for row in self.rows.iter_mut().filter(|_| !stays_open) {
            row.verdict.get_or_insert_with(|| crashed.clone());
        }
        self.rows.iter_mut().for_each(|row| row.phantom = false);
    }

    fn run_once(&mut self) -> Kept {
        let given = self.dice.pick_ms(&[1000, 300, 5_000, 60, 0]);
        self.begin_run(given);
        let plan = self.plan();
        let mut health = FakeProviderHealth::of(self.dice.pick(&[100, 0, 1, 2]));
        health.shut = (0..self.order.len()).filter(|_| self.dice.chance(10)).collect();
        if self.dice.chance(10) {
            health.shut.clear();
            health.half_open(0, self.local());
        }
        self.permit = None;
        let order = self.order.clone();
        self.note(|| {
            format!("RUN over channels {order:?}, deadline in {given:?}, caller {}", plan.has_caller)
        });
        self.count(if plan.has_caller { "runs with a caller" } else { "recoveries" });
        let mut machine = Machine::new(plan);
        self.plan_disturbances(given);
        self.tell(Event::Start, &mut machine, &mut health)?;
        let crashed = self.run_to_the_end(&mut machine, &mut health)?;
        drop(machine);
        self.coming.clear();
        self.wake = None;
        self.running = None;
        if crashed {
            self.count("crashes");
            self.born = self.now;
            return Ok(());
        }
        if health.under_way != 0 {
            return Err("an attempt ended and its breaker never heard of it".into());
        }
        if health.keeps_a_trial(self.local()) {
            return Err("a half open breaker's trial was taken, and nobody has it any more".into());
        }
        promise::on_finish(&self.run, self.ending)
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
            let waits = self.dice.pick_ms(&[1_000, 100, 5_000]);
            self.coming.push((when, Coming::FollowerArrives { waits }));
        }
        for (percent, event) in [(8, Event::AnswerNow), (10, Event::Drain)] {
            if self.dice.chance(percent) {
                let when = self.now + self.dice.up_to(span * 2);
                self.coming.push((when, Coming::Tell(event)));
            }
        }
        if self.dice.chance(10) {
            let when = self.now + self.dice.up_to(span * 8);
            self.coming.push((when, Coming::PersonResolves));
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
            if self.ending.is_some() {
                // Whoever still follows is told now.
                if self.coming.iter().any(|(_, coming)| matches!(coming, Coming::FollowerLeaves)) {
                    self.follower_leaves()?;
                }
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
}
