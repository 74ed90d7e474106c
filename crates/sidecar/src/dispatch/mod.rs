//! Drives one delivery machine for each delivery in flight.
//!
//! [`Dispatcher::deliver`] is all that the HTTP surface knows. Behind it, a flight carries out what its machine asks for
//! (`run`), in its caller's task at first (`aloft`); callers with the same key share it (`flights`).

mod admission;
mod aloft;
mod background;
pub mod deliveries;
mod flights;
mod links;
mod looks;
mod markers;
mod progress;
mod recording;
mod run;
mod shown;
mod told;
mod under_way;
mod watch;
mod windows;

use aloft::Aloft;
use commentd_contract::Outcome;
use commentd_contract::SystemClock;
use commentd_contract::provider::{LookCounts, ProviderView};
use commentd_delivery::id::Ids;
use commentd_delivery::record::{AttemptRecord, KeyRef};
use commentd_delivery::rule_switch::{RuleSwitch, is_off};
use commentd_delivery::{Clock, Comment, DeliveryId, Moment};
use commentd_ledger::{Find, Ledger, LedgerError, Opened, Opening};
use commentd_providers::Provider;
use flights::{Command, Flight, Flights, Seat};
use links::Links;
use progress::Progress;
use recording::Recording;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use admission::{HeldBytes, Room};
pub use shown::shown;
pub use told::Told;

/// How long after the deadline a settling may still be waited for.
const GRACE: Duration = Duration::from_millis(20);

/// How often a ledger that couldn't record at the start what was left open is asked again.
const RECOVER_EVERY: Duration = Duration::from_secs(1);

/// One comment to be delivered.
#[derive(Debug)]
pub struct Order {
    /// The caller's name for it.
    pub key: KeyRef,
    /// Whether the server made the key, so that nothing can be recorded under it yet.
    pub key_is_made: bool,
    /// The comment.
    pub comment: Comment,
    /// How many comments the request has; 1 for a single one.
    pub batch_len: usize,
    /// The request's trace.
    pub trace_id: Arc<str>,
    /// When the caller gets an answer.
    pub deadline: Moment,
    /// The room it takes; given back when nothing of it is in flight any more.
    pub room: Room,
}

/// What became of an order, as far as its caller is concerned.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// The delivery came to this, as far as is known.
    Told(Arc<Told>),
    /// The key belongs to another comment, or to a batch of another length; what is known of that one here.
    KeyReused(Option<Arc<Told>>),
    /// The key is in flight, and the deadline came first.
    KeyInFlight,
    /// The ledger hasn't said in time what stands under the key, so nothing was sent now.
    LedgerSilent,
    /// The ledger can't record it, so nothing was sent, now or earlier under this key.
    NotRecorded(String),
    /// The ledger can neither record it nor say what became of its key earlier, so nothing was sent now.
    NotReadable(String),
    /// The sidecar failed; what became of it isn't known.
    Broken,
}

struct Inner {
    links: Links,
    ledger: Arc<dyn Ledger>,
    /// The same, as it knows whether it records.
    recording: Arc<Recording>,
    clock: SystemClock,
    ids: Arc<dyn Ids>,
    flights: Flights,
    admission: admission::Admission,
    looks: looks::Looks,
    markers: markers::Markers,
    backlog: background::Backlog,
    windows: windows::Windows,
    tasks: TaskTracker,
    drain: CancellationToken,
    /// Whether what an earlier process left open is still to be recorded. Until then nothing is opened, since that would
    /// be taken for it.
    is_unrecovered: AtomicBool,
    answers_now: AnswersNow,
}

/// Whoever waits is answered, and whoever comes doesn't wait. Each delivery asks, so that asking takes no lock.
#[derive(Default)]
struct AnswersNow {
    is_on: AtomicBool,
    token: CancellationToken,
}

impl AnswersNow {
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.is_on.store(true, Ordering::Release);
        self.token.cancel();
    }

    async fn wait(&self) {
        self.token.cancelled().await;
    }
}

impl Inner {
    /// Claims a key, or tells what stands under it.
    async fn open(&self, opening: Opening) -> Result<Opened, LedgerError> {
        if !self.is_unrecovered.load(Ordering::Acquire) {
            return self.ledger.open(opening).await;
        }
        let known = self.ledger.find(Find::Key(opening.key)).await?;
        known.map(|record| Opened::Known(Box::new(record))).ok_or_else(not_recovered)
    }

    async fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        if self.is_unrecovered.load(Ordering::Acquire) {
            return Err(not_recovered());
        }
        self.ledger.intend(id, intent).await
    }
}

