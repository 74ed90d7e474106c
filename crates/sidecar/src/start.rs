//! Starts a sidecar: ledger, listener, recovery, first probe, in this order.
//!
//! The ledger comes first: only one process can hold it, and a second one must not even bind the address.

use crate::dispatch::{Bounds, Dispatcher};
use crate::http::{Api, ApiSettings};
use crate::ids::SystemIds;
use crate::server::{self, ConnectionThreads, Drained};
use commentd_contract::SystemClock;
use commentd_contract::time::whole_ms;
use commentd_delivery::Clock;
use commentd_ledger::{Ledger, LedgerError, OpenError, SqliteLedger};
use commentd_providers::Provider;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a start waits for the channel to say that it is there.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// Between two sweeps of the ledger.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Most deliveries that one step of a sweep removes. Writes wait for a step to end, and each removed delivery may
/// touch several pages of its own.
const SWEEP_AT_MOST: u32 = 16;

/// What a sidecar is made of.
pub struct Parts {
    /// The address to listen on; port 0 for a free one.
    pub host: String,
    /// See `host`.
    pub port: u16,
    /// The providers, in order.
    pub chain: Vec<Arc<dyn Provider>>,
    /// The record of deliveries.
    pub ledger: OpenLedger,
    /// The settings of the HTTP API.
    pub api: ApiSettings,
    /// Most deliveries in flight.
    pub max_in_flight: usize,
    /// Most lookups a second.
    pub lookups_per_second: u32,
    /// How long settled deliveries are kept.
    pub retention: Duration,
    /// The time.
    pub clock: SystemClock,
}

/// A ledger that was opened.
#[derive(Clone)]
pub enum OpenLedger {
    /// A file, which wants to know our address for those who find it locked.
    File(Arc<SqliteLedger>),
    /// Anything else.
    Other(Arc<dyn Ledger>),
}

impl OpenLedger {
    fn get(&self) -> Arc<dyn Ledger> {
        match self {
            OpenLedger::File(ledger) => Arc::clone(ledger) as Arc<dyn Ledger>,
            OpenLedger::Other(ledger) => Arc::clone(ledger),
        }
    }
}

/// Why a sidecar can't start; nothing was sent then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger can't be opened.
    #[error(transparent)]
    Ledger(OpenError),
    /// The ledger can't be read.
    #[error("--ledger: {0}")]
    Recovery(LedgerError),
    /// The system gives no threads to serve connections on.
    #[error("can't start the threads that serve connections: {0}")]
    Threads(io::Error),
    /// Another program listens there.
    #[error(
        "--port: {address} is taken by another program; stop it, or choose another port (0 takes a free one)"
    )]
    PortTaken {
        /// The address.
        address: String,
    },
    /// The address can't be listened on.
    #[error("--host/--port: can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// A sidecar that listens and hasn't accepted anything yet.
pub struct Sidecar {
    listener: TcpListener,
    address: SocketAddr,
    api: Api,
    threads: ConnectionThreads,
    dispatcher: Dispatcher,
    retention: Duration,
    unknown: usize,
}

impl Sidecar {
    /// Recovers the ledger and binds the address.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let bounds = Bounds { in_flight: parts.max_in_flight, lookups_per_second: parts.lookups_per_second };
        let dispatcher =
            Dispatcher::new(parts.chain, parts.ledger.get(), parts.clock, Arc::new(SystemIds), bounds);
        let bind_error = |source: io::Error| {
            let address = format!("{}:{}", parts.host, parts.port);
            match source.kind() {
                io::ErrorKind::AddrInUse => StartError::PortTaken { address },
                _ => StartError::Bind { address, source },
            }
        };
        let listener = TcpListener::bind((parts.host.as_str(), parts.port)).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        if let OpenLedger::File(file) = &parts.ledger
            && let Err(error) = file.announce(&format!("http://{address}"))
        {
            tracing::warn!(%error, "the lock file does not name our address");
        }
        let unknown = dispatcher.recover().await.map_err(StartError::Recovery)?;
        if !parts.api.dry_run {
            dispatcher.ask_first(FIRST_ANSWER).await;
        }
        for view in dispatcher.providers().iter().filter(|view| view.recognized == Some(false)) {
            tracing::warn!(provider = %view.provider, reason = view.identity_reason, "the channel isn't as expected; comments are tried all the same");
        }
        dispatcher.watch(!parts.api.dry_run);
        let api = Api::new(dispatcher.clone(), parts.api);
        let threads = ConnectionThreads::start(matches!(parts.ledger, OpenLedger::File(_)))
            .map_err(StartError::Threads)?;
        Ok(Self { listener, address, api, threads, dispatcher, retention: parts.retention, unknown })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Deliveries whose outcome was unknown at start; they are being looked up.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// Serves until `shutdown` is ready, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let sweeping = tokio::spawn(sweep(self.dispatcher.clone(), self.retention));
        let drained = server::serve(self.listener, self.api, self.dispatcher, self.threads, shutdown).await;
        sweeping.abort();
        drained
    }
}

