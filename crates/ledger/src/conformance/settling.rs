//! Verdicts, resolutions and claims.

use super::sample::{attempt, id, opening, settling, verdict};
use crate::{AttemptEnd, FindBy, Ledger, LedgerError, Opening, Settled, Settling};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::Verdict;
use commentd_delivery::record::{DeliveryRecord, Resolution, ResolvedBy};
use std::sync::Arc;

const LATER_MS: u64 = 1_700_000_600_000;

fn resolving(n: u64, number: u32, by: ResolvedBy, verdict: Verdict) -> Settling {
    let resolution = Resolution { by, at_ms: LATER_MS, verdict };
    Settling { id: id(n), attempt: number, end: AttemptEnd::Resolution(resolution), at_ms: LATER_MS }
}

fn stored_as(kind: VerdictKind, comment_id: &str) -> Verdict {
    let mut verdict = verdict(kind);
    verdict.comment_id = comment_id.into();
    verdict.comment_id_is_ours = true;
    verdict
}

async fn record(ledger: &dyn Ledger, n: u64) -> DeliveryRecord {
    ledger.find(FindBy::Id(id(n))).await.unwrap().expect("the delivery is there")
}

async fn unknown(ledger: &dyn Ledger, n: u64) {
    ledger.open(opening(n)).await.unwrap();
    ledger.settle(settling(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
}

async fn assert_conflict(ledger: &dyn Ledger, settling: Settling) {
    let n = settling.id;
    let before = ledger.find(FindBy::Id(n)).await.unwrap();
    let result = ledger.settle(settling.clone()).await;
    assert!(matches!(result, Err(LedgerError::Conflict(_))), "{settling:?}: {result:?}");
    assert_eq!(ledger.find(FindBy::Id(n)).await.unwrap(), before, "a conflict changes nothing");
}

pub(super) async fn every_verdict_has_its_outcome(ledger: &dyn Ledger) {
    for (n, kind) in VerdictKind::ALL.into_iter().enumerate() {
        let n = n as u64;
        let expected = match kind {
            VerdictKind::Delivered => Outcome::Delivered,
            VerdictKind::Held => Outcome::Held,
            VerdictKind::Misplaced => Outcome::Misplaced,
            VerdictKind::Duplicate | VerdictKind::Refused => Outcome::Refused,
            VerdictKind::Denied | VerdictKind::Throttled | VerdictKind::NotSent => Outcome::NotSent,
            VerdictKind::Unknown => Outcome::Unknown,
        };
        ledger.open(opening(n)).await.unwrap();
        assert_eq!(ledger.settle(settling(n, 1, verdict(kind))).await, Ok(Settled::Recorded));
        let record = record(ledger, n).await;
        assert_eq!(record.outcome(), expected, "{kind}");
        assert_eq!(record.settled_ms, Some(1_700_000_001_000));
        assert_eq!(record.attempts[0].verdict, Some(verdict(kind)));
        assert_eq!(record.attempts[0].resolution, None);
    }
}

pub(super) async fn what_is_not_there_is_not_found(ledger: &dyn Ledger) {
    let delivered = || verdict(VerdictKind::Delivered);
    assert_eq!(ledger.settle(settling(1, 1, delivered())).await, Err(LedgerError::NotFound));
    ledger.open(opening(1)).await.unwrap();
    assert_eq!(ledger.settle(settling(1, 2, delivered())).await, Err(LedgerError::NotFound));
    assert_eq!(ledger.settle(settling(1, 0, delivered())).await, Err(LedgerError::NotFound));
    assert!(record(ledger, 1).await.is_open());
    assert_eq!(ledger.forget(id(2)).await, Err(LedgerError::NotFound));
}

pub(super) async fn a_verdict_is_given_once(ledger: &dyn Ledger) {
    for (n, kind) in VerdictKind::ALL.into_iter().enumerate() {
        let n = n as u64;
        ledger.open(opening(n)).await.unwrap();
        ledger.settle(settling(n, 1, verdict(kind))).await.unwrap();
        for second in VerdictKind::ALL {
            assert_conflict(ledger, settling(n, 1, verdict(second))).await;
        }
    }
}

pub(super) async fn lookup_and_person_make_certain(ledger: &dyn Ledger) {
    let person = ResolvedBy::Person { name: "Ann, by the moderation page".into() };
    let cases = [
        (ResolvedBy::Lookup, VerdictKind::Delivered, Outcome::Delivered),
        (ResolvedBy::Lookup, VerdictKind::Held, Outcome::Held),
        (ResolvedBy::Lookup, VerdictKind::Misplaced, Outcome::Misplaced),
        (ResolvedBy::Lookup, VerdictKind::NotSent, Outcome::NotSent),
        (person.clone(), VerdictKind::Delivered, Outcome::Delivered),
        (person, VerdictKind::NotSent, Outcome::NotSent),
    ];
    for (n, (by, kind, outcome)) in cases.into_iter().enumerate() {
        let n = n as u64;
        unknown(ledger, n).await;
        let resolving = resolving(n, 1, by.clone(), verdict(kind));
        assert_eq!(ledger.settle(resolving).await, Ok(Settled::Recorded));
        let record = record(ledger, n).await;
        assert_eq!(record.outcome(), outcome);
        assert_eq!(record.settled_ms, Some(LATER_MS), "the last settling counts");
        assert_eq!(record.attempts[0].verdict, Some(verdict(VerdictKind::Unknown)), "its own end stays");
        let expected = Resolution { by, at_ms: LATER_MS, verdict: verdict(kind) };
        assert_eq!(record.attempts[0].resolution, Some(Box::new(expected)));
    }
}

pub(super) async fn only_the_unknown_is_resolved(ledger: &dyn Ledger) {
    let lookup = |n, number, kind| resolving(n, number, ResolvedBy::Lookup, verdict(kind));
    for (n, kind) in VerdictKind::ALL.into_iter().enumerate() {
        let n = n as u64;
        ledger.open(opening(n)).await.unwrap();
        // Open: its own end is still to come.
        assert_conflict(ledger, lookup(n, 1, VerdictKind::Delivered)).await;
        ledger.settle(settling(n, 1, verdict(kind))).await.unwrap();
        if kind != VerdictKind::Unknown {
            assert_conflict(ledger, lookup(n, 1, VerdictKind::Delivered)).await;
            assert_conflict(ledger, lookup(n, 1, VerdictKind::NotSent)).await;
        }
    }
    unknown(ledger, 100).await;
    assert_conflict(ledger, lookup(100, 1, VerdictKind::Unknown)).await;
    // While another attempt is open, nothing of the delivery is resolved.
    ledger.intend(id(100), attempt(2)).await.unwrap();
    assert_conflict(ledger, lookup(100, 1, VerdictKind::Delivered)).await;
    ledger.settle(settling(100, 2, verdict(VerdictKind::Unknown))).await.unwrap();
    ledger.settle(lookup(100, 1, VerdictKind::NotSent)).await.unwrap();
    assert_conflict(ledger, lookup(100, 1, VerdictKind::Delivered)).await;
    assert_eq!(record(ledger, 100).await.outcome(), Outcome::Unknown, "the second is still unknown");
    ledger.settle(lookup(100, 2, VerdictKind::Delivered)).await.unwrap();
    assert_eq!(record(ledger, 100).await.outcome(), Outcome::Delivered);
}

pub(super) async fn a_final_outcome_never_changes(ledger: &dyn Ledger) {
    let lookup = |number, kind| resolving(1, number, ResolvedBy::Lookup, verdict(kind));
    unknown(ledger, 1).await;
    ledger.intend(id(1), attempt(2)).await.unwrap();
    ledger.settle(settling(1, 2, verdict(VerdictKind::Unknown))).await.unwrap();
    ledger.settle(lookup(1, VerdictKind::Held)).await.unwrap();
    assert_eq!(record(ledger, 1).await.outcome(), Outcome::Held);
    assert_conflict(ledger, lookup(2, VerdictKind::Delivered)).await;
    ledger.settle(lookup(2, VerdictKind::NotSent)).await.unwrap();
    assert_eq!(record(ledger, 1).await.outcome(), Outcome::Held);
}

pub(super) async fn a_comment_belongs_to_one_delivery(ledger: &dyn Ledger) {
    for n in 1..=4 {
        ledger.open(opening(n)).await.unwrap();
    }
    let delivered = |n, comment_id: &str| settling(n, 1, stored_as(VerdictKind::Delivered, comment_id));
    // In one breath, so that the claims meet in one group.
    let (first, second) = (ledger.settle(delivered(1, "7")), ledger.settle(delivered(2, "7")));
    assert_eq!(first.await, Ok(Settled::Recorded));
    assert_eq!(second.await, Ok(Settled::ClaimLost));
    let loser = record(ledger, 2).await;
    assert!(loser.is_open() && loser.settled_ms.is_none(), "nothing was recorded of the lost one: {loser:?}");
    assert_eq!(ledger.settle(settling(2, 1, verdict(VerdictKind::Unknown))).await, Ok(Settled::Recorded));
    assert_eq!(ledger.settle(delivered(3, "8")).await, Ok(Settled::Recorded));

    // The same number elsewhere is another comment.
    let mut elsewhere = Opening { intent: attempt(1), ..opening(5) };
    Arc::make_mut(&mut elsewhere.intent.destination).base_url = "https://other.example".into();
    ledger.open(elsewhere).await.unwrap();
    assert_eq!(ledger.settle(delivered(5, "7")).await, Ok(Settled::Recorded));
    let mut other_channel = Opening { intent: attempt(1), ..opening(6) };
    Arc::make_mut(&mut other_channel.intent.destination).channel = "waline".into();
    ledger.open(other_channel).await.unwrap();
    assert_eq!(ledger.settle(delivered(6, "7")).await, Ok(Settled::Recorded));
}

pub(super) async fn a_claim_is_lost_to_a_lookup_too(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    ledger.settle(settling(1, 1, stored_as(VerdictKind::Delivered, "7"))).await.unwrap();
    unknown(ledger, 2).await;
    let before = record(ledger, 2).await;
    let found = |n, id: &str| resolving(n, 1, ResolvedBy::Lookup, stored_as(VerdictKind::Delivered, id));
    assert_eq!(ledger.settle(found(2, "7")).await, Ok(Settled::ClaimLost));
    assert_eq!(record(ledger, 2).await, before);
    assert_eq!(ledger.settle(found(2, "8")).await, Ok(Settled::Recorded));

    // One's own claim isn't lost to oneself.
    ledger.open(opening(3)).await.unwrap();
    ledger.settle(settling(3, 1, stored_as(VerdictKind::Unknown, "9"))).await.unwrap();
    assert_eq!(ledger.settle(found(3, "9")).await, Ok(Settled::Recorded));
}

pub(super) async fn only_a_proven_comment_is_claimed(ledger: &dyn Ledger) {
    for (n, is_ours) in [(1, false), (2, true), (3, false)] {
        ledger.open(opening(n)).await.unwrap();
        let mut verdict = stored_as(VerdictKind::Delivered, "7");
        verdict.comment_id_is_ours = is_ours;
        assert_eq!(ledger.settle(settling(n, 1, verdict)).await, Ok(Settled::Recorded), "delivery {n}");
    }
    for n in [4, 5] {
        ledger.open(opening(n)).await.unwrap();
        let nameless = stored_as(VerdictKind::Delivered, "");
        assert_eq!(ledger.settle(settling(n, 1, nameless)).await, Ok(Settled::Recorded));
    }
}

pub(super) async fn a_claim_outlives_forgetting(ledger: &dyn Ledger) {
    for n in [1, 2] {
        ledger.open(opening(n)).await.unwrap();
    }
    ledger.settle(settling(1, 1, stored_as(VerdictKind::Held, "7"))).await.unwrap();
    ledger.forget(id(1)).await.unwrap();
    let late = settling(2, 1, stored_as(VerdictKind::Delivered, "7"));
    assert_eq!(ledger.settle(late).await, Ok(Settled::ClaimLost));
}
