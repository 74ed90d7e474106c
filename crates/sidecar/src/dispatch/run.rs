//! One flight: carries out what its machine asks for, and reports back what came of it.

mod answering;

use super::background::LookingSeat;
use super::flights::{Command, Flight, Landing};
use super::links::Lane;
use super::told::{Skipped, Told};
use super::under_way::{Back, UnderWay};
use super::{Delivered, GRACE, Inner, Order, Room};
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::keyed::{self, KeyRule};
use commentd_delivery::lookup::Finding;
use commentd_delivery::machine::Machine;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, Resolution, ResolvedBy, interrupted};
use commentd_delivery::step::{Action, Answer, Earlier, Event, Plan};
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use commentd_ledger::{End, Find, LedgerError, Opened, Opening, Settled, Settling};
use commentd_providers::Job;
use commentd_providers::fence::{self, Fence};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How often a settling that failed is tried again, and the first wait between; it doubles each time.
const MOST_SETTLING_RETRIES: u32 = 8;
const SETTLING_RETRY: Duration = Duration::from_millis(50);

struct Run {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    key: KeyRef,
    trace_id: Arc<str>,
    comment: Arc<Comment>,
    deadline: Moment,
    id: DeliveryId,
    machine: Machine,
    /// Whether the ledger has a record of this delivery.
    opened: bool,
    /// Whether nothing can have been sent under its key by an earlier delivery: the server made the key, or the
    /// ledger has said so. Before that, nobody is told that nothing was sent.
    key_is_clear: bool,
    /// Whether it answers from the record, because nothing may be sent under its key.
    replays: bool,
    /// The link of the last attempt.
    link: usize,
    attempts: Vec<(ProviderName, Option<Verdict>)>,
    skipped: Vec<Skipped>,
    /// The lane that the delivery has and no attempt has taken yet.
    lane: Option<Lane>,
    /// The answer that no link could be tried, until the ledger has said that nothing stands under the key.
    untried: Option<Answer>,
    /// Whether a look has come back that riders wait for.
    looked: bool,
    /// Whether riders know it as one that only looks.
    is_shown_only_looking: bool,
    /// The settling that is being recorded, and how often that has failed.
    settling: Option<(Settling, u32)>,
    /// The last attempt's; none before the first.
    gate: Option<Arc<Gate>>,
    under_way: UnderWay,
    events: VecDeque<Event>,
    answered: bool,
    /// Somebody who rides along has asked for a look.
    look_is_awaited: bool,
    /// The room that it takes among those that are to be sent.
    room: Option<Room>,
    /// The right to go on looking once nobody waits any more.
    seat: Option<LookingSeat>,
}

/// How a flight ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing more will happen.
    Over,
    /// It is unknown, and looked up once there is a seat for it.
    Leaves,
}

/// Flies an order.
pub(super) async fn fly(inner: Arc<Inner>, flight: Arc<Flight>, order: Order) {
    let flights = Arc::clone(&inner);
    let landing = Landing { flights: &flights.flights, key: order.key.clone(), flight: Arc::clone(&flight) };
    let id = match inner.ids.fresh() {
        Ok(id) => id,
        Err(reason) => {
            let delivered = Delivered::NotRecorded(reason);
            return flight.progress.send_modify(|progress| progress.answer = Some(delivered));
        }
    };
    // A span for each delivery costs as much as its machine, so what is logged above debug names its ids itself.
    let span = tracing::debug_span!("delivery", trace_id = %order.trace_id, id = %id);
    let mut run =
        Run::new(inner, flight, id, order.key, order.trace_id, Arc::new(order.comment), order.deadline);
    run.room = Some(order.room);
    run.key_is_clear = order.key_is_made;
    let ending = async {
        // A key that is known needs no provider, so it shouldn't wait for one.
        if !run.key_is_clear && run.would_wait() && run.answer_from_record().await {
            return Ending::Over;
        }
        run.machine = Machine::new(run.plan(Vec::new(), true));
        run.go().await
    }
    .instrument(span)
    .await;
    // In this order: the backlog leaves alone what is in flight.
    drop(landing);
    if ending == Ending::Leaves {
        flights.backlog.add([run.id]);
    }
}

