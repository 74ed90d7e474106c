//! How much is looked up at a time, and what that keeps others from.

use super::support::{
    Channel, Does, Store, ask, becomes, destination, dispatcher, ends, opening, record, told, verdict,
    wait_for,
};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::DeliveryId;
use commentd_delivery::record::KeyRef;
use commentd_ledger::{Opening, RecordFilter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn native() -> Arc<Channel> {
    Channel::new(ProviderName::NativeHttp, "http://here")
}

#[tokio::test]
async fn an_unknown_delivery_takes_no_room_of_those_that_are_to_be_sent() {
    let store = &Store::each()[0];
    let channel = native();
    let ledger = store.ledger();
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
    // There is room for two. Each of these stays unknown for good, because the channel can't be asked.
    *channel.does.lock().unwrap() = Does::Lose;
    channel.is_away.store(true, Ordering::SeqCst);
    // Six, because a seventh failure in a row would open the breaker.
    for n in 1..=6 {
        assert_eq!(told(&ask(&dispatcher, n, Duration::from_millis(30)).await).0, Outcome::Unknown);
        wait_for("room", || async { dispatcher.admit(2, dispatcher.hold(1).unwrap()).is_some() }).await;
        assert_eq!(dispatcher.in_flight(), usize::from(n), "it is still looked up");
    }
    dispatcher.drain().await;
}

#[tokio::test]
async fn more_than_there_are_seats_for_are_all_settled_in_their_turn() {
    const MANY: u64 = 3000;
    let store = &Store::each()[0];
    let ledger = store.ledger();
    let channel = native();
    for n in 0..MANY {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        let id = DeliveryId::from_bytes(bytes);
        let key = KeyRef { caller: String::new(), key: n.to_string().into(), item: 0 };
        let opening = opening(1, destination(ProviderName::NativeHttp, "http://here"));
        ledger.open(Opening { id, key, ..opening }).await.unwrap();
        channel.stores(id, &n.to_string());
    }
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
    assert_eq!(dispatcher.recover().await, Ok(3000));
    let unknown = || RecordFilter { outcome: Some(Outcome::Unknown), limit: 1, ..RecordFilter::default() };
    wait_for("all to be settled", || async {
        assert!(dispatcher.in_flight() <= 1024, "{} in flight", dispatcher.in_flight());
        ledger.list(unknown()).await.unwrap().is_empty()
    })
    .await;
    dispatcher.drain().await;
}

#[tokio::test]
async fn a_drain_leaves_lookups_to_the_next_start() {
    for mut store in Store::each() {
        let channel = native();
        let ledger = store.ledger();
        let here = destination(ProviderName::NativeHttp, "http://here");
        ledger.open(opening(1, here)).await.unwrap();
        ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        let first = dispatcher(&[&channel], Arc::clone(&ledger));
        first.recover().await.unwrap();
        wait_for("a look", || async { channel.looks() > 0 }).await;
        first.drain().await;
        drop((first, ledger));
        channel.stores(super::support::id(1), "c-1");
        let ledger = store.reopened();
        let second = dispatcher(&[&channel], Arc::clone(&ledger));
        second.recover().await.unwrap();
        becomes(&ledger, 1, Outcome::Delivered).await;
        assert!(!record(&ledger, 1).await.is_open());
        second.drain().await;
    }
}
