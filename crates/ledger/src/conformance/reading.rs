//! What was recorded is what is read.

use super::sample::{attempt, id, opening, settling, verdict};
use crate::{FindBy, Ledger, MAX_LISTED, Opened, Opening, RecordFilter};
use commentd_contract::limits::MAX_CONTENT_BYTES;
use commentd_contract::{Code, Outcome, ProviderName, Var, VerdictKind};
use commentd_delivery::record::{DeliveryRecord, KeyRef};
use commentd_delivery::verdict::Contradiction;
use commentd_delivery::{Fingerprint, Verdict};
use std::sync::Arc;

pub(super) async fn records_come_back_whole(ledger: &dyn Ledger) {
    let asked = opening(1);
    ledger.open(asked.clone()).await.unwrap();
    let mut expected = DeliveryRecord {
        id: asked.id,
        key: asked.key.clone(),
        fingerprint: asked.fingerprint,
        comment: Some(asked.comment),
        trace_id: asked.trace_id,
        created_ms: asked.intent.started_ms,
        settled_ms: None,
        attempts: vec![asked.intent],
    };
    assert_eq!(ledger.find(FindBy::Id(id(1))).await, Ok(Some(expected.clone())));
    assert_eq!(ledger.find(FindBy::Key(asked.key)).await, Ok(Some(expected.clone())));

    let full = Verdict {
        kind: VerdictKind::Throttled,
        code: Code::UpstreamThrottled,
        message: "slow down".into(),
        provider_error_code: "45009".into(),
        provider_error_message: "接口调用超过限制 \"quoted\"\n".into(),
        comment_id: String::new(),
        comment_id_is_ours: false,
        contradiction: Some(Contradiction::Duplicate),
        retry_after_ms: Some(1500),
        renewed: true,
        uncounted: false,
        latency_ms: u64::MAX,
    };
    ledger.settle(settling(1, 1, full.clone())).await.unwrap();
    let mut second = attempt(2);
    let to = Arc::make_mut(&mut second.destination);
    to.provider = ProviderName::RealUi;
    to.channel = String::new();
    to.manifest_version = u32::MAX;
    ledger.intend(id(1), second.clone()).await.unwrap();
    expected.attempts[0].verdict = Some(full);
    expected.attempts.push(second);
    assert_eq!(ledger.find(FindBy::Id(id(1))).await, Ok(Some(expected)));
}

pub(super) async fn large_and_odd_content_comes_back(ledger: &dyn Ledger) {
    let mut large = opening(1);
    Arc::make_mut(&mut large.comment).content = "好".repeat(MAX_CONTENT_BYTES / 3);
    let mut odd = opening(2);
    Arc::make_mut(&mut odd.comment).content =
        "\0 ' \" \\ \u{1f600}\u{200d} \r\n '; DROP TABLE deliveries; --".into();
    odd.trace_id = "a\0b".into();
    odd.fingerprint = Fingerprint([0; 32]);
    odd.key = KeyRef { caller: "ö'".into(), key: "~!@#$%^&*()".into(), item: 999 };
    let vars = &mut Arc::make_mut(&mut Arc::make_mut(&mut odd.comment).addressing).vars;
    vars.insert("most".into(), Var::Number(u64::MAX.into()));
    vars.insert("least".into(), Var::Number(i64::MIN.into()));
    for (name, number) in [("small", 5e-324), ("sum", 0.1 + 0.2), ("odd", 1.234_567_890_123_456_7e22)] {
        vars.insert(name.into(), Var::Number(serde_json::Number::from_f64(number).unwrap()));
    }
    vars.insert("text".into(), Var::Text("14287710653886042616".into()));
    for asked in [large, odd] {
        ledger.open(asked.clone()).await.unwrap();
        let found = ledger.find(FindBy::Key(asked.key.clone())).await.unwrap().unwrap();
        assert_eq!(found.comment, Some(asked.comment.clone()));
        assert_eq!(found.comment.unwrap().fingerprint(1), asked.comment.fingerprint(1));
        assert_eq!((found.trace_id, found.fingerprint), (asked.trace_id, asked.fingerprint));
        assert_eq!(found.key, asked.key);
    }
}

pub(super) async fn absent_records_are_none(ledger: &dyn Ledger) {
    ledger.open(opening(1)).await.unwrap();
    assert_eq!(ledger.find(FindBy::Id(id(2))).await, Ok(None));
    assert_eq!(ledger.find(FindBy::Key(opening(2).key)).await, Ok(None));
    let everything = RecordFilter { limit: 9, outcome: Some(Outcome::Delivered), ..RecordFilter::default() };
    assert_eq!(ledger.list(everything).await, Ok(vec![]));
}

async fn listed(ledger: &dyn Ledger, filter: RecordFilter) -> Vec<u64> {
    let records = ledger.list(filter).await.unwrap();
    let number = |record: &DeliveryRecord| (0..2000).find(|n| id(*n) == record.id).unwrap();
    records.iter().map(number).collect()
}

