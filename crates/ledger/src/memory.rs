//! The ledger that ends with its process: for tests, benchmarks and rehearsals.

use crate::age::Age;
use crate::hasher::RandomMap;
use crate::rules::{self, Claim};
use crate::{
    Description, Filter, Find, Ledger, LedgerError, MAX_LISTED, MarkedPlace, Opened, Opening, Pending,
    Settled, Settling, Stamp,
};
use commentd_contract::Outcome;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, is_open, outcome_of_attempts};
use commentd_delivery::{Comment, DeliveryId, Fingerprint};
use hashbrown::HashTable;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A ledger in memory. Every operation is carried out when it is called; what it returns is ready.
#[derive(Debug)]
pub struct MemoryLedger {
    stamp: Stamp,
    store: Mutex<Store>,
}

/// Deliveries are numbered in the order of their opening.
#[derive(Debug, Default)]
struct Store {
    /// From number `first` on; `None` where one was removed.
    deliveries: VecDeque<Option<Box<Stored>>>,
    first: u64,
    by_id: RandomMap<DeliveryId, u64>,
    /// Each with its key's hash, so that the table can grow without reading all the keys again.
    by_key: HashTable<(u64, u64)>,
    hashes: RandomState,
    places: Vec<Place>,
    marked: BTreeSet<MarkedPlace>,
    /// Those that may be swept, by the ledger's age when they were settled.
    certain: BTreeSet<(u64, u64)>,
    closed: bool,
    age: Age,
}

/// A record, in as little room as it needs.
#[derive(Debug)]
struct Stored {
    id: DeliveryId,
    key: KeyRef,
    fingerprint: Fingerprint,
    comment: Option<Arc<Comment>>,
    trace_id: Arc<str>,
    created_ms: u64,
    settled_ms: Option<u64>,
    /// How old the ledger was then.
    settled_age: u64,
    attempts: Vec<AttemptRecord>,
}

impl Stored {
    fn outcome(&self) -> Outcome {
        outcome_of_attempts(&self.attempts)
    }

    fn record(&self) -> DeliveryRecord {
        DeliveryRecord {
            id: self.id,
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            comment: self.comment.clone(),
            trace_id: Arc::clone(&self.trace_id),
            created_ms: self.created_ms,
            settled_ms: self.settled_ms,
            attempts: self.attempts.clone(),
        }
    }
}

/// Where comments are put, and to which delivery each of them belongs. A process knows few of them.
#[derive(Debug)]
struct Place {
    channel: String,
    base_url: String,
    owners: HashMap<Box<str>, u64>,
}

impl Place {
    fn is_of(&self, claim: Claim<'_>) -> bool {
        self.base_url == claim.base_url && self.channel == claim.channel
    }
}

impl MemoryLedger {
    /// An empty ledger with this stamp.
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, store: Mutex::default() }
    }

    fn with<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Store) -> Result<T, LedgerError>,
    ) -> Pending<'_, T> {
        // Every operation checks before it writes, so a panic in between can't have left half of one.
        let mut store: MutexGuard<'_, Store> = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let result = if store.closed { Err(LedgerError::Closed) } else { operation(&mut store) };
        Box::pin(std::future::ready(result))
    }
}

impl Store {
    fn get(&self, number: u64) -> Option<&Stored> {
        self.deliveries.get(self.slot(number)?)?.as_deref()
    }

