//! What a caller gets that asks again for what is unknown: the rest of its time is spent to make it certain.

use super::support::{
    Channel, Does, Troubled, ask, destination, dispatcher, ends, id, opening, told, verdict, wait_for,
};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_ledger::Ledger;
use commentd_sidecar::dispatch::Dispatcher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const EIGHT_SECONDS: Duration = Duration::from_secs(8);
const SHORT: Duration = Duration::from_millis(30);

fn stage() -> (Arc<Channel>, Arc<Troubled>, Dispatcher) {
    let (channel, ledger) = (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new());
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
    (channel, ledger, dispatcher)
}

/// Asks with eight seconds left, and lets the channel be there again after it has looked in vain twice.
async fn ask_until_the_channel_is_back(dispatcher: &Dispatcher, channel: &Channel) -> Outcome {
    let before = channel.looks();
    let coming_back = async {
        wait_for("two looks in vain", || async { channel.looks() >= before + 2 }).await;
        channel.is_away.store(false, Ordering::SeqCst);
    };
    let (delivered, ()) = tokio::join!(ask(dispatcher, 1, EIGHT_SECONDS), coming_back);
    told(&delivered).0
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_waits_with_the_look_in_the_background_until_it_is_certain() {
    let (channel, _, dispatcher) = stage();
    *channel.does.lock().unwrap() = Does::StoreSilently;
    channel.is_away.store(true, Ordering::SeqCst);
    assert_eq!(told(&ask(&dispatcher, 1, SHORT).await).0, Outcome::Unknown);
    // Long enough for the looks to be far apart.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(dispatcher.in_flight(), 1, "it is still looked up");
    assert_eq!(ask_until_the_channel_is_back(&dispatcher, &channel).await, Outcome::Delivered);
    assert_eq!(channel.attempts.lock().unwrap().len(), 1);
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_nobody_looks_for_waits_until_it_is_certain() {
    for queues in [false, true] {
        let (channel, ledger, dispatcher) = stage();
        channel.queues.store(queues, Ordering::SeqCst);
        ledger.open(opening(1, destination(ProviderName::NativeHttp, "http://c"))).await.unwrap();
        ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        channel.stores(id(1), "c-1");
        channel.is_away.store(true, Ordering::SeqCst);
        assert_eq!(ask_until_the_channel_is_back(&dispatcher, &channel).await, Outcome::Delivered);
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_turns_out_not_to_be_there_while_somebody_waits_is_sent_in_the_time_that_is_left() {
    let (channel, _, dispatcher) = stage();
    *channel.does.lock().unwrap() = Does::Lose;
    channel.is_away.store(true, Ordering::SeqCst);
    assert_eq!(told(&ask(&dispatcher, 1, SHORT).await).0, Outcome::Unknown);
    *channel.does.lock().unwrap() = Does::Deliver;
    assert_eq!(ask_until_the_channel_is_back(&dispatcher, &channel).await, Outcome::Delivered);
    assert_eq!(channel.attempts.lock().unwrap().len(), 2);
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_again_within_the_channels_deduplication_has_it_sent_again() {
    let (channel, _, dispatcher) = stage();
    *channel.deduplicates_within.lock().unwrap() = Some(Duration::from_secs(60));
    *channel.does.lock().unwrap() = Does::Lose;
    channel.is_away.store(true, Ordering::SeqCst);
    assert_eq!(told(&ask(&dispatcher, 1, SHORT).await).0, Outcome::Unknown);
    let before = channel.attempts.lock().unwrap().len();
    *channel.does.lock().unwrap() = Does::Deliver;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(told(&ask(&dispatcher, 1, EIGHT_SECONDS).await), (Outcome::Delivered, false));
    assert_eq!(channel.attempts.lock().unwrap().len(), before + 1);
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_again_after_the_channels_deduplication_has_nothing_sent() {
    let (channel, _, dispatcher) = stage();
    *channel.deduplicates_within.lock().unwrap() = Some(Duration::from_secs(60));
    *channel.does.lock().unwrap() = Does::Lose;
    channel.is_away.store(true, Ordering::SeqCst);
    assert_eq!(told(&ask(&dispatcher, 1, SHORT).await).0, Outcome::Unknown);
    let before = channel.attempts.lock().unwrap().len();
    // The window is open when it is asked for, and closes before its deadline.
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(told(&ask(&dispatcher, 1, EIGHT_SECONDS).await).0, Outcome::Unknown);
    assert_eq!(channel.attempts.lock().unwrap().len(), before);
    dispatcher.drain().await;
}