pub(super) async fn lists_are_newest_first_and_filtered(ledger: &dyn Ledger) {
    let batch = |item| KeyRef { caller: "bot".into(), key: "batch".into(), item };
    for n in 0..6 {
        let mut asked = opening(n);
        if n >= 3 {
            asked.key = batch(u32::try_from(6 - n).unwrap());
        }
        ledger.open(asked).await.unwrap();
        let kind = if n % 2 == 0 { VerdictKind::Delivered } else { VerdictKind::NotSent };
        ledger.settle(settling(n, 1, verdict(kind))).await.unwrap();
    }
    let key = Some(("bot".to_owned(), "batch".to_owned()));
    let filter = |outcome, key, limit| RecordFilter { outcome, key, caller: None, limit };
    assert_eq!(listed(ledger, filter(None, None, 100)).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(listed(ledger, filter(None, None, 2)).await, [5, 4]);
    assert_eq!(listed(ledger, filter(None, None, 0)).await, [] as [u64; 0]);
    assert_eq!(listed(ledger, filter(Some(Outcome::Delivered), None, 100)).await, [4, 2, 0]);
    assert_eq!(listed(ledger, filter(Some(Outcome::Delivered), None, 1)).await, [4]);
    assert_eq!(listed(ledger, filter(None, key.clone(), 100)).await, [5, 4, 3]);
    assert_eq!(listed(ledger, filter(Some(Outcome::NotSent), key.clone(), 100)).await, [5, 3]);
    assert_eq!(listed(ledger, filter(Some(Outcome::NotSent), key, 1)).await, [5]);
    let foreign = Some(("other".to_owned(), "batch".to_owned()));
    assert_eq!(listed(ledger, filter(None, foreign, 100)).await, [] as [u64; 0]);
    for n in 6..u64::from(MAX_LISTED) + 6 {
        // Awaited at once, so that no queue is too short.
        ledger.open(Opening { ..opening(n) }).await.unwrap();
    }
    let all = ledger.list(filter(None, None, u32::MAX)).await.unwrap();
    assert_eq!(all.len(), MAX_LISTED as usize);
}

pub(super) async fn lists_follow_what_becomes_of_a_delivery(ledger: &dyn Ledger) {
    let with = |outcome| RecordFilter { outcome: Some(outcome), limit: 10, ..RecordFilter::default() };
    ledger.open(opening(1)).await.unwrap();
    assert_eq!(listed(ledger, with(Outcome::Unknown)).await, [1], "what is open is unknown");
    ledger.settle(settling(1, 1, verdict(VerdictKind::NotSent))).await.unwrap();
    assert_eq!(listed(ledger, with(Outcome::Unknown)).await, [] as [u64; 0]);
    assert_eq!(listed(ledger, with(Outcome::NotSent)).await, [1]);
    ledger.intend(id(1), attempt(2)).await.unwrap();
    assert_eq!(listed(ledger, with(Outcome::NotSent)).await, [] as [u64; 0]);
    assert_eq!(listed(ledger, with(Outcome::Unknown)).await, [1]);
    ledger.settle(settling(1, 2, verdict(VerdictKind::Held))).await.unwrap();
    assert_eq!(listed(ledger, with(Outcome::Held)).await, [1]);
}

pub(super) async fn lists_show_one_caller_or_all(ledger: &dyn Ledger) {
    for (n, caller) in ["", "bot", "tool", "bot"].into_iter().enumerate() {
        let n = n as u64;
        let mut asked = opening(n);
        asked.key.caller = caller.into();
        ledger.open(asked).await.unwrap();
    }
    ledger.settle(settling(1, 1, verdict(VerdictKind::Held))).await.unwrap();
    let of =
        |caller: &str| RecordFilter { caller: Some(caller.into()), limit: 10, ..RecordFilter::default() };
    assert_eq!(listed(ledger, of("bot")).await, [3, 1]);
    assert_eq!(listed(ledger, RecordFilter { limit: 1, ..of("bot") }).await, [3]);
    assert_eq!(listed(ledger, of("")).await, [0], "the anonymous caller is one of them");
    assert_eq!(listed(ledger, of("other")).await, [] as [u64; 0]);
    let held = |caller| RecordFilter { outcome: Some(Outcome::Held), ..of(caller) };
    assert_eq!(listed(ledger, held("bot")).await, [1]);
    assert_eq!(listed(ledger, held("tool")).await, [] as [u64; 0]);
    let key = Some(("tool".to_owned(), "key-2".to_owned()));
    assert_eq!(listed(ledger, RecordFilter { key: key.clone(), ..of("tool") }).await, [2]);
    assert_eq!(listed(ledger, RecordFilter { key, ..of("bot") }).await, [] as [u64; 0], "another's key");
}

/// Each item has what all share, for as long as it has its comment, whatever becomes of the others.
pub(super) async fn what_items_share_comes_back_with_each(ledger: &dyn Ledger) {
    let mut first = opening(0);
    Arc::make_mut(&mut Arc::make_mut(&mut first.comment).addressing).author = "x".repeat(2000);
    let shared = Arc::clone(&first.comment.addressing);
    for n in 0..4_u32 {
        let mut item = opening(n.into());
        item.key = KeyRef { caller: "bot".into(), key: "batch".into(), item: n };
        Arc::make_mut(&mut item.comment).addressing = Arc::clone(&shared);
        assert_eq!(ledger.open(item).await, Ok(Opened::New));
    }
    let left = async |there: &[u64]| {
        let listed = ledger.list(RecordFilter { limit: 9, ..RecordFilter::default() }).await.unwrap();
        for n in there {
            let found = listed.iter().find(|record| record.id == id(*n)).expect("it is listed");
            let comment = found.comment.as_ref().expect("it has its comment");
            assert_eq!((&comment.addressing, &*comment.content), (&shared, &*format!("comment {n}")));
        }
        listed.len()
    };
    assert_eq!(left(&[0, 1, 2, 3]).await, 4);
    ledger.settle(settling(0, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    ledger.forget(id(0)).await.unwrap();
    assert_eq!(left(&[1, 2, 3]).await, 4);
    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    assert_eq!(ledger.sweep(0, 9).await, Ok(2));
    assert_eq!(left(&[2, 3]).await, 2);
    // And another that comes later.
    let mut later = opening(7);
    Arc::make_mut(&mut later.comment).addressing = Arc::clone(&shared);
    assert_eq!(ledger.open(later).await, Ok(Opened::New));
    assert_eq!(left(&[2, 3, 7]).await, 3);
}
