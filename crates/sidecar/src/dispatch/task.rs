//! The task of one delivery: performs what its machine asks for, and reports what came of it. Nothing is decided here.

use super::admission::AdmissionPermit;
use super::chain::ProviderPermit;
use super::in_flight::{InFlightDelivery, InFlightGuard};
use super::lookups::LookupPermit;
use super::order::Order;
use super::pending::{Completion, Pending};
use super::state::DispatcherState;
use commentd_contract::{Code, Outcome, VerdictKind};
use commentd_delivery::gate::OwnWait;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, Resolution, ResolvedBy};
use commentd_delivery::reply::{DeliverError, DeliveryResult};
use commentd_delivery::step::{Action, Ending, Event, Notice, Plan, SettleFailure};
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use commentd_ledger::{AttemptEnd, FindBy, LedgerError, Opened, Opening, Settled, Settling};
use commentd_providers::ProviderJob;
use commentd_providers::failpoint::{self, Failpoint};
use futures_util::FutureExt;
use std::future::Future;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument, Span};

/// How long after the deadline a settling may still be waited for.
const GRACE: Duration = Duration::from_millis(20);

struct DeliveryTask {
    state: Arc<DispatcherState>,
    delivery: Arc<InFlightDelivery>,
    key: KeyRef,
    comment: Arc<Comment>,
    machine: Machine,
    pending: Pending,
    /// When its first attempt began: wall time, in milliseconds since 1970.
    began_ms: Option<u64>,
    /// The last attempt's; none before the first.
    gate: Option<Arc<Gate>>,
    /// What the delivery has queued for, until an attempt takes it.
    provider_permit: Option<ProviderPermit>,
    admission: Option<AdmissionPermit>,
    lookup_permit: Option<LookupPermit>,
}

/// Runs an order's delivery.
pub(super) async fn lead(state: Arc<DispatcherState>, delivery: Arc<InFlightDelivery>, order: Order) {
    let shared = Arc::clone(&state);
    let guard =
        InFlightGuard { table: &shared.in_flight, key: order.key.clone(), delivery: Arc::clone(&delivery) };
    let id = match state.ids.fresh() {
        Ok(id) => id,
        Err(reason) => {
            let reply = Err(DeliverError::NotRecorded(reason));
            return delivery.progress.update(|progress| progress.reply = Some(reply));
        }
    };
    // A span for each delivery costs as much as its machine, so what is logged above debug names its ids itself.
    let span = tracing::debug_span!("delivery", trace_id = %order.trace_id, id = %id);
    let plan = Plan {
        id,
        trace_id: order.trace_id,
        fingerprint: delivery.fingerprint,
        chain: state.chain.rules(),
        deadline: order.deadline,
        grace: GRACE,
        key_is_new: order.key_is_made,
        known: None,
        has_caller: true,
    };
    let mut task = DeliveryTask::new(state, delivery, order.key, Arc::new(order.comment), plan);
    task.admission = Some(order.permit);
    task.run_to_the_end(guard, span).await;
}

/// Looks up what an earlier process left unknown.
pub(super) async fn look_up(
    state: Arc<DispatcherState>,
    delivery: Arc<InFlightDelivery>,
    record: DeliveryRecord,
    comment: Arc<Comment>,
    permit: LookupPermit,
) {
    let shared = Arc::clone(&state);
    let guard =
        InFlightGuard { table: &shared.in_flight, key: record.key.clone(), delivery: Arc::clone(&delivery) };
    let span = tracing::debug_span!("lookup", trace_id = %record.trace_id, id = %record.id);
    let plan = Plan {
        id: record.id,
        trace_id: Arc::clone(&record.trace_id),
        fingerprint: record.fingerprint,
        chain: state.chain.rules(),
        deadline: state.clock.now(),
        grace: GRACE,
        key_is_new: false,
        known: Some(Box::new(state.known(&record))),
        has_caller: false,
    };
    let mut task = DeliveryTask::new(state, delivery, record.key, comment, plan);
    task.lookup_permit = Some(permit);
    task.run_to_the_end(guard, span).await;
}

impl DeliveryTask {
    fn new(
        state: Arc<DispatcherState>,
        delivery: Arc<InFlightDelivery>,
        key: KeyRef,
        comment: Arc<Comment>,
        plan: Plan,
    ) -> Self {
        Self {
            state,
            delivery,
            key,
            comment,
            machine: Machine::new(plan),
            pending: Pending::default(),
            began_ms: None,
            gate: None,
            provider_permit: None,
            admission: None,
            lookup_permit: None,
        }
    }

