//! Recovery, forgetting, sweeping, closing.

use super::sample::{attempt, id, opening, settling, verdict};
use crate::{AttemptEnd, FindBy, Ledger, LedgerError, MarkedPlace, Opened, RecordFilter, Settled, Settling};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::record::{DeliveryRecord, Resolution, ResolvedBy, interrupted};
use std::sync::Arc;

const SETTLED_MS: u64 = 1_700_000_001_000;

async fn settled(ledger: &dyn Ledger, n: u64, kind: VerdictKind, at_ms: u64) {
    ledger.open(opening(n)).await.unwrap();
    ledger.settle(Settling { at_ms, ..settling(n, 1, verdict(kind)) }).await.unwrap();
}

async fn record(ledger: &dyn Ledger, n: u64) -> DeliveryRecord {
    ledger.find(FindBy::Id(id(n))).await.unwrap().expect("the delivery is there")
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
    assert_eq!(ledger.recover(at_ms).await, Ok(vec![id(2), id(3), id(5)]), "oldest first");
    let unknown = [record(ledger, 2).await, record(ledger, 3).await, record(ledger, 5).await];
    assert_eq!(unknown[0].attempts[0].verdict, Some(interrupted()));
    assert_eq!(unknown[0].settled_ms, Some(at_ms));
    assert_eq!(unknown[1].attempts[0].verdict, Some(verdict(VerdictKind::Unknown)), "as it was");
    assert_eq!(unknown[1].settled_ms, Some(SETTLED_MS));
    assert!(unknown.iter().all(|record| record.outcome() == Outcome::Unknown && !record.is_open()));
    let again = ledger.recover(at_ms + 1).await;
    assert_eq!(again, Ok(vec![id(2), id(3), id(5)]));
    assert_eq!(record(ledger, 2).await, unknown[0], "a second time changes nothing");

    let late = ledger.settle(settling(2, 1, verdict(VerdictKind::Delivered))).await;
    assert!(
        matches!(late, Err(LedgerError::Conflict(_))),
        "an interrupted attempt has its verdict: {late:?}"
    );
    let found = Resolution { by: ResolvedBy::Lookup, at_ms, verdict: verdict(VerdictKind::Delivered) };
    let resolving = Settling { id: id(2), attempt: 1, end: AttemptEnd::Resolution(found), at_ms };
    assert_eq!(ledger.settle(resolving).await, Ok(Settled::Recorded));
    assert_eq!(ledger.recover(at_ms).await, Ok(vec![id(3), id(5)]));
}

pub(super) async fn recovery_keeps_the_chain(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::NotSent, SETTLED_MS).await;
    let mut elsewhere = attempt(2);
    Arc::make_mut(&mut elsewhere.destination).provider = ProviderName::RealHook;
    ledger.intend(id(1), elsewhere.clone()).await.unwrap();
    assert_eq!(ledger.recover(SETTLED_MS + 1).await, Ok(vec![id(1)]));
    let record = record(ledger, 1).await;
    let verdicts: Vec<_> = record.attempts.iter().map(|attempt| attempt.verdict.clone()).collect();
    assert_eq!(verdicts, [Some(verdict(VerdictKind::NotSent)), Some(interrupted())]);
    assert_eq!(record.attempts[1].destination, elsewhere.destination, "it is looked up where it was sent");
    assert_eq!(record.outcome(), Outcome::Unknown);
}

