//! The dispatcher's public face: takes orders, starts, recovers and drains.

use super::admission::{Admission, AdmissionPermit, HeldBytes};
use super::chain::{Chain, is_unrecognized, probe_when_due};
use super::in_flight::{InFlight, InFlightDelivery, Joined};
use super::ledger_health::LedgerHealth;
use super::lookups::{Backlog, LookupLimiter, Markers, Windows};
use super::order::Order;
use super::recovery;
use super::run_in_caller::RunInCaller;
use super::state::{DispatcherState, Signal};
use super::task;
use commentd_contract::SystemClock;
use commentd_contract::provider::{LookCounts, ProviderView};
use commentd_delivery::follower::Progress;
use commentd_delivery::id::Ids;
use commentd_delivery::reply::{DeliverError, DeliveryResult};
use commentd_delivery::step::Event;
use commentd_delivery::{Clock, DeliveryId, Moment};
use commentd_ledger::{Ledger, LedgerError};
use commentd_providers::Provider;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// How much at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most deliveries in flight.
    pub in_flight: usize,
    /// Most lookups a second.
    pub lookups_per_second: u32,
}

/// Takes orders and answers each by its deadline. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    pub(super) state: Arc<DispatcherState>,
}

impl Dispatcher {
    /// A dispatcher over this chain.
    pub fn new(
        chain: Vec<Arc<dyn Provider>>,
        ledger: Arc<dyn Ledger>,
        clock: SystemClock,
        ids: Arc<dyn Ids>,
        bounds: Bounds,
    ) -> Self {
        let markers = Markers::new(chain.len());
        Self {
            state: Arc::new(DispatcherState {
                chain: Chain::new(chain),
                ledger: LedgerHealth::new(ledger),
                clock,
                ids,
                in_flight: InFlight::default(),
                admission: Admission::new(bounds.in_flight),
                lookups: LookupLimiter::new(bounds.lookups_per_second),
                markers,
                backlog: Backlog::default(),
                windows: Windows::default(),
                tasks: TaskTracker::new(),
                drain: Signal::default(),
                answers_now: Signal::default(),
                is_unrecovered: AtomicBool::new(false),
            }),
        }
    }

    /// The primary provider.
    pub fn primary(&self) -> Option<&Arc<dyn Provider>> {
        self.state.chain.get(0)
    }

    /// The time.
    pub fn clock(&self) -> SystemClock {
        self.state.clock
    }