/// Looks up what an earlier process left unknown.
pub(super) async fn look_up(
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    record: DeliveryRecord,
    comment: Arc<Comment>,
    seat: LookingSeat,
) {
    let flights = Arc::clone(&inner);
    let _landing =
        Landing { flights: &flights.flights, key: record.key.clone(), flight: Arc::clone(&flight) };
    let span = tracing::debug_span!("lookup", trace_id = %record.trace_id, id = %record.id);
    let now = inner.clock.now();
    let mut run =
        Run::new(inner, flight, record.id, record.key.clone(), record.trace_id.clone(), comment, now);
    run.seat = Some(seat);
    run.adopt(&record, false);
    run.publish(Delivered::Told(Arc::new(Told::from_record(&record))));
    run.go().instrument(span).await;
}

impl Run {
    fn new(
        inner: Arc<Inner>,
        flight: Arc<Flight>,
        id: DeliveryId,
        key: KeyRef,
        trace_id: Arc<str>,
        comment: Arc<Comment>,
        deadline: Moment,
    ) -> Self {
        let plan = Plan {
            chain: Vec::new(),
            deadline,
            grace: GRACE,
            earlier: Vec::new(),
            seed: id.seed(),
            has_caller: false,
        };
        Self {
            inner,
            flight,
            key,
            trace_id,
            comment,
            deadline,
            id,
            machine: Machine::new(plan),
            opened: false,
            key_is_clear: false,
            replays: false,
            link: 0,
            attempts: Vec::new(),
            skipped: Vec::new(),
            lane: None,
            untried: None,
            looked: false,
            is_shown_only_looking: false,
            settling: None,
            gate: None,
            under_way: UnderWay::default(),
            events: VecDeque::from([Event::Start]),
            answered: false,
            look_is_awaited: false,
            room: None,
            seat: None,
        }
    }

    fn plan(&self, earlier: Vec<Earlier>, has_caller: bool) -> Plan {
        Plan {
            chain: self.inner.links.providers().iter().map(|provider| provider.link()).collect(),
            deadline: self.deadline,
            grace: GRACE,
            earlier,
            seed: self.id.seed(),
            has_caller,
        }
    }

    /// Goes on with a delivery that the ledger knows.
    fn adopt(&mut self, record: &DeliveryRecord, has_caller: bool) {
        let now = self.inner.clock.now();
        let machine = &mut self.machine;
        self.inner.links.decide(|shared| machine.abandon(now, shared));
        self.lane = None;
        self.skipped.clear();
        let earlier = record.attempts.iter().map(|attempt| Earlier {
            link: self.inner.links.leading_to(&attempt.destination),
            verdict: attempt.settled().cloned().unwrap_or_else(interrupted),
        });
        let earlier: Vec<Earlier> = earlier.collect();
        let verdicts = earlier.iter().map(|earlier| Some(earlier.verdict.clone()));
        let names = record.attempts.iter().map(|attempt| attempt.destination.provider);
        self.attempts = names.zip(verdicts).collect();
        self.id = record.id;
        self.trace_id.clone_from(&record.trace_id);
        self.opened = true;
        self.machine = Machine::new(self.plan(earlier, has_caller));
        self.events.push_back(Event::Start);
    }

    /// Whether the first link can't be tried at once.
    fn would_wait(&self) -> bool {
        let Some(rules) = self.inner.links.get(0).map(|provider| provider.link()) else { return true };
        let now = self.inner.clock.now();
        let is_shut = || self.inner.links.decide(|shared| shared.obstacle(0, now).is_some());
        rules.queues || self.deadline.since(now) < rules.min_useful || is_shut()
    }

