//! The second tier: the dispatcher's real code on a simulated clock, network and disk.
//!
//! A history is several lives of a sidecar in front of one or two channels, and a few clients that ask for comments
//! under keys, hang up, come again. A life ends by `kill -9` or power loss before any of its effects on disk or
//! network, or by a drain. What clients saw and what the channels have goes to the checker, which knows nothing of
//! all this.

#![allow(clippy::indexing_slicing, reason = "in a model, an index that is wrong should fail loudly")]

mod channel;
mod client;
mod disk;
mod network;
pub mod paced;
mod world;

#[cfg(test)]
mod tests;

use crate::Story;
use crate::machine::dice::Dice;
use client::Script;
use commentd_channels::{Manifest, built_in};
use commentd_checker::log::CallLog;
use commentd_checker::{CallEvent, Summary};
use commentd_contract::SystemClock;
use commentd_delivery::DeliveryId;
use commentd_delivery::id::Ids;
use commentd_ledger::Ledger;
use commentd_providers::Provider;
use commentd_providers::native::{BaseUrl, NativeHttp};
use commentd_sidecar::dispatch::{Bounds, Dispatcher};
use commentd_sidecar::server::DRAIN_LIMIT;
use disk::DiskLedger;
use network::Network;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use world::{Shared, World, lock};

/// A provider's timeout.
const TIMEOUT: Duration = Duration::from_millis(1200);

/// Plays the history of this seed.
pub fn play(seed: u64, traced: bool) -> Story {
    let world: Shared = Arc::new(Mutex::new(World::new(Dice::seeded(seed), traced)));
    let broken = History::new(&world).live().err().or_else(|| judge(&world));
    let mut world = lock(&world);
    Story { broken, trace: std::mem::take(&mut world.trace), counts: std::mem::take(&mut world.counts) }
}

struct History {
    world: Shared,
    /// Which channels, in order.
    chain: Vec<usize>,
    ids: Arc<SeededIds>,
    script: Arc<Script>,
    /// Whether the board is to be kept to a pace.
    is_paced: bool,
}

/// How a life of the sidecar goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// In trouble, until its effect with this number.
    Dies(u64),
    /// In trouble, and then calm, without a restart.
    CalmsDown,
    /// Calm from its start on.
    IsCalm,
}

/// The built-in manifests, read once.
fn manifests() -> Result<&'static [Manifest], String> {
    static MANIFESTS: OnceLock<Result<Vec<Manifest>, String>> = OnceLock::new();
    let read = || built_in().map_err(|error| error.to_string());
    MANIFESTS.get_or_init(read).as_deref().map_err(Clone::clone)
}

/// The board's manifest, with a pace.
fn paced_board() -> Result<&'static Manifest, String> {
    static BOARD: OnceLock<Result<Manifest, String>> = OnceLock::new();
    let text =
        concat!(include_str!("../../../../channels/board.toml"), "\n[limits]\npace = [\"4 per 1s\"]\n");
    let read = || Manifest::parse(text, "paced board").map_err(|error| error.to_string());
    BOARD.get_or_init(read).as_ref().map_err(Clone::clone)
}

/// Delivery ids from the history's seed. They go on over its lives.
struct SeededIds(Mutex<fastrand::Rng>);

impl Ids for SeededIds {
    fn fresh(&self) -> Result<DeliveryId, String> {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(DeliveryId::from_bytes(random.u128(..).to_be_bytes()))
    }
}

impl History {
    fn new(world: &Shared) -> Self {
        let mut held = lock(world);
        let chain = held.dice.pick(&[&[0][..], &[0, 1], &[1, 0], &[1]]).to_vec();
        let seed = held.dice.below(1 << 16) as u64;
        let script = Arc::new(Script::random(&mut held.dice));
        let is_paced = held.dice.chance(25);
        drop(held);
        Self {
            world: Shared::clone(world),
            chain,
            ids: Arc::new(SeededIds(Mutex::new(fastrand::Rng::with_seed(seed)))),
            script,
            is_paced,
        }
    }

    fn live(&self) -> Result<(), String> {
        let lives = 1 + lock(&self.world).dice.below(4);
        for _ in 0..lives {
            let dies_at = {
                let dice = &mut lock(&self.world).dice;
                let most = dice.pick(&[40, 12, 120]);
                1 + dice.below(most) as u64
            };
            self.live_once(Life::Dies(dies_at))?;
        }
        // In the end nothing fails any more: what is unknown can be settled, and everybody asks for everything again.
        let calms_down = {
            let mut world = lock(&self.world);
            world.disk.is_small = world.dice.chance(50);
            world.dice.chance(50)
        };
        if calms_down {
            self.live_once(Life::CalmsDown)?;
            if lock(&self.world).calm {
                return Ok(());
            }
        }
        lock(&self.world).calm = true;
        self.live_once(Life::IsCalm)
    }

