//! The effects that a delivery waits for.

use super::chain::ProviderPermit;
use commentd_delivery::step::Event;
use futures_util::future::BoxFuture;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

/// What an effect came to.
pub(super) enum Completion {
    Event(Event),
    /// The permit of a provider that the delivery has queued for.
    Permit(usize, ProviderPermit),
}

/// The effects under way: at most one of each kind.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) ledger: Option<BoxFuture<'static, Completion>>,
    pub(super) queue: Option<BoxFuture<'static, Completion>>,
    pub(super) attempt: Option<BoxFuture<'static, Completion>>,
    pub(super) lookup: Option<BoxFuture<'static, Completion>>,
    pub(super) wake: Option<Pin<Box<Sleep>>>,
    /// Whether the clock has rung, and what was here by then isn't all taken in yet.
    has_rung: bool,
}

impl Pending {
    /// The next thing that completes; the clock goes first, so that nothing that always has more to do keeps a
    /// deadline waiting. Cancel safe: what is under way stays.
    pub(super) async fn next(&mut self) -> Completion {
        if !self.has_rung {
            tokio::select! {
                biased;
                () = end_of(&mut self.wake) => self.has_rung = true,
                completion = next_of(&mut self.ledger) => return completion,
                completion = next_of(&mut self.queue) => return completion,
                completion = next_of(&mut self.attempt) => return completion,
                completion = next_of(&mut self.lookup) => return completion,
            }
        }
        // Before the clock judges, what is here is taken in: the process may have been stopped meanwhile. Each is
        // asked once, so that none of them keeps the deadline waiting.
        for slot in [&mut self.ledger, &mut self.attempt, &mut self.lookup] {
            if let Poll::Ready(completion) = poll_once(slot).await {
                return completion;
            }
        }
        self.has_rung = false;
        Completion::Event(Event::Woken)
    }

    /// Wakes the delivery at this moment, or earlier: a machine that is woken early asks again. Most deliveries are over
    /// before the first of their moments, and then the others needn't be set.
    pub(super) fn wake_by(&mut self, at: Instant) {
        if self.wake.as_ref().is_none_or(|sleep| at < sleep.deadline()) {
            self.wake = Some(Box::pin(tokio::time::sleep_until(at)));
        }
    }
}

async fn end_of(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        None => std::future::pending().await,
        Some(ends) => {
            // However much of its turn the task has spent on other things, its own or other deliveries'.
            unconstrained(ends.as_mut()).await;
            *sleep = None;
        }
    }
}

async fn poll_once(slot: &mut Option<BoxFuture<'static, Completion>>) -> Poll<Completion> {
    let mut next = pin!(next_of(slot));
    poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await
}

async fn next_of(slot: &mut Option<BoxFuture<'static, Completion>>) -> Completion {
    match slot {
        None => std::future::pending().await,
        Some(future) => {
            let completion = future.as_mut().await;
            *slot = None;
            completion
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_contract::SystemClock;
    use commentd_delivery::{Clock, Moment};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_wakes_by_the_earliest_moment_that_it_was_told() {
        let clock = SystemClock::start();
        let moment = |ms| Moment::at(Duration::from_millis(ms));
        let mut pending = Pending::default();
        for ms in [50, 20, 40] {
            pending.wake_by(clock.instant(moment(ms)));
        }
        assert!(matches!(pending.next().await, Completion::Event(Event::Woken)));
        assert_eq!(clock.now(), moment(20));
        pending.wake_by(clock.instant(moment(40)));
        assert!(matches!(pending.next().await, Completion::Event(Event::Woken)));
        assert_eq!(clock.now(), moment(40));
    }
    /// A channel that never stops answering spends the whole turn of the task, in every turn.
    #[tokio::test]
    async fn work_that_always_has_more_to_do_keeps_no_deadline_waiting() {
        let clock = SystemClock::start();
        let busy = || -> BoxFuture<'static, Completion> {
            Box::pin(async {
                loop {
                    tokio::task::coop::consume_budget().await;
                }
            })
        };
        let mut pending = Pending { attempt: Some(busy()), lookup: Some(busy()), ..Pending::default() };
        pending.wake_by(clock.instant(Moment::at(Duration::from_millis(20))));
        let woken = tokio::time::timeout(Duration::from_secs(10), pending.next()).await;
        assert!(matches!(woken, Ok(Completion::Event(Event::Woken))), "the deadline never comes");
    }

    /// As after a stop of the whole process, in which both a reply and the deadline have come.
    #[tokio::test(start_paused = true)]
    async fn what_is_here_when_the_clock_rings_is_taken_in_first() {
        let clock = SystemClock::start();
        let (reply, replied) = tokio::sync::oneshot::channel::<()>();
        let mut pending = Pending {
            attempt: Some(Box::pin(async move {
                let _ = replied.await;
                Completion::Event(Event::Settled)
            })),
            ..Pending::default()
        };
        pending.wake_by(clock.instant(Moment::at(Duration::from_millis(20))));
        let mut next = Box::pin(pending.next());
        assert!(futures_util::poll!(&mut next).is_pending());
        tokio::time::advance(Duration::from_secs(10)).await;
        reply.send(()).unwrap();
        assert!(matches!(next.await, Completion::Event(Event::Settled)));
        assert!(matches!(pending.next().await, Completion::Event(Event::Woken)), "and then it rings");
    }
}
