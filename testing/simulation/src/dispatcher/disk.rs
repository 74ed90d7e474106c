//! A ledger on a simulated disk: what was synced survives everything, what wasn't may be lost.

use super::world::{Shared, lock};
use commentd_delivery::record::AttemptRecord;
use commentd_delivery::{DeliveryId, Moment};
use commentd_ledger::{
    FindBy, Ledger, LedgerDescription, LedgerError, LedgerFuture, MarkedPlace, MemoryLedger, Opened, Opening,
    RecordFilter, Settled, Settling, Stamp,
};
use futures_util::FutureExt;
use std::time::Duration;

/// What was written, in order, and when each was synced.
#[derive(Default)]
pub(super) struct Disk {
    log: Vec<(Operation, Moment)>,
    /// Until then everything that was written so far is synced.
    synced_at: Moment,
    /// A sync has failed: nothing more is written until a restart.
    broken: bool,
    full_until: Moment,
    /// Whether it fills up often, and for long.
    pub(super) is_small: bool,
}

impl Disk {
    /// Whether it takes nothing more until a restart.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// When it has room again.
    pub(super) fn full_until(&self) -> Moment {
        self.full_until
    }

    /// Nothing is synced, and nothing read, before that.
    #[cfg(test)]
    pub(super) fn hangs_until(&mut self, moment: Moment) {
        self.synced_at = moment;
    }
}

/// A write that changed something.
#[derive(Clone)]
enum Operation {
    Open(Box<Opening>),
    Intend(DeliveryId, Box<AttemptRecord>),
    Settle(Box<Settling>),
    Recover(u64),
    Forget(DeliveryId),
    Age(u64, u64),
    Sweep(u64, u32),
    NoteMarker(MarkedPlace, u64),
    Close,
}

impl Operation {
    fn replay(&self, memory: &MemoryLedger) {
        // What failed then fails again, and changes nothing either time.
        match self.clone() {
            Operation::Open(opening) => drop(memory.open(*opening)),
            Operation::Intend(id, intent) => drop(memory.intend(id, *intent)),
            Operation::Settle(settling) => drop(memory.settle(*settling)),
            Operation::Recover(at_ms) => drop(memory.recover(at_ms)),
            Operation::Forget(id) => drop(memory.forget(id)),
            Operation::Age(passed_ms, at_ms) => drop(memory.age(passed_ms, at_ms)),
            Operation::Sweep(kept_ms, most) => drop(memory.sweep(kept_ms, most)),
            Operation::NoteMarker(place, at_ms) => drop(memory.note_marker(place, at_ms)),
            Operation::Close => {}
        }
    }
}

/// The ledger of one process over the disk of the world.
pub(super) struct DiskLedger {
    world: Shared,
    memory: MemoryLedger,
}

/// What becomes of a write.
enum Fate {
    Never,
    Refused(Moment, &'static str),
    Synced(Moment),
}

impl DiskLedger {
    /// Reads what the disk has.
    pub(super) fn open_disk(world: &Shared) -> Self {
        let memory = MemoryLedger::new(Stamp::Live);
        let mut held = lock(world);
        held.disk.broken = false;
        for (operation, _) in &held.disk.log {
            operation.replay(&memory);
        }
        drop(held);
        Self { world: Shared::clone(world), memory }
    }

    fn fate(&self, operation: &Operation) -> Fate {
        let mut world = lock(&self.world);
        if !world.step() {
            return Fate::Never;
        }
        let now = world.now();
        let took = world.dice.pick_ms(&[1, 0, 5, 1, 40, 300]);
        let took = if world.channels.says_twice { took.min(Duration::from_millis(1)) } else { took };
        let at = (now + took).max(world.disk.synced_at);
        world.disk.synced_at = at;
        if world.disk.broken {
            return Fate::Refused(now, "an earlier sync failed");
        }
        if now < world.disk.full_until {
            return Fate::Refused(now, "the disk is full");
        }
        let is_small = world.disk.is_small;
        if world.trouble(if is_small { 15 } else { 2 }) {
            // The last is longer than anybody should be patient for.
            let most = world.dice.pick_ms(if is_small { &[40_000] } else { &[100, 10, 1000, 40_000] });
            world.disk.full_until = now + most;
            world.count(if most > Duration::from_secs(20) { "disk full for long" } else { "disk full" });
            return Fate::Refused(now, "the disk is full");
        }
        if world.trouble(1) {
            world.count("sync errors");
            world.disk.broken = true;
            if world.dice.chance(50) {
                world.disk.log.push((operation.clone(), at));
            }
            return Fate::Refused(at, "the sync failed");
        }
        Fate::Synced(at)
    }