    fn live_once(&self, life: Life) -> Result<(), String> {
        // A runtime a life: when it is dropped, nothing of the process is left.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        let lived = runtime.block_on(async {
            let dies_at = if let Life::Dies(dies_at) = life { Some(dies_at) } else { None };
            let death = lock(&self.world).is_born(dies_at);
            let lived = tokio::select! {
                biased;
                () = death.notified() => Ok(()),
                lived = self.be_a_process(life) => lived,
            };
            // Here and not below: outside of its runtime there is no time.
            lock(&self.world).dies();
            lived
        });
        disk::lose(&self.world);
        drop(runtime);
        let mut world = lock(&self.world);
        client::connections_break(&mut world);
        let pause = world.dice.pick_ms(&[10, 500, 5_000]);
        world.is_gone(pause);
        lived
    }

    /// A sidecar that can't record doesn't start, and the last one should.
    async fn wait_for_room(&self) {
        let instant = {
            let world = lock(&self.world);
            world.instant(world.disk.full_until().max(world.now()))
        };
        if let Some(instant) = instant {
            tokio::time::sleep_until(instant).await;
        }
    }

    async fn be_a_process(&self, life: Life) -> Result<(), String> {
        if life == Life::IsCalm {
            self.wait_for_room().await;
        }
        let unix_ms = {
            let mut world = lock(&self.world);
            world.note(|| format!("a sidecar starts over channels {:?}", self.chain));
            world.count("lives");
            world.unix_ms()
        };
        let clock = SystemClock::start_at(unix_ms);
        let ledger = Arc::new(DiskLedger::open_disk(&self.world));
        let bounds = Bounds { in_flight: 64, lookups_per_second: 20 };
        let dispatcher = Dispatcher::new(
            self.providers(clock)?,
            Arc::clone(&ledger) as Arc<dyn Ledger>,
            clock,
            Arc::clone(&self.ids) as Arc<dyn Ids>,
            bounds,
        );
        if dispatcher.recover().await.is_err() {
            // A sidecar that can't read its ledger doesn't start.
            return Ok(());
        }
        dispatcher.watch(true);
        if life != Life::IsCalm {
            let clients: Vec<_> = (0..self.script.clients)
                .map(|number| tokio::spawn(client::act(self.client(&dispatcher, clock), number)))
                .collect();
            for client in clients {
                client.await.map_err(|error| format!("a client panicked: {error}"))?;
            }
        }
        if life == Life::CalmsDown {
            let mut world = lock(&self.world);
            // A disk whose sync has failed takes nothing more before a restart.
            world.calm = !world.disk.is_broken();
            world.count("lives that calm down");
        }
        if life == Life::IsCalm || lock(&self.world).calm {
            // Longer than anything takes that failed before.
            tokio::time::sleep(Duration::from_secs(60)).await;
            let open = ledger.open();
            if !open.is_empty() {
                return Err(format!("nothing fails any more, and nobody ends the attempts of {open:?}"));
            }
            client::ask_in_the_end(self.client(&dispatcher, clock)).await;
        }
        if tokio::time::timeout(DRAIN_LIMIT, dispatcher.drain()).await.is_err() {
            // As the server does: what is open then is unknown at the next start.
            lock(&self.world).count("drains cut short");
        }
        Ok(())
    }

    fn client(&self, dispatcher: &Dispatcher, clock: SystemClock) -> client::Client {
        client::Client {
            world: Shared::clone(&self.world),
            dispatcher: dispatcher.clone(),
            clock,
            script: Arc::clone(&self.script),
        }
    }

    fn providers(&self, clock: SystemClock) -> Result<Vec<Arc<dyn Provider>>, String> {
        let (settles, deduplicates) = {
            let world = lock(&self.world);
            (world.channels.settles_within, world.channels.deduplicates_within)
        };
        let mut chain: Vec<Arc<dyn Provider>> = Vec::new();
        for host in &self.chain {
            let name = if *host == 0 { "board" } else { "generic" };
            let manifest = manifests()?.iter().find(|manifest| manifest.is_called(name));
            let manifest = manifest.ok_or_else(|| format!("the built-in channel {name} is missing"))?;
            let manifest = if *host == 0 && self.is_paced { paced_board()? } else { manifest };
            let mut settings = BTreeMap::new();
            if *host == 0 {
                settings.insert("settles_within_s".to_owned(), toml::Value::from(settles.as_secs_f64()));
                let window = i64::try_from(deduplicates.as_secs()).unwrap_or(0);
                settings.insert("deduplicates_within_s".to_owned(), toml::Value::from(window));
            }
            let channel = manifest.channel(&settings)?;
            let url = format!("http://{}", channel::HOSTS[*host]);
            let base = BaseUrl::parse(&url).map_err(|error| error.to_string())?;
            let native = NativeHttp::new(channel, base, TIMEOUT, Arc::new(clock))?
                .dialing(Arc::new(Network { world: Shared::clone(&self.world) }));
            chain.push(Arc::new(native));
        }
        Ok(chain)
    }
}

/// What the checker says of it; what it finds is told in full.
fn judge(world: &Shared) -> Option<String> {
    let mut world = lock(world);
    if let Some(broken) = world.broken.take() {
        return Some(broken);
    }
    let log = match CallLog::of(&world.entries) {
        Ok(log) => log,
        Err(error) => return Some(format!("the clients' log is wrong: {error}")),
    };
    let record = world.channels.record();
    let (summary, violations) = Summary::of(&log, &record);
    let answers = world.entries.iter().filter(|entry| matches!(entry, CallEvent::Answered { .. })).count();
    for (what, count) in [
        ("comments", summary.comments),
        ("calls", summary.calls),
        ("calls answered", answers as u64),
        ("calls unanswered", summary.unanswered),
        ("comments stored", summary.effects),
        ("hit by a fault", summary.hit),
        ("unknown before lookup", summary.unknown_before_lookup),
        ("unknown after lookup", summary.unknown_after_lookup),
        ("channel lies", summary.channel_lies),
        ("stored too late", summary.stayed_away),
    ] {
        *world.counts.entry(what).or_default() += count;
    }
    let told: Vec<String> = violations
        .iter()
        .map(|violation| {
            format!("promise {}: {}\n  {}", violation.promise, violation.what, violation.history.join("\n  "))
        })
        .collect();
    (!told.is_empty()).then(|| told.join("\n"))
}