/// Ages the ledger, and removes what has been settled for longer than the retention, a few deliveries a step. Between
/// two steps it waits for as long as one took, so that deliveries have the ledger for at least half of the time.
async fn sweep(dispatcher: Dispatcher, retention: Duration) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What is settled between two ticks counts as settled at the first of them.
    let kept_ms = whole_ms(retention.saturating_add(SWEEP_EVERY));
    let mut aged_at = dispatcher.clock().now();
    loop {
        ticks.tick().await;
        let now = dispatcher.clock().now();
        match dispatcher.ledger().age(whole_ms(now - aged_at), dispatcher.clock().unix_ms()).await {
            Ok(()) => aged_at = now,
            Err(error) => tracing::debug!(%error, "the ledger could not be aged"),
        }
        loop {
            let began = dispatcher.clock().now();
            match dispatcher.sweep(kept_ms, SWEEP_AT_MOST).await {
                Ok(removed) if removed >= SWEEP_AT_MOST => {
                    tokio::time::sleep(dispatcher.clock().now() - began).await;
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the ledger could not be swept");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
    use commentd_delivery::{DeliveryId, Moment};
    use commentd_ledger::{
        FindBy, LedgerDescription, LedgerFuture, MarkedPlace, MemoryLedger, Opened, Opening, RecordFilter,
        Settled, Settling, Stamp,
    };
    use std::sync::Mutex;

    const TURN: Duration = Duration::from_millis(10);

    /// Has so many deliveries that are due, takes its time for a sweep, and for its closing for ever if it is to.
    struct Due {
        closes: bool,
        clock: SystemClock,
        left: Mutex<u32>,
        turns: Mutex<Vec<(Moment, Moment, u32)>>,
        rest: MemoryLedger,
    }

    impl Ledger for Due {
        fn age(&self, passed_ms: u64, at_ms: u64) -> LedgerFuture<'_, ()> {
            self.rest.age(passed_ms, at_ms)
        }
        fn sweep(&self, _kept_ms: u64, most: u32) -> LedgerFuture<'_, u32> {
            Box::pin(async move {
                let began = self.clock.now();
                tokio::time::sleep(TURN).await;
                let mut left = self.left.lock().unwrap();
                let removed = most.min(*left);
                *left -= removed;
                self.turns.lock().unwrap().push((began, self.clock.now(), removed));
                Ok(removed)
            })
        }

        fn open(&self, opening: Opening) -> LedgerFuture<'_, Opened> {
            self.rest.open(opening)
        }
        fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> LedgerFuture<'_, ()> {
            self.rest.intend(id, intent)
        }
        fn settle(&self, settling: Settling) -> LedgerFuture<'_, Settled> {
            self.rest.settle(settling)
        }
        fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<DeliveryRecord>> {
            self.rest.find(find)
        }
        fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<DeliveryRecord>> {
            self.rest.list(filter)
        }
        fn recover(&self, at_ms: u64) -> LedgerFuture<'_, Vec<DeliveryId>> {
            self.rest.recover(at_ms)
        }
        fn forget(&self, id: DeliveryId) -> LedgerFuture<'_, ()> {
            self.rest.forget(id)
        }
        fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> LedgerFuture<'_, ()> {
            self.rest.note_marker(place, at_ms)
        }
        fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>> {
            self.rest.marked_places()
        }
        fn check(&self) -> LedgerFuture<'_, ()> {
            self.rest.check()
        }
        fn describe(&self) -> LedgerDescription {
            self.rest.describe()
        }
        fn close(&self) -> LedgerFuture<'_, ()> {
            if self.closes { self.rest.close() } else { Box::pin(std::future::pending()) }
        }
    }

    /// A backlog of some hours was swept in one go after a start, and every delivery meanwhile waited for it: half of
    /// them for more than 20 ms, where one takes 1 ms.
    #[tokio::test(start_paused = true)]
    async fn a_long_sweep_leaves_the_ledger_to_deliveries_for_half_of_the_time() {
        let clock = SystemClock::start();
        let rest = MemoryLedger::new(Stamp::Rehearsal);
        let ledger =
            Arc::new(Due { closes: true, clock, left: Mutex::new(200), turns: Mutex::default(), rest });
        let bounds = Bounds { in_flight: 1, lookups_per_second: 1 };
        let dispatcher = Dispatcher::new(
            Vec::new(),
            Arc::clone(&ledger) as Arc<dyn Ledger>,
            clock,
            Arc::new(SystemIds),
            bounds,
        );
        let sweeping = tokio::spawn(sweep(dispatcher, Duration::ZERO));
        tokio::time::sleep(SWEEP_EVERY / 2).await;
        sweeping.abort();

        let turns = ledger.turns.lock().unwrap();
        assert_eq!(turns.iter().map(|(_, _, removed)| removed).sum::<u32>(), 200, "all is swept: {turns:?}");
        assert!(turns.iter().all(|(.., removed)| *removed <= 50), "a little at a time: {turns:?}");
        for pair in turns.windows(2) {
            assert!(pair[1].0 - pair[0].1 >= TURN, "it rests between two turns: {turns:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_never_answers_does_not_keep_the_drain_beyond_its_limit() {
        let clock = SystemClock::start();
        let rest = MemoryLedger::new(Stamp::Rehearsal);
        let due = Due { closes: false, clock, left: Mutex::default(), turns: Mutex::default(), rest };
        let bounds = Bounds { in_flight: 1, lookups_per_second: 1 };
        let dispatcher =
            Dispatcher::new(Vec::new(), Arc::new(due) as Arc<dyn Ledger>, clock, Arc::new(SystemIds), bounds);
        let mut threads = ConnectionThreads::start(false).unwrap();
        let began = clock.now();
        assert_eq!(server::drain(&dispatcher, &mut threads).await, Drained::CutShort);
        assert!(clock.now() - began <= server::DRAIN_LIMIT);
    }
}
