//! A channel that does as it is told, ledgers that survive a restart, and a dispatcher between them.

use commentd_channels::{ListedComment, ReadBack};
use commentd_contract::SystemClock;
use commentd_contract::{Addressing, Outcome, ProviderName, VerdictKind};
use commentd_delivery::lookup::{LookupAbility, LookupResult};
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Destination, KeyRef};
use commentd_delivery::reply::DeliveryResult;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Verdict};
use commentd_ledger::{
    FindBy, Ledger, LedgerDescription, LedgerError, MarkedPlace, MemoryLedger, Opened, Opening, RecordFilter,
    Settled, Settling, SqliteLedger, SqliteOptions, Stamp,
};
use commentd_providers::status::ProviderStatus;
use commentd_providers::{BoxFuture, Provider, ProviderJob, Rendered};
use commentd_sidecar::dispatch::{Bounds, Dispatcher, Order};
use commentd_sidecar::ids::SystemIds;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Short, so that a test needn't wait long for a proof of absence.
pub(crate) const SETTLES_WITHIN: Duration = Duration::from_millis(40);
/// The longest that a test waits. Generous: machines are shared and slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the channel does with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Stores it and says so.
    Deliver,
    /// Stores it and says nothing.
    StoreSilently,
    /// Says nothing, and hasn't stored it.
    Lose,
    /// Stores it, and says so once it is told to go on.
    Wait,
    /// Takes no connection.
    Fail,
}

/// A channel that carries markers.
pub(crate) struct Channel {
    destination: Arc<Destination>,
    pub(crate) does: Mutex<Does>,
    /// Comment ids by what they are known by: delivery id or receipt.
    pub(crate) stored: Mutex<HashMap<String, String>>,
    pub(crate) texts: Mutex<Vec<ListedComment>>,
    /// Delivery and number of every attempt.
    pub(crate) attempts: Mutex<Vec<(DeliveryId, u32)>>,
    pub(crate) looks: AtomicU32,
    /// Whether it answers no lookup.
    pub(crate) is_away: AtomicBool,
    /// Whether a marker of ours came back from it.
    pub(crate) marker_seen: AtomicBool,
    /// Whether attempts need a lane, so that a key is read before anything else is done for it.
    pub(crate) queues: AtomicBool,
    /// How long it deduplicates by our key.
    pub(crate) deduplicates_within: Mutex<Option<Duration>>,
    /// The ledger whose disk is full once a comment has arrived here.
    pub(crate) fills: Mutex<Option<Arc<Troubled>>>,
    pub(crate) goes_on: Notify,
}

impl Channel {
    pub(crate) fn new(provider: ProviderName, base_url: &str) -> Arc<Self> {
        Arc::new(Self {
            destination: destination(provider, base_url),
            does: Mutex::new(Does::Deliver),
            stored: Mutex::default(),
            texts: Mutex::default(),
            attempts: Mutex::default(),
            looks: AtomicU32::new(0),
            is_away: AtomicBool::new(false),
            marker_seen: AtomicBool::new(true),
            queues: AtomicBool::new(false),
            deduplicates_within: Mutex::default(),
            fills: Mutex::default(),
            goes_on: Notify::new(),
        })
    }

    pub(crate) fn stores(&self, known_by: impl ToString, comment_id: &str) {
        self.stored.lock().unwrap().insert(known_by.to_string(), comment_id.to_owned());
    }

    pub(crate) fn looks(&self) -> u32 {
        self.looks.load(Ordering::SeqCst)
    }
}

pub(crate) fn destination(provider: ProviderName, base_url: &str) -> Arc<Destination> {
    Arc::new(Destination {
        provider,
        channel: "fake".into(),
        base_url: base_url.into(),
        account: String::new(),
        manifest_version: 1,
    })
}

fn stored_as(comment_id: &str) -> Verdict {
    let mut verdict = Verdict::new(VerdictKind::Delivered, "");
    verdict.comment_id = comment_id.into();
    verdict.comment_id_is_ours = true;
    verdict
}

impl Provider for Channel {
    fn name(&self) -> ProviderName {
        self.destination.provider
    }

    fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    fn rules(&self) -> ProviderRules {
        let lookup = LookupAbility {
            settles_within: Some(SETTLES_WITHIN),
            sees_every_state: true,
            needs_marker: true,
        };
        ProviderRules {
            name: self.name(),
            max_attempts: 3,
            min_useful: Duration::ZERO,
            deduplicates_within: *self.deduplicates_within.lock().unwrap(),
            lookup: Some(lookup),
            queues: self.queues.load(Ordering::SeqCst),
        }
    }

    fn concurrency(&self) -> Option<usize> {
        None
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus::GOOD
    }

    fn has_probe(&self) -> bool {
        false
    }

