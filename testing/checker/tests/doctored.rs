//! Doctored logs and records: every kind of violation is found, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use commentd_checker::channel::{ChannelComment, ChannelFault};
use commentd_checker::log::CallLog;
use commentd_checker::{CallEvent, ChannelRecord, ItemReply, Summary, check};
use commentd_contract::Outcome;

fn asked(call: u64, key: &str, at_ms: u64) -> CallEvent {
    CallEvent::Asked { call, at_ms, key: key.into(), texts: vec![format!("text of {key}")] }
}

fn answered(call: u64, at_ms: u64, outcome: Outcome, comment_id: &str) -> CallEvent {
    let item = ItemReply {
        outcome,
        comment_id: comment_id.into(),
        replayed: false,
        success: false,
        error_code: 0,
        error_message: String::new(),
    };
    CallEvent::Answered { call, at_ms, status: 200, items: vec![item] }
}

fn unanswered(call: u64, at_ms: u64) -> CallEvent {
    CallEvent::Unanswered { call, at_ms, reason: "reset".into() }
}

fn stored(key: &str, id: &str, stored_at_ms: u64) -> ChannelComment {
    ChannelComment { id: id.into(), text: format!("text of {key}"), stored_at_ms, stands: None }
}

fn standing(stands: Outcome) -> Vec<ChannelComment> {
    vec![ChannelComment { stands: Some(stands), ..stored("a", "7", 15) }]
}

/// An answer whose item has this code.
fn coded(call: u64, at_ms: u64, outcome: Outcome, code: i64) -> CallEvent {
    let CallEvent::Answered { call, at_ms, status, mut items } = answered(call, at_ms, outcome, "") else {
        unreachable!()
    };
    items[0].error_code = code;
    CallEvent::Answered { call, at_ms, status, items }
}

fn promises(entries: &[CallEvent], comments: Vec<ChannelComment>) -> Vec<u8> {
    let log = CallLog::of(entries).unwrap();
    check(&log, &ChannelRecord::new(comments, [], 1000)).iter().map(|violation| violation.promise).collect()
}