    async fn go(&mut self) -> Ending {
        let (inner, flight) = (Arc::clone(&self.inner), Arc::clone(&self.flight));
        let drain = &inner.drain;
        loop {
            while let Some(event) = self.events.pop_front() {
                let now = self.inner.clock.now();
                let machine = &mut self.machine;
                let actions = self.inner.links.decide(|shared| machine.step(event, now, shared));
                for action in actions {
                    self.act(action);
                }
            }
            if let Some(answer) = self.untried.take() {
                self.answer_untried(answer).await;
            }
            let only_looking = self.machine.is_only_looking();
            if self.machine.is_over() || (only_looking && drain.is_cancelled()) {
                self.arrive();
                return Ending::Over;
            }
            if only_looking && !self.takes_a_seat() {
                self.arrive();
                return Ending::Leaves;
            }
            self.show_progress(only_looking);
            let back = tokio::select! {
                // In this order, and not in a random one, so that a simulation can replay it.
                biased;
                back = self.under_way.next() => back,
                command = flight.commands.recv() => match self.told(command) {
                    Some(event) => Back::Event(event),
                    None if only_looking => {
                        self.answer_by_record().await;
                        return Ending::Over;
                    }
                    // It isn't what was resolved any more: another attempt has begun since.
                    None => continue,
                },
                // What is still to be sent is seen through, so only those that look need to hear of it.
                () = drain.cancelled(), if only_looking => continue,
            };
            if self.came_back(back) {
                return Ending::Over;
            }
        }
    }

    /// Gives back the room that a delivery takes, for a seat among those that only look; false if none is free.
    fn takes_a_seat(&mut self) -> bool {
        if self.seat.is_none() {
            self.seat = self.inner.backlog.seat();
            self.room = None;
        }
        self.seat.is_some()
    }

