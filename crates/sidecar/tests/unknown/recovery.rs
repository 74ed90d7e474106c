//! Every state that a crash can leave, and what the next start makes of it. Whatever the state, a start sends
//! nothing.

use super::support::{
    Channel, Store, ask, becomes, destination, dispatcher, ends, id, intent, opening, record, told, verdict,
    wait_for,
};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::record::{Resolution, ResolvedBy};
use commentd_ledger::{AttemptEnd, Ledger, Settling};
use std::sync::Arc;
use std::time::Duration;

const HERE: &str = "http://here";
const LONG: Duration = Duration::from_secs(20);

fn native() -> Arc<Channel> {
    Channel::new(ProviderName::NativeHttp, HERE)
}

fn here() -> std::sync::Arc<commentd_delivery::record::Destination> {
    destination(ProviderName::NativeHttp, HERE)
}

async fn unknown(ledger: &Arc<dyn Ledger>, n: u8) {
    ledger.open(opening(n, here())).await.unwrap();
    ledger.settle(ends(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
}

#[tokio::test]
async fn an_open_attempt_is_looked_up_and_found() {
    for mut store in Store::each() {
        let channel = native();
        store.ledger().open(opening(1, here())).await.unwrap();
        channel.stores(id(1), "c-1");
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(1));
        becomes(&ledger, 1, Outcome::Delivered).await;
        let record = record(&ledger, 1).await;
        assert_eq!(record.attempts[0].verdict, Some(commentd_delivery::record::interrupted()));
        let resolution = record.attempts[0].resolution.clone().unwrap();
        assert_eq!((resolution.by, resolution.verdict.comment_id.as_str()), (ResolvedBy::Lookup, "c-1"));
        assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Delivered, true));
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn an_open_attempt_that_left_nothing_is_sent_when_it_is_asked_for_again_and_not_before() {
    for mut store in Store::each() {
        let channel = native();
        store.ledger().open(opening(1, here())).await.unwrap();
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(1));
        becomes(&ledger, 1, Outcome::NotSent).await;
        assert!(channel.looks() >= 2, "absence takes two looks");
        assert!(channel.attempts.lock().unwrap().is_empty());
        wait_for("the flight to end", || async { dispatcher.in_flight() == 0 }).await;
        assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Delivered, false));
        assert_eq!(*channel.attempts.lock().unwrap(), [(id(1), 2)], "the same delivery, its next attempt");
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn the_intent_of_a_second_attempt_is_an_open_attempt_like_any_other() {
    for mut store in Store::each() {
        let channel = native();
        for n in [1, 2] {
            let ledger = store.ledger();
            ledger.open(opening(n, here())).await.unwrap();
            ledger.settle(ends(n, 1, verdict(VerdictKind::NotSent))).await.unwrap();
            ledger.intend(id(n), intent(2, here())).await.unwrap();
        }
        channel.stores(id(1), "c-1");
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(2));
        becomes(&ledger, 1, Outcome::Delivered).await;
        becomes(&ledger, 2, Outcome::NotSent).await;
        assert_eq!(record(&ledger, 1).await.attempts[0].resolution, None, "the first was certain");
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn after_a_crash_in_the_second_provider_only_the_second_is_asked() {
    for mut store in Store::each() {
        let (first, second) = (native(), Channel::new(ProviderName::RealHook, "pipe"));
        let at_second = destination(ProviderName::RealHook, "pipe");
        for (n, ended) in [(1, false), (2, true), (3, false)] {
            let ledger = store.ledger();
            ledger.open(opening(n, here())).await.unwrap();
            ledger.settle(ends(n, 1, verdict(VerdictKind::NotSent))).await.unwrap();
            ledger.intend(id(n), intent(2, at_second.clone())).await.unwrap();
            if ended {
                ledger.settle(ends(n, 2, verdict(VerdictKind::Unknown))).await.unwrap();
            }
        }
        second.stores(id(1), "c-1");
        second.stores(id(2), "c-2");
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&first, &second], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(3));
        becomes(&ledger, 1, Outcome::Delivered).await;
        becomes(&ledger, 2, Outcome::Delivered).await;
        becomes(&ledger, 3, Outcome::NotSent).await;
        assert_eq!(first.looks(), 0, "nothing was ever unknown there");
        for channel in [&first, &second] {
            assert!(channel.attempts.lock().unwrap().is_empty());
        }
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn a_settled_unknown_is_looked_up_by_marker_and_by_receipt() {
    for mut store in Store::each() {
        let channel = native();
        let ledger = store.ledger();
        unknown(&ledger, 1).await;
        ledger.open(opening(2, here())).await.unwrap();
        let mut with_receipt = verdict(VerdictKind::Unknown);
        with_receipt.comment_id = "r-2".into();
        with_receipt.comment_id_is_ours = true;
        ledger.settle(ends(2, 1, with_receipt)).await.unwrap();
        // An id that no echo proved is none to look for.
        ledger.open(opening(3, here())).await.unwrap();
        let mut unproved = verdict(VerdictKind::Unknown);
        unproved.comment_id = "r-3".into();
        ledger.settle(ends(3, 1, unproved)).await.unwrap();
        channel.stores(id(1), "c-1");
        channel.stores("r-2", "r-2");
        channel.stores("r-3", "r-3");
        drop(ledger);
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(3));
        becomes(&ledger, 1, Outcome::Delivered).await;
        becomes(&ledger, 2, Outcome::Delivered).await;
        becomes(&ledger, 3, Outcome::NotSent).await;
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn what_was_sent_elsewhere_stays_unknown_and_nobody_else_is_asked() {
    for mut store in Store::each() {
        let channel = native();
        let elsewhere = destination(ProviderName::NativeHttp, "http://elsewhere");
        store.ledger().open(opening(1, elsewhere)).await.unwrap();
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(1));
        assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Unknown, true));
        assert_eq!(channel.looks(), 0);
        assert_eq!(record(&ledger, 1).await.outcome(), Outcome::Unknown);
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

/// Without its target, a lookup would ask in the wrong place, find nothing twice, and call that a proof.
#[tokio::test]
async fn a_forgotten_comment_is_not_taken_for_absent() {
    for mut store in Store::each() {
        let channel = native();
        let ledger = store.ledger();
        unknown(&ledger, 1).await;
        ledger.forget(id(1)).await.unwrap();
        unknown(&ledger, 2).await;
        drop(ledger);
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(2));
        becomes(&ledger, 2, Outcome::NotSent).await;
        wait_for("the lookups to end", || async { dispatcher.in_flight() == 0 }).await;
        assert_eq!(record(&ledger, 1).await.outcome(), Outcome::Unknown);
        // Whoever brings the comment again lets it be looked up.
        channel.stores(id(1), "c-1");
        assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Delivered, true));
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn what_is_certain_is_left_alone() {
    for mut store in Store::each() {
        let channel = native();
        let ledger = store.ledger();
        for (n, kind) in [(1, VerdictKind::Delivered), (2, VerdictKind::Refused), (3, VerdictKind::NotSent)] {
            ledger.open(opening(n, here())).await.unwrap();
            ledger.settle(ends(n, 1, verdict(kind))).await.unwrap();
        }
        for (n, kind) in [(4, VerdictKind::Held), (5, VerdictKind::NotSent)] {
            unknown(&ledger, n).await;
            let resolution = Resolution { by: ResolvedBy::Lookup, at_ms: 3, verdict: verdict(kind) };
            let settling =
                Settling { id: id(n), attempt: 1, end: AttemptEnd::Resolution(resolution), at_ms: 3 };
            ledger.settle(settling).await.unwrap();
        }
        let mut before = Vec::new();
        for n in 1..=5 {
            before.push(record(&ledger, n).await);
        }
        drop(ledger);
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(0));
        for (n, before) in (1..).zip(&before) {
            assert_eq!(record(&ledger, n).await, *before);
        }
        assert_eq!(channel.looks(), 0);
        assert_eq!(told(&ask(&dispatcher, 4, LONG).await), (Outcome::Held, true));
        assert_eq!(told(&ask(&dispatcher, 5, LONG).await), (Outcome::Delivered, false));
        assert_eq!(*channel.attempts.lock().unwrap(), [(id(5), 2)]);
        dispatcher.drain().await;
    }
}

/// Two unknown attempts of one delivery: neither alone makes it certain that there is no comment.
#[tokio::test]
async fn of_two_unknown_attempts_both_must_be_absent() {
    for mut store in Store::each() {
        let channel = native();
        let ledger = store.ledger();
        unknown(&ledger, 1).await;
        ledger.intend(id(1), intent(2, here())).await.unwrap();
        drop(ledger);
        let ledger = store.reopened();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        assert_eq!(dispatcher.recover().await, Ok(1));
        becomes(&ledger, 1, Outcome::NotSent).await;
        let record = record(&ledger, 1).await;
        assert!(record.attempts.iter().all(|attempt| attempt.resolution.is_some()));
        assert!(channel.looks() >= 4);
        dispatcher.drain().await;
    }
}