#[test]
fn honest_histories_have_no_violations() {
    use Outcome::{Delivered, Held, Misplaced, NotSent, Refused, Unknown};
    let cases: Vec<(Vec<CallEvent>, Vec<ChannelComment>)> = vec![
        (vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")], vec![stored("a", "7", 15)]),
        (vec![asked(1, "a", 10), answered(1, 20, Refused, "")], vec![]),
        (vec![asked(1, "a", 10), answered(1, 20, NotSent, "")], vec![]),
        (vec![asked(1, "a", 10), answered(1, 20, Unknown, "")], vec![stored("a", "7", 15)]),
        (vec![asked(1, "a", 10), answered(1, 20, Unknown, "")], vec![]),
        (vec![asked(1, "a", 10), unanswered(1, 20)], vec![stored("a", "7", 15)]),
        (vec![asked(1, "a", 10)], vec![stored("a", "7", 15)]),
        // Tried afresh after not_sent.
        (
            vec![
                asked(1, "a", 10),
                answered(1, 20, NotSent, ""),
                asked(2, "a", 30),
                answered(2, 40, Delivered, "7"),
            ],
            vec![stored("a", "7", 35)],
        ),
        // Another caller with the same key was still being served.
        (
            vec![
                asked(1, "a", 10),
                asked(2, "a", 12),
                answered(1, 20, NotSent, ""),
                answered(2, 40, Delivered, "7"),
            ],
            vec![stored("a", "7", 35)],
        ),
        // Unknown became certain.
        (
            vec![
                asked(1, "a", 10),
                answered(1, 20, Unknown, ""),
                asked(2, "a", 30),
                answered(2, 40, Delivered, "7"),
            ],
            vec![stored("a", "7", 35)],
        ),
        // Held when it was answered, and published by somebody since.
        (vec![asked(1, "a", 10), answered(1, 20, Held, "7")], standing(Delivered)),
        (vec![asked(1, "a", 10), answered(1, 20, Misplaced, "7")], standing(Misplaced)),
        // Refused as a duplicate of what was there before anybody asked.
        (vec![asked(1, "a", 10), answered(1, 20, Refused, "")], vec![stored("a", "7", 9)]),
        // It was told not_sent while another call with the key had begun, which then added it.
        (
            vec![
                asked(1, "a", 10),
                asked(2, "a", 12),
                answered(2, 30, Delivered, "7"),
                answered(1, 31, NotSent, ""),
            ],
            vec![stored("a", "7", 25)],
        ),
        // Certain, and then in flight: nothing is said of the comment.
        (
            vec![
                asked(1, "a", 10),
                answered(1, 20, Delivered, "7"),
                asked(2, "a", 30),
                coded(2, 40, Unknown, 64),
            ],
            vec![stored("a", "7", 15)],
        ),
    ];
    for (entries, comments) in cases {
        assert_eq!(promises(&entries, comments), [] as [u8; 0], "{entries:?}");
    }
}

/// What is planted, the promises that it breaks, what clients saw, and what the channel has.
type Planted = (&'static str, Vec<u8>, Vec<CallEvent>, Vec<ChannelComment>);

fn planted_in_answers() -> Vec<Planted> {
    use Outcome::{Delivered, Held, NotSent, Refused, Unknown};
    let certain = || vec![asked(1, "a", 10), answered(1, 20, Delivered, "7"), asked(2, "a", 30)];
    let then = |outcome, id: &str| {
        let mut entries = certain();
        entries.push(answered(2, 40, outcome, id));
        entries
    };
    let one = || vec![stored("a", "7", 15)];
    vec![
        (
            "twice",
            vec![1],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")],
            vec![stored("a", "7", 15), stored("a", "8", 16)],
        ),
        (
            "twice, and nobody was told",
            vec![1],
            vec![asked(1, "a", 10), unanswered(1, 20)],
            vec![stored("a", "7", 15), stored("a", "8", 16)],
        ),
        ("delivered, not there", vec![2], vec![asked(1, "a", 10), answered(1, 20, Delivered, "")], vec![]),
        ("held, not there", vec![2], vec![asked(1, "a", 10), answered(1, 20, Held, "")], vec![]),
        (
            "delivered before it was there",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")],
            vec![stored("a", "7", 25)],
        ),
        (
            "another's comment id",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "8")],
            vec![stored("a", "7", 15)],
        ),
        ("refused, there", vec![3], vec![asked(1, "a", 10), answered(1, 20, Refused, "")], one()),
        ("not_sent, there", vec![3, 3], vec![asked(1, "a", 10), answered(1, 20, NotSent, "")], one()),
        (
            "not_sent, there later, and nobody asked again",
            vec![3],
            vec![asked(1, "a", 10), answered(1, 20, NotSent, "")],
            vec![stored("a", "7", 99)],
        ),
        ("certain, then unknown", vec![5], then(Unknown, ""), one()),
        ("certain, then not_sent", vec![3, 3, 5], then(NotSent, ""), one()),
        ("certain, then refused", vec![3, 5, 5], then(Refused, ""), one()),
        ("certain, then another kind", vec![5, 5], then(Held, "7"), one()),
        ("certain, then another id", vec![2, 5], then(Delivered, "9"), one()),
        ("nobody asked for it", vec![0], vec![], one()),
    ]
}

fn planted_in_what_became_of_it() -> Vec<Planted> {
    use Outcome::{Delivered, DryRun, Held, Misplaced, NotSent, Refused, Unknown};
    let one = || vec![stored("a", "7", 15)];
    vec![
        ("nobody asked for a dry run", vec![0], vec![asked(1, "a", 10), answered(1, 20, DryRun, "")], vec![]),
        (
            "delivered, and held at the channel",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")],
            standing(Held),
        ),
        (
            "delivered, and misplaced at the channel",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")],
            standing(Misplaced),
        ),
        (
            "misplaced, and well placed at the channel",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Misplaced, "7")],
            standing(Delivered),
        ),
        (
            "unknown, and twice in the end",
            vec![1],
            vec![
                asked(1, "a", 10),
                answered(1, 20, Unknown, ""),
                asked(2, "a", 30),
                answered(2, 40, Delivered, "8"),
            ],
            vec![stored("a", "7", 15), stored("a", "8", 35)],
        ),
        (
            "delivered, but it is somebody else's from before",
            vec![2],
            vec![asked(1, "a", 10), answered(1, 20, Delivered, "7")],
            vec![stored("a", "7", 5)],
        ),
        (
            "not_sent for what was there before the question",
            vec![3],
            vec![
                asked(1, "a", 10),
                unanswered(1, 20),
                asked(2, "a", 30),
                asked(3, "a", 31),
                answered(2, 40, NotSent, ""),
                answered(3, 41, Delivered, "7"),
            ],
            vec![stored("a", "7", 15)],
        ),
        (
            "unknown that became certain, and then another",
            vec![3, 5],
            vec![
                asked(1, "a", 10),
                answered(1, 20, Unknown, ""),
                asked(2, "a", 30),
                answered(2, 40, Delivered, "7"),
                asked(3, "a", 50),
                answered(3, 60, Refused, ""),
            ],
            one(),
        ),
    ]
}

