//! What becomes of a comment whose caller hangs up before it is sent: nothing may leave for nobody.

use super::support::{Channel, Troubled, ask, destination, dispatcher, ends, opening, verdict, wait_for};
use commentd_contract::{ProviderName, VerdictKind};
use commentd_ledger::Ledger;
use futures_util::FutureExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many attempts there were of a comment whose caller hung up while the ledger had these permits to give.
async fn attempts_after_a_hang_up(
    channel: &Arc<Channel>,
    ledger: &Arc<Troubled>,
    permits: &Semaphore,
) -> usize {
    let dispatcher = dispatcher(&[channel], Arc::clone(ledger) as Arc<dyn Ledger>);
    Troubled::hold(permits);
    let mut asking = Box::pin(ask(&dispatcher, 1, Duration::from_secs(20)));
    assert!((&mut asking).now_or_never().is_none(), "it waits for the ledger");
    drop(asking);
    // Whatever was told of the hang-up has been heard before the ledger answers, or after: both must do.
    permits.add_permits(100);
    wait_for("the delivery to end", || async { dispatcher.in_flight() == 0 }).await;
    dispatcher.drain().await;
    channel.attempts.lock().unwrap().len()
}

async fn known_not_sent(ledger: &Troubled) {
    ledger.open(opening(1, destination(ProviderName::NativeHttp, "http://c"))).await.unwrap();
    ledger.settle(ends(1, 1, verdict(VerdictKind::NotSent))).await.unwrap();
}

#[tokio::test]
async fn a_new_key_is_not_sent_after_its_caller_hung_up() {
    let (channel, ledger) = (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new());
    assert_eq!(attempts_after_a_hang_up(&channel, &ledger, &ledger.openings).await, 0);
}

#[tokio::test]
async fn a_key_known_as_not_sent_is_not_sent_after_its_caller_hung_up() {
    let (channel, ledger) = (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new());
    known_not_sent(&ledger).await;
    assert_eq!(attempts_after_a_hang_up(&channel, &ledger, &ledger.openings).await, 0);
}

#[tokio::test]
async fn a_key_that_is_read_first_is_not_sent_after_its_caller_hung_up() {
    let (channel, ledger) = (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new());
    channel.queues.store(true, Ordering::SeqCst);
    known_not_sent(&ledger).await;
    assert_eq!(attempts_after_a_hang_up(&channel, &ledger, &ledger.readings).await, 0);
}
