//! The ledger that ends with its process: for tests, benchmarks and rehearsals.

use crate::age::Age;
use crate::rules::{self, CommentClaim};
use crate::{
    FindBy, Ledger, LedgerDescription, LedgerError, LedgerFuture, MAX_LISTED, MarkedPlace, Opened, Opening,
    RecordFilter, Settled, Settling, Stamp,
};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, is_open};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A ledger in memory. Every operation is carried out when it is called; what it returns is ready.
#[derive(Debug)]
pub struct MemoryLedger {
    stamp: Stamp,
    state: Mutex<MemoryState>,
}

/// Deliveries are numbered in the order of their opening.
#[derive(Debug, Default)]
struct MemoryState {
    /// From number `first` on; `None` where one was removed.
    deliveries: VecDeque<Option<Box<HeldDelivery>>>,
    first: u64,
    by_id: HashMap<DeliveryId, u64>,
    by_key: HashMap<KeyRef, u64>,
    places: Vec<ClaimedPlace>,
    marked: BTreeSet<MarkedPlace>,
    /// Those that may be swept, by the ledger's age when they were settled.
    certain: BTreeSet<(u64, u64)>,
    closed: bool,
    age: Age,
}

#[derive(Debug)]
struct HeldDelivery {
    record: DeliveryRecord,
    /// How old the ledger was when it was settled.
    settled_age: u64,
}

/// Where comments are put, and to which delivery each of them belongs. A process knows few of them.
#[derive(Debug)]
struct ClaimedPlace {
    channel: String,
    base_url: String,
    owners: HashMap<Box<str>, u64>,
}

impl ClaimedPlace {
    fn is_of(&self, claim: CommentClaim<'_>) -> bool {
        self.base_url == claim.base_url && self.channel == claim.channel
    }
}

impl MemoryLedger {
    /// An empty ledger with this stamp.
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, state: Mutex::default() }
    }

    fn with<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut MemoryState) -> Result<T, LedgerError>,
    ) -> LedgerFuture<'_, T> {
        // Every operation checks before it writes, so a panic in between can't have left half of one.
        let mut state: MutexGuard<'_, MemoryState> =
            self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = if state.closed { Err(LedgerError::Closed) } else { operation(&mut state) };
        Box::pin(std::future::ready(result))
    }
}

impl MemoryState {
    fn get(&self, number: u64) -> Option<&HeldDelivery> {
        self.deliveries.get(self.slot(number)?)?.as_deref()
    }