    fn slot(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// The delivery under this key, which has this hash.
    fn named(&self, hash: u64, key: &KeyRef) -> Option<&Stored> {
        let is_it = |&(_, number): &(u64, u64)| self.get(number).is_some_and(|known| known.key == *key);
        self.get(self.by_key.find(hash, is_it)?.1)
    }

    fn open(&mut self, opening: Opening) -> Result<Opened, LedgerError> {
        rules::check_opening(&opening)?;
        let hash = self.hashes.hash_one(&opening.key);
        if let Some(known) = self.named(hash, &opening.key) {
            return Ok(Opened::Known(Box::new(known.record())));
        }
        let number = self.first + self.deliveries.len() as u64;
        match self.by_id.entry(opening.id) {
            Entry::Occupied(_) => return Err(LedgerError::Conflict("the delivery id is taken".into())),
            Entry::Vacant(free) => free.insert(number),
        };
        self.by_key.insert_unique(hash, (hash, number), |&(hash, _)| hash);
        self.deliveries.push_back(Some(Box::new(Stored {
            id: opening.id,
            key: opening.key,
            fingerprint: opening.fingerprint,
            comment: Some(opening.comment),
            trace_id: opening.trace_id,
            created_ms: opening.intent.started_ms,
            settled_ms: None,
            settled_age: 0,
            attempts: vec![opening.intent],
        })));
        Ok(Opened::New)
    }

    fn record(&mut self, id: &DeliveryId) -> Result<(u64, &mut Stored), LedgerError> {
        let number = *self.by_id.get(id).ok_or(LedgerError::NotFound)?;
        let slot = self.slot(number).and_then(|slot| self.deliveries.get_mut(slot));
        Ok((number, slot.and_then(Option::as_deref_mut).ok_or(LedgerError::NotFound)?))
    }

    fn intend(&mut self, id: &DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        let (number, record) = self.record(id)?;
        rules::check_intent(&record.attempts, &intent)?;
        record.attempts.push(intent);
        if record.settled_ms.take().is_some() {
            let before = record.settled_age;
            self.certain.remove(&(before, number));
        }
        Ok(())
    }

    fn settle(&mut self, settling: Settling) -> Result<Settled, LedgerError> {
        let number = *self.by_id.get(&settling.id).ok_or(LedgerError::NotFound)?;
        let slot = self.slot(number).and_then(|slot| self.deliveries.get_mut(slot));
        let record = slot.and_then(Option::as_deref_mut).ok_or(LedgerError::NotFound)?;
        let settlement = rules::settle(&record.attempts, &settling)?;
        if let Some(claim) = settlement.claim
            && !is_claimed(&mut self.places, number, claim)
        {
            return Ok(Settled::ClaimLost);
        }
        let settled_ms = (!settlement.open).then_some(settling.at_ms);
        let outcome = settlement.outcome;
        let attempt = record.attempts.iter_mut().find(|attempt| attempt.number == settling.attempt);
        rules::note(attempt.ok_or(LedgerError::NotFound)?, settling.end);
        let before = std::mem::replace(&mut record.settled_age, self.age.ms);
        if std::mem::replace(&mut record.settled_ms, settled_ms).is_some() {
            self.certain.remove(&(before, number));
        }
        if settled_ms.is_some() && outcome != Outcome::Unknown {
            self.certain.insert((self.age.ms, number));
        }
        Ok(Settled::Recorded)
    }

    fn find(&self, find: &Find) -> Option<DeliveryRecord> {
        let known = match find {
            Find::Id(id) => self.get(*self.by_id.get(id)?),
            Find::Key(key) => self.named(self.hashes.hash_one(key), key),
        };
        known.map(Stored::record)
    }

    fn list(&self, filter: &Filter) -> Vec<DeliveryRecord> {
        let wanted = |record: &&Stored| {
            filter.outcome.is_none_or(|outcome| record.outcome() == outcome)
                && filter.caller.as_ref().is_none_or(|caller| record.key.caller == *caller)
                && filter
                    .key
                    .as_ref()
                    .is_none_or(|(caller, key)| record.key.caller == *caller && *record.key.key == **key)
        };
        let limit = filter.limit.min(MAX_LISTED) as usize;
        let newest_first = self.deliveries.iter().rev().filter_map(Option::as_deref);
        newest_first.filter(wanted).take(limit).map(Stored::record).collect()
    }

    fn recover(&mut self, at_ms: u64) -> Vec<DeliveryId> {
        self.age = self.age.at_start(at_ms);
        for record in self.deliveries.iter_mut().flatten() {
            if rules::interrupt(&mut record.attempts) {
                record.settled_ms = Some(at_ms);
            }
        }
        let unknown = self.deliveries.iter().flatten().filter(|record| record.outcome() == Outcome::Unknown);
        unknown.map(|record| record.id).collect()
    }

    fn forget(&mut self, id: &DeliveryId) -> Result<(), LedgerError> {
        let (_, record) = self.record(id)?;
        rules::check_forget(is_open(&record.attempts))?;
        record.comment = None;
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
        if let Some(record) = slot.and_then(Option::take) {
            self.by_id.remove(&record.id);
            let is_it = |&(_, other): &(u64, u64)| other == number;
            if let Ok(named) = self.by_key.find_entry(self.hashes.hash_one(&record.key), is_it) {
                named.remove();
            }
            for claim in rules::claims(&record.attempts) {
                let place = self.places.iter_mut().find(|place| place.is_of(claim));
                if let Some(Place { owners, .. }) = place
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
fn is_claimed(places: &mut Vec<Place>, number: u64, claim: Claim<'_>) -> bool {
    if !places.iter().any(|place| place.is_of(claim)) {
        let (channel, base_url) = (claim.channel.to_owned(), claim.base_url.to_owned());
        places.push(Place { channel, base_url, owners: HashMap::new() });
    }
    let place = places.iter_mut().find(|place| place.is_of(claim));
    place.is_some_and(|place| match place.owners.get(claim.comment_id) {
        Some(owner) => *owner == number,
        None => place.owners.insert(claim.comment_id.into(), number).is_none(),
    })
}

impl Ledger for MemoryLedger {
    fn open(&self, opening: Opening) -> Pending<'_, Opened> {
        self.with(|store| store.open(opening))
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Pending<'_, ()> {
        self.with(|store| store.intend(&id, intent))
    }

    fn settle(&self, settling: Settling) -> Pending<'_, Settled> {
        self.with(|store| store.settle(settling))
    }

    fn find(&self, find: Find) -> Pending<'_, Option<DeliveryRecord>> {
        self.with(|store| Ok(store.find(&find)))
    }

    fn list(&self, filter: Filter) -> Pending<'_, Vec<DeliveryRecord>> {
        self.with(|store| Ok(store.list(&filter)))
    }

    fn recover(&self, at_ms: u64) -> Pending<'_, Vec<DeliveryId>> {
        self.with(|store| Ok(store.recover(at_ms)))
    }

    fn forget(&self, id: DeliveryId) -> Pending<'_, ()> {
        self.with(|store| store.forget(&id))
    }

    fn age(&self, passed_ms: u64, at_ms: u64) -> Pending<'_, ()> {
        self.with(|store| {
            store.age = store.age.after(passed_ms, at_ms);
            Ok(())
        })
    }

    fn sweep(&self, kept_ms: u64, most: u32) -> Pending<'_, u32> {
        self.with(|store| Ok(store.sweep(kept_ms, most)))
    }

    fn note_marker(&self, place: MarkedPlace, _at_ms: u64) -> Pending<'_, ()> {
        self.with(|store| {
            store.marked.insert(place);
            Ok(())
        })
    }

    fn marked_places(&self) -> Pending<'_, Vec<MarkedPlace>> {
        self.with(|store| Ok(store.marked.iter().cloned().collect()))
    }

    fn check(&self) -> Pending<'_, ()> {
        self.with(|_| Ok(()))
    }

    fn describe(&self) -> Description {
        Description { kind: "memory", id: None, location: "memory".into(), stamp: self.stamp, durable: false }
    }

    fn close(&self) -> Pending<'_, ()> {
        self.with(|store| {
            store.closed = true;
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
