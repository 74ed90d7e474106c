//! The part of a history that stands between the machine and the model: what each action sets going, and what
//! each coming thing does.

use super::channel::FOREIGN;
use super::health::FakeProviderHealth;
use super::promise::{self, Row};
use super::samples::verdict;
use super::world::{Coming, Kept, Planted, Recording, RunningAttempt, World};
use commentd_contract::VerdictKind;
use commentd_delivery::gate::OwnWait;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::step::{Action, Ending, Event};
use commentd_delivery::{Gate, Moment, Verdict};
use std::time::Duration;

/// The promise is given where nobody repeats requests. Where somebody does, only a lookup helps.
const PROXY: &str = "a request sent twice by a proxy";

impl World {
    /// Tells the machine what happened and sets going what it asks for.
    pub(super) fn tell(
        &mut self,
        event: Event,
        machine: &mut Machine,
        health: &mut FakeProviderHealth,
    ) -> Kept {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let event_text = if self.traced { format!("{event:.0?}") } else { String::new() };
            health.marked = self.order.iter().map(|channel| self.channels[*channel].marker_seen).collect();
            let actions = machine.step(event, self.local(), health);
            self.note(|| {
                let words: Vec<String> = actions.iter().map(ToString::to_string).collect();
                format!("{} → {}", shortened(&event_text), words.join(", "))
            });
            for action in actions {
                next = self.act(action)?.or(next);
            }
        }
        Ok(())
    }

    pub(super) fn later(&mut self, wait: Duration, coming: Coming) {
        self.coming.push((self.now + wait, coming));
    }

    /// Sets the action going; hands back what is known of it at once.
    fn act(&mut self, action: Action) -> Result<Option<Event>, String> {
        if self.ending.is_some() {
            return Err(format!("after its end it asks for {action}"));
        }
        match action {
            Action::ReadKey | Action::ReadDelivery(_) => {
                self.count("keys read");
                let wait = self.dice.pick_ms(&[1, 0, 5, 40, 1_500]);
                self.later(self.answer_after(wait), Coming::KeyRead);
            }
            Action::CloseOpenAttempts(_) => {
                self.run.key_is_told = false;
                let wait = self.dice.pick_ms(&[1, 0, 5, 40, 1_500]);
                self.later(self.answer_after(wait), Coming::OpenClosed);
            }
            Action::Queue { provider } => {
                self.count("queues joined");
                let wait = self.dice.pick_ms(&[0, 1, 40, 800, 6_000]);
                let comes = if self.dice.chance(5) {
                    Event::NoSlot { provider, verdict: verdict(VerdictKind::NotSent) }
                } else {
                    Event::PermitGranted { provider }
                };
                self.later(wait, Coming::Tell(comes));
            }
            Action::LeaveQueue => {
                self.permit = None;
                self.coming.retain(|(_, coming)| {
                    !matches!(coming, Coming::Tell(Event::PermitGranted { .. } | Event::NoSlot { .. }))
                });
            }
            Action::Skip { provider, .. } => {
                self.channel_of(provider)?;
                self.count("providers skipped");
            }
            Action::RecordIntent { attempt, provider, claims_key } => {
                self.begin_intent(attempt, provider, claims_key)?;
            }
            Action::Send { attempt, provider } => self.send(attempt, provider)?,
            Action::Cancel => self.cancel()?,
            Action::RecordSettling { attempt, verdict, resolves, after, .. } => {
                self.record_settling(attempt, verdict, resolves, after)?;
            }
            Action::Wake(moment) => {
                let jitter = self.dice.pick_ms(&[0, 0, 1, 4]);
                let moment = self.born + moment.since_start() + jitter;
                let lost = self.plants(Planted::WakeLost) && self.dice.chance(50);
                self.wake = (!lost).then_some(moment.max(self.now));
            }
            Action::LookUp { attempt, provider, .. } => self.look_up(attempt, provider)?,
            Action::TakeLookupPermit => return Ok(Some(Event::LookupPermit(!self.dice.chance(10)))),
            Action::Reply(result) => {
                promise::on_reply(&self.run, &result, &self.rows, self.effects(), self.now)?;
                if let Ok(reply) = &result {
                    self.count(reply.outcome.as_str());
                }
                self.progress.reply = Some(result);
                self.run.is_answered = true;
            }
            Action::UpdateReply(result) => {
                promise::on_update(&self.run, &result, &self.rows, self.effects())?;
                self.progress.reply = Some(result);
            }
            Action::ShowProgress { only_lookups, repeats_until } => {
                self.progress.only_lookups = only_lookups;
                self.progress.repeats_until = repeats_until;
            }
            Action::Log(_) => {}
            Action::Finish(ending) => {
                self.progress.handed_over = ending == Ending::HandedOver;
                self.progress.over = true;
                self.ending = Some(ending);
            }
        }
        Ok(None)
    }

    fn channel_of(&self, provider: usize) -> Result<usize, String> {
        self.order.get(provider).copied().ok_or_else(|| format!("there is no provider {provider}"))
    }

    fn begin_intent(&mut self, attempt: usize, provider: usize, claims_key: bool) -> Kept {
        let channel = self.channel_of(provider)?;
        if self.channels[channel].rules.queues && self.permit != Some(provider) {
            return Err(format!("attempt {attempt} is begun without a permit of provider {provider}"));
        }
        if attempt != self.rows.len() && !claims_key && !self.plants(Planted::EarlierForgotten) {
            return Err(format!("attempt {attempt} is begun after {} others", self.rows.len()));
        }
        if self.run.deadline.since(self.now) < self.channels[channel].rules.min_useful {
            return Err("an attempt is begun with less time than is useful".into());
        }
        let row = Row { channel, started: self.now, verdict: None, resolution: None, phantom: false };
        let fails = self.dice.chance(5);
        let durable = !fails || self.dice.chance(50);
        let wait = self.dice.pick_ms(&[1, 0, 5, 40, 1_500]);
        let recorded = Coming::IntentRecorded { row, claims_key, told: !fails, durable };
        self.later(self.answer_after(wait), recorded);
        Ok(())
    }

    fn send(&mut self, attempt: usize, provider: usize) -> Kept {
        let channel = self.channel_of(provider)?;
        let attempt =
            if self.plants(Planted::EarlierForgotten) { self.rows.len().saturating_sub(1) } else { attempt };
        let rules = self.channels[channel].rules;
        let window = rules.deduplicates_within;
        promise::on_send(&self.run, &self.rows, attempt, channel, rules.max_attempts, window, self.now)?;
        self.count("attempts sent");
        if self.rows[..attempt].iter().any(Row::is_unresolved) {
            self.count("unknowns repeated");
        }
        self.run.sends.push((channel, self.now));
        self.running = Some(RunningAttempt { channel, gate: Gate::new(), awaited: true });
        let wait = self.dice.pick_ms(&[0, 1, 30, 300, 1_200]);
        if self.dice.chance(10) {
            let kind = self.dice.pick(&[VerdictKind::NotSent, VerdictKind::Denied, VerdictKind::Throttled]);
            self.later(wait, Coming::AttemptEnded(verdict(kind)));
        } else {
            self.later(wait, Coming::GatePassed);
        }
        Ok(())
    }

    fn cancel(&mut self) -> Kept {
        let Some(running) = &self.running else { return Err("it cancels, and nothing is on its way".into()) };
        let closed = if self.plants(Planted::CancelledInName) { true } else { running.gate.cancel() };
        let wait = self.dice.pick_ms(&[0, 1]);
        let own_wait = self.dice.pick(&[OwnWait::Never, OwnWait::Never, OwnWait::Waits]);
        self.later(wait, Coming::Tell(Event::Cancelled { unsent: closed, own_wait }));
        Ok(())
    }

    fn look_up(&mut self, attempt: usize, provider: usize) -> Kept {
        let channel = self.channel_of(provider)?;
        let row = self.rows.get(attempt).ok_or("a lookup for an attempt that never was")?;
        if row.channel != channel || self.channels[channel].rules.lookup.is_none() {
            return Err(format!("channel {channel} is asked for an attempt at channel {}", row.channel));
        }
        if !row.is_unresolved() && !self.run.person_resolved {
            return Err(format!("a lookup for attempt {attempt}, which is certain"));
        }
        self.count("lookups");
        let wait = self.dice.pick_ms(&[1, 20, 150, 1_500]);
        self.later(wait, Coming::Reads { channel, began: self.now });
        Ok(())
    }

    /// Something happens that isn't a crash.
    pub(super) fn happens(
        &mut self,
        coming: Coming,
        machine: &mut Machine,
        health: &mut FakeProviderHealth,
    ) -> Kept {
        match coming {
            Coming::IntentRecorded { row, claims_key, told, durable } => {
                let event = self.record_intent(row, claims_key, told, durable);
                self.tell(event, machine, health)
            }
            Coming::Settled(recording) => {
                let event = self.settles(recording)?;
                self.tell(event, machine, health)
            }
            Coming::KeyRead => {
                let event = self.read();
                self.tell(event, machine, health)
            }
            Coming::OpenClosed => {
                let event = self.close_open()?;
                self.tell(event, machine, health)
            }
            Coming::FollowerArrives { waits } => self.follower_arrives(waits, machine, health),
            Coming::FollowerLeaves => self.follower_leaves(),
            Coming::PersonResolves => self.person_resolves(machine, health),
            Coming::GatePassed => self.gate_passed(),
            Coming::AttemptEnded(verdict) => self.ended(verdict, machine, health),
            Coming::Tell(event) => self.heard(event, machine, health),
            Coming::Reads { channel, began } => self.reads(channel, began),
            Coming::Crash => Ok(()),
        }
    }

    fn heard(&mut self, event: Event, machine: &mut Machine, health: &mut FakeProviderHealth) -> Kept {
        match event {
            Event::CallerGone => {
                self.run.gone = true;
                self.count("hang-ups");
                if self.plants(Planted::HangUpUnheard) {
                    return Ok(());
                }
            }
            Event::PermitGranted { provider } => self.permit = Some(provider),
            Event::AnswerNow => self.run.deadline = self.run.deadline.min(self.now),
            Event::Drain => self.run.is_draining = true,
            Event::Cancelled { unsent: true, .. } => {
                if let Some(running) = &mut self.running {
                    running.awaited = false;
                }
            }
            _ => {}
        }
        self.tell(event, machine, health)
    }

    /// Somebody else asks for the same comment, and waits so long.
    fn follower_arrives(
        &mut self,
        waits: Duration,
        machine: &mut Machine,
        health: &mut FakeProviderHealth,
    ) -> Kept {
        self.count("followers");
        let until = self.local() + waits;
        self.coming.push((self.now + waits, Coming::FollowerLeaves));
        match self.progress.request(until) {
            Some(event) => self.tell(event, machine, health),
            None => Ok(()),
        }
    }

    /// The follower's deadline has come, or the delivery is over.
    pub(super) fn follower_leaves(&mut self) -> Kept {
        let reply = self.progress.clone().follower_reply();
        self.note(|| format!("        a follower is told {reply:.40?}"));
        promise::on_follower(&self.run, reply.as_ref(), &self.rows, self.effects(), self.ending.is_some())
    }

    /// A person settles what is only looked up, once the channel will store nothing more.
    fn person_resolves(&mut self, machine: &mut Machine, health: &mut FakeProviderHealth) -> Kept {
        if !machine.is_only_lookups() || !self.person_settles()? {
            return Ok(());
        }
        self.run.person_resolved = true;
        self.tell(Event::ResolvedByPerson, machine, health)
    }

    fn gate_passed(&mut self) -> Kept {
        let Some(running) = &self.running else { return Ok(()) };
        if !running.gate.pass() {
            // The provider notices that it may not send; its dispatcher may say so or not.
            if self.dice.chance(50) {
                self.later(Duration::ZERO, Coming::AttemptEnded(verdict(VerdictKind::NotSent)));
            }
            return Ok(());
        }
        let channel = running.channel;
        let fate = self.channels[channel].receive(self.now, &mut self.dice);
        self.note(|| {
            let after = fate.stored_after.map(|after| after.as_millis());
            format!(
                "        gate passed at channel {channel}: {}, stored after {after:?} ms",
                fate.verdict.kind
            )
        });
        self.foul = self.foul.or(fate.foul);
        if fate.posted_twice {
            self.count("requests that a proxy sent twice");
            // Nobody can look for it, and it is the first: then the channel's word is all there is.
            let can_look = self.channels[channel].rules.lookup.is_some();
            if !can_look && !self.another_was_sent() {
                self.foul = self.foul.or(Some(PROXY));
            }
        }
        if let Some(after) = fate.stored_after {
            self.stores.push((self.now + after, channel, fate.entry));
        }
        self.later(fate.ends_after, Coming::AttemptEnded(fate.verdict));
        Ok(())
    }

    /// Whether an attempt before the last may have passed its gate.
    fn another_was_sent(&self) -> bool {
        let before = self.rows.split_last().map_or(&[][..], |(_, before)| before);
        before
            .iter()
            .any(|row| row.verdict.as_ref().is_none_or(|verdict| verdict.kind != VerdictKind::NotSent))
    }

    fn ended(
        &mut self,
        mut verdict: Verdict,
        machine: &mut Machine,
        health: &mut FakeProviderHealth,
    ) -> Kept {
        if let Some(running) = self.running.as_mut().filter(|running| running.awaited) {
            running.awaited = false;
            self.run.unrecorded = true;
            if let Some(hint_ms) = verdict.retry_after_ms.filter(|_| verdict.comment_id.is_empty()) {
                self.run.patience.push((running.channel, self.now + Duration::from_millis(hint_ms)));
            }
        }
        if verdict.kind == VerdictKind::Unknown {
            verdict.kind = match self.planted {
                Some(Planted::UnknownIsNotSent) => VerdictKind::NotSent,
                Some(Planted::UnknownIsDenied) => VerdictKind::Denied,
                _ => VerdictKind::Unknown,
            };
        }
        self.tell(Event::AttemptEnded(verdict), machine, health)
    }

    fn reads(&mut self, channel: usize, began: Moment) -> Kept {
        let elsewhere = self.plants(Planted::LookupElsewhere);
        let asked = if elsewhere { (channel + 1) % self.channels.len() } else { channel };
        let mut finding = self.channels[asked].look_up(began, self.now, &mut self.dice);
        let is_missed =
            finding == LookupResult::NotFound { complete: true } && self.channels[asked].effects() > 0;
        let is_duplicate =
            |row: &Row| row.verdict.as_ref().is_some_and(|verdict| verdict.contradiction.is_some());
        if is_missed && self.rows.last().is_some_and(is_duplicate) && !self.another_was_sent() {
            // A proxy has sent the only request twice, and the lookup couldn't see what came of it.
            self.foul = self.foul.or(Some(PROXY));
        }
        if matches!(&finding, LookupResult::Found(found) if found.comment_id != FOREIGN) {
            self.channels[asked].marker_seen = true;
        }
        if self.plants(Planted::FailureIsAbsence) && !matches!(finding, LookupResult::Found(_)) {
            finding = LookupResult::NotFound { complete: true };
        }
        let early = if self.plants(Planted::EarlyLookup) { Duration::from_secs(60) } else { Duration::ZERO };
        let began = Moment::at(began.since(self.born)) + early;
        let wait = self.dice.pick_ms(&[0, 5, 100]);
        self.later(wait, Coming::Tell(Event::LookupDone(finding, began)));
        Ok(())
    }

    /// The process dies: what was being recorded may or may not be durable, and an attempt ends with its socket.
    pub(super) fn crash(&mut self) -> Kept {
        self.note(|| "        CRASH".into());
        for (_, coming) in std::mem::take(&mut self.coming) {
            match coming {
                Coming::IntentRecorded { row, claims_key, durable: true, .. } if self.dice.chance(50) => {
                    let is_claimed = claims_key && !self.rows.is_empty();
                    if !self.is_full() && !is_claimed {
                        self.rows.push(row);
                    }
                }
                Coming::Settled(Recording { attempt, verdict, resolves, durable: true, .. })
                    if self.dice.chance(50) =>
                {
                    let is_settled = self.rows.get(attempt).is_some_and(|row| row.resolution.is_some());
                    if !self.is_full() && !is_settled {
                        self.record(attempt, verdict, resolves)?;
                    }
                }
                _ => {}
            }
        }
        for (moment, channel, _) in self.stores.iter_mut().filter(|_| self.foul.is_none()) {
            *moment = (*moment).min(self.now + self.channels[*channel].settles_within());
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    let end = text.find(", code").unwrap_or(text.len()).min(70);
    text.get(..end).unwrap_or(text).to_owned()
}