    fn probe(&self) -> BoxFuture<'_, ProviderStatus> {
        Box::pin(async { ProviderStatus::GOOD })
    }

    fn has_seen_marker(&self) -> bool {
        self.marker_seen.load(Ordering::SeqCst)
    }

    fn marker_was_seen(&self) {
        self.marker_seen.store(true, Ordering::SeqCst);
    }

    fn marker(&self, id: DeliveryId) -> String {
        id.to_string()
    }

    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if *self.does.lock().unwrap() == Does::Fail {
                return Verdict::new(VerdictKind::NotSent, "no connection");
            }
            if !gate.pass() {
                return Verdict::new(VerdictKind::NotSent, "cancelled");
            }
            self.attempts.lock().unwrap().push((job.id, job.attempt));
            if let Some(ledger) = &*self.fills.lock().unwrap() {
                ledger.is_full.store(true, Ordering::SeqCst);
            }
            let does = *self.does.lock().unwrap();
            if does != Does::Lose {
                self.stores(job.id, &format!("c-{}", job.id));
            }
            if does == Does::Wait {
                self.goes_on.notified().await;
            }
            match does {
                Does::Deliver | Does::Wait => {
                    self.marker_was_seen();
                    stored_as(&format!("c-{}", job.id))
                }
                Does::StoreSilently | Does::Lose | Does::Fail => {
                    Verdict::new(VerdictKind::Unknown, "no reply")
                }
            }
        })
    }

    fn lookup<'a>(&'a self, job: &'a ProviderJob, receipt: &'a str) -> BoxFuture<'a, LookupResult> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let stored = self.stored.lock().unwrap();
        let found = stored.get(&job.id.to_string()).or_else(|| stored.get(receipt));
        let finding = match found {
            _ if self.is_away.load(Ordering::SeqCst) => LookupResult::Failed("away".into()),
            Some(comment_id) => LookupResult::Found(stored_as(comment_id)),
            None => LookupResult::NotFound { complete: receipt.is_empty() },
        };
        Box::pin(std::future::ready(finding))
    }

    fn read_target<'a>(&'a self, _job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        let items = self.texts.lock().unwrap().clone();
        Box::pin(std::future::ready(Ok(ReadBack { items, doubt: String::new() })))
    }

    fn settles_within(&self) -> Option<Duration> {
        Some(SETTLES_WITHIN)
    }

    fn dry_run(&self, _job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        Err(Box::new(Verdict::new(VerdictKind::Denied, "not here")))
    }
}

/// A ledger that a test can close and open again, as a restart does.
pub(crate) enum Store {
    Memory(Arc<MemoryLedger>),
    File(tempfile::TempDir, Option<Arc<SqliteLedger>>),
}

impl Store {
    /// An empty one of each kind.
    pub(crate) fn each() -> [Store; 2] {
        let mut file = Store::File(tempfile::tempdir().unwrap(), None);
        file.open();
        [Store::Memory(Arc::new(MemoryLedger::new(Stamp::Live))), file]
    }

    fn open(&mut self) {
        if let Store::File(dir, ledger) = self {
            let path = dir.path().join("ledger.db");
            *ledger = None;
            *ledger =
                Some(Arc::new(SqliteLedger::open(&path, Stamp::Live, &SqliteOptions::default()).unwrap()));
        }
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Store::Memory(ledger) => Arc::clone(ledger) as Arc<dyn Ledger>,
            Store::File(_, ledger) => Arc::clone(ledger.as_ref().unwrap()) as Arc<dyn Ledger>,
        }
    }

    /// As a process that starts anew finds it.
    pub(crate) fn reopened(&mut self) -> Arc<dyn Ledger> {
        self.open();
        self.ledger()
    }
}

/// A ledger in memory that can be slow to answer, and full for a while.
pub(crate) struct Troubled {
    rest: MemoryLedger,
    /// Every opening takes one of these before it is carried out.
    pub(crate) openings: Semaphore,
    /// Every reading takes one of these before it is carried out.
    pub(crate) readings: Semaphore,
    /// Whether it refuses to record anything.
    pub(crate) is_full: AtomicBool,
    /// Whether it refuses to read anything.
    pub(crate) is_unreadable: AtomicBool,
}

impl Troubled {
    /// One that has no trouble yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rest: MemoryLedger::new(Stamp::Live),
            openings: Semaphore::new(Semaphore::MAX_PERMITS),
            readings: Semaphore::new(Semaphore::MAX_PERMITS),
            is_full: AtomicBool::new(false),
            is_unreadable: AtomicBool::new(false),
        })
    }

    /// From now on nobody gets an answer before there are permits again.
    pub(crate) fn hold(permits: &Semaphore) {
        permits.forget_permits(usize::MAX);
    }

    fn recorded<'a, T: Send + 'a>(
        &'a self,
        record: impl FnOnce(&'a MemoryLedger) -> commentd_ledger::LedgerFuture<'a, T>,
    ) -> commentd_ledger::LedgerFuture<'a, T> {
        if self.is_full.load(Ordering::SeqCst) {
            return Box::pin(async { Err(LedgerError::Failed("the disk is full".into())) });
        }
        record(&self.rest)
    }
}

