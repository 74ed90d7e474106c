//! The ledger that ends with its process: for tests, benchmarks and rehearsals.

use crate::rules::{self, Claim};
use crate::{
    Description, Filter, Find, Ledger, LedgerError, MAX_LISTED, Opened, Opening, Pending, Settled, Settling,
    Stamp,
};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A ledger in memory. Every operation is carried out when it is called; what it returns is ready.
#[derive(Debug)]
pub struct MemoryLedger {
    stamp: Stamp,
    store: Mutex<Store>,
}

/// Deliveries are numbered in the order of their opening.
#[derive(Debug, Default)]
struct Store {
    deliveries: BTreeMap<u64, DeliveryRecord>,
    by_id: HashMap<DeliveryId, u64>,
    by_key: HashMap<KeyRef, u64>,
    claims: HashMap<Claim, u64>,
    claims_of: HashMap<u64, Vec<Claim>>,
    /// Those that may be swept, by when they were settled.
    certain: BTreeSet<(u64, u64)>,
    opened: u64,
    closed: bool,
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
    fn open(&mut self, opening: Opening) -> Result<Opened, LedgerError> {
        rules::check_opening(&opening)?;
        if let Some(known) = self.by_key.get(&opening.key).and_then(|number| self.deliveries.get(number)) {
            return Ok(Opened::Known(Box::new(known.clone())));
        }
        if self.by_id.contains_key(&opening.id) {
            return Err(LedgerError::Conflict("the delivery id is taken".into()));
        }
        self.opened += 1;
        let number = self.opened;
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
        self.deliveries.insert(number, record);
        Ok(Opened::New)
    }

    fn record(&mut self, id: &DeliveryId) -> Result<(u64, &mut DeliveryRecord), LedgerError> {
        let number = *self.by_id.get(id).ok_or(LedgerError::NotFound)?;
        let record = self.deliveries.get_mut(&number).ok_or(LedgerError::NotFound)?;
        Ok((number, record))
    }

    fn intend(&mut self, id: &DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        let (number, record) = self.record(id)?;
        rules::check_intent(&record.attempts, &intent)?;
        record.attempts.push(intent);
        let before = record.settled_ms.take();
        self.certain.remove(&(before.unwrap_or_default(), number));
        Ok(())
    }

    fn settle(&mut self, settling: &Settling) -> Result<Settled, LedgerError> {
        let (number, record) = self.record(&settling.id)?;
        let settlement = rules::settle(&record.attempts, settling)?;
        if let Some(claim) = settlement.claim
            && !self.claim(number, claim)
        {
            return Ok(Settled::ClaimLost);
        }
        let (_, record) = self.record(&settling.id)?;
        if let Some(attempt) = record.attempts.iter_mut().find(|a| a.number == settling.attempt) {
            *attempt = settlement.attempt;
        }
        let settled_ms = (!settlement.open).then_some(settling.at_ms);
        let before = std::mem::replace(&mut record.settled_ms, settled_ms);
        self.certain.remove(&(before.unwrap_or_default(), number));
        if let Some(settled_ms) = settled_ms
            && settlement.outcome != Outcome::Unknown
        {
            self.certain.insert((settled_ms, number));
        }
        Ok(Settled::Recorded)
    }

    /// Whether the claim is this delivery's now.
    fn claim(&mut self, number: u64, claim: Claim) -> bool {
        match self.claims.get(&claim) {
            Some(owner) => *owner == number,
            None => {
                self.claims.insert(claim.clone(), number);
                self.claims_of.entry(number).or_default().push(claim);
                true
            }
        }
    }

    fn find(&self, find: &Find) -> Option<DeliveryRecord> {
        let number = match find {
            Find::Id(id) => self.by_id.get(id),
            Find::Key(key) => self.by_key.get(key),
        }?;
        self.deliveries.get(number).cloned()
    }

    fn list(&self, filter: &Filter) -> Vec<DeliveryRecord> {
        let wanted = |record: &&DeliveryRecord| {
            filter.outcome.is_none_or(|outcome| record.outcome() == outcome)
                && filter.caller.as_ref().is_none_or(|caller| record.key.caller == *caller)
                && filter
                    .key
                    .as_ref()
                    .is_none_or(|(caller, key)| record.key.caller == *caller && record.key.key == *key)
        };
        let limit = filter.limit.min(MAX_LISTED) as usize;
        self.deliveries.values().rev().filter(wanted).take(limit).cloned().collect()
    }

    fn recover(&mut self, at_ms: u64) -> Vec<DeliveryId> {
        for record in self.deliveries.values_mut() {
            if rules::interrupt(&mut record.attempts) {
                record.settled_ms = Some(at_ms);
            }
        }
        let unknown = self.deliveries.values().filter(|record| record.outcome() == Outcome::Unknown);
        unknown.map(|record| record.id).collect()
    }

    fn forget(&mut self, id: &DeliveryId) -> Result<(), LedgerError> {
        let (_, record) = self.record(id)?;
        rules::check_forget(record.is_open())?;
        record.comment = None;
        Ok(())
    }

    fn sweep(&mut self, before_ms: u64, most: u32) -> u32 {
        let mut removed = 0;
        while removed < most {
            match self.certain.first() {
                Some(&(settled_ms, number)) if settled_ms < before_ms => {
                    self.certain.remove(&(settled_ms, number));
                    self.remove(number);
                    removed += 1;
                }
                _ => break,
            }
        }
        removed
    }

    fn remove(&mut self, number: u64) {
        if let Some(record) = self.deliveries.remove(&number) {
            self.by_id.remove(&record.id);
            self.by_key.remove(&record.key);
        }
        for claim in self.claims_of.remove(&number).unwrap_or_default() {
            self.claims.remove(&claim);
        }
    }
}

impl Ledger for MemoryLedger {
    fn open(&self, opening: Opening) -> Pending<'_, Opened> {
        self.with(|store| store.open(opening))
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Pending<'_, ()> {
        self.with(|store| store.intend(&id, intent))
    }

    fn settle(&self, settling: Settling) -> Pending<'_, Settled> {
        self.with(|store| store.settle(&settling))
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

    fn sweep(&self, before_ms: u64, most: u32) -> Pending<'_, u32> {
        self.with(|store| Ok(store.sweep(before_ms, most)))
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