    fn slot(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn open(&mut self, opening: Opening) -> Result<Opened, LedgerError> {
        rules::check_opening(&opening)?;
        if let Some(known) = self.by_key.get(&opening.key).and_then(|number| self.get(*number)) {
            return Ok(Opened::Known(Box::new(known.record.clone())));
        }
        if self.by_id.contains_key(&opening.id) {
            return Err(LedgerError::Conflict("the delivery id is taken".into()));
        }
        let number = self.first + self.deliveries.len() as u64;
        self.by_id.insert(opening.id, number);
        self.by_key.insert(opening.key.clone(), number);
        let record = DeliveryRecord {
            id: opening.id,
            key: opening.key,
            fingerprint: opening.fingerprint,
            comment: Some(opening.comment),
            trace_id: opening.trace_id,
            created_ms: opening.intent.started_ms,
            settled_ms: None,
            attempts: vec![opening.intent],
        };
        self.deliveries.push_back(Some(Box::new(HeldDelivery { record, settled_age: 0 })));
        Ok(Opened::New)
    }

    fn held(&mut self, id: &DeliveryId) -> Result<(u64, &mut HeldDelivery), LedgerError> {
        let number = *self.by_id.get(id).ok_or(LedgerError::NotFound)?;
        let slot = self.slot(number).and_then(|slot| self.deliveries.get_mut(slot));
        Ok((number, slot.and_then(Option::as_deref_mut).ok_or(LedgerError::NotFound)?))
    }

    fn intend(&mut self, id: &DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        let (number, held) = self.held(id)?;
        rules::check_intent(&held.record.attempts, &intent)?;
        held.record.attempts.push(intent);
        if held.record.settled_ms.take().is_some() {
            let before = held.settled_age;
            self.certain.remove(&(before, number));
        }
        Ok(())
    }

    fn settle(&mut self, settling: Settling) -> Result<Settled, LedgerError> {
        let number = *self.by_id.get(&settling.id).ok_or(LedgerError::NotFound)?;
        let slot = self.slot(number).and_then(|slot| self.deliveries.get_mut(slot));
        let held = slot.and_then(Option::as_deref_mut).ok_or(LedgerError::NotFound)?;
        let settlement = rules::settle(&held.record.attempts, &settling)?;
        if let Some(claim) = settlement.claim
            && !is_claimed(&mut self.places, number, claim)
        {
            return Ok(Settled::ClaimLost);
        }
        let settled_ms = (!settlement.open).then_some(settling.at_ms);
        let outcome = settlement.outcome;
        let attempt = held.record.attempts.iter_mut().find(|attempt| attempt.number == settling.attempt);
        rules::note(attempt.ok_or(LedgerError::NotFound)?, settling.end);
        let before = std::mem::replace(&mut held.settled_age, self.age.ms);
        if std::mem::replace(&mut held.record.settled_ms, settled_ms).is_some() {
            self.certain.remove(&(before, number));
        }
        if settled_ms.is_some() && outcome != Outcome::Unknown {
            self.certain.insert((self.age.ms, number));
        }
        Ok(Settled::Recorded)
    }

    fn find(&self, find: &FindBy) -> Option<DeliveryRecord> {
        let number = match find {
            FindBy::Id(id) => self.by_id.get(id)?,
            FindBy::Key(key) => self.by_key.get(key)?,
        };
        Some(self.get(*number)?.record.clone())
    }

    fn records(&self) -> impl DoubleEndedIterator<Item = &DeliveryRecord> {
        self.deliveries.iter().flatten().map(|held| &held.record)
    }

    fn list(&self, filter: &RecordFilter) -> Vec<DeliveryRecord> {
        let wanted = |record: &&DeliveryRecord| {
            let of_key =
                |(caller, key): &(String, String)| record.key.caller == *caller && *record.key.key == **key;
            filter.outcome.is_none_or(|outcome| record.outcome() == outcome)
                && filter.caller.as_ref().is_none_or(|caller| record.key.caller == *caller)
                && filter.key.as_ref().is_none_or(of_key)
        };
        let limit = filter.limit.min(MAX_LISTED) as usize;
        self.records().rev().filter(wanted).take(limit).cloned().collect()
    }

    fn recover(&mut self, at_ms: u64) -> Vec<DeliveryId> {
        self.age = self.age.at_start(at_ms);
        for held in self.deliveries.iter_mut().flatten() {
            if rules::interrupt(&mut held.record.attempts) {
                held.record.settled_ms = Some(at_ms);
            }
        }
        self.records().filter(|record| record.outcome() == Outcome::Unknown).map(|record| record.id).collect()
    }

    fn forget(&mut self, id: &DeliveryId) -> Result<(), LedgerError> {
        let (_, held) = self.held(id)?;
        rules::check_forget(is_open(&held.record.attempts))?;
        held.record.comment = None;
        Ok(())
    }

    fn sweep(&mut self, kept_ms: u64, most: u32) -> u32 {
        let mut removed = 0;
        while removed < most {
            match self.certain.first() {
                Some(&(settled_age, number)) if settled_age.saturating_add(kept_ms) <= self.age.ms => {
                    self.certain.remove(&(settled_age, number));
                    self.remove(number);
                    removed += 1;
                }
                _ => break,
            }
        }
        removed
    }

    fn remove(&mut self, number: u64) {
        let slot = self.slot(number).and_then(|slot| self.deliveries.get_mut(slot));
        if let Some(HeldDelivery { record, .. }) = slot.and_then(Option::take).map(|held| *held) {
            self.by_id.remove(&record.id);
            self.by_key.remove(&record.key);
            for claim in rules::claims(&record.attempts) {
                let place = self.places.iter_mut().find(|place| place.is_of(claim));
                if let Some(ClaimedPlace { owners, .. }) = place
                    && owners.get(claim.comment_id) == Some(&number)
                {
                    owners.remove(claim.comment_id);
                }
            }
        }
        while let Some(None) = self.deliveries.front() {
            self.deliveries.pop_front();
            self.first += 1;
        }
    }
}

/// Whether the claim is this delivery's now.
fn is_claimed(places: &mut Vec<ClaimedPlace>, number: u64, claim: CommentClaim<'_>) -> bool {
    if !places.iter().any(|place| place.is_of(claim)) {
        let (channel, base_url) = (claim.channel.to_owned(), claim.base_url.to_owned());
        places.push(ClaimedPlace { channel, base_url, owners: HashMap::new() });
    }
    let place = places.iter_mut().find(|place| place.is_of(claim));
    place.is_some_and(|place| match place.owners.get(claim.comment_id) {
        Some(owner) => *owner == number,
        None => place.owners.insert(claim.comment_id.into(), number).is_none(),
    })
}

impl Ledger for MemoryLedger {
    fn open(&self, opening: Opening) -> LedgerFuture<'_, Opened> {
        self.with(|state| state.open(opening))
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> LedgerFuture<'_, ()> {
        self.with(|state| state.intend(&id, intent))
    }

    fn settle(&self, settling: Settling) -> LedgerFuture<'_, Settled> {
        self.with(|state| state.settle(settling))
    }

    fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<DeliveryRecord>> {
        self.with(|state| Ok(state.find(&find)))
    }

    fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<DeliveryRecord>> {
        self.with(|state| Ok(state.list(&filter)))
    }

    fn recover(&self, at_ms: u64) -> LedgerFuture<'_, Vec<DeliveryId>> {
        self.with(|state| Ok(state.recover(at_ms)))
    }

    fn forget(&self, id: DeliveryId) -> LedgerFuture<'_, ()> {
        self.with(|state| state.forget(&id))
    }

    fn age(&self, passed_ms: u64, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.with(|state| {
            state.age = state.age.after(passed_ms, at_ms);
            Ok(())
        })
    }

    fn sweep(&self, kept_ms: u64, most: u32) -> LedgerFuture<'_, u32> {
        self.with(|state| Ok(state.sweep(kept_ms, most)))
    }

    fn note_marker(&self, place: MarkedPlace, _at_ms: u64) -> LedgerFuture<'_, ()> {
        self.with(|state| {
            state.marked.insert(place);
            Ok(())
        })
    }

    fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>> {
        self.with(|state| Ok(state.marked.iter().cloned().collect()))
    }

    fn check(&self) -> LedgerFuture<'_, ()> {
        self.with(|_| Ok(()))
    }

    fn describe(&self) -> LedgerDescription {
        LedgerDescription {
            kind: "memory",
            id: None,
            location: "memory".into(),
            stamp: self.stamp,
            durable: false,
        }
    }

    fn close(&self) -> LedgerFuture<'_, ()> {
        self.with(|state| {
            state.closed = true;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        crate::conformance::run(|| MemoryLedger::new(Stamp::Rehearsal)).await;
    }

    #[test]
    fn it_says_that_it_is_not_durable() {
        let description = MemoryLedger::new(Stamp::Rehearsal).describe();
        assert!(!description.durable);
        assert_eq!((description.kind, description.stamp), ("memory", Stamp::Rehearsal));
    }
}