    /// A fresh id.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn fresh_id(&self) -> Result<DeliveryId, String> {
        self.state.ids.fresh()
    }

    /// Why the ledger doesn't record, by what its last write came to; `None` if it does.
    pub fn ledger_failure(&self) -> Option<String> {
        self.state.ledger.failure()
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.state.ledger.inner()
    }

    /// Removes what was kept for this long, at most so many deliveries; says how many it was.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn sweep(&self, kept_ms: u64, most: u32) -> Result<u32, LedgerError> {
        self.state.ledger.sweep(kept_ms, most).await
    }

    /// Holds this many bytes of a request that is read; `None` if they are too many.
    pub fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        self.state.admission.hold(bytes)
    }

    /// A permit for this many deliveries of a request with these bytes; `None` if they are too many.
    pub fn admit(&self, deliveries: usize, bytes: HeldBytes) -> Option<AdmissionPermit> {
        self.state.admission.admit(deliveries, bytes)
    }

    /// Most deliveries in flight: a batch of more is never admitted.
    pub fn most_in_flight(&self) -> usize {
        self.state.admission.most_deliveries()
    }

    /// Delivers one comment, and answers by the order's deadline (and the few milliseconds that a settling may
    /// take). Dropping it means that the caller is gone: what wasn't handed over yet never will be, what was is
    /// seen through and recorded.
    pub async fn deliver(&self, mut order: Order) -> DeliveryResult {
        if self.state.answers_now.is_on() {
            order.deadline = order.deadline.min(self.state.clock.now());
        }
        let fingerprint = order.comment.fingerprint(order.batch_len);
        loop {
            match self.state.in_flight.join(&order.key, fingerprint) {
                Joined::Reused(delivery) => {
                    let known = delivery.progress.reply().and_then(Result::ok);
                    return Err(DeliverError::KeyReused(known));
                }
                Joined::Leader(delivery) => {
                    if self.state.answers_now.is_on() {
                        // It may have come too late to be told with the others.
                        delivery.events.send(Event::AnswerNow);
                    }
                    let running = task::lead(Arc::clone(&self.state), Arc::clone(&delivery), order);
                    return RunInCaller::new(delivery, running, &self.state.tasks).await;
                }
                Joined::Follower(delivery) => {
                    if let Some(reply) = self.wait_for_leader(&delivery, order.deadline).await {
                        return reply;
                    }
                }
            }
        }
    }

    /// Waits for the delivery that somebody else leads, until it is certain what became of it; `None` if it came to
    /// nothing and may be tried afresh, or is left to this caller.
    async fn wait_for_leader(&self, delivery: &InFlightDelivery, deadline: Moment) -> Option<DeliveryResult> {
        let request = delivery.progress.borrow().request(deadline);
        if let Some(event) = request {
            // The delivery may end at this very moment; then the progress says so.
            delivery.events.send(event);
        }
        let deadline = self.state.clock.instant(deadline);
        let settles = async {
            tokio::select! {
                biased;
                progress = delivery.progress.wait_for(Progress::is_settled) => Some(progress),
                () = self.state.answers_now.wait() => None,
            }
        };
        let waited = tokio::time::timeout_at(deadline, settles).await.ok().flatten();
        let progress = waited.unwrap_or_else(|| delivery.progress.borrow().clone());
        progress.follower_reply()
    }

    /// At start: closes what an earlier process left open, and looks up in the background what is unknown, from
    /// then on. Call it once. Returns how many deliveries are unknown.
    ///
    /// A ledger that can't record that now, on a full disk above all, is asked again until it can. Meanwhile known
    /// keys are replayed, and nothing is sent that can't be recorded; 0 is returned then.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn recover(&self) -> Result<usize, LedgerError> {
        self.state.markers.load(&self.state.chain, &self.state.ledger).await;
        let count = match self.state.ledger.recover(self.state.clock.unix_ms()).await {
            Ok(unknown) => {
                let count = unknown.len();
                self.state.backlog.add(unknown);
                count
            }
            Err(LedgerError::Closed) => return Err(LedgerError::Closed),
            Err(error) => {
                tracing::error!(
                    "what an earlier process left open can't be recorded: {error}; nothing new is sent, and what is \
                     known is told"
                );
                self.state.is_unrecovered.store(true, Ordering::Release);
                self.state.tasks.spawn(recovery::recover_later(Arc::clone(&self.state)));
                0
            }
        };
        self.state.tasks.spawn(recovery::look_up_backlog(Arc::clone(&self.state)));
        Ok(count)
    }

    /// The chain as it can be seen from outside.
    pub fn providers(&self) -> Vec<ProviderView> {
        self.state.chain.views(self.state.clock.now())
    }

    /// How many lookups came to what, since the start.
    pub fn lookups(&self) -> LookCounts {
        self.state.lookups.counts()
    }

    /// Asks the channels whether they are there, at most for so long, and counts that nowhere. What they say shows in
    /// [`Dispatcher::providers`].
    pub async fn ask_first(&self, at_most: Duration) {
        let unknown = self.state.chain.providers().iter().filter(|provider| is_unrecognized(&***provider));
        let asking = futures_util::future::join_all(unknown.map(|provider| provider.probe()));
        // One that needs longer goes on being asked by the watch.
        let _ = tokio::time::timeout(at_most, asking).await;
    }

    /// Begins to ask the ledger and the providers how they are where that is due: without it, a breaker whose provider
    /// has a probe stays open. Ends with the drain.
    /// With `asks` false, providers are left alone: nobody will try them.
    pub fn watch(&self, asks: bool) {
        let state = Arc::clone(&self.state);
        self.state.tasks.spawn(async move { state.ledger.keep_checking(state.drain.wait()).await });
        let asked = if asks { self.state.chain.providers().len() } else { 0 };
        for index in 0..asked {
            let state = Arc::clone(&self.state);
            self.state.tasks.spawn(async move {
                tokio::select! {
                    () = state.drain.wait() => {}
                    () = probe_when_due(&state.chain, state.clock, index) => {}
                }
            });
        }
    }

    /// Deliveries in flight, those that are only looked up included.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.len()
    }

    /// Answers everybody who waits with what is known, as if the deadline had come, and lets nobody wait from now on.
    /// What was handed over runs on.
    pub fn answer_now(&self) {
        self.state.answers_now.set();
        self.state.in_flight.tell_all(Event::AnswerNow);
    }

    /// Waits until every delivery in flight is settled; lookups in the background are left for the next start.
    /// Call it when no more orders come.
    pub async fn drain(&self) {
        self.state.drain.set();
        self.state.in_flight.all_over().await;
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}