    async fn run_to_the_end(mut self, guard: InFlightGuard<'_>, span: Span) {
        let ending = self.run().instrument(span).await;
        let Self { state, machine, .. } = self;
        // A caller that comes again may have it sent again.
        if let Some(until) = machine.repeats_until() {
            state.windows.keep(machine.id(), machine.started(), until, state.clock.now());
        }
        // In this order: the backlog leaves alone what is in flight.
        drop(guard);
        match ending {
            Ending::Over => {}
            Ending::ToBacklog | Ending::HandedOver => state.backlog.add([machine.id()]),
        }
    }

    async fn run(&mut self) -> Ending {
        let (state, delivery) = (Arc::clone(&self.state), Arc::clone(&self.delivery));
        let mut event = Event::Start;
        loop {
            if state.drain.is_on()
                && !self.machine.is_draining()
                && let ControlFlow::Break(ending) = self.step(Event::Drain)
            {
                return ending;
            }
            if let ControlFlow::Break(ending) = self.step(event) {
                return ending;
            }
            event = tokio::select! {
                // In this order, and not in a random one, so that a simulation can replay it.
                biased;
                // First: what the caller's hang-up forbids isn't begun.
                event = delivery.events.recv() => event,
                completion = self.pending.next() => self.event_of(completion),
                // What is still to be sent hears of the drain with its next event: waiting for it costs a lock.
                () = state.drain.wait(), if self.machine.is_only_lookups() => Event::Drain,
            };
        }
    }

