//! A person's word about an unknown delivery, and what nobody may say.

use super::support::{
    Channel, Does, SETTLES_WITHIN, Store, ask, destination, dispatcher, ends, id, intent, opening, record,
    told, verdict, wait_for,
};
use commentd_channels::ListedComment;
use commentd_contract::deliveries::ResolveRequest;
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::record::ResolvedBy;
use commentd_delivery::{Clock, DeliveryId};
use commentd_ledger::{AttemptEnd, Settling};
use commentd_sidecar::dispatch::deliveries::Refused;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn says(outcome: Outcome, comment_id: &str) -> ResolveRequest {
    ResolveRequest { outcome, comment_id: comment_id.into(), by: "Ann".into() }
}

fn here() -> std::sync::Arc<commentd_delivery::record::Destination> {
    destination(ProviderName::NativeHttp, "http://here")
}

fn native() -> Arc<Channel> {
    Channel::new(ProviderName::NativeHttp, "http://here")
}

#[tokio::test]
async fn a_person_settles_what_is_unknown_and_the_caller_is_told_so() {
    for store in Store::each() {
        let (channel, ledger) = (native(), store.ledger());
        ledger.open(opening(1, here())).await.unwrap();
        ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        let resolved = dispatcher.resolve(id(1), &says(Outcome::Held, "7")).await.unwrap();
        assert_eq!(resolved.outcome(), Outcome::Held);
        let resolution = resolved.attempts[0].resolution.clone().unwrap();
        assert_eq!(resolution.by, ResolvedBy::Person { name: "Ann".into() });
        assert_eq!(resolution.verdict.comment_id, "7");
        assert!(resolution.at_ms > 0);
        assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Held, true));
        let again = dispatcher.resolve(id(1), &says(Outcome::NotSent, "")).await;
        assert!(matches!(again, Err(Refused::Conflict(_))), "certain things never change: {again:?}");
        assert!(channel.attempts.lock().unwrap().is_empty());
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn nobody_may_say_that_it_is_not_there_before_the_channel_has_settled() {
    for store in Store::each() {
        let (channel, ledger) = (native(), store.ledger());
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        let now_ms = dispatcher.clock().unix_ms();
        // As if the attempts had ended a minute from now, and at the right time ago.
        let settles_ms = u64::try_from(SETTLES_WITHIN.as_millis()).unwrap();
        for (n, at_ms) in [(1, now_ms + 60_000), (2, now_ms - settles_ms - 1)] {
            ledger.open(opening(n, here())).await.unwrap();
            let verdict = verdict(VerdictKind::Unknown);
            let settling = Settling { id: id(n), attempt: 1, end: AttemptEnd::Verdict(verdict), at_ms };
            ledger.settle(settling).await.unwrap();
        }
        let early = dispatcher.resolve(id(1), &says(Outcome::NotSent, "")).await;
        let Err(Refused::Conflict(reason)) = early else { panic!("too early: {early:?}") };
        assert!(reason.contains("look again in 6"), "{reason}");
        assert_eq!(record(&ledger, 1).await.outcome(), Outcome::Unknown);
        assert!(
            dispatcher.resolve(id(1), &says(Outcome::Delivered, "")).await.is_ok(),
            "what is there, is there"
        );

        let resolved = dispatcher.resolve(id(2), &says(Outcome::NotSent, "")).await.unwrap();
        assert_eq!(resolved.outcome(), Outcome::NotSent);
        assert_eq!(told(&ask(&dispatcher, 2, LONG).await), (Outcome::Delivered, false), "it may be sent now");
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn an_open_attempt_and_anothers_comment_are_nobodys_to_decide() {
    for store in Store::each() {
        let (channel, ledger) = (native(), store.ledger());
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        *channel.does.lock().unwrap() = Does::Wait;
        let asking = ask(&dispatcher, 1, LONG);
        let resolving = async {
            wait_for("the attempt", || async { !channel.attempts.lock().unwrap().is_empty() }).await;
            let id = channel.attempts.lock().unwrap()[0].0;
            let open = dispatcher.resolve(id, &says(Outcome::Delivered, "7")).await;
            channel.goes_on.notify_one();
            open
        };
        let (_, open) = tokio::join!(asking, resolving);
        assert!(matches!(&open, Err(Refused::Conflict(reason)) if reason.contains("open")), "{open:?}");

        for n in [2, 3] {
            ledger.open(opening(n, here())).await.unwrap();
            ledger.settle(ends(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        }
        dispatcher.resolve(id(2), &says(Outcome::Delivered, "9")).await.unwrap();
        let claimed = dispatcher.resolve(id(3), &says(Outcome::Delivered, "9")).await;
        assert!(
            matches!(&claimed, Err(Refused::Conflict(reason)) if reason.contains("another")),
            "{claimed:?}"
        );
        assert_eq!(record(&ledger, 3).await.outcome(), Outcome::Unknown);

        let nowhere = dispatcher.resolve(DeliveryId::from_bytes([9; 16]), &says(Outcome::Held, "")).await;
        assert_eq!(nowhere, Err(Refused::NotFound));
        for outcome in [Outcome::Refused, Outcome::Unknown, Outcome::DryRun] {
            let said = dispatcher.resolve(id(3), &says(outcome, "")).await;
            assert!(
                matches!(&said, Err(Refused::Malformed(reason)) if reason.contains("outcome")),
                "{said:?}"
            );
        }
        let named = dispatcher.resolve(id(3), &says(Outcome::NotSent, "5")).await;
        assert!(matches!(named, Err(Refused::Malformed(_))), "{named:?}");
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn that_there_is_no_comment_must_be_true_of_every_attempt() {
    for store in Store::each() {
        let (channel, ledger) = (native(), store.ledger());
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
        for n in [1, 2] {
            ledger.open(opening(n, here())).await.unwrap();
            ledger.settle(ends(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
            ledger.intend(id(n), intent(2, here())).await.unwrap();
            ledger.settle(ends(n, 2, verdict(VerdictKind::Unknown))).await.unwrap();
        }
        let absent = dispatcher.resolve(id(1), &says(Outcome::NotSent, "")).await.unwrap();
        assert_eq!(absent.outcome(), Outcome::NotSent);
        assert!(absent.attempts.iter().all(|attempt| attempt.resolution.is_some()));
        let there = dispatcher.resolve(id(2), &says(Outcome::Delivered, "2")).await.unwrap();
        assert_eq!(there.outcome(), Outcome::Delivered);
        assert!(there.attempts[0].resolution.is_none() && there.attempts[1].resolution.is_some());
        dispatcher.drain().await;
    }
}

#[tokio::test]
async fn a_lookup_under_way_ends_with_a_persons_word() {
    let store = &Store::each()[0];
    let (channel, ledger) = (native(), store.ledger());
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
    // It will never be proved absent: a reply has shown it once, under an id that isn't there any more.
    ledger.open(opening(1, here())).await.unwrap();
    let mut shown = verdict(VerdictKind::Unknown);
    shown.comment_id = "gone".into();
    shown.comment_id_is_ours = true;
    ledger.settle(ends(1, 1, shown)).await.unwrap();
    dispatcher.recover().await.unwrap();
    wait_for("a look", || async { channel.looks() > 0 }).await;
    dispatcher.resolve(id(1), &says(Outcome::Delivered, "gone")).await.unwrap();
    wait_for("the flight to end", || async { dispatcher.in_flight() == 0 }).await;
    assert_eq!(told(&ask(&dispatcher, 1, LONG).await), (Outcome::Delivered, true));
    dispatcher.drain().await;
}

#[tokio::test]
async fn candidates_are_what_reads_like_the_comment() {
    let store = &Store::each()[0];
    let (channel, ledger) = (native(), store.ledger());
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger));
    *channel.does.lock().unwrap() = Does::StoreSilently;
    ledger.open(opening(1, here())).await.unwrap();
    let item =
        |comment_id: &str, text: &str| ListedComment { comment_id: comment_id.into(), text: text.into() };
    *channel.texts.lock().unwrap() =
        vec![item("1", "comment 1"), item("2", "<p>comment  1</p>"), item("3", "comment 12")];
    let candidates = dispatcher.candidates(&record(&ledger, 1).await).await;
    let ids: Vec<&str> = candidates.comments.iter().map(|item| item.comment_id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);

    ledger.settle(ends(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
    let forgotten = dispatcher.forget(id(1)).await.unwrap();
    assert_eq!((forgotten.comment.as_ref(), forgotten.outcome()), (None, Outcome::Unknown));
    let nobody = dispatcher.candidates(&forgotten).await;
    assert!(nobody.error.contains("forgotten") && nobody.comments.is_empty(), "{nobody:?}");
    assert_eq!(dispatcher.forget(id(9)).await, Err(Refused::NotFound));
}
