//! One flight: carries out what its machine asks for, and reports back what came of it.

mod answering;
mod settling;

use super::background::LookingSeat;
use super::flights::{Command, Flight, Landing};
use super::links::Lane;
use super::told::{Skipped, Told};
use super::under_way::{Back, UnderWay};
use super::{Delivered, GRACE, Inner, Order, Room};
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::answers::not_sent_in_time;
use commentd_delivery::breaker::FAIR_TIME;
use commentd_delivery::keyed::{self, KeyRule};
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, interrupted};
use commentd_delivery::rule_switch::{RuleSwitch, is_off, is_on};
use commentd_delivery::step::{Action, Answer, EarlierAttempt, Event, Plan};
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use commentd_ledger::{Find, Opened, Opening, Settling};
use commentd_providers::ProviderJob;
use commentd_providers::failpoint::{self, Failpoint};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;

struct Run {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    key: KeyRef,
    trace_id: Arc<str>,
    comment: Arc<Comment>,
    deadline: Moment,
    id: DeliveryId,
    machine: Machine,
    /// When its first attempt began: wall time, in milliseconds since 1970.
    began_ms: Option<u64>,
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
    /// The answer that nothing was sent, until the ledger has said that nothing stands under the key either.
    unread: Option<Answer>,
    /// How long that may take: as long past the deadline as a settling.
    read_by: Moment,
    /// Whether riders know it as one that only looks.
    is_shown_only_looking: bool,
    /// The settling that is being recorded, and how often that has failed.
    settling: Option<(Settling, u32)>,
    /// The last attempt's; none before the first.
    gate: Option<Arc<Gate>>,
    under_way: UnderWay,
    events: VecDeque<Event>,
    answered: bool,
    /// Whether the caller has hung up: nothing new may be sent, whatever turns out to be known of the key.
    caller_is_gone: bool,
    /// Until when somebody who rides along waits for what its looks find.
    awaited_until: Moment,
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
    run.machine = Machine::new(run.plan(Vec::new(), true));
    let ending = async {
        // A key that is known needs no provider, so it shouldn't wait for one.
        if !run.key_is_clear && run.would_wait() && run.is_answered_from_record().await {
            return Ending::Over;
        }
        run.go().await
    }
    .instrument(span)
    .await;
    run.keep_window();
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
    let landing = Landing { flights: &flights.flights, key: record.key.clone(), flight: Arc::clone(&flight) };
    let span = tracing::debug_span!("lookup", trace_id = %record.trace_id, id = %record.id);
    let now = inner.clock.now();
    let mut run =
        Run::new(inner, flight, record.id, record.key.clone(), record.trace_id.clone(), comment, now);
    run.seat = Some(seat);
    run.adopt(&record, false);
    run.publish(Delivered::Told(Arc::new(Told::from_record(&record))));
    let ending = run.go().instrument(span).await;
    drop(landing);
    if ending == Ending::Leaves {
        flights.backlog.add([run.id]);
    }
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
        let read_by = inner.clock.now().max(deadline) + GRACE;
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
            began_ms: None,
            opened: false,
            key_is_clear: false,
            replays: false,
            link: 0,
            attempts: Vec::new(),
            skipped: Vec::new(),
            lane: None,
            unread: None,
            read_by,
            is_shown_only_looking: false,
            settling: None,
            gate: None,
            under_way: UnderWay::default(),
            events: VecDeque::from([Event::Start]),
            answered: false,
            caller_is_gone: false,
            awaited_until: Moment::START,
            room: None,
            seat: None,
        }
    }

    fn plan(&self, earlier: Vec<EarlierAttempt>, has_caller: bool) -> Plan {
        Plan {
            chain: self.inner.links.providers().iter().map(|provider| provider.rules()).collect(),
            deadline: self.deadline,
            grace: GRACE,
            earlier,
            seed: self.id.seed(),
            has_caller,
        }
    }

    /// Goes on with a delivery that the ledger knows.
    fn adopt(&mut self, record: &DeliveryRecord, has_caller: bool) {
        let has_caller = has_caller && (!self.caller_is_gone || is_off(RuleSwitch::NothingIsSentForNobody));
        self.lane = None;
        self.unread = None;
        self.skipped.clear();
        let started = self.inner.windows.started(record.id);
        let earlier = record.attempts.iter().enumerate().map(|(index, attempt)| EarlierAttempt {
            link: self.inner.links.leading_to(&attempt.destination),
            verdict: attempt.settled().cloned().unwrap_or_else(interrupted),
            started: started.get(index).copied().flatten(),
            was_sent: attempt.was_sent(),
        });
        let earlier: Vec<EarlierAttempt> = earlier.collect();
        let verdicts = earlier.iter().map(|earlier| Some(earlier.verdict.clone()));
        let names = record.attempts.iter().map(|attempt| attempt.destination.provider);
        self.attempts = names.zip(verdicts).collect();
        self.id = record.id;
        self.began_ms = Some(record.created_ms);
        self.trace_id.clone_from(&record.trace_id);
        self.opened = true;
        self.machine = Machine::new(self.plan(earlier, has_caller));
        self.events.push_back(Event::Start);
    }

    /// Whether the first link can't be tried at once, or only by one delivery, which should be one that will be sent.
    fn would_wait(&self) -> bool {
        let Some(rules) = self.inner.links.get(0).map(|provider| provider.rules()) else { return true };
        let now = self.inner.clock.now();
        let is_shut = || self.inner.links.decide(|shared| shared.obstacle(0, now).is_some());
        rules.queues
            || self.deadline.since(now) < rules.min_useful
            || (self.inner.links.is_half_open(0, now) && is_on(RuleSwitch::TrialsAreGivenBack))
            || is_shut()
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
            self.tell_unread();
            let only_looking = self.machine.is_only_looking();
            if (self.machine.is_over() && self.unread.is_none()) || (only_looking && drain.is_cancelled()) {
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
                // First: what the caller's hang-up forbids isn't begun.
                command = flight.commands.recv() => match command {
                    Command::CallerGone => {
                        self.caller_is_gone = true;
                        Back::Event(Event::CallerGone)
                    }
                    Command::AnswerNow => {
                        let now = self.inner.clock.now();
                        self.deadline = self.deadline.min(now);
                        self.read_by = self.read_by.min(now + GRACE);
                        Back::Event(Event::AnswerNow)
                    }
                    Command::LookNow(until) => {
                        self.awaited_until = self.awaited_until.max(until);
                        Back::Event(Event::LookNow)
                    }
                    Command::Resolved if only_looking => {
                        self.answer_by_record().await;
                        return Ending::Over;
                    }
                    Command::HandOver if only_looking => {
                        self.arrive();
                        self.flight.progress.send_modify(|progress| progress.handed_over = true);
                        return Ending::Leaves;
                    }
                    // Another attempt has begun since.
                    Command::Resolved | Command::HandOver => continue,
                },
                back = self.under_way.next() => back,
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

    /// Keeps when its attempts began, where a caller that comes again may have it sent again.
    fn keep_window(&self) {
        if let Some(until) = self.machine.repeats_until() {
            self.inner.windows.keep(self.id, self.machine.started(), until, self.inner.clock.now());
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
        if only_looking == self.is_shown_only_looking {
            return;
        }
        self.is_shown_only_looking = only_looking;
        let repeats_until = self.machine.repeats_until();
        self.flight.progress.send_modify(|progress| {
            progress.only_looking = only_looking;
            progress.repeats_until = repeats_until;
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
                self.key_is_read(found.is_ok());
                Event::IntentFailed
            }
            Back::Read(Ok(Some(record))) => return self.answer_from(&record),
            Back::Read(found) => {
                self.key_is_read(found.is_ok());
                return false;
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
        // Nobody waits for this flight's own answer any more, but others may have joined it.
        self.answered |= event == Event::CallerGone;
        self.events.push_back(event);
        false
    }

    /// Takes in whether the ledger could say that nothing stands under the key.
    fn key_is_read(&mut self, is_clear: bool) {
        self.key_is_clear = is_clear;
        if !is_clear {
            // It won't say so any more.
            self.read_by = self.inner.clock.now();
        }
    }

    fn intent_is_durable(&mut self) -> Event {
        failpoint::reach(Failpoint::AfterIntent);
        let name = self.inner.links.get(self.link).map_or(ProviderName::Mock, |provider| provider.name());
        self.attempts.push((name, None));
        Event::IntentRecorded
    }

    fn key_is_known(&mut self, record: &DeliveryRecord) -> bool {
        match keyed::rule(record, &self.flight.fingerprint) {
            KeyRule::Reused => self.publish(Delivered::KeyReused(Some(Arc::new(Told::from_record(record))))),
            KeyRule::Replay => self.publish(Delivered::Told(Arc::new(Told::from_record(record)))),
            KeyRule::LookUp if record.is_open() => {
                // Nobody has it in flight, so nobody will end it any more.
                let (inner, record) = (Arc::clone(&self.inner), record.clone());
                self.under_way.ledger =
                    Some(Box::pin(async move { Back::Found(inner.interrupt(record).await.map(Some)) }));
                return false;
            }
            known @ (KeyRule::TryAfresh | KeyRule::LookUp) => {
                self.replays = known == KeyRule::LookUp;
                self.adopt(record, true);
                return false;
            }
        }
        true
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
                let now = self.inner.clock.now();
                let has_only_waited = |gate: &Arc<Gate>| cancelled && gate.has_only_waited(FAIR_TIME, now);
                self.events.push_back(if self.gate.as_ref().is_some_and(has_only_waited) {
                    Event::Ended(not_sent_in_time().uncounted())
                } else {
                    Event::Cancelled(cancelled)
                });
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
        failpoint::reach(Failpoint::BeforeIntent);
        let Some(provider) = self.inner.links.get(link) else { return };
        self.link = link;
        let started_ms = self.inner.clock.unix_ms();
        self.began_ms.get_or_insert(started_ms);
        let intent = AttemptRecord {
            number: number(attempt),
            destination: Arc::clone(provider.destination()),
            marker: provider.marker(self.id),
            started_ms,
            verdict: None,
            resolution: None,
        };
        let inner = Arc::clone(&self.inner);
        let id = self.id;
        if self.opened {
            self.under_way.ledger =
                Some(Box::pin(async move { Back::Intended(inner.intend(id, intent).await) }));
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
        self.under_way.ledger = Some(Box::pin(async move { Back::Opened(inner.open(opening).await) }));
    }

    fn job(&self, attempt: usize) -> ProviderJob {
        ProviderJob {
            id: self.id,
            comment: Arc::clone(&self.comment),
            trace_id: self.trace_id.clone(),
            attempt: number(attempt),
            began_ms: self.began_ms,
            deadline: self.deadline,
        }
    }

    fn queue(&mut self, link: usize) {
        let Some(provider) = self.inner.links.get(link).cloned() else { return };
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        let job = self.job(self.attempts.len());
        self.under_way.queue = Some(Box::pin(async move {
            let lane = lanes.enter().await;
            match provider.reserve_slot(&job).await {
                Ok(turn) => Back::Lane(link, lane.with(turn)),
                Err(verdict) => Back::Event(Event::NoTurn { link, verdict: *verdict }),
            }
        }));
    }

    fn send(&mut self, attempt: usize, link: usize) {
        let Some(provider) = self.inner.links.get(link).cloned() else { return };
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        let lane = self.lane.take();
        self.replays = false;
        let job = self.job(attempt);
        let gate = Arc::new(Gate::new());
        self.gate = Some(Arc::clone(&gate));
        self.under_way.attempt = Some(Box::pin(async move {
            // Where there are lanes, the delivery has queued for this one already; it is free when this ends.
            let mut lane = match lane {
                Some(lane) => lane,
                None => lanes.enter().await,
            };
            lane.through(&gate);
            let trying = AssertUnwindSafe(provider.attempt(&job, &gate)).catch_unwind();
            let verdict = trying.await.unwrap_or_else(|_| broken(&gate));
            failpoint::reach(Failpoint::AfterEffect);
            Back::Event(Event::Ended(verdict))
        }));
    }

    fn look(&mut self, attempt: usize, link: usize) {
        let Some(provider) = self.inner.links.get(link).cloned() else { return };
        let job = self.job(attempt);
        let verdict = self.attempts.get(attempt).and_then(|(_, verdict)| verdict.as_ref());
        let receipt = verdict.filter(|verdict| verdict.comment_id_is_ours);
        let receipt = receipt.map(|verdict| verdict.comment_id.clone()).unwrap_or_default();
        let Some(lanes) = self.inner.links.lanes(link).cloned() else { return };
        let inner = Arc::clone(&self.inner);
        let is_awaited = !self.answered || inner.clock.now() < self.awaited_until;
        self.under_way.look = Some(Box::pin(async move {
            let _turn = inner.looks.turn(inner.clock, is_awaited).await;
            let _lane = lanes.enter().await;
            let began = inner.clock.now();
            let finding = AssertUnwindSafe(provider.lookup(&job, &receipt)).catch_unwind().await;
            let finding = finding.unwrap_or_else(|_| LookupResult::Failed("the provider failed".into()));
            inner.looks.note(job.id, &finding, inner.clock.unix_ms());
            Back::Event(Event::Looked(finding, began))
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