    /// One step of the machine, and those that follow from it at once.
    fn step(&mut self, event: Event) -> ControlFlow<Ending> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let (machine, now) = (&mut self.machine, self.state.clock.now());
            let actions = self.state.chain.decide(|health| machine.step(event, now, health));
            for action in actions {
                next = self.perform(action)?.or(next);
            }
        }
        ControlFlow::Continue(())
    }

    fn event_of(&mut self, completion: Completion) -> Event {
        match completion {
            Completion::Permit(provider, permit) => {
                self.provider_permit = Some(permit);
                Event::PermitGranted { provider }
            }
            Completion::Event(event) => event,
        }
    }

    /// Sets going what the action asks for. What is known at once is handed back.
    fn perform(&mut self, action: Action) -> ControlFlow<Ending, Option<Event>> {
        match action {
            Action::ReadKey => self.read(FindBy::Key(self.key.clone())),
            Action::ReadDelivery(id) => self.read(FindBy::Id(id)),
            Action::CloseOpenAttempts(id) => self.close_open_attempts(id),
            Action::Queue { provider } => self.queue(provider),
            Action::LeaveQueue => {
                self.pending.queue = None;
                self.provider_permit = None;
            }
            Action::Skip { provider, verdict } => {
                tracing::debug!(provider, message = %verdict.message, "skipped");
            }
            Action::RecordIntent { attempt, provider, claims_key } => {
                self.record_intent(attempt, provider, claims_key);
            }
            Action::Send { attempt, provider } => self.send(attempt, provider),
            Action::Cancel => return ControlFlow::Continue(Some(self.cancel())),
            Action::RecordSettling { attempt, verdict, resolves, known_at, after } => {
                self.record_settling(attempt, verdict, resolves, known_at, after);
            }
            Action::Wake(moment) => self.pending.wake_by(self.state.clock.instant(moment)),
            Action::LookUp { attempt, provider, receipt, awaited } => {
                self.look_up(attempt, provider, receipt, awaited);
            }
            Action::TakeLookupPermit => {
                self.lookup_permit = self.state.backlog.permit();
                self.admission = None;
                return ControlFlow::Continue(Some(Event::LookupPermit(self.lookup_permit.is_some())));
            }
            Action::Reply(reply) | Action::UpdateReply(reply) => self.publish(reply),
            Action::ShowProgress { only_lookups, repeats_until } => {
                self.delivery.progress.update(|progress| {
                    progress.only_lookups = only_lookups;
                    progress.repeats_until = repeats_until;
                });
            }
            Action::Log(notice) => self.log(&notice),
            Action::Finish(ending) => {
                self.delivery.progress.update(|progress| progress.handed_over = ending == Ending::HandedOver);
                return ControlFlow::Break(ending);
            }
        }
        ControlFlow::Continue(None)
    }

    fn publish(&self, reply: DeliveryResult) {
        self.delivery.progress.update(|progress| progress.reply = Some(reply));
    }

    fn ask_the_ledger(&mut self, operation: impl Future<Output = Event> + Send + 'static) {
        self.pending.ledger = Some(Box::pin(operation.map(Completion::Event)));
    }

    fn read(&mut self, find: FindBy) {
        let state = Arc::clone(&self.state);
        self.ask_the_ledger(async move {
            let found = state.ledger.find(find).await;
            state.what_is_known(found)
        });
    }

    fn close_open_attempts(&mut self, id: DeliveryId) {
        let state = Arc::clone(&self.state);
        self.ask_the_ledger(async move {
            let closed = match state.ledger.find(FindBy::Id(id)).await {
                Ok(Some(record)) => state.interrupt(record).await.map(Some),
                found => found,
            };
            state.what_is_known(closed)
        });
    }

    fn record_intent(&mut self, attempt: usize, provider: usize, claims_key: bool) {
        failpoint::reach(Failpoint::BeforeIntent);
        let Some(provider) = self.state.chain.get(provider) else { return };
        let id = self.machine.id();
        let started_ms = self.state.clock.unix_ms();
        self.began_ms.get_or_insert(started_ms);
        let intent = AttemptRecord {
            number: number(attempt),
            destination: Arc::clone(provider.destination()),
            marker: provider.marker(id),
            started_ms,
            verdict: None,
            resolution: None,
        };
        let state = Arc::clone(&self.state);
        if !claims_key {
            return self.ask_the_ledger(async move { after_intent(state.intend(id, intent).await) });
        }
        let opening = Opening {
            id,
            key: self.key.clone(),
            fingerprint: self.delivery.fingerprint,
            comment: Arc::clone(&self.comment),
            trace_id: Arc::clone(self.machine.trace_id()),
            intent,
        };
        self.ask_the_ledger(async move {
            match state.open(opening).await {
                Ok(Opened::Known(record)) => Event::KeyKnown(Box::new(state.known(&record))),
                opened => after_intent(opened.map(drop)),
            }
        });
    }

    fn record_settling(
        &mut self,
        attempt: usize,
        verdict: Verdict,
        resolves: bool,
        known_at: Moment,
        after: Duration,
    ) {
        let state = Arc::clone(&self.state);
        let waited = u64::try_from((state.clock.now() - known_at).as_millis()).unwrap_or(u64::MAX);
        let at_ms = state.clock.unix_ms().saturating_sub(waited);
        state.markers.note(&state.chain, &state.ledger, at_ms);
        tracing::debug!(verdict = %verdict.kind, message = %verdict.message, resolves, "attempt ended");
        let end = if resolves {
            AttemptEnd::Resolution(Resolution { by: ResolvedBy::Lookup, at_ms, verdict })
        } else {
            AttemptEnd::Verdict(verdict)
        };
        let settling = Settling { id: self.machine.id(), attempt: number(attempt), end, at_ms };
        self.ask_the_ledger(async move {
            // Even a wait for nothing would take a timer.
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            after_settling(state.ledger.settle(settling).await)
        });
    }

    fn job(&self, attempt: usize) -> ProviderJob {
        ProviderJob {
            id: self.machine.id(),
            comment: Arc::clone(&self.comment),
            trace_id: Arc::clone(self.machine.trace_id()),
            attempt: number(attempt),
            began_ms: self.machine.created_ms().or(self.began_ms),
            deadline: self.machine.deadline(),
        }
    }

    fn queue(&mut self, index: usize) {
        let Some(provider) = self.state.chain.get(index).cloned() else { return };
        let Some(concurrency) = self.state.chain.concurrency(index).cloned() else { return };
        let job = self.job(self.machine.attempts());
        self.pending.queue = Some(Box::pin(async move {
            let permit = concurrency.acquire().await;
            match provider.reserve_slot(&job).await {
                Ok(slot) => Completion::Permit(index, permit.with(slot)),
                Err(verdict) => Completion::Event(Event::NoSlot { provider: index, verdict: *verdict }),
            }
        }));
    }

    fn send(&mut self, attempt: usize, index: usize) {
        let Some(provider) = self.state.chain.get(index).cloned() else { return };
        let Some(concurrency) = self.state.chain.concurrency(index).cloned() else { return };
        let permit = self.provider_permit.take();
        let job = self.job(attempt);
        let gate = Arc::new(Gate::new());
        self.gate = Some(Arc::clone(&gate));
        self.pending.attempt = Some(Box::pin(async move {
            // Where they are limited, the delivery has queued for this one already; it is given back when this ends.
            let mut permit = match permit {
                Some(permit) => permit,
                None => concurrency.acquire().await,
            };
            permit.through(&gate);
            let trying = AssertUnwindSafe(provider.attempt(&job, &gate)).catch_unwind();
            let verdict = trying.await.unwrap_or_else(|_| broken(&gate));
            failpoint::reach(Failpoint::AfterEffect);
            Completion::Event(Event::AttemptEnded(verdict))
        }));
    }

    /// Closes the attempt's gate. An attempt that can't send any more is dropped.
    fn cancel(&mut self) -> Event {
        let Some(gate) = &self.gate else {
            return Event::Cancelled { unsent: true, own_wait: OwnWait::Never };
        };
        let unsent = gate.cancel();
        let own_wait = gate.own_wait();
        self.pending.attempt.take_if(|_| unsent);
        Event::Cancelled { unsent, own_wait }
    }

    fn look_up(&mut self, attempt: usize, index: usize, receipt: String, awaited: bool) {
        let Some(provider) = self.state.chain.get(index).cloned() else { return };
        let Some(concurrency) = self.state.chain.concurrency(index).cloned() else { return };
        let job = self.job(attempt);
        let state = Arc::clone(&self.state);
        self.pending.lookup = Some(Box::pin(async move {
            let _slot = state.lookups.slot(state.clock, awaited).await;
            let _permit = concurrency.acquire().await;
            let began = state.clock.now();
            let result = AssertUnwindSafe(provider.lookup(&job, &receipt)).catch_unwind().await;
            let result = result.unwrap_or_else(|_| LookupResult::Failed("the provider failed".into()));
            state.lookups.note(job.id, &result, state.clock.unix_ms());
            Completion::Event(Event::LookupDone(result, began))
        }));
    }

    fn log(&self, notice: &Notice) {
        let (id, trace_id) = (self.machine.id(), self.machine.trace_id());
        match notice {
            Notice::KeyMayBeKnown(error) => {
                tracing::error!(%id, %trace_id, %error, "the intent can't be recorded; the key may be known");
            }
            Notice::IntentFailed(error) => {
                tracing::error!(%id, %trace_id, %error, "the intent can't be recorded, so nothing is sent");
            }
            Notice::ClaimLost => tracing::warn!(
                %id,
                %trace_id,
                "the channel names a comment that another delivery has claimed"
            ),
            Notice::SettlesLater(error) => tracing::warn!(
                %id,
                %trace_id,
                %error,
                "the result can't be recorded yet; it is tried again until it is"
            ),
            Notice::SettledByOthers(reason) => {
                tracing::info!(%id, %trace_id, %reason, "the record was settled by somebody else");
            }
            Notice::NotSettled(error) => tracing::error!(
                %id,
                %trace_id,
                %error,
                "the result can't be recorded; it is unknown until a lookup settles it"
            ),
            Notice::SettledAfterReply(verdict, Outcome::NotSent) => tracing::warn!(
                %id,
                %trace_id,
                %verdict,
                "the comment turned out not to be there after its caller was answered; it is sent when the caller \
                 asks again with the same key"
            ),
            Notice::SettledAfterReply(verdict, outcome) => {
                tracing::info!(%id, %trace_id, %verdict, %outcome, "settled after the answer");
            }
        }
    }
}

