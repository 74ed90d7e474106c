//! A ledger that couldn't record for a while, and can again: everything goes on by itself, without a restart.

use super::support::{
    Channel, Troubled, ask, becomes, destination, dispatcher, ends, id, opening, told, verdict, wait_for,
};
use commentd_contract::deliveries::ResolveRequest;
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_ledger::{Ledger, RecordFilter};
use commentd_sidecar::dispatch::Dispatcher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TWO_HOURS: Duration = Duration::from_secs(7200);
const SECOND: Duration = Duration::from_secs(1);

fn stage() -> (Arc<Channel>, Arc<Troubled>, Dispatcher) {
    let (channel, ledger) = (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new());
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
    (channel, ledger, dispatcher)
}

async fn only_record(ledger: &Troubled) -> commentd_delivery::record::DeliveryRecord {
    ledger.list(RecordFilter { limit: 9, ..RecordFilter::default() }).await.unwrap().remove(0)
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_settled_while_the_disk_was_full_is_settled_once_there_is_room() {
    let (channel, ledger, dispatcher) = stage();
    *channel.fills.lock().unwrap() = Some(Arc::clone(&ledger));
    let first = ask(&dispatcher, 1, SECOND).await;
    assert_eq!(told(&first).0, Outcome::Unknown, "what it came to isn't recorded");
    tokio::time::sleep(TWO_HOURS).await;
    assert!(only_record(&ledger).await.is_open());
    ledger.is_full.store(false, Ordering::SeqCst);
    wait_for("the delivery to be settled", || async { !only_record(&ledger).await.is_open() }).await;
    assert_eq!(only_record(&ledger).await.outcome(), Outcome::Delivered);
    assert_eq!(told(&ask(&dispatcher, 1, SECOND).await), (Outcome::Delivered, true));
    assert_eq!(channel.attempts.lock().unwrap().len(), 1);
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_lookup_found_while_the_disk_was_full_is_recorded_once_there_is_room() {
    let (channel, ledger, dispatcher) = stage();
    let here = destination(ProviderName::NativeHttp, "http://c");
    ledger.open(opening(1, here)).await.unwrap();
    ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
    channel.stores(id(1), "c-1");
    dispatcher.recover().await.unwrap();
    ledger.is_full.store(true, Ordering::SeqCst);
    wait_for("a look", || async { channel.looks() > 0 }).await;
    tokio::time::sleep(TWO_HOURS).await;
    ledger.is_full.store(false, Ordering::SeqCst);
    becomes(&(Arc::clone(&ledger) as Arc<dyn Ledger>), 1, Outcome::Delivered).await;
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_looked_up_once_it_can_be() {
    let (channel, ledger, dispatcher) = stage();
    let here = destination(ProviderName::NativeHttp, "http://c");
    ledger.open(opening(1, here)).await.unwrap();
    ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
    channel.stores(id(1), "c-1");
    ledger.is_unreadable.store(true, Ordering::SeqCst);
    dispatcher.recover().await.unwrap();
    tokio::time::sleep(TWO_HOURS).await;
    assert_eq!(channel.looks(), 0);
    ledger.is_unreadable.store(false, Ordering::SeqCst);
    becomes(&(Arc::clone(&ledger) as Arc<dyn Ledger>), 1, Outcome::Delivered).await;
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_nobody_will_end_any_more_is_a_persons_to_settle_and_is_looked_up_when_asked_for() {
    for asks in [false, true] {
        let (channel, ledger, dispatcher) = stage();
        // As the end of a delivery's task by a fault of ours leaves it: open, and nobody has it in flight.
        ledger.open(opening(1, destination(ProviderName::NativeHttp, "http://c"))).await.unwrap();
        if asks {
            channel.stores(id(1), "c-1");
            assert_eq!(told(&ask(&dispatcher, 1, SECOND).await).0, Outcome::Delivered);
        } else {
            let said =
                ResolveRequest { outcome: Outcome::Delivered, comment_id: String::new(), by: "Ann".into() };
            assert_eq!(dispatcher.resolve(id(1), &said).await.unwrap().outcome(), Outcome::Delivered);
        }
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}
