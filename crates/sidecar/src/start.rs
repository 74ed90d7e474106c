//! Puts a sidecar together: ledger, recovery, listener, in this order.
//!
//! The ledger comes first, because whoever holds it is the sidecar; a second one must not even bind.

use crate::clock::SystemClock;
use crate::dispatch::{Bounds, Dispatcher};
use crate::http::{self, Surface};
use crate::ids::SystemIds;
use crate::server::{self, Drained};
use axum::Router;
use commentd_delivery::Clock;
use commentd_ledger::{Ledger, LedgerError, OpenError, SqliteLedger};
use commentd_providers::Provider;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Between two sweeps of the ledger.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Deliveries that one sweep removes at most, so that it never holds up a delivery for long.
const SWEEP_AT_MOST: u32 = 200;

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
    /// The HTTP surface's settings.
    pub surface: Surface,
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

/// Why a sidecar can't start.
#[derive(Debug)]
pub enum StartError {
    /// The ledger can't be opened.
    Ledger(OpenError),
    /// The ledger can't be read.
    Recovery(LedgerError),
    /// The address can't be bound.
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Ledger(error) => error.fmt(f),
            StartError::Recovery(error) => write!(f, "--ledger: {error}"),
            StartError::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "--port: {address} is taken by another program; stop it, or choose another port (0 takes a free one)"
            ),
            StartError::Bind { address, source } => {
                write!(f, "--host/--port: can't listen on {address}: {source}")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// A sidecar that listens and hasn't accepted anything yet.
pub struct Sidecar {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    dispatcher: Dispatcher,
    retention: Duration,
    unknown: usize,
}

impl Sidecar {
    /// Recovers the ledger and binds the address.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was sent then.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let bounds = Bounds { in_flight: parts.max_in_flight, lookups_per_second: parts.lookups_per_second };
        let dispatcher =
            Dispatcher::new(parts.chain, parts.ledger.get(), parts.clock, Arc::new(SystemIds), bounds);
        let bind_error =
            |source| StartError::Bind { address: format!("{}:{}", parts.host, parts.port), source };
        let listener = TcpListener::bind((parts.host.as_str(), parts.port)).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        if let OpenLedger::File(file) = &parts.ledger
            && let Err(error) = file.announce(&format!("http://{address}"))
        {
            tracing::warn!(%error, "the lock file does not name our address");
        }
        let unknown = dispatcher.recover().await.map_err(StartError::Recovery)?;
        dispatcher.watch();
        let router = http::router(dispatcher.clone(), parts.surface);
        Ok(Self { listener, address, router, dispatcher, retention: parts.retention, unknown })
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
        let drained = server::serve(self.listener, self.router, self.dispatcher, shutdown).await;
        sweeping.abort();
        drained
    }
}

/// Removes what has been settled for longer than the retention, a little at a time.
async fn sweep(dispatcher: Dispatcher, retention: Duration) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let retention_ms = commentd_delivery::time::whole_ms(retention);
        let before_ms = dispatcher.clock().unix_ms().saturating_sub(retention_ms);
        loop {
            match dispatcher.ledger().sweep(before_ms, SWEEP_AT_MOST).await {
                Ok(removed) if removed >= SWEEP_AT_MOST => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the ledger could not be swept");
                    break;
                }
            }
        }
    }
}