/// Every state that a crash can leave behind, and what the next start makes of it.
pub(super) async fn recovery_meets_every_state(ledger: &dyn Ledger) {
    use VerdictKind::{Delivered, NotSent, Unknown};
    let (open, forgotten, at_ms) = (None, true, SETTLED_MS + 60_000);
    // The attempts' verdicts as the crash leaves them, whether the comment is forgotten, and the outcome after.
    let states: [(&[Option<VerdictKind>], bool, Outcome); 11] = [
        (&[open], false, Outcome::Unknown),
        (&[Some(NotSent), open], false, Outcome::Unknown),
        (&[Some(Unknown), open], false, Outcome::Unknown),
        (&[Some(Unknown)], false, Outcome::Unknown),
        (&[Some(Unknown)], forgotten, Outcome::Unknown),
        (&[Some(NotSent), Some(Unknown)], false, Outcome::Unknown),
        (&[Some(Unknown), Some(Unknown)], false, Outcome::Unknown),
        (&[Some(Unknown), Some(NotSent)], false, Outcome::Unknown),
        (&[Some(NotSent)], false, Outcome::NotSent),
        (&[Some(NotSent), Some(Delivered)], forgotten, Outcome::Delivered),
        (&[Some(Unknown), Some(Delivered)], false, Outcome::Delivered),
    ];
    for (n, (verdicts, forgotten, _)) in (0..).zip(states) {
        for (number, kind) in (1..).zip(verdicts) {
            match number {
                1 => assert_eq!(ledger.open(opening(n)).await, Ok(Opened::New)),
                _ => ledger.intend(id(n), attempt(number)).await.unwrap(),
            }
            if let Some(kind) = kind {
                ledger.settle(settling(n, number, verdict(*kind))).await.unwrap();
            }
        }
        if forgotten {
            ledger.forget(id(n)).await.unwrap();
        }
    }
    // Two whose unknown attempt was made certain before the crash.
    for (n, kind) in [(20, Delivered), (21, NotSent)] {
        settled(ledger, n, Unknown, SETTLED_MS).await;
        let resolution = Resolution { by: ResolvedBy::Lookup, at_ms: SETTLED_MS, verdict: verdict(kind) };
        let settling =
            Settling { id: id(n), attempt: 1, end: AttemptEnd::Resolution(resolution), at_ms: SETTLED_MS };
        ledger.settle(settling).await.unwrap();
    }
    let mut before = Vec::new();
    for n in (0..11).chain([20, 21]) {
        before.push(record(ledger, n).await);
    }

    let unknown = ledger.recover(at_ms).await.unwrap();
    assert_eq!(unknown, (0..8).map(id).collect::<Vec<_>>());
    for (n, (verdicts, _, outcome)) in (0..).zip(states) {
        let mut expected = before[n as usize].clone();
        if verdicts.last() == Some(&open) {
            expected.attempts.last_mut().unwrap().verdict = Some(interrupted());
            expected.settled_ms = Some(at_ms);
        }
        let after = record(ledger, n).await;
        assert_eq!(after, expected, "state {n}: nothing but the open attempt changes");
        assert_eq!(after.outcome(), outcome, "state {n}");
    }
    assert_eq!(record(ledger, 20).await, before[11]);
    assert_eq!(record(ledger, 21).await, before[12]);
    // What is certain stays, what was not sent may be sent, what is unknown is neither.
    for (n, (verdicts, _, outcome)) in (0..).zip(states) {
        let next = u32::try_from(verdicts.len()).unwrap() + 1;
        let intended = ledger.intend(id(n), attempt(next)).await;
        let is_final = outcome == Outcome::Delivered;
        assert_eq!(matches!(intended, Err(LedgerError::Conflict(_))), is_final, "state {n}: {intended:?}");
    }
}

pub(super) async fn forgetting_keeps_key_and_outcome(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    let open = ledger.forget(id(1)).await;
    assert!(matches!(open, Err(LedgerError::Conflict(_))), "{open:?}");
    assert!(ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap().comment.is_some());

    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    let before = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    ledger.forget(id(1)).await.unwrap();
    let after = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
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

    ledger.age(100, SETTLED_MS).await.unwrap();
    assert_eq!(ledger.sweep(101, 100).await, Ok(0), "it is younger");
    assert_eq!(ledger.sweep(100, 0).await, Ok(0));
    assert_eq!(ledger.sweep(100, 3).await, Ok(3));
    assert_eq!(ledger.sweep(100, 100).await, Ok(5));
    assert_eq!(ledger.sweep(0, 100).await, Ok(0));
    let left = ledger.list(RecordFilter { limit: 100, ..RecordFilter::default() }).await.unwrap();
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
    assert_eq!(ledger.sweep(0, 10).await, Ok(1));
    assert_eq!(ledger.settle(settling(2, 1, ours)).await, Ok(Settled::Recorded));
    assert_eq!(ledger.find(FindBy::Id(id(1))).await, Ok(None));
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.attempts, [attempt(1)], "nothing of the swept one is left");
}