#[test]
fn every_planted_violation_is_found() {
    for (name, expected, entries, comments) in [planted_in_answers(), planted_in_what_became_of_it()].concat()
    {
        let found = promises(&entries, comments);
        let mut distinct = expected.clone();
        distinct.dedup();
        let mut found_distinct = found.clone();
        found_distinct.sort_unstable();
        found_distinct.dedup();
        assert_eq!(found_distinct, distinct, "{name}: {found:?}");
    }
}

/// An answer whose item says this beside its code.
fn saying(call: u64, at_ms: u64, code: i64, message: &str, success: bool) -> CallEvent {
    let CallEvent::Answered { call, at_ms, status, mut items } = coded(call, at_ms, Outcome::Unknown, code)
    else {
        unreachable!()
    };
    (items[0].error_message, items[0].success) = (message.into(), success);
    CallEvent::Answered { call, at_ms, status, items }
}

#[test]
fn what_is_told_in_flight_or_a_success_must_be_so() {
    let in_flight = "a request with this idempotency key is still in flight; ask again with the same key";
    let silent = "the ledger doesn't answer in time";
    assert_eq!(promises(&[asked(1, "a", 10), saying(1, 20, 64, in_flight, false)], vec![]), [4]);
    assert!(promises(&[asked(1, "a", 10), saying(1, 20, 64, silent, false)], vec![]).is_empty());
    let two = [asked(1, "a", 10), asked(2, "a", 11), saying(1, 20, 64, in_flight, false)];
    assert!(promises(&two, vec![]).is_empty());
    assert_eq!(promises(&[asked(1, "a", 10), saying(1, 20, 64, silent, true)], vec![]), [4]);
    assert!(promises(&[asked(1, "a", 10), saying(1, 20, 56, "", true)], vec![]).is_empty(), "--unknown-as");
}

#[test]
fn a_comment_that_leaves_when_nobody_waits_for_it_is_found() {
    let left = |entries: &[CallEvent], at_ms: u64| {
        let record = ChannelRecord::new([], [], 1000).with_departures([("text of a".to_owned(), at_ms)]);
        let violations = check(&CallLog::of(entries).unwrap(), &record);
        violations.iter().map(|violation| violation.promise).collect::<Vec<_>>()
    };
    let hung_up = [asked(1, "a", 10), unanswered(1, 20)];
    assert!(left(&hung_up, 20).is_empty() && left(&hung_up, 10).is_empty());
    assert_eq!(left(&hung_up, 21), [3]);
    assert_eq!(left(&hung_up, 9), [3]);
    let again = [asked(1, "a", 10), unanswered(1, 20), asked(2, "a", 30)];
    assert_eq!(left(&again, 25), [3]);
    assert!(left(&again, 31).is_empty());
}

#[test]
fn one_comment_id_for_two_keys_is_found() {
    let entries = [
        asked(1, "a", 10),
        answered(1, 20, Outcome::Delivered, "7"),
        asked(2, "b", 10),
        answered(2, 20, Outcome::Delivered, "7"),
    ];
    let found = promises(&entries, vec![stored("a", "7", 15), stored("b", "8", 15)]);
    assert!(found.contains(&2), "{found:?}");
}

