//! Recovery, forgetting, sweeping, closing.

use super::sample::{attempt, id, opening, settling, verdict};
use crate::{End, Filter, Find, Ledger, LedgerError, Opened, Settled, Settling};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::record::{DeliveryRecord, Resolution, ResolvedBy, interrupted};

const SETTLED_MS: u64 = 1_700_000_001_000;

async fn settled(ledger: &dyn Ledger, n: u64, kind: VerdictKind, at_ms: u64) {
    ledger.open(opening(n)).await.unwrap();
    ledger.settle(Settling { at_ms, ..settling(n, 1, verdict(kind)) }).await.unwrap();
}

fn ids(records: &[DeliveryRecord]) -> Vec<String> {
    records.iter().map(|record| record.id.to_string()).collect()
}

pub(super) async fn recovery_ends_what_was_open(ledger: &dyn Ledger) {
    assert_eq!(ledger.recover(5).await, Ok(vec![]));
    settled(ledger, 1, VerdictKind::Delivered, SETTLED_MS).await;
    ledger.open(opening(2)).await.unwrap();
    settled(ledger, 3, VerdictKind::Unknown, SETTLED_MS).await;
    settled(ledger, 4, VerdictKind::NotSent, SETTLED_MS).await;
    ledger.open(opening(5)).await.unwrap();

    let at_ms = SETTLED_MS + 60_000;
    let unknown = ledger.recover(at_ms).await.unwrap();
    let expected: Vec<String> = [2, 3, 5].map(|n| id(n).to_string()).to_vec();
    assert_eq!(ids(&unknown), expected, "oldest first");
    assert_eq!(unknown[0].attempts[0].verdict, Some(interrupted()));
    assert_eq!(unknown[0].settled_ms, Some(at_ms));
    assert_eq!(unknown[1].attempts[0].verdict, Some(verdict(VerdictKind::Unknown)), "as it was");
    assert_eq!(unknown[1].settled_ms, Some(SETTLED_MS));
    for record in &unknown {
        assert_eq!(ledger.find(Find::Id(record.id)).await.unwrap().as_ref(), Some(record));
        assert_eq!(record.outcome(), Outcome::Unknown);
    }
    assert_eq!(ledger.recover(at_ms + 1).await.unwrap(), unknown, "a second time changes nothing");

    let late = ledger.settle(settling(2, 1, verdict(VerdictKind::Delivered))).await;
    assert!(
        matches!(late, Err(LedgerError::Conflict(_))),
        "an interrupted attempt has its verdict: {late:?}"
    );
    let found = Resolution { by: ResolvedBy::Lookup, at_ms, verdict: verdict(VerdictKind::Delivered) };
    let resolving = Settling { id: id(2), attempt: 1, end: End::Resolution(found), at_ms };
    assert_eq!(ledger.settle(resolving).await, Ok(Settled::Recorded));
    assert_eq!(ids(&ledger.recover(at_ms).await.unwrap()), expected[1..]);
}

pub(super) async fn recovery_keeps_the_chain(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::NotSent, SETTLED_MS).await;
    ledger.intend(id(1), attempt(2)).await.unwrap();
    let unknown = ledger.recover(SETTLED_MS + 1).await.unwrap();
    let verdicts: Vec<_> = unknown[0].attempts.iter().map(|attempt| attempt.verdict.clone()).collect();
    assert_eq!(verdicts, [Some(verdict(VerdictKind::NotSent)), Some(interrupted())]);
    assert_eq!(unknown[0].attempts[1].destination, attempt(2).destination);
    assert_eq!(unknown[0].outcome(), Outcome::Unknown);
}

