//! The model's ledger: what stands under the delivery's key, and how it fails.

use super::channel::FOREIGN;
use super::promise::{self, Row, comes_to};
use super::world::{COMMENT, Coming, Kept, Planted, Recording, World};
use commentd_contract::{ProviderName, VerdictKind};
use commentd_delivery::known::{KnownAttempt, KnownDelivery};
use commentd_delivery::record::interrupted;
use commentd_delivery::step::{Event, SettleFailure};
use commentd_delivery::verdict::Contradiction;
use commentd_delivery::{DeliveryId, Moment, Verdict};
use std::time::Duration;

impl World {
    pub(super) fn is_full(&self) -> bool {
        self.trouble.full.is_some_and(|(from, until)| from <= self.now && self.now < until)
    }

    /// When the ledger answers that would have answered after `wait`.
    pub(super) fn answer_after(&self, wait: Duration) -> Duration {
        if self.trouble.silent { wait + Duration::from_secs(100) } else { wait }
    }

    /// What the ledger has of the delivery; `None` if that is nothing.
    pub(super) fn known(&self) -> Option<Box<KnownDelivery>> {
        if self.rows.is_empty() || self.plants(Planted::EarlierForgotten) {
            return None;
        }
        let attempt = |row: &Row| KnownAttempt {
            name: ProviderName::NativeHttp,
            provider: self.order.iter().position(|channel| *channel == row.channel),
            verdict: row.settled().cloned(),
            was_sent: row.verdict.as_ref().is_none_or(|verdict| verdict.kind != VerdictKind::NotSent),
            // A process that has begun since knows no moment of the earlier one.
            started: (row.started >= self.born).then(|| Moment::at(row.started.since(self.born))),
        };
        Some(Box::new(KnownDelivery {
            id: DeliveryId::from_bytes([9; 16]),
            fingerprint: COMMENT,
            trace_id: "earlier".into(),
            created_ms: 1,
            attempts: self.rows.iter().map(attempt).collect(),
        }))
    }

    /// It is read what stands under the key, or what has become of the delivery.
    pub(super) fn read(&mut self) -> Event {
        if self.trouble.unreadable {
            self.run.key_is_unreadable = true;
            return Event::KeyUnreadable;
        }
        self.run.key_is_told = true;
        match self.known() {
            Some(known) => {
                self.rows.iter_mut().for_each(|row| row.phantom = false);
                self.count("known keys");
                Event::KeyKnown(known)
            }
            None => Event::KeyFree,
        }
    }

    /// The intent of an attempt is recorded, or the key turns out to be known.
    pub(super) fn record_intent(
        &mut self,
        mut row: Row,
        claims_key: bool,
        told: bool,
        durable: bool,
    ) -> Event {
        if self.is_full() {
            self.run.ledger_failed = true;
            return Event::IntentFailed("the disk is full".into());
        }
        if claims_key && told && !self.rows.is_empty() && !self.plants(Planted::EarlierForgotten) {
            return self.read_for_claim();
        }
        row.phantom = !told;
        self.run.ledger_failed |= !told;
        let is_claimed = claims_key && !self.rows.is_empty() && !self.plants(Planted::EarlierForgotten);
        if durable && !is_claimed && !self.plants(Planted::IntentSkipped) {
            self.rows.push(row);
        }
        if !told {
            return Event::IntentFailed("the ledger failed".into());
        }
        self.run.key_is_told = true;
        // It records again.
        self.run.ledger_failed = false;
        Event::IntentRecorded
    }

    fn read_for_claim(&mut self) -> Event {
        let is_readable = std::mem::replace(&mut self.trouble.unreadable, false);
        let event = self.read();
        self.trouble.unreadable = is_readable;
        event
    }

    /// What nobody has in flight and is open is recorded as interrupted.
    pub(super) fn close_open(&mut self) -> Result<Event, String> {
        if self.is_full() {
            return Ok(Event::KeyUnreadable);
        }
        self.count("open attempts closed");
        let before = comes_to(self.rows.iter());
        for row in self.rows.iter_mut().filter(|row| row.verdict.is_none()) {
            row.verdict = Some(interrupted());
        }
        promise::on_change(before, &self.rows, self.effects())?;
        Ok(self.read())
    }

    pub(super) fn record_settling(
        &mut self,
        attempt: usize,
        verdict: Verdict,
        resolves: bool,
        after: Duration,
    ) -> Kept {
        if !self.run.person_resolved {
            promise::on_settling(&self.rows, attempt, &verdict, resolves)?;
        }
        self.run.owes_settling = false;
        self.run.unrecorded = true;
        self.permit = self.permit.filter(|_| resolves);
        let foreign = verdict.comment_id == FOREIGN && verdict.kind != VerdictKind::Unknown;
        let fails = after.is_zero() && self.dice.chance(5);
        let (reply, durable) = match (fails, foreign) {
            (true, false) if self.plants(Planted::FailureIsSettled) => (Event::Settled, false),
            (true, foreign) => (
                Event::SettleFailed(SettleFailure::Permanent, "the ledger failed".into()),
                !foreign && self.dice.chance(50),
            ),
            (false, true) if !self.plants(Planted::ClaimIgnored) => (Event::ClaimLost, false),
            (false, _) => (Event::Settled, !self.plants(Planted::SettlingSkipped)),
        };
        let wait = self.dice.pick_ms(&[1, 0, 5, 15, 60, 1_500]);
        let wait = self.answer_after(after + wait);
        self.later(wait, Coming::Settled(Recording { attempt, verdict, resolves, reply, durable }));
        Ok(())
    }

    pub(super) fn settles(&mut self, recording: Recording) -> Result<Event, String> {
        let Recording { attempt, verdict, resolves, reply, durable } = recording;
        if self.is_full() {
            self.run.owes_settling = true;
            self.count("settlings that failed and may pass");
            return Ok(Event::SettleFailed(SettleFailure::Transient, "the disk is full".into()));
        }
        let is_settled = self.rows.get(attempt).is_some_and(|row| row.resolution.is_some());
        if resolves && is_settled {
            return Ok(Event::SettleFailed(SettleFailure::Conflict, "a person was first".into()));
        }
        self.run.ledger_failed |= matches!(reply, Event::SettleFailed(..));
        self.run.unrecorded = reply == Event::ClaimLost && !resolves;
        if durable {
            self.record(attempt, verdict, resolves)?;
        }
        Ok(reply)
    }

    pub(super) fn record(&mut self, attempt: usize, verdict: Verdict, resolves: bool) -> Kept {
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
}