fn not_recovered() -> LedgerError {
    LedgerError::Failed("it couldn't record yet what was open when the process before ended".into())
}

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
    inner: Arc<Inner>,
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
        let recording = Arc::new(Recording::new(ledger));
        let markers = markers::Markers::new(chain.len());
        Self {
            inner: Arc::new(Inner {
                links: Links::new(chain),
                ledger: Arc::clone(&recording) as Arc<dyn Ledger>,
                recording,
                clock,
                ids,
                flights: Flights::default(),
                admission: admission::Admission::new(bounds.in_flight),
                looks: looks::Looks::new(bounds.lookups_per_second),
                markers,
                backlog: background::Backlog::default(),
                windows: windows::Windows::default(),
                tasks: TaskTracker::new(),
                drain: CancellationToken::new(),
                is_unrecovered: AtomicBool::new(false),
                answers_now: AnswersNow::default(),
            }),
        }
    }

    /// The primary provider.
    pub fn primary(&self) -> Option<&Arc<dyn Provider>> {
        self.inner.links.get(0)
    }

    /// The time.
    pub fn clock(&self) -> SystemClock {
        self.inner.clock
    }

    /// A fresh id.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn fresh_id(&self) -> Result<DeliveryId, String> {
        self.inner.ids.fresh()
    }

    /// Why the ledger doesn't record, by what its last write came to; `None` if it does.
    pub fn ledger_failure(&self) -> Option<String> {
        self.inner.recording.failure()
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.inner.ledger
    }

    /// Holds this many bytes of a request that is read; `None` if there is no room for them.
    pub fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        self.inner.admission.hold(bytes)
    }

    /// Room for this many deliveries of a request with these bytes; `None` if there isn't.
    pub fn admit(&self, deliveries: usize, bytes: HeldBytes) -> Option<Room> {
        self.inner.admission.admit(deliveries, bytes)
    }

    /// Most deliveries in flight: a batch of more never finds room.
    pub fn most_in_flight(&self) -> usize {
        self.inner.admission.most_deliveries()
    }

    /// Delivers one comment, and answers by the order's deadline (and the few milliseconds that a settling may
    /// take). Dropping it means that the caller is gone: what wasn't handed over yet never will be, what was is
    /// seen through and recorded.
    pub async fn deliver(&self, mut order: Order) -> Delivered {
        if self.inner.answers_now.is_on() {
            order.deadline = order.deadline.min(self.inner.clock.now());
        }
        let fingerprint = order.comment.fingerprint(order.batch_len);
        loop {
            match self.inner.flights.join(&order.key, fingerprint) {
                Seat::Reused(flight) => {
                    return Delivered::KeyReused(match flight.progress.answer() {
                        Some(Delivered::Told(told)) => Some(told),
                        _ => None,
                    });
                }
                Seat::Pilot(flight) => {
                    if self.inner.answers_now.is_on() {
                        // It may have come too late to be told with the others.
                        flight.commands.send(Command::AnswerNow);
                    }
                    let flying = run::fly(Arc::clone(&self.inner), Arc::clone(&flight), order);
                    return Aloft::new(flight, flying, &self.inner.tasks).await;
                }
                Seat::Passenger(flight) => {
                    if let Some(delivered) = self.ride(&flight, order.deadline).await {
                        return delivered;
                    }
                }
            }
        }
    }

    /// Waits for somebody else's flight of the same comment, until it is certain what became of it; `None` if it came
    /// to nothing and may be tried afresh, or is left to this caller.
    async fn ride(&self, flight: &Flight, deadline: Moment) -> Option<Delivered> {
        let asks = {
            let progress = flight.progress.borrow();
            let repeats = progress.repeats_until.is_some_and(|until| deadline < until);
            progress.only_looking.then_some(if repeats {
                Command::HandOver
            } else {
                Command::LookNow(deadline)
            })
        };
        if let Some(command) = asks {
            // The flight may end at this very moment; then the progress says so.
            flight.commands.send(command);
        }
        let arrived =
            |progress: &Progress| progress.over || progress.answer.as_ref().is_some_and(Delivered::is_final);
        let deadline = self.inner.clock.instant(deadline);
        let arrives = async {
            tokio::select! {
                biased;
                progress = flight.progress.wait_for(arrived) => Some(progress),
                () = self.inner.answers_now.wait() => None,
            }
        };
        let waited = tokio::time::timeout_at(deadline, arrives).await.ok().flatten();
        let progress = waited.unwrap_or_else(|| flight.progress.borrow().clone());
        match progress.answer {
            Some(answer) if progress.over && (progress.handed_over || answer.may_be_tried_afresh()) => None,
            Some(answer) if progress.over || progress.only_looking || answer.is_final() => {
                Some(answer.replay())
            }
            _ => Some(Delivered::KeyInFlight),
        }
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
        markers::load(&self.inner).await;
        let count = match self.inner.ledger.recover(self.inner.clock.unix_ms()).await {
            Ok(unknown) => {
                let count = unknown.len();
                self.inner.backlog.add(unknown);
                count
            }
            Err(LedgerError::Closed) => return Err(LedgerError::Closed),
            Err(error) => {
                tracing::error!(
                    "what an earlier process left open can't be recorded: {error}; nothing new is sent, and what is \
                     known is told"
                );
                self.inner.is_unrecovered.store(true, Ordering::Release);
                self.inner.tasks.spawn(recover_later(Arc::clone(&self.inner)));
                0
            }
        };
        self.inner.tasks.spawn(background::work(Arc::clone(&self.inner)));
        Ok(count)
    }

    /// The chain as it can be seen from outside.
    pub fn providers(&self) -> Vec<ProviderView> {
        self.inner.links.views(self.inner.clock.now())
    }

    /// How many lookups came to what, since the start.
    pub fn lookups(&self) -> LookCounts {
        self.inner.looks.counts()
    }

    /// Asks the channels whether they are there, at most for so long, and counts that nowhere. What they say shows in
    /// [`Dispatcher::providers`].
    pub async fn ask_first(&self, at_most: Duration) {
        let unknown =
            self.inner.links.providers().iter().filter(|provider| watch::is_unrecognized(&***provider));
        let asking = futures_util::future::join_all(unknown.map(|provider| provider.probe()));
        // One that needs longer goes on being asked by the watch.
        let _ = tokio::time::timeout(at_most, asking).await;
    }

    /// Begins to ask the ledger and the providers how they are where that is due: without it, a breaker whose provider
    /// has a probe stays open. Ends with the drain.
    /// With `asks` false, providers are left alone: nobody will try them.
    pub fn watch(&self, asks: bool) {
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move { inner.recording.keep_checking(&inner.drain).await });
        let asked = if asks { self.inner.links.providers().len() } else { 0 };
        for link in 0..asked {
            self.inner.tasks.spawn(watch::watch(Arc::clone(&self.inner), link));
        }
    }

    /// Deliveries in flight, those that are only looked up included.
    pub fn in_flight(&self) -> usize {
        self.inner.flights.len()
    }

    /// Answers everybody who waits with what is known, as if the deadline had come, and lets nobody wait from now on.
    /// What was handed over runs on.
    pub fn answer_now(&self) {
        self.inner.answers_now.set();
        self.inner.flights.tell_all(Command::AnswerNow);
    }

    /// Waits until every delivery in flight is settled; lookups in the background are left for the next start.
    /// Call it when no more orders come.
    pub async fn drain(&self) {
        self.inner.drain.cancel();
        self.inner.flights.all_landed().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// Closes what an earlier process left open once the ledger can record again. Ends with the drain.
async fn recover_later(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.drain.cancelled() => return,
            () = tokio::time::sleep(RECOVER_EVERY) => {}
        }
        match inner.ledger.recover(inner.clock.unix_ms()).await {
            Ok(unknown) => {
                tracing::info!("the ledger records again; {} deliveries are unknown", unknown.len());
                inner.is_unrecovered.store(false, Ordering::Release);
                inner.backlog.add(unknown);
                return;
            }
            Err(LedgerError::Closed) => return,
            Err(error) => tracing::debug!(%error, "the ledger can't record yet"),
        }
    }
}