pub(super) async fn forgetting_keeps_key_and_outcome(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    let open = ledger.forget(id(1)).await;
    assert!(matches!(open, Err(LedgerError::Conflict(_))), "{open:?}");
    assert!(ledger.find(Find::Id(id(1))).await.unwrap().unwrap().comment.is_some());

    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    let before = ledger.find(Find::Id(id(1))).await.unwrap().unwrap();
    ledger.forget(id(1)).await.unwrap();
    let after = ledger.find(Find::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(after, DeliveryRecord { comment: None, ..before });
    assert_eq!(after.outcome(), Outcome::Delivered);
    ledger.forget(id(1)).await.unwrap();
    let Ok(Opened::Known(known)) = ledger.open(opening(1)).await else { panic!("the key was free") };
    assert_eq!(*known, after);
}

pub(super) async fn sweeping_spares_the_unknown_and_the_open(ledger: &dyn Ledger) {
    for (n, kind) in VerdictKind::ALL.into_iter().enumerate() {
        settled(ledger, n as u64, kind, SETTLED_MS).await;
    }
    ledger.open(opening(50)).await.unwrap();
    settled(ledger, 51, VerdictKind::NotSent, SETTLED_MS).await;
    ledger.intend(id(51), attempt(2)).await.unwrap();

    assert_eq!(ledger.sweep(SETTLED_MS, 100).await, Ok(0), "before, not at");
    assert_eq!(ledger.sweep(SETTLED_MS + 1, 0).await, Ok(0));
    assert_eq!(ledger.sweep(SETTLED_MS + 1, 3).await, Ok(3));
    assert_eq!(ledger.sweep(SETTLED_MS + 1, 100).await, Ok(5));
    assert_eq!(ledger.sweep(u64::MAX, 100).await, Ok(0));
    let left = ledger.list(Filter { limit: 100, ..Filter::default() }).await.unwrap();
    let expected: Vec<String> = [51, 50, 8].map(|n| id(n).to_string()).to_vec();
    assert_eq!(ids(&left), expected);
    assert_eq!(left[0].attempts.len(), 2, "with all its attempts");
}

pub(super) async fn sweeping_ends_claims_and_keys(ledger: &dyn Ledger) {
    let mut ours = verdict(VerdictKind::Delivered);
    ours.comment_id = "7".into();
    ours.comment_id_is_ours = true;
    ledger.open(opening(1)).await.unwrap();
    ledger.settle(settling(1, 1, ours.clone())).await.unwrap();
    ledger.open(opening(2)).await.unwrap();
    assert_eq!(ledger.settle(settling(2, 1, ours.clone())).await, Ok(Settled::ClaimLost));
    assert_eq!(ledger.sweep(SETTLED_MS + 1, 10).await, Ok(1));
    assert_eq!(ledger.settle(settling(2, 1, ours)).await, Ok(Settled::Recorded));
    assert_eq!(ledger.find(Find::Id(id(1))).await, Ok(None));
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
    let record = ledger.find(Find::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.attempts, [attempt(1)], "nothing of the swept one is left");
}

pub(super) async fn sweeping_counts_from_the_last_settling(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::NotSent, SETTLED_MS).await;
    settled(ledger, 2, VerdictKind::Unknown, SETTLED_MS).await;
    let at_ms = SETTLED_MS + 100;
    ledger.intend(id(1), attempt(2)).await.unwrap();
    ledger.settle(Settling { at_ms, ..settling(1, 2, verdict(VerdictKind::Delivered)) }).await.unwrap();
    let found = Resolution { by: ResolvedBy::Lookup, at_ms, verdict: verdict(VerdictKind::Delivered) };
    let resolving = Settling { id: id(2), attempt: 1, end: End::Resolution(found), at_ms };
    ledger.settle(resolving).await.unwrap();
    assert_eq!(ledger.sweep(at_ms, 10).await, Ok(0));
    assert_eq!(ledger.sweep(at_ms + 1, 10).await, Ok(2));
}

pub(super) async fn a_check_changes_nothing(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::Delivered, SETTLED_MS).await;
    let before = ledger.list(Filter { limit: 9, ..Filter::default() }).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.check().await, Ok(()));
    }
    assert_eq!(ledger.list(Filter { limit: 9, ..Filter::default() }).await.unwrap(), before);
}

pub(super) async fn a_dropped_answer_undoes_nothing(ledger: &dyn Ledger) {
    drop(ledger.open(opening(1)));
    drop(ledger.settle(settling(1, 1, verdict(VerdictKind::Held))));
    let record = ledger.find(Find::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Outcome::Held);
}

pub(super) async fn a_closed_ledger_says_so(ledger: &dyn Ledger) {
    let waiting = ledger.open(opening(1));
    let closing = ledger.close();
    let late = ledger.open(opening(2));
    assert_eq!(waiting.await, Ok(Opened::New), "what was asked for before is carried out");
    assert_eq!(late.await, Err(LedgerError::Closed));
    assert_eq!(closing.await, Ok(()));
    assert_eq!(ledger.find(Find::Id(id(1))).await, Err(LedgerError::Closed));
    assert_eq!(ledger.check().await, Err(LedgerError::Closed));
    assert_eq!(ledger.close().await, Err(LedgerError::Closed));
    assert!(!ledger.describe().location.is_empty());
}
