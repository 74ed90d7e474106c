//! A flight in the hands of the request that started it.

use super::Delivered;
use super::flights::{Command, Flight};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Flies a delivery in its caller's own task, until the caller has its answer: no thread has to wake another for
/// it. What is still to be done then, or when the caller hangs up, is done by a task of its own.
pub(super) struct Aloft<'a> {
    flight: Arc<Flight>,
    /// `None` once it has landed, or somebody else sees to it.
    flying: Option<BoxFuture<'static, ()>>,
    tasks: &'a TaskTracker,
}

impl<'a> Aloft<'a> {
    /// A panic of the flight ends the flight, and not its caller.
    pub(super) fn new(
        flight: Arc<Flight>,
        flying: impl Future<Output = ()> + Send + 'static,
        tasks: &'a TaskTracker,
    ) -> Self {
        let flying = AssertUnwindSafe(flying).catch_unwind().map(drop).boxed();
        Self { flight, flying: Some(flying), tasks }
    }

    fn hand_over(&mut self) {
        let Some(flying) = self.flying.take() else { return };
        // Without a runtime the process is ending; what this leaves open, the next start finds in the ledger.
        if Handle::try_current().is_ok() {
            self.tasks.spawn(flying);
        }
    }
}

impl Future for Aloft<'_> {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        let has_landed = match &mut self.flying {
            None => true,
            Some(flying) => flying.as_mut().poll(cx).is_ready(),
        };
        if has_landed {
            self.flying = None;
        }
        let answer = self.flight.progress.answer();
        match answer {
            Some(answer) => {
                self.hand_over();
                Poll::Ready(answer)
            }
            None if has_landed => Poll::Ready(Delivered::Broken),
            None => Poll::Pending,
        }
    }
}

impl Drop for Aloft<'_> {
    fn drop(&mut self) {
        if self.flying.is_some() {
            self.flight.commands.send(Command::CallerGone);
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::flights::{Flights, Seat};
    use commentd_delivery::record::KeyRef;
    use commentd_delivery::{Comment, Fingerprint};
    use tokio::sync::oneshot;

    fn started() -> Arc<Flight> {
        let key = KeyRef { caller: String::new(), key: "k".into(), item: 0 };
        let fingerprint: Fingerprint = Comment::default().fingerprint(1);
        match Flights::default().join(&key, fingerprint) {
            Seat::Pilot(flight) => flight,
            _ => panic!("nobody else flies"),
        }
    }

    fn answer(flight: &Flight) {
        flight.progress.send_modify(|progress| progress.answer = Some(Delivered::NotRecorded("said".into())));
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_is_reported_and_the_flight_goes_on_without_it() {
        let flight = started();
        let (landed, lands) = oneshot::channel();
        let tasks = TaskTracker::new();
        let flying = {
            let flight = Arc::clone(&flight);
            async move {
                assert_eq!(flight.commands.recv().await, Command::CallerGone);
                landed.send(()).unwrap();
            }
        };
        let mut aloft = Box::pin(Aloft::new(flight, flying, &tasks));
        assert!((&mut aloft).now_or_never().is_none());
        drop(aloft);
        lands.await.expect("it goes on");
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_is_left_after_the_answer_is_done_and_the_drain_waits_for_it() {
        let flight = started();
        let tasks = TaskTracker::new();
        tasks.close();
        let (go_on, goes_on) = oneshot::channel::<()>();
        let flying = {
            let flight = Arc::clone(&flight);
            async move {
                answer(&flight);
                let _ = goes_on.await;
            }
        };
        let delivered = Aloft::new(Arc::clone(&flight), flying, &tasks).await;
        assert!(matches!(delivered, Delivered::NotRecorded(said) if said == "said"));
        assert!(flight.commands.recv().now_or_never().is_none(), "a caller with an answer isn't gone");
        let mut drained = Box::pin(tasks.wait());
        assert!((&mut drained).now_or_never().is_none());
        go_on.send(()).unwrap();
        drained.await;
    }

    #[tokio::test]
    async fn a_flight_that_panics_leaves_its_caller_alone() {
        let flight = started();
        let tasks = TaskTracker::new();
        let delivered = Aloft::new(flight, async { panic!("on purpose") }, &tasks).await;
        assert!(matches!(delivered, Delivered::Broken));
        assert!(tasks.is_empty());
    }
}
