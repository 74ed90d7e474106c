//! A lookup's silence proves something only where a marker of ours was seen, and the ledger remembers where.

use super::support::{
    Channel, Does, Store, ask, becomes, destination, dispatcher, ends, id, opening, record, told, verdict,
    wait_for,
};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// The site may drop the commenter's link: then nothing is ever found, however often it is asked.
#[tokio::test]
async fn a_comment_is_not_taken_for_absent_where_no_marker_was_ever_seen() {
    for mut store in Store::each() {
        let new = || {
            let channel = Channel::new(ProviderName::NativeHttp, "http://here");
            channel.marker_seen.store(false, Ordering::SeqCst);
            channel
        };
        let here = destination(ProviderName::NativeHttp, "http://here");
        let ledger = store.ledger();
        for n in [1, 2] {
            ledger.open(opening(n, Arc::clone(&here))).await.unwrap();
            ledger.settle(ends(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        }
        let channel = new();
        let before = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(before.recover().await, Ok(2));
        // More looks, over more time, than a proof takes.
        wait_for("three looks each", || async { channel.looks() >= 6 }).await;
        for n in [1, 2] {
            assert_eq!(record(&ledger, n).await.outcome(), Outcome::Unknown);
        }
        assert!(before.last_lookup(id(1)).is_some_and(|look| look.finding == "not_found"));
        // Another comment comes back with its marker: now silence says something.
        assert_eq!(told(&ask(&before, 3, LONG).await), (Outcome::Delivered, false));
        becomes(&ledger, 1, Outcome::NotSent).await;
        before.drain().await;

        // The next process knows it from the ledger.
        drop((before, ledger));
        let ledger = store.reopened();
        let channel = new();
        *channel.does.lock().unwrap() = Does::Lose;
        let after = dispatcher(&[&channel], Arc::clone(&ledger));
        after.recover().await.unwrap();
        assert!(channel.marker_seen.load(Ordering::SeqCst), "the ledger remembers the place");
        becomes(&ledger, 2, Outcome::NotSent).await;
        // Another place is another matter.
        let elsewhere = Channel::new(ProviderName::NativeHttp, "http://there");
        elsewhere.marker_seen.store(false, Ordering::SeqCst);
        let there = dispatcher(&[&elsewhere], Arc::clone(&ledger));
        there.recover().await.unwrap();
        assert!(!elsewhere.marker_seen.load(Ordering::SeqCst));
        after.drain().await;
        there.drain().await;
    }
}

#[tokio::test]
async fn why_a_lookup_failed_is_kept_and_counted() {
    let [store, _] = Store::each();
    let channel = Channel::new(ProviderName::NativeHttp, "http://here");
    *channel.does.lock().unwrap() = Does::Lose;
    channel.is_away.store(true, Ordering::SeqCst);
    let dispatcher = dispatcher(&[&channel], store.ledger());
    let delivered = ask(&dispatcher, 1, Duration::from_millis(200)).await;
    let Ok(told) = delivered else { panic!("nobody was told") };
    assert_eq!(told.outcome, Outcome::Unknown);
    assert!(told.message.contains("could not be asked for it: away"), "{}", told.message);
    assert!(dispatcher.lookups().failed >= 1);
    let looked = dispatcher.last_lookup(told.id.unwrap()).expect("it was looked for");
    assert_eq!((looked.finding.as_str(), looked.said.contains("away")), ("failed", true));
    dispatcher.drain().await;
}