    /// `None` if the record has been settled by somebody else.
    fn told(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::CallerGone => Some(Event::CallerGone),
            Command::LookNow => {
                self.look_is_awaited = true;
                Some(Event::LookNow)
            }
            Command::Resolved => None,
        }
    }

    /// Tells everybody what the record says.
    async fn answer_by_record(&mut self) {
        match self.inner.ledger.find(Find::Id(self.id)).await {
            Ok(Some(record)) => self.publish(Delivered::Told(Arc::new(Told::from_record(&record)))),
            Ok(None) | Err(_) => self.arrive(),
        }
    }

    /// Tells riders how far the flight has come.
    fn show_progress(&mut self, only_looking: bool) {
        let look_is_through = self.looked && self.under_way.look.is_none() && self.under_way.ledger.is_none();
        if !look_is_through && only_looking == self.is_shown_only_looking {
            return;
        }
        self.looked &= !look_is_through;
        self.is_shown_only_looking = only_looking;
        self.flight.progress.send_modify(|progress| {
            progress.looks += u64::from(look_is_through);
            progress.only_looking = only_looking;
        });
    }

    /// The flight is over: those who joined it after its caller hung up get what is known.
    fn arrive(&self) {
        if self.flight.progress.borrow().answer.is_none() {
            let told = Delivered::Told(Arc::new(self.told_now()));
            self.flight.progress.send_modify(|progress| progress.answer = Some(told));
        }
    }

    /// Turns what came back into the machine's next event; true if that was the end of the flight.
    fn came_back(&mut self, back: Back) -> bool {
        let event = match back {
            Back::Lane(link, lane) => {
                self.lane = Some(lane);
                Event::LaneFree { link }
            }
            Back::Opened(Ok(Opened::Known(record))) => return self.key_is_known(&record),
            Back::Opened(Ok(Opened::New)) => {
                self.opened = true;
                self.key_is_clear = true;
                self.intent_is_durable()
            }
            Back::Intended(Ok(())) => self.intent_is_durable(),
            Back::Opened(Err(error)) if !self.key_is_clear => {
                // A ledger that can't record may still be able to read.
                tracing::error!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %error,
                    "the intent can't be recorded; the key may be known"
                );
                let ledger = Arc::clone(&self.inner.ledger);
                let key = Find::Key(self.key.clone());
                self.under_way.ledger = Some(Box::pin(async move { Back::Found(ledger.find(key).await) }));
                return false;
            }
            Back::Found(Ok(Some(record))) => return self.key_is_known(&record),
            Back::Found(found) => {
                self.key_is_clear = found.is_ok();
                Event::IntentFailed
            }
            Back::Opened(Err(error)) | Back::Intended(Err(error)) => {
                tracing::error!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %error,
                    "the intent can't be recorded, so nothing is sent"
                );
                Event::IntentFailed
            }
            Back::Settled(result) => match self.settled(result) {
                Some(event) => event,
                None => return false,
            },
            Back::Event(event) => event,
        };
        match event {
            Event::Looked(..) => self.looked = true,
            // Nobody waits for this flight's own answer any more, but others may have joined it.
            Event::CallerGone => self.answered = true,
            _ => {}
        }
        self.events.push_back(event);
        false
    }

    fn intent_is_durable(&mut self) -> Event {
        fence::pass(Fence::AfterIntent);
        let name = self.inner.links.get(self.link).map_or(ProviderName::Mock, |provider| provider.name());
        self.attempts.push((name, None));
        Event::IntentRecorded
    }

    fn key_is_known(&mut self, record: &DeliveryRecord) -> bool {
        match keyed::rule(record, &self.flight.fingerprint) {
            KeyRule::Reused => self.publish(Delivered::KeyReused),
            KeyRule::Replay => self.publish(Delivered::Told(Arc::new(Told::from_record(record)))),
            known @ (KeyRule::TryAfresh | KeyRule::LookUp) => {
                self.replays = known == KeyRule::LookUp;
                self.adopt(record, true);
                return false;
            }
        }
        true
    }

    /// `None` while the recording is tried again.
    fn settled(&mut self, result: Result<Settled, LedgerError>) -> Option<Event> {
        let (settling, failures) = self.settling.take()?;
        match result {
            Ok(Settled::Recorded) => {
                fence::pass(Fence::AfterRecord);
                let attempt = usize::try_from(settling.attempt).unwrap_or(usize::MAX).saturating_sub(1);
                self.note(attempt, settling.end.into_verdict());
                Some(Event::Settled)
            }
            Ok(Settled::ClaimLost) => {
                tracing::warn!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    "the channel names a comment that another delivery has claimed"
                );
                Some(Event::ClaimLost)
            }
            // A full disk or a full queue may pass. The caller doesn't wait: its answer comes at the deadline.
            Err(LedgerError::Busy | LedgerError::Failed(_)) if failures < MOST_SETTLING_RETRIES => {
                let wait = SETTLING_RETRY.saturating_mul(1 << failures);
                self.settle_after(wait, settling, failures + 1);
                None
            }
            Err(LedgerError::Conflict(reason)) => {
                tracing::info!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %reason,
                    "the record was settled by somebody else"
                );
                Some(Event::SettlingFailed)
            }
            Err(error) => {
                tracing::error!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %error,
                    "the result can't be recorded; it is unknown until a lookup settles it"
                );
                Some(Event::SettlingFailed)
            }
        }
    }

    fn settle_after(&mut self, wait: Duration, settling: Settling, failures: u32) {
        let ledger = Arc::clone(&self.inner.ledger);
        self.settling = Some((settling.clone(), failures));
        self.under_way.ledger = Some(Box::pin(async move {
            if failures > 0 {
                tokio::time::sleep(wait).await;
            }
            Back::Settled(ledger.settle(settling).await)
        }));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Queue { link } => self.queue(link),
            Action::Leave => {
                self.under_way.queue = None;
                self.lane = None;
            }
            Action::Skip { link, verdict } => {
                let Some(provider) = self.inner.links.get(link) else { return };
                tracing::debug!(provider = %provider.name(), message = %verdict.message, "skipped");
                self.skipped.push(Skipped { after: self.attempts.len(), provider: provider.name(), verdict });
            }
            Action::RecordIntent { attempt, link } => self.record_intent(attempt, link),
            Action::Send { attempt, link } => self.send(attempt, link),
            Action::Cancel => {
                let cancelled = self.gate.as_ref().is_none_or(|gate| gate.cancel());
                if cancelled {
                    self.under_way.attempt = None;
                }
                self.events.push_back(Event::Cancelled(cancelled));
            }
            Action::RecordSettling { attempt, verdict, resolves } => {
                self.record_settling(attempt, verdict, resolves);
            }
            Action::Wake(moment) => self.under_way.wake_by(self.inner.clock.instant(moment)),
            Action::Look { attempt, link } => self.look(attempt, link),
            Action::Answer(answer) => self.answer(answer),
            Action::Finish => {}
        }
    }

    fn record_intent(&mut self, attempt: usize, link: usize) {
        fence::pass(Fence::BeforeIntent);
        let Some(provider) = self.inner.links.get(link) else { return };
        self.link = link;
        let intent = AttemptRecord {
            number: number(attempt),
            destination: Arc::clone(provider.destination()),
            marker: provider.marker(self.id),
            started_ms: self.inner.clock.unix_ms(),
            verdict: None,
            resolution: None,
        };
        let ledger = Arc::clone(&self.inner.ledger);
        let id = self.id;
        if self.opened {
            self.under_way.ledger =
                Some(Box::pin(async move { Back::Intended(ledger.intend(id, intent).await) }));
            return;
        }
        let opening = Opening {
            id,
            key: self.key.clone(),
            fingerprint: self.flight.fingerprint,
            comment: Arc::clone(&self.comment),
            trace_id: self.trace_id.clone(),
            intent,
        };
        self.under_way.ledger = Some(Box::pin(async move { Back::Opened(ledger.open(opening).await) }));
    }

    fn job(&self, attempt: usize) -> Job {
        Job {
            id: self.id,
            comment: Arc::clone(&self.comment),
            trace_id: self.trace_id.clone(),
            attempt: number(attempt),
            deadline: self.deadline,
        }
    }

    fn queue(&mut self, link: usize) {
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        self.under_way.queue = Some(Box::pin(async move { Back::Lane(link, lanes.enter().await) }));
    }

    fn send(&mut self, attempt: usize, link: usize) {
        let Some(provider) = self.inner.links.get(link).cloned() else { return };
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        let lane = self.lane.take();
        let job = self.job(attempt);
        let gate = Arc::new(Gate::new());
        self.gate = Some(Arc::clone(&gate));
        self.under_way.attempt = Some(Box::pin(async move {
            // Where there are lanes, the delivery has queued for this one already; it is free when this ends.
            let _lane = match lane {
                Some(lane) => lane,
                None => lanes.enter().await,
            };
            let trying = AssertUnwindSafe(provider.attempt(&job, &gate)).catch_unwind();
            let verdict = trying.await.unwrap_or_else(|_| broken(&gate));
            fence::pass(Fence::AfterEffect);
            Back::Event(Event::Ended(verdict))
        }));
    }

    fn record_settling(&mut self, attempt: usize, verdict: Verdict, resolves: bool) {
        let at_ms = self.inner.clock.unix_ms();
        let end = if resolves {
            End::Resolution(Resolution { by: ResolvedBy::Lookup, at_ms, verdict })
        } else {
            tracing::debug!(verdict = %verdict.kind, message = %verdict.message, "attempt ended");
            End::Verdict(verdict)
        };
        let settling = Settling { id: self.id, attempt: number(attempt), end, at_ms };
        self.settle_after(Duration::ZERO, settling, 0);
    }

    fn look(&mut self, attempt: usize, link: usize) {
        let Some(provider) = self.inner.links.get(link).cloned() else { return };
        let job = self.job(attempt);
        let verdict = self.attempts.get(attempt).and_then(|(_, verdict)| verdict.as_ref());
        let receipt = verdict.filter(|verdict| verdict.comment_id_is_ours);
        let receipt = receipt.map(|verdict| verdict.comment_id.clone()).unwrap_or_default();
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        let inner = Arc::clone(&self.inner);
        let is_awaited = !self.answered || std::mem::take(&mut self.look_is_awaited);
        self.under_way.look = Some(Box::pin(async move {
            let _turn = inner.looks.turn(inner.clock, is_awaited).await;
            let _lane = lanes.enter().await;
            let began = inner.clock.now();
            let finding = AssertUnwindSafe(provider.look(&job, &receipt)).catch_unwind().await;
            Back::Event(Event::Looked(finding.unwrap_or(Finding::Failed), began))
        }));
    }
}

fn number(attempt: usize) -> u32 {
    u32::try_from(attempt).unwrap_or(u32::MAX).saturating_add(1)
}

/// The verdict of a provider that panicked.
fn broken(gate: &Gate) -> Verdict {
    if gate.cancel() {
        return Verdict::new(VerdictKind::NotSent, "the provider failed before it sent anything")
            .with_code(Code::Internal);
    }
    Verdict::new(VerdictKind::Unknown, "the provider failed after the comment was handed over")
        .with_code(Code::Internal)
}
