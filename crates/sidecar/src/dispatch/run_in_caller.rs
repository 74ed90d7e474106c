//! A delivery's task inside the task of the request that started it.

use super::in_flight::InFlightDelivery;
use commentd_delivery::reply::{DeliverError, DeliveryResult};
use commentd_delivery::step::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Runs a delivery in its caller's own task until the caller has its answer, so that no thread has to wake another for
/// it. What is still to be done then, or when the caller hangs up, is done by a task of its own.
pub(super) struct RunInCaller<'a> {
    delivery: Arc<InFlightDelivery>,
    /// `None` once it is over, or a task of its own runs it.
    running: Option<BoxFuture<'static, ()>>,
    tasks: &'a TaskTracker,
}

impl<'a> RunInCaller<'a> {
    /// A panic ends the delivery, and not its caller.
    pub(super) fn new(
        delivery: Arc<InFlightDelivery>,
        running: impl Future<Output = ()> + Send + 'static,
        tasks: &'a TaskTracker,
    ) -> Self {
        let running = AssertUnwindSafe(running).catch_unwind().map(drop).boxed();
        Self { delivery, running: Some(running), tasks }
    }

    fn hand_over(&mut self) {
        let Some(running) = self.running.take() else { return };
        // Without a runtime the process is ending; what this leaves open, the next start finds in the ledger.
        if Handle::try_current().is_ok() {
            self.tasks.spawn(running);
        }
    }
}

impl Future for RunInCaller<'_> {
    type Output = DeliveryResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DeliveryResult> {
        let is_over = match &mut self.running {
            None => true,
            Some(running) => running.as_mut().poll(cx).is_ready(),
        };
        if is_over {
            self.running = None;
        }
        let answer = self.delivery.progress.reply();
        match answer {
            Some(answer) => {
                self.hand_over();
                Poll::Ready(answer)
            }
            None if is_over => Poll::Ready(Err(DeliverError::Failed)),
            None => Poll::Pending,
        }
    }
}

impl Drop for RunInCaller<'_> {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.delivery.events.send(Event::CallerGone);
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::in_flight::{InFlight, Joined};
    use commentd_delivery::record::KeyRef;
    use commentd_delivery::{Comment, Fingerprint};
    use tokio::sync::oneshot;

    fn started() -> Arc<InFlightDelivery> {
        let key = KeyRef { caller: String::new(), key: "k".into(), item: 0 };
        let fingerprint: Fingerprint = Comment::default().fingerprint(1);
        match InFlight::default().join(&key, fingerprint) {
            Joined::Leader(delivery) => delivery,
            _ => panic!("there is no other"),
        }
    }

    fn answer(delivery: &InFlightDelivery) {
        delivery
            .progress
            .update(|progress| progress.reply = Some(Err(DeliverError::NotRecorded("said".into()))));
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_is_reported_and_the_flight_goes_on_without_it() {
        let delivery = started();
        let (ended, ends) = oneshot::channel();
        let tasks = TaskTracker::new();
        let running = {
            let delivery = Arc::clone(&delivery);
            async move {
                assert_eq!(delivery.events.recv().await, Event::CallerGone);
                ended.send(()).unwrap();
            }
        };
        let mut in_caller = Box::pin(RunInCaller::new(delivery, running, &tasks));
        assert!((&mut in_caller).now_or_never().is_none());
        drop(in_caller);
        ends.await.expect("it goes on");
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_is_left_after_the_answer_is_done_and_the_drain_waits_for_it() {
        let delivery = started();
        let tasks = TaskTracker::new();
        tasks.close();
        let (go_on, goes_on) = oneshot::channel::<()>();
        let running = {
            let delivery = Arc::clone(&delivery);
            async move {
                answer(&delivery);
                let _ = goes_on.await;
            }
        };
        let delivered = RunInCaller::new(Arc::clone(&delivery), running, &tasks).await;
        assert!(matches!(delivered, Err(DeliverError::NotRecorded(said)) if said == "said"));
        assert!(delivery.events.recv().now_or_never().is_none(), "a caller with an answer isn't gone");
        let mut drained = Box::pin(tasks.wait());
        assert!((&mut drained).now_or_never().is_none());
        go_on.send(()).unwrap();
        drained.await;
    }

    #[tokio::test]
    async fn a_flight_that_panics_leaves_its_caller_alone() {
        let delivery = started();
        let tasks = TaskTracker::new();
        let delivered = RunInCaller::new(delivery, async { panic!("on purpose") }, &tasks).await;
        assert!(matches!(delivered, Err(DeliverError::Failed)));
        assert!(tasks.is_empty());
    }
}