impl Ledger for Troubled {
    fn open(&self, opening: Opening) -> commentd_ledger::LedgerFuture<'_, Opened> {
        Box::pin(async move {
            self.openings.acquire().await.expect("never closed").forget();
            self.recorded(|rest| rest.open(opening)).await
        })
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.recorded(|rest| rest.intend(id, intent))
    }

    fn settle(&self, settling: Settling) -> commentd_ledger::LedgerFuture<'_, Settled> {
        self.recorded(|rest| rest.settle(settling))
    }

    fn find(&self, find: FindBy) -> commentd_ledger::LedgerFuture<'_, Option<DeliveryRecord>> {
        Box::pin(async move {
            self.readings.acquire().await.expect("never closed").forget();
            if self.is_unreadable.load(Ordering::SeqCst) {
                return Err(LedgerError::Failed("the disk can't be read".into()));
            }
            self.rest.find(find).await
        })
    }

    fn list(&self, filter: RecordFilter) -> commentd_ledger::LedgerFuture<'_, Vec<DeliveryRecord>> {
        self.rest.list(filter)
    }

    fn recover(&self, at_ms: u64) -> commentd_ledger::LedgerFuture<'_, Vec<DeliveryId>> {
        self.rest.recover(at_ms)
    }

    fn forget(&self, id: DeliveryId) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.rest.forget(id)
    }

    fn age(&self, passed_ms: u64, at_ms: u64) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.rest.age(passed_ms, at_ms)
    }

    fn sweep(&self, kept_ms: u64, most: u32) -> commentd_ledger::LedgerFuture<'_, u32> {
        self.rest.sweep(kept_ms, most)
    }

    fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.rest.note_marker(place, at_ms)
    }

    fn marked_places(&self) -> commentd_ledger::LedgerFuture<'_, Vec<MarkedPlace>> {
        self.rest.marked_places()
    }

    fn check(&self) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.rest.check()
    }

    fn describe(&self) -> LedgerDescription {
        self.rest.describe()
    }

    fn close(&self) -> commentd_ledger::LedgerFuture<'_, ()> {
        self.rest.close()
    }
}

pub(crate) fn id(n: u8) -> DeliveryId {
    DeliveryId::from_bytes([n; 16])
}

pub(crate) fn key(n: u8) -> KeyRef {
    KeyRef { caller: String::new(), key: format!("key-{n}").into(), item: 0 }
}

pub(crate) fn comment(n: u8) -> Comment {
    let addressing = Addressing { sns_id: "/p/1".into(), ..Addressing::default() };
    Comment { content: format!("comment {n}"), addressing: addressing.into() }
}

pub(crate) fn intent(number: u32, destination: Arc<Destination>) -> AttemptRecord {
    AttemptRecord {
        number,
        destination,
        marker: String::new(),
        started_ms: 1,
        verdict: None,
        resolution: None,
    }
}

pub(crate) fn opening(n: u8, destination: Arc<Destination>) -> Opening {
    Opening {
        id: id(n),
        key: key(n),
        fingerprint: comment(n).fingerprint(1),
        comment: Arc::new(comment(n)),
        trace_id: format!("trace-{n}").into(),
        intent: intent(1, destination),
    }
}

pub(crate) fn ends(n: u8, attempt: u32, verdict: Verdict) -> Settling {
    Settling { id: id(n), attempt, end: commentd_ledger::AttemptEnd::Verdict(verdict), at_ms: 2 }
}

pub(crate) fn verdict(kind: VerdictKind) -> Verdict {
    Verdict::new(kind, format!("said {kind}"))
}

pub(crate) fn dispatcher(chain: &[&Arc<Channel>], ledger: Arc<dyn Ledger>) -> Dispatcher {
    let bounds = Bounds { in_flight: 2, lookups_per_second: 10_000 };
    let chain = chain.iter().map(|channel| Arc::clone(channel) as Arc<dyn Provider>).collect();
    Dispatcher::new(chain, ledger, SystemClock::start(), Arc::new(SystemIds), bounds)
}

/// Asks for comment `n` under its key.
pub(crate) async fn ask(dispatcher: &Dispatcher, n: u8, deadline: Duration) -> DeliveryResult {
    let order = Order {
        key: key(n),
        key_is_made: false,
        comment: comment(n),
        batch_len: 1,
        trace_id: "asked".into(),
        deadline: dispatcher.clock().now() + deadline,
        permit: dispatcher.admit(1, dispatcher.hold(10).expect("it is admitted")).expect("it is admitted"),
    };
    dispatcher.deliver(order).await
}

/// What a caller is told.
pub(crate) fn told(delivered: &DeliveryResult) -> (Outcome, bool) {
    match delivered {
        Ok(reply) => (reply.outcome, reply.replayed),
        other => panic!("nobody was told an outcome: {other:?}"),
    }
}

pub(crate) async fn record(ledger: &Arc<dyn Ledger>, n: u8) -> DeliveryRecord {
    ledger.find(FindBy::Id(id(n))).await.unwrap().expect("it is recorded")
}

/// Waits until it holds.
pub(crate) async fn wait_for<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited {PATIENCE:?} in vain for {what}");
}

pub(crate) async fn becomes(ledger: &Arc<dyn Ledger>, n: u8, outcome: Outcome) {
    wait_for(&format!("delivery {n} to become {outcome}"), || async {
        record(ledger, n).await.outcome() == outcome
    })
    .await;
}
