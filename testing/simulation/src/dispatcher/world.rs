//! What outlives a process: time, the disk, the channels, the clients' log. One lock, one order of events.

use super::channel::Channels;
use super::disk::Disk;
use crate::machine::dice::Dice;
use commentd_checker::CallEvent;
use commentd_contract::time::whole_ms;
use commentd_delivery::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Wall time at the beginning of each history, in milliseconds since 1970.
const BEGINS_MS: u64 = 1_800_000_000_000;

/// The world of one history.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) disk: Disk,
    pub(super) channels: Channels,
    /// The clients' log, which the checker judges.
    pub(super) entries: Vec<CallEvent>,
    /// Calls without an end so far.
    pub(super) open_calls: BTreeSet<u64>,
    pub(super) calls: u64,
    /// The first thing that was wrong at once, without the checker.
    pub(super) broken: Option<String>,
    /// Nothing fails any more.
    pub(super) calm: bool,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) trace: Vec<String>,
    traced: bool,
    /// World time at the start of the present process.
    born: Moment,
    start: Option<Instant>,
    /// Set when the process has died: time stands still until the next one starts.
    dead_since: Option<Moment>,
    /// The process's effects so far, and the one that it doesn't live to see.
    steps: u64,
    dies_at: Option<u64>,
    death: Arc<Notify>,
}

/// The world, as everything in it knows it.
pub(super) type Shared = Arc<Mutex<World>>;

/// Nothing in the world panics while it holds the lock.
pub(super) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(mut dice: Dice, traced: bool) -> Self {
        let channels = Channels::random(&mut dice);
        Self {
            dice,
            disk: Disk::default(),
            channels,
            entries: Vec::new(),
            open_calls: BTreeSet::new(),
            calls: 0,
            broken: None,
            calm: false,
            counts: BTreeMap::new(),
            trace: Vec::new(),
            traced,
            born: Moment::START,
            start: None,
            dead_since: None,
            steps: 0,
            dies_at: None,
            death: Arc::new(Notify::new()),
        }
    }

    /// A process starts; it dies before its effect number `dies_at`. Returns what tells of its death.
    #[expect(clippy::disallowed_methods, reason = "the world has its own clock, which is tokio's paused one")]
    pub(super) fn is_born(&mut self, dies_at: Option<u64>) -> Arc<Notify> {
        self.start = Some(Instant::now());
        self.dead_since = None;
        self.steps = 0;
        self.dies_at = dies_at;
        self.death = Arc::new(Notify::new());
        Arc::clone(&self.death)
    }

    /// The process is gone; the next one starts after `pause`.
    pub(super) fn is_gone(&mut self, pause: Duration) {
        let now = self.dead_since.unwrap_or_else(|| self.now());
        self.start = None;
        self.born = now + pause;
        self.dead_since = Some(self.born);
    }

    /// Stops the process here and now: nothing that it does counts any more.
    pub(super) fn dies(&mut self) {
        if self.dead_since.is_none() {
            self.dead_since = Some(self.now());
            self.note(|| "the process dies".into());
            self.death.notify_one();
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead_since.is_some()
    }

    /// World time.
    #[expect(clippy::disallowed_methods, reason = "the world has its own clock, which is tokio's paused one")]
    pub(super) fn now(&self) -> Moment {
        match (self.dead_since, self.start) {
            (Some(since), _) => since,
            (None, Some(start)) => self.born + (Instant::now() - start),
            (None, None) => self.born,
        }
    }

    /// World time as tokio's timers want it.
    pub(super) fn instant(&self, moment: Moment) -> Option<Instant> {
        self.start.map(|start| start + moment.since(self.born))
    }

    /// Wall time, in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        unix_ms(self.now())
    }

    /// The process is about to have an effect; false if it doesn't live to.
    pub(super) fn step(&mut self) -> bool {
        if self.is_dead() {
            return false;
        }
        self.steps += 1;
        if self.dies_at.is_some_and(|dies_at| self.steps >= dies_at) {
            self.dies();
            return false;
        }
        true
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>8} ms  {}", self.now().since_start().as_millis(), text());
            self.trace.push(line);
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A chance of a fault: none once it is calm.
    pub(super) fn trouble(&mut self, percent: u16) -> bool {
        let chance = self.dice.chance(percent);
        chance && !self.calm
    }
}

/// Wall time, in milliseconds since 1970.
pub(super) fn unix_ms(moment: Moment) -> u64 {
    BEGINS_MS + whole_ms(moment.since_start())
}