/// Whether this outcome is told as a success. `unknown_is_success`: whether what may be there counts as one.
pub fn is_success(outcome: Outcome, unknown_is_success: bool) -> bool {
    outcome.is_success() || (unknown_is_success && matches!(outcome, Outcome::Unknown | Outcome::Misplaced))
}

impl Delivered {
    /// Whether its caller is told a success. What isn't recorded is none, whatever an unknown outcome counts as.
    pub fn is_success(&self, unknown_is_success: bool) -> bool {
        match self {
            Delivered::Told(told) => is_success(told.answer.outcome, unknown_is_success),
            Delivered::Broken => is_success(Outcome::Unknown, unknown_is_success),
            Delivered::KeyInFlight | Delivered::LedgerSilent | Delivered::NotReadable(_) => {
                unknown_is_success && is_off(RuleSwitch::OnlyWhatIsRecordedSucceeds)
            }
            Delivered::KeyReused(_) | Delivered::NotRecorded(_) => false,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        match self {
            Delivered::Told(told) => Some(told.answer.outcome),
            _ => None,
        }
    }

    fn is_final(&self) -> bool {
        matches!(self, Delivered::KeyReused(_)) || self.outcome().is_some_and(Outcome::is_final)
    }

    fn may_be_tried_afresh(&self) -> bool {
        self.outcome() == Some(Outcome::NotSent)
    }

    fn replay(&self) -> Self {
        match self {
            Delivered::Told(told) => Delivered::Told(Arc::new(told.replay())),
            other => other.clone(),
        }
    }
}