    /// Deliveries with an attempt that is open.
    pub(super) fn open(&self) -> Vec<DeliveryId> {
        let all =
            self.memory.list(RecordFilter { limit: u32::MAX, ..RecordFilter::default() }).now_or_never();
        let all = all.and_then(Result::ok).unwrap_or_default();
        all.iter().filter(|record| record.is_open()).map(|record| record.id).collect()
    }

    /// Carries a write out now and answers when it is synced.
    fn write<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        apply: impl FnOnce(&'a MemoryLedger) -> LedgerFuture<'a, T>,
    ) -> LedgerFuture<'a, T> {
        let (at, result) = match self.fate(&operation) {
            Fate::Never => return Box::pin(std::future::pending()),
            Fate::Refused(at, why) => (at, Err(LedgerError::Failed(why.into()))),
            Fate::Synced(at) => {
                let result = apply(&self.memory).now_or_never().unwrap_or(Err(LedgerError::Busy));
                if result.is_ok() {
                    lock(&self.world).disk.log.push((operation, at));
                }
                (at, result)
            }
        };
        self.answer(at, result)
    }

    /// Reads now; the answer waits for what was written before, as it must not show what isn't durable.
    fn read<'a, T: Send + 'a>(
        &'a self,
        apply: impl FnOnce(&'a MemoryLedger) -> LedgerFuture<'a, T>,
    ) -> LedgerFuture<'a, T> {
        let at = lock(&self.world).disk.synced_at;
        self.answer(at, apply(&self.memory).now_or_never().unwrap_or(Err(LedgerError::Busy)))
    }

    fn answer<'a, T: Send + 'a>(&'a self, at: Moment, result: Result<T, LedgerError>) -> LedgerFuture<'a, T> {
        let instant = lock(&self.world).instant(at);
        Box::pin(async move {
            if let Some(instant) = instant {
                tokio::time::sleep_until(instant).await;
            }
            result
        })
    }
}

/// The process ended. With the power, or by its bad luck, what wasn't synced is lost, from some point on.
pub(super) fn lose(world: &Shared) {
    let mut world = lock(world);
    let now = world.now();
    let synced = world.disk.log.iter().filter(|(_, at)| *at <= now).count();
    let unsynced = world.disk.log.len() - synced;
    let kept = if unsynced == 0 { 0 } else { world.dice.below(unsynced + 1) };
    if kept < unsynced {
        world.count("unsynced writes lost");
    }
    world.disk.log.truncate(synced + kept);
    // What is there after a restart stays there.
    for (_, at) in &mut world.disk.log {
        *at = (*at).min(now);
    }
    world.disk.synced_at = now;
    world.note(|| format!("the disk keeps {kept} of {unsynced} unsynced writes"));
}

impl Ledger for DiskLedger {
    fn open(&self, opening: Opening) -> LedgerFuture<'_, Opened> {
        self.write(Operation::Open(Box::new(opening.clone())), |memory| memory.open(opening))
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> LedgerFuture<'_, ()> {
        self.write(Operation::Intend(id, Box::new(intent.clone())), |memory| memory.intend(id, intent))
    }

    fn settle(&self, settling: Settling) -> LedgerFuture<'_, Settled> {
        self.write(Operation::Settle(Box::new(settling.clone())), |memory| memory.settle(settling))
    }

    fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<commentd_delivery::record::DeliveryRecord>> {
        self.read(|memory| memory.find(find))
    }

    fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<commentd_delivery::record::DeliveryRecord>> {
        self.read(|memory| memory.list(filter))
    }

    fn recover(&self, at_ms: u64) -> LedgerFuture<'_, Vec<DeliveryId>> {
        self.write(Operation::Recover(at_ms), |memory| memory.recover(at_ms))
    }

    fn forget(&self, id: DeliveryId) -> LedgerFuture<'_, ()> {
        self.write(Operation::Forget(id), |memory| memory.forget(id))
    }

    fn age(&self, passed_ms: u64, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.write(Operation::Age(passed_ms, at_ms), |memory| memory.age(passed_ms, at_ms))
    }

    fn sweep(&self, kept_ms: u64, most: u32) -> LedgerFuture<'_, u32> {
        self.write(Operation::Sweep(kept_ms, most), |memory| memory.sweep(kept_ms, most))
    }

    fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.write(Operation::NoteMarker(place.clone(), at_ms), move |memory| {
            memory.note_marker(place, at_ms)
        })
    }

    fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>> {
        self.read(MemoryLedger::marked_places)
    }

    fn check(&self) -> LedgerFuture<'_, ()> {
        self.read(MemoryLedger::check)
    }

    fn describe(&self) -> LedgerDescription {
        LedgerDescription { durable: true, ..self.memory.describe() }
    }

    fn close(&self) -> LedgerFuture<'_, ()> {
        self.write(Operation::Close, MemoryLedger::close)
    }
}
