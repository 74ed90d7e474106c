//! The part of a history that stands between the machine and the model: what each action sets going, and what
//! each coming thing does.

use super::channel::FOREIGN;
use super::history::{Coming, Flight, Kept, Planted, World};
use super::promise::{self, Row, comes_to};
use super::{FakeProviderHealth, verdict};
use commentd_contract::VerdictKind;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::step::{Action, Event};
use commentd_delivery::verdict::Contradiction;
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
        let event_text = if self.traced { format!("{event:.0?}") } else { String::new() };
        health.marked = self.order.iter().map(|channel| self.channels[*channel].marker_seen).collect();
        let actions = machine.step(event, self.local(), health);
        self.note(|| {
            let words: Vec<String> = actions.iter().map(ToString::to_string).collect();
            format!("{} → {}", shortened(&event_text), words.join(", "))
        });
        actions.into_iter().try_for_each(|action| self.act(action))
    }

    fn later(&mut self, wait: Duration, coming: Coming) {
        self.coming.push((self.now + wait, coming));
    }

    fn act(&mut self, action: Action) -> Kept {
        if self.finished {
            return Err(format!("after its end it asks for {action}"));
        }
        match action {
            Action::Queue { link } => {
                self.count("queues joined");
                let wait = self.dice.pick_ms(&[0, 1, 40, 800, 6_000]);
                let comes = if self.dice.chance(5) {
                    Event::NoTurn { link, verdict: super::verdict(VerdictKind::NotSent) }
                } else {
                    Event::LaneFree { link }
                };
                self.later(wait, Coming::Tell(comes));
            }
            Action::Leave => {
                self.lane = None;
                self.coming.retain(|(_, coming)| {
                    !matches!(coming, Coming::Tell(Event::LaneFree { .. } | Event::NoTurn { .. }))
                });
            }
            Action::Skip { link, .. } => {
                self.channel_of(link)?;
                self.count("links skipped");
            }
            Action::RecordIntent { attempt, link } => self.record_intent(attempt, link)?,
            Action::Send { attempt, link } => self.send(attempt, link)?,
            Action::Cancel => self.cancel()?,
            Action::RecordSettling { attempt, verdict, resolves } => {
                self.record_settling(attempt, verdict, resolves)?;
            }
            Action::Wake(moment) => {
                let jitter = self.dice.pick_ms(&[0, 0, 1, 4]);
                let moment = self.born + moment.since_start() + jitter;
                let lost = self.plants(Planted::WakeLost) && self.dice.chance(50);
                self.wake = (!lost).then_some(moment.max(self.now));
            }
            Action::Look { attempt, link } => self.look(attempt, link)?,
            Action::Answer(answer) => {
                promise::on_answer(&self.run, &answer, &self.rows, self.effects(), self.now)?;
                self.count(answer.outcome.as_str());
                self.run.answer = Some(answer);
            }
            Action::Finish => self.finished = true,
        }
        Ok(())
    }

    fn channel_of(&self, link: usize) -> Result<usize, String> {
        self.order.get(link).copied().ok_or_else(|| format!("there is no link {link}"))
    }

    fn record_intent(&mut self, attempt: usize, link: usize) -> Kept {
        let channel = self.channel_of(link)?;
        if self.channels[channel].rules.queues && self.lane != Some(link) {
            return Err(format!("attempt {attempt} is begun without a lane of link {link}"));
        }
        if attempt != self.rows.len() && !self.plants(Planted::EarlierForgotten) {
            return Err(format!("attempt {attempt} is begun after {} others", self.rows.len()));
        }
        if self.run.deadline.since(self.now) < self.channels[channel].rules.min_useful {
            return Err("an attempt is begun with less time than is useful".into());
        }
        let row = Row { channel, started: self.now, verdict: None, resolution: None, phantom: false };
        let fails = self.dice.chance(5);
        let durable = !fails || self.dice.chance(50);
        let wait = self.dice.pick_ms(&[1, 0, 5, 40, 1_500]);
        self.later(wait, Coming::IntentRecorded { row, told: !fails, durable });
        Ok(())
    }

    fn send(&mut self, attempt: usize, link: usize) -> Kept {
        let channel = self.channel_of(link)?;
        let attempt = if self.plants(Planted::EarlierForgotten) { self.rows.len() - 1 } else { attempt };
        let rules = self.channels[channel].rules;
        let window = rules.deduplicates_within;
        promise::on_send(&self.run, &self.rows, attempt, channel, rules.max_attempts, window, self.now)?;
        self.count("attempts sent");
        if self.rows[..attempt].iter().any(Row::is_unresolved) {
            self.count("unknowns repeated");
        }
        self.run.sends.push((channel, self.now));
        self.flight = Some(Flight { channel, gate: Gate::new(), awaited: true });
        let wait = self.dice.pick_ms(&[0, 1, 30, 300, 1_200]);
        if self.dice.chance(10) {
            let kind = self.dice.pick(&[VerdictKind::NotSent, VerdictKind::Denied, VerdictKind::Throttled]);
            self.later(wait, Coming::Ended(verdict(kind)));
        } else {
            self.later(wait, Coming::GatePassed);
        }
        Ok(())
    }

    fn cancel(&mut self) -> Kept {
        let Some(flight) = &self.flight else { return Err("it cancels, and nothing is on its way".into()) };
        let closed = if self.plants(Planted::CancelledInName) { true } else { flight.gate.cancel() };
        let wait = self.dice.pick_ms(&[0, 1]);
        self.later(wait, Coming::Tell(Event::Cancelled(closed)));
        Ok(())
    }

    fn record_settling(&mut self, attempt: usize, verdict: Verdict, resolves: bool) -> Kept {
        promise::on_settling(&self.rows, attempt, &verdict, resolves)?;
        self.run.unrecorded = true;
        self.lane = self.lane.filter(|_| resolves);
        let foreign = verdict.comment_id == FOREIGN && verdict.kind != VerdictKind::Unknown;
        let fails = self.dice.chance(5);
        let (reply, durable) = match (fails, foreign) {
            (true, false) if self.plants(Planted::FailureIsSettled) => (Event::Settled, false),
            (true, foreign) => (Event::SettlingFailed, !foreign && self.dice.chance(50)),
            (false, true) if !self.plants(Planted::ClaimIgnored) => (Event::ClaimLost, false),
            (false, _) => (Event::Settled, !self.plants(Planted::SettlingSkipped)),
        };
        let wait = self.dice.pick_ms(&[1, 0, 5, 15, 60, 1_500]);
        self.later(wait, Coming::Settled { attempt, verdict, resolves, reply, durable });
        Ok(())
    }

    fn look(&mut self, attempt: usize, link: usize) -> Kept {
        let channel = self.channel_of(link)?;
        let row = self.rows.get(attempt).ok_or("a look for an attempt that never was")?;
        if row.channel != channel || self.channels[channel].rules.lookup.is_none() {
            return Err(format!("channel {channel} is asked for an attempt at channel {}", row.channel));
        }
        if !row.is_unresolved() {
            return Err(format!("a look for attempt {attempt}, which is certain"));
        }
        self.count("looks");
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
            Coming::IntentRecorded { mut row, told, durable } => {
                row.phantom = !told;
                self.run.ledger_failed |= !told;
                if durable && !self.plants(Planted::IntentSkipped) {
                    self.rows.push(row);
                }
                self.tell(if told { Event::IntentRecorded } else { Event::IntentFailed }, machine, health)
            }
            Coming::Settled { attempt, verdict, resolves, reply, durable } => {
                self.run.ledger_failed |= reply == Event::SettlingFailed;
                self.run.unrecorded = reply == Event::ClaimLost && !resolves;
                if durable {
                    self.record(attempt, verdict, resolves)?;
                }
                self.tell(reply, machine, health)
            }
            Coming::GatePassed => self.gate_passed(),
            Coming::Ended(verdict) => self.ended(verdict, machine, health),
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
            Event::LaneFree { link } => self.lane = Some(link),
            Event::Cancelled(true) => {
                if let Some(flight) = &mut self.flight {
                    flight.awaited = false;
                }
            }
            _ => {}
        }
        self.tell(event, machine, health)
    }

    fn record(&mut self, attempt: usize, verdict: Verdict, resolves: bool) -> Kept {
        let before = comes_to(self.rows.iter());
        if resolves && verdict.kind == VerdictKind::NotSent {
            self.count("absences proved");
        }
        if let Some(row) = self.rows.get_mut(attempt) {
            self.channels[row.channel].echo_recorded |=
                verdict.contradiction == Some(Contradiction::ForeignEcho);
            *(if resolves { &mut row.resolution } else { &mut row.verdict }) = Some(verdict);
        }
        promise::on_change(before, &self.rows, self.effects())
    }

    fn gate_passed(&mut self) -> Kept {
        let Some(flight) = &self.flight else { return Ok(()) };
        if !flight.gate.pass() {
            // The provider notices that it may not send; its dispatcher may say so or not.
            if self.dice.chance(50) {
                self.later(Duration::ZERO, Coming::Ended(verdict(VerdictKind::NotSent)));
            }
            return Ok(());
        }
        let channel = flight.channel;
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
        self.later(fate.ends_after, Coming::Ended(fate.verdict));
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
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.awaited) {
            flight.awaited = false;
            self.run.unrecorded = true;
            if let Some(hint_ms) = verdict.retry_after_ms.filter(|_| verdict.comment_id.is_empty()) {
                self.run.patience.push((flight.channel, self.now + Duration::from_millis(hint_ms)));
            }
        }
        if verdict.kind == VerdictKind::Unknown {
            verdict.kind = match self.planted {
                Some(Planted::UnknownIsNotSent) => VerdictKind::NotSent,
                Some(Planted::UnknownIsDenied) => VerdictKind::Denied,
                _ => VerdictKind::Unknown,
            };
        }
        self.tell(Event::Ended(verdict), machine, health)
    }

    fn reads(&mut self, channel: usize, began: Moment) -> Kept {
        let elsewhere = self.plants(Planted::LookElsewhere);
        let asked = if elsewhere { (channel + 1) % self.channels.len() } else { channel };
        let mut finding = self.channels[asked].look(began, self.now, &mut self.dice);
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
        let early = if self.plants(Planted::EarlyLook) { Duration::from_secs(60) } else { Duration::ZERO };
        let began = Moment::at(began.since(self.born)) + early;
        let wait = self.dice.pick_ms(&[0, 5, 100]);
        self.later(wait, Coming::Tell(Event::Looked(finding, began)));
        Ok(())
    }

    /// The process dies: what was being recorded may or may not be durable, and an attempt ends with its socket.
    pub(super) fn crash(&mut self) -> Kept {
        self.note(|| "        CRASH".into());
        for (_, coming) in std::mem::take(&mut self.coming) {
            match coming {
                Coming::IntentRecorded { row, durable: true, .. } if self.dice.chance(50) => {
                    self.rows.push(row)
                }
                Coming::Settled { attempt, verdict, resolves, durable: true, .. } if self.dice.chance(50) => {
                    self.record(attempt, verdict, resolves)?;
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