impl DispatcherState {
    fn what_is_known(&self, found: Result<Option<DeliveryRecord>, LedgerError>) -> Event {
        match found {
            Ok(Some(record)) => Event::KeyKnown(Box::new(self.known(&record))),
            Ok(None) => Event::KeyFree,
            Err(_) => Event::KeyUnreadable,
        }
    }
}

fn after_intent(recorded: Result<(), LedgerError>) -> Event {
    match recorded {
        Ok(()) => {
            failpoint::reach(Failpoint::AfterIntent);
            Event::IntentRecorded
        }
        Err(error) => Event::IntentFailed(error.to_string()),
    }
}

fn after_settling(settled: Result<Settled, LedgerError>) -> Event {
    match settled {
        Ok(Settled::Recorded) => {
            failpoint::reach(Failpoint::AfterRecord);
            Event::Settled
        }
        Ok(Settled::ClaimLost) => Event::ClaimLost,
        Err(LedgerError::Conflict(reason)) => Event::SettleFailed(SettleFailure::Conflict, reason),
        Err(error @ (LedgerError::Busy | LedgerError::Failed(_))) => {
            Event::SettleFailed(SettleFailure::Transient, error.to_string())
        }
        Err(error) => Event::SettleFailed(SettleFailure::Permanent, error.to_string()),
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
