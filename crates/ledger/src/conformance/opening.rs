//! Keys, intents and their order.

use super::sample::{attempt, id, opening, settling, verdict};
use crate::{FindBy, Ledger, LedgerError, Opened, Opening, RecordFilter};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::record::KeyRef;

pub(super) async fn a_key_is_opened_once(ledger: &dyn Ledger) {
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
    let Opening { key, .. } = opening(1);
    let again = Opening { key, ..opening(2) };
    let Ok(Opened::Known(known)) = ledger.open(again).await else { panic!("the key was free") };
    assert_eq!(known.id, id(1));
    assert_eq!(known.fingerprint, opening(1).fingerprint, "what stands there, not what was brought");
    assert_eq!(known.outcome(), Outcome::Unknown, "an open attempt is unknown");
    assert!(known.is_open());
    assert_eq!(ledger.find(FindBy::Id(id(2))).await, Ok(None));
    assert_eq!(ledger.list(RecordFilter { limit: 9, ..RecordFilter::default() }).await.unwrap().len(), 1);

    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    let Ok(Opened::Known(known)) = ledger.open(opening(1)).await else { panic!("the key was free") };
    assert_eq!(known.outcome(), Outcome::Delivered);
}

pub(super) async fn item_and_caller_are_part_of_the_key(ledger: &dyn Ledger) {
    let keys =
        [("bot", "k", 0), ("bot", "k", 1), ("bot", "k", 2), ("", "k", 0), ("bot", "", 0), ("botk", "", 0)];
    for (n, (caller, key, item)) in keys.into_iter().enumerate() {
        let key = KeyRef { caller: caller.into(), key: key.into(), item };
        let n = n as u64;
        assert_eq!(ledger.open(Opening { key: key.clone(), ..opening(n) }).await, Ok(Opened::New), "{key:?}");
        assert_eq!(ledger.find(FindBy::Key(key)).await.unwrap().unwrap().id, id(n));
    }
}

pub(super) async fn only_a_first_intent_opens(ledger: &dyn Ledger) {
    let mut ended = attempt(1);
    ended.verdict = Some(verdict(VerdictKind::NotSent));
    for intent in [attempt(0), attempt(2), ended] {
        let result = ledger.open(Opening { intent, ..opening(1) }).await;
        assert!(matches!(result, Err(LedgerError::Conflict(_))), "{result:?}");
    }
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
}

pub(super) async fn a_taken_id_opens_nothing(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    let other_key = Opening { id: id(1), ..opening(2) };
    let key = other_key.key.clone();
    // Its neighbours in the queue are recorded all the same.
    let (before, taken, after) = (ledger.open(opening(3)), ledger.open(other_key), ledger.open(opening(4)));
    assert_eq!(before.await, Ok(Opened::New));
    assert!(matches!(taken.await, Err(LedgerError::Conflict(_))));
    assert_eq!(after.await, Ok(Opened::New));
    assert_eq!(ledger.find(FindBy::Key(key)).await, Ok(None));
}

pub(super) async fn of_many_at_once_one_is_new(ledger: &dyn Ledger) {
    let Opening { key, .. } = opening(0);
    let pending: Vec<_> = (0..200).map(|n| ledger.open(Opening { key: key.clone(), ..opening(n) })).collect();
    let mut new = Vec::new();
    let mut known = Vec::new();
    for (n, opened) in pending.into_iter().enumerate() {
        match opened.await.unwrap() {
            Opened::New => new.push(id(n as u64)),
            Opened::Known(record) => known.push(record.id),
        }
    }
    assert_eq!(new.len(), 1);
    assert_eq!(known, vec![new[0]; 199]);
}

pub(super) async fn after_not_sent_comes_the_next_attempt(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    let open = ledger.intend(id(1), attempt(2)).await;
    assert!(matches!(open, Err(LedgerError::Conflict(_))), "{open:?}");

    ledger.settle(settling(1, 1, verdict(VerdictKind::NotSent))).await.unwrap();
    for number in [0, 1, 3] {
        let wrong = ledger.intend(id(1), attempt(number)).await;
        assert!(matches!(wrong, Err(LedgerError::Conflict(_))), "attempt {number}: {wrong:?}");
    }
    let mut ended = attempt(2);
    ended.verdict = Some(verdict(VerdictKind::Delivered));
    assert!(matches!(ledger.intend(id(1), ended).await, Err(LedgerError::Conflict(_))));

    ledger.intend(id(1), attempt(2)).await.unwrap();
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.settled_ms, None, "it is unsettled again");
    assert_eq!(record.outcome(), Outcome::Unknown);
    assert_eq!(record.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    ledger.settle(settling(1, 2, verdict(VerdictKind::Delivered))).await.unwrap();
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Outcome::Delivered);
    assert_eq!(ledger.intend(id(2), attempt(2)).await, Err(LedgerError::NotFound));
}

pub(super) async fn an_unknown_attempt_may_be_repeated(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    ledger.settle(settling(1, 1, verdict(VerdictKind::Unknown))).await.unwrap();
    ledger.intend(id(1), attempt(2)).await.unwrap();
    ledger.settle(settling(1, 2, verdict(VerdictKind::Refused))).await.unwrap();
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Outcome::Unknown, "the first attempt isn't resolved");
    ledger.intend(id(1), attempt(3)).await.unwrap();
    ledger.settle(settling(1, 3, verdict(VerdictKind::Delivered))).await.unwrap();
    let record = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Outcome::Delivered);
}

pub(super) async fn a_final_outcome_has_no_further_attempt(ledger: &dyn Ledger) {
    let kinds = [
        VerdictKind::Delivered,
        VerdictKind::Held,
        VerdictKind::Misplaced,
        VerdictKind::Refused,
        VerdictKind::Duplicate,
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        let n = n as u64;
        ledger.open(opening(n)).await.unwrap();
        ledger.settle(settling(n, 1, verdict(kind))).await.unwrap();
        let result = ledger.intend(id(n), attempt(2)).await;
        assert!(matches!(result, Err(LedgerError::Conflict(_))), "{kind}: {result:?}");
        assert_eq!(ledger.find(FindBy::Id(id(n))).await.unwrap().unwrap().attempts.len(), 1);
    }
}