#[test]
fn a_lying_channel_and_one_that_stays_away_are_not_our_violations() {
    let entries = [
        asked(1, "lied", 10),
        answered(1, 20, Outcome::Refused, ""),
        asked(2, "late", 10),
        answered(2, 5000, Outcome::NotSent, ""),
        asked(3, "ours", 10),
        answered(3, 20, Outcome::Refused, ""),
        asked(4, "soon", 10),
        answered(4, 5000, Outcome::NotSent, ""),
    ];
    let comments = vec![
        stored("lied", "1", 15),
        stored("late", "2", 9000),
        stored("ours", "3", 15),
        stored("soon", "4", 15),
    ];
    let fault = |name: &str, late_ms, key: &str| ChannelFault {
        fault: name.into(),
        late_ms,
        texts: vec![format!("text of {key}")],
    };
    let faults = [
        fault("refuse_after", None, "lied"),
        fault("store_late", Some(8000), "late"),
        fault("store_late", Some(500), "soon"),
    ];
    let log = CallLog::of(&entries).unwrap();
    let (summary, violations) = Summary::of(&log, &ChannelRecord::new(comments, faults, 1000));
    assert_eq!((summary.channel_lies, summary.stayed_away, summary.violations), (1, 1, 2));
    let mut keys: Vec<&str> = violations.iter().map(|violation| violation.key.as_str()).collect();
    keys.dedup();
    assert_eq!(keys, ["ours", "soon"]);
    assert!(violations[0].history.iter().any(|line| line.contains("answered at 20: refused")));
}

#[test]
fn a_lie_is_no_excuse_for_a_second_comment_nor_lateness_for_a_wrong_id() {
    let entries = [
        asked(1, "lied", 10),
        answered(1, 20, Outcome::Refused, ""),
        asked(2, "late", 10),
        answered(2, 20, Outcome::Delivered, "9"),
    ];
    let comments = vec![stored("lied", "1", 15), stored("lied", "2", 16), stored("late", "3", 15)];
    let fault = |name: &str, late_ms, key: &str| ChannelFault {
        fault: name.into(),
        late_ms,
        texts: vec![format!("text of {key}")],
    };
    let faults = [fault("refuse_after", None, "lied"), fault("store_late", Some(8000), "late")];
    let log = CallLog::of(&entries).unwrap();
    let (summary, violations) = Summary::of(&log, &ChannelRecord::new(comments, faults, 1000));
    assert_eq!((summary.channel_lies, summary.stayed_away, summary.violations), (1, 0, 2));
    let found: Vec<(&str, u8)> = violations.iter().map(|v| (v.key.as_str(), v.promise)).collect();
    assert_eq!(found, [("late", 2), ("lied", 1)]);
}

#[test]
fn a_call_that_was_put_off_is_no_fault() {
    let refused = |call| CallEvent::Answered { call, at_ms: 20, status: 503, items: vec![] };
    let entries = [
        asked(1, "a", 10),
        refused(1),
        asked(2, "a", 30),
        answered(2, 40, Outcome::Delivered, "7"),
        asked(3, "b", 10),
        refused(3),
    ];
    let log = CallLog::of(&entries).unwrap();
    let (summary, violations) = Summary::of(&log, &ChannelRecord::new([stored("a", "7", 35)], [], 1000));
    assert_eq!((summary.hit, summary.unanswered, violations.len()), (0, 0, 0));
    assert_eq!(summary.outcomes.get("none"), Some(&1));
}

#[test]
fn what_stays_unknown_is_counted_before_and_after_lookup() {
    let entries = [
        asked(1, "a", 10),
        answered(1, 20, Outcome::Unknown, ""),
        asked(2, "a", 30),
        answered(2, 40, Outcome::Delivered, "1"),
        asked(3, "b", 10),
        answered(3, 20, Outcome::Unknown, ""),
        asked(4, "c", 10),
        answered(4, 20, Outcome::Delivered, "2"),
        asked(5, "d", 10),
    ];
    let log = CallLog::of(&entries).unwrap();
    let (summary, _) =
        Summary::of(&log, &ChannelRecord::new([stored("a", "1", 15), stored("c", "2", 15)], [], 1000));
    assert_eq!((summary.comments, summary.hit, summary.unanswered), (4, 3, 1));
    assert_eq!((summary.unknown_before_lookup, summary.unknown_after_lookup), (3, 2));
}

#[test]
fn a_log_that_contradicts_itself_is_refused_and_a_cut_last_line_is_not() {
    assert!(CallLog::of(&[answered(1, 2, Outcome::Delivered, "")]).is_err());
    assert!(CallLog::of(&[asked(1, "a", 1), asked(1, "a", 2)]).is_err());
    let whole = serde_json::to_string(&asked(1, "a", 1)).unwrap();
    let cut = &whole[..whole.len() / 2];
    assert_eq!(CallLog::read(format!("{whole}\n{cut}").as_bytes()).unwrap().calls, 1);
    assert!(CallLog::read(format!("{cut}\n{whole}\n").as_bytes()).is_err());
}
