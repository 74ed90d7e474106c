//! The simulated ledger is a ledger; and what the histories have found, as scenes of their own.

use super::History;
use super::channel::{HOSTS, Scripted};
use super::disk::DiskLedger;
use super::network::{End, Network};
use super::world::{Shared, World, lock};
use crate::machine::dice::Dice;
use commentd_contract::SystemClock;
use commentd_delivery::reply::DeliverError;
use commentd_delivery::{Clock, Moment};
use commentd_providers::native::conformance::{self, ChannelBehaviour, TestChannel};
use commentd_providers::native::dial::Dial;
use commentd_sidecar::dispatch::{Bounds, Dispatcher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn the_disk_conforms() {
    let fresh = || {
        let world = Arc::new(Mutex::new(World::new(Dice::taped(&[]), false)));
        let _ = world.lock().unwrap().is_born(None);
        DiskLedger::open_disk(&world)
    };
    commentd_ledger::conformance::run(fresh).await;
}

/// A request without time for an attempt reads its key's record, and waited for a disk that hung, however long.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_makes_no_answer_late() {
    let world: Shared = Arc::new(Mutex::new(World::new(Dice::taped(&[]), false)));
    let _ = lock(&world).is_born(None);
    let history = History::new(&world);
    let clock = SystemClock::start_at(0);
    let ledger = Arc::new(DiskLedger::open_disk(&world));
    let bounds = Bounds { in_flight: 64, lookups_per_second: 20 };
    let chain = history.providers(clock).unwrap();
    let ids = Arc::clone(&history.ids);
    let dispatcher = Dispatcher::new(chain, ledger, clock, ids, bounds);
    lock(&world).disk.hangs_until(Moment::at(Duration::from_secs(60)));
    let deadline = Duration::from_millis(5);
    let client = history.client(&dispatcher, clock);
    let delivered = client.order(0, 0, "text 0.0", clock.now() + deadline).await;
    assert!(matches!(delivered, Err(DeliverError::LedgerSilent)), "{delivered:?}");
    assert!(clock.now().since_start() < Duration::from_millis(30), "{:?}", clock.now());
}

struct Simulated {
    world: Shared,
    clock: SystemClock,
}

impl TestChannel for Simulated {
    fn dialer(&self) -> Arc<dyn Dial> {
        Arc::new(Network { world: Shared::clone(&self.world) })
    }

    fn url(&self) -> String {
        format!("http://{}", HOSTS[0])
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock)
    }

    fn does(&self, what: ChannelBehaviour) {
        let again = if let ChannelBehaviour::SaysTwice(_, pause) = what { Some(pause) } else { None };
        if let ChannelBehaviour::Greets(words) = what {
            lock(&self.world).channels.greeting = words;
            return;
        }
        let (words, pause, ends) = match what {
            ChannelBehaviour::Says(words) => (words, Duration::ZERO, None),
            ChannelBehaviour::SaysSlowly(words, pause) => (words, pause, None),
            ChannelBehaviour::Closes(words) => (words, Duration::ZERO, Some(End::Closed)),
            ChannelBehaviour::Resets(words) => (words, Duration::ZERO, Some(End::Reset)),
            ChannelBehaviour::SaysTwice(words, _) => (words, Duration::ZERO, None),
            ChannelBehaviour::Nothing | ChannelBehaviour::Greets(_) => (Vec::new(), Duration::ZERO, None),
        };
        lock(&self.world).channels.scripted = Some(Scripted { words, pause, ends, again });
    }

    fn refuses(&self) {
        lock(&self.world).channels.refuses = true;
    }

    fn received(&self) -> usize {
        lock(&self.world).channels.received
    }

    fn connections(&self) -> usize {
        lock(&self.world).channels.wires.len()
    }
}

#[tokio::test(start_paused = true)]
async fn the_network_conforms() {
    let fresh = async || {
        let world: Shared = Arc::new(Mutex::new(World::new(Dice::taped(&[]), false)));
        let _ = lock(&world).is_born(None);
        Simulated { world, clock: SystemClock::start_at(0) }
    };
    conformance::run(fresh).await.unwrap();
}