pub(super) async fn sweeping_counts_from_the_last_settling(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::NotSent, SETTLED_MS).await;
    settled(ledger, 2, VerdictKind::Unknown, SETTLED_MS).await;
    let at_ms = SETTLED_MS + 100;
    ledger.age(100, at_ms).await.unwrap();
    ledger.intend(id(1), attempt(2)).await.unwrap();
    ledger.settle(Settling { at_ms, ..settling(1, 2, verdict(VerdictKind::Delivered)) }).await.unwrap();
    let found = Resolution { by: ResolvedBy::Lookup, at_ms, verdict: verdict(VerdictKind::Delivered) };
    let resolving = Settling { id: id(2), attempt: 1, end: AttemptEnd::Resolution(found), at_ms };
    ledger.settle(resolving).await.unwrap();
    ledger.age(50, at_ms + 50).await.unwrap();
    assert_eq!(ledger.sweep(51, 10).await, Ok(0));
    assert_eq!(ledger.sweep(50, 10).await, Ok(2));
}

/// A clock that is wrong and set right, in either direction, while a process runs and between two.
pub(super) async fn no_wall_clock_makes_a_ledger_old(ledger: &dyn Ledger) {
    const HOUR_MS: u64 = 3_600_000;
    let days_back = SETTLED_MS - 72 * HOUR_MS;
    ledger.recover(days_back).await.unwrap();
    settled(ledger, 1, VerdictKind::Delivered, days_back).await;
    ledger.age(60_000, SETTLED_MS).await.unwrap();
    assert_eq!(ledger.sweep(60_001, 10).await, Ok(0), "set right, it has run for a minute");
    ledger.recover(SETTLED_MS + 25 * HOUR_MS).await.unwrap();
    ledger.recover(SETTLED_MS).await.unwrap();
    assert_eq!(
        ledger.sweep(60_001 + HOUR_MS, 10).await,
        Ok(0),
        "a time without a process counts for an hour"
    );
    ledger.recover(SETTLED_MS + HOUR_MS / 2).await.unwrap();
    assert_eq!(ledger.sweep(60_001 + HOUR_MS + HOUR_MS / 2, 10).await, Ok(0));
    assert_eq!(ledger.sweep(60_000 + HOUR_MS + HOUR_MS / 2, 10).await, Ok(1));
}

pub(super) async fn places_that_keep_markers_are_remembered(ledger: &dyn Ledger) {
    let place = |channel: &str, base_url: &str, account: &str| MarkedPlace {
        channel: channel.into(),
        base_url: base_url.into(),
        account: account.into(),
    };
    assert_eq!(ledger.marked_places().await, Ok(vec![]));
    let places =
        [place("isso", "http://a", ""), place("isso", "http://a", "Ann"), place("isso", "http://b", "Ann")];
    // Sweeping is about deliveries, and a place that was seen twice is one place.
    for n in [2, 0, 1, 0, 2] {
        ledger.note_marker(places[n].clone(), SETTLED_MS).await.unwrap();
    }
    settled(ledger, 1, VerdictKind::Delivered, SETTLED_MS).await;
    assert_eq!(ledger.sweep(0, 100).await, Ok(1));
    assert_eq!(ledger.marked_places().await, Ok(places.to_vec()));
    let sent = attempt(1).destination;
    assert!(MarkedPlace::of(&sent).is_at(&sent) && !places[0].is_at(&sent));
}

pub(super) async fn a_check_changes_nothing(ledger: &dyn Ledger) {
    settled(ledger, 1, VerdictKind::Delivered, SETTLED_MS).await;
    let before = ledger.list(RecordFilter { limit: 9, ..RecordFilter::default() }).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.check().await, Ok(()));
    }
    assert_eq!(ledger.list(RecordFilter { limit: 9, ..RecordFilter::default() }).await.unwrap(), before);
}

pub(super) async fn a_dropped_answer_undoes_nothing(ledger: &dyn Ledger) {
    drop(ledger.open(opening(1)));
    drop(ledger.settle(settling(1, 1, verdict(VerdictKind::Held))));
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Outcome::Held);
}

pub(super) async fn a_closed_ledger_says_so(ledger: &dyn Ledger) {
    let waiting = ledger.open(opening(1));
    let closing = ledger.close();
    let late = ledger.open(opening(2));
    assert_eq!(waiting.await, Ok(Opened::New), "what was asked for before is carried out");
    assert_eq!(late.await, Err(LedgerError::Closed));
    assert_eq!(closing.await, Ok(()));
    assert_eq!(ledger.find(FindBy::Id(id(1))).await, Err(LedgerError::Closed));
    assert_eq!(ledger.check().await, Err(LedgerError::Closed));
    assert_eq!(ledger.close().await, Err(LedgerError::Closed));
    assert!(!ledger.describe().location.is_empty());
}
