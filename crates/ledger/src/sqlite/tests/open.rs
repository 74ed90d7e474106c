//! What is open or unknown is known, whatever was undone, swept or started anew since.

use super::super::context::TxContext;
use super::super::{operations, sweep};
use super::count;
use super::transactions::{context, deliver, file, group};
use crate::conformance::{attempt, id, opening, settling, verdict};
use crate::{MAX_LISTED, Opened, Opening, RecordFilter, Settling};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::DeliveryId;
use std::collections::BTreeMap;

fn open(tx: &mut TxContext<'_>, opening: Opening) {
    assert_eq!(operations::open(tx, opening).unwrap(), Opened::New);
}

/// Settled at a time that is its own number.
fn settle(tx: &mut TxContext<'_>, n: u64, attempt: u32, kind: VerdictKind) {
    operations::settle(tx, &Settling { at_ms: n, ..settling(n, attempt, verdict(kind)) }).unwrap();
}

fn of_caller(n: u64, caller: &str) -> Opening {
    let mut opening = opening(n);
    opening.key.caller = caller.into();
    opening
}

fn listed(tx: &mut TxContext<'_>, outcome: Outcome, caller: Option<&str>, limit: u32) -> Vec<DeliveryId> {
    let filter = RecordFilter {
        outcome: Some(outcome),
        caller: caller.map(str::to_owned),
        limit,
        ..RecordFilter::default()
    };
    operations::list(tx, &filter).unwrap().iter().map(|record| record.id).collect()
}

fn unknown(tx: &mut TxContext<'_>) -> Vec<DeliveryId> {
    listed(tx, Outcome::Unknown, None, MAX_LISTED)
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<DeliveryId> {
    numbers.into_iter().map(id).collect()
}

/// Every delivery has its end, if only to say that it is open, and nothing else has one.
fn check(tx: &TxContext<'_>) {
    for sql in [
        "SELECT count(*) FROM deliveries WHERE number NOT IN (SELECT delivery FROM ends)",
        "SELECT count(*) FROM ends WHERE delivery NOT IN (SELECT number FROM deliveries)",
    ] {
        assert_eq!(count(tx.connection, sql), 0, "{sql}");
    }
}

#[test]
fn what_is_open_is_listed_and_recovered_wherever_it_is_known_from() {
    for more in [0, 200] {
        let (_dir, connection) = file();
        let mut tx = context(&connection);
        // The odd ones are a tool's; 2 and 3 have their rows, and are unknown all the same.
        for n in 0..8 {
            let caller = if n % 2 == 0 { "bot" } else { "tool" };
            group(&mut tx, false, |tx| open(tx, of_caller(n, caller)));
        }
        for n in [2, 3] {
            group(&mut tx, false, |tx| settle(tx, n, 1, VerdictKind::Unknown));
        }
        group(&mut tx, false, |tx| settle(tx, 4, 1, VerdictKind::Delivered));
        for n in 100..100 + more {
            group(&mut tx, false, |tx| deliver(tx, n));
        }
        for life in ["that opened them", "after a kill"] {
            let mut unknown = |caller, limit| listed(&mut tx, Outcome::Unknown, caller, limit);
            assert_eq!(unknown(None, 10), ids([7, 6, 5, 3, 2, 1, 0]), "in the life {life}, {more} more");
            assert_eq!(unknown(Some("bot"), 10), ids([6, 2, 0]));
            assert_eq!(unknown(Some("tool"), 10), ids([7, 5, 3, 1]));
            assert_eq!(unknown(Some("other"), 10), []);
            assert_eq!(unknown(None, 4), ids([7, 6, 5, 3]));
            assert_eq!(unknown(None, 1), ids([7]));
            assert_eq!(unknown(None, 0), []);
            assert_eq!(unknown(Some("tool"), 3), ids([7, 5, 3]));
            assert_eq!(listed(&mut tx, Outcome::Delivered, Some("bot"), 1000).last(), Some(&id(4)));
            check(&tx);
            tx = context(&connection);
        }
        for _ in 0..2 {
            group(&mut tx, false, |tx| {
                assert_eq!(operations::recover(tx, 9).unwrap(), ids([0, 1, 2, 3, 5, 6, 7]));
            });
        }
        assert_eq!(unknown(&mut tx), ids([7, 6, 5, 3, 2, 1, 0]));
        assert_eq!(count(&connection, "SELECT count(*) FROM ends WHERE settled_ms IS NULL"), 0);
    }
}

#[test]
fn what_stayed_open_for_long_can_be_settled() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    group(&mut tx, false, |tx| open(tx, opening(0)));
    for n in 100..200 {
        group(&mut tx, false, |tx| deliver(tx, n));
    }
    assert_eq!(unknown(&mut tx), ids([0]));

    tx.age.ms = 0;
    group(&mut tx, false, |tx| settle(tx, 0, 1, VerdictKind::Held));
    assert_eq!(unknown(&mut tx), []);
    assert_eq!(listed(&mut tx, Outcome::Held, None, 10), ids([0]));
    let indexed = "SELECT count(*) FROM ends INDEXED BY ends_by_outcome WHERE outcome > '' AND delivery = 1";
    assert_eq!(count(&connection, indexed), 1);
    let intact = "SELECT integrity_check = 'ok' FROM pragma_integrity_check";
    assert_eq!(count(&connection, intact), 1);
    group(&mut tx, false, |tx| assert_eq!(sweep::sweep(tx, 0, 10).unwrap(), 1));
    check(&tx);
}

#[test]
fn what_is_undone_changes_nothing() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    group(&mut tx, true, |tx| open(tx, opening(0)));
    assert_eq!(unknown(&mut tx), [], "an undone opening");
    group(&mut tx, true, |tx| deliver(tx, 0));
    assert_eq!(unknown(&mut tx), [], "an undone opening that was settled");
    group(&mut tx, false, |tx| open(tx, opening(0)));
    group(&mut tx, true, |tx| settle(tx, 0, 1, VerdictKind::Delivered));
    assert_eq!(unknown(&mut tx), ids([0]), "an undone settling");
    group(&mut tx, true, |tx| {
        assert_eq!(operations::recover(tx, 9).unwrap(), ids([0]));
    });
    assert_eq!(unknown(&mut tx), ids([0]), "an undone recovery");
    check(&tx);
    group(&mut tx, false, |tx| settle(tx, 0, 1, VerdictKind::Delivered));
    assert_eq!(unknown(&mut tx), []);
    check(&tx);
}

/// What a delivery's latest attempt, with its number, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LatestAttempt {
    Open(u32),
    NotSent(u32),
    Delivered,
    Interrupted,
}

type LatestAttempts = BTreeMap<u64, LatestAttempt>;

fn any(
    random: &mut fastrand::Rng,
    states: &LatestAttempts,
    wanted: impl Fn(LatestAttempt) -> bool,
) -> Option<(u64, LatestAttempt)> {
    let found: Vec<_> = states.iter().filter(|(_, state)| wanted(**state)).collect();
    random.choice(found).map(|(n, state)| (*n, *state))
}

/// One operation on the ledger, and on what it should hold.
fn step(tx: &mut TxContext<'_>, random: &mut fastrand::Rng, states: &mut LatestAttempts, next: &mut u64) {
    match random.u8(..40) {
        0..18 => {
            open(tx, opening(*next));
            states.insert(*next, LatestAttempt::Open(1));
            *next += 1;
        }
        18..34 => {
            let Some((n, LatestAttempt::Open(number))) =
                any(random, states, |state| matches!(state, LatestAttempt::Open(_)))
            else {
                return;
            };
            let (kind, state) = match random.bool() {
                true => (VerdictKind::Delivered, LatestAttempt::Delivered),
                false => (VerdictKind::NotSent, LatestAttempt::NotSent(number)),
            };
            settle(tx, n, number, kind);
            states.insert(n, state);
        }
        34..38 => {
            let Some((n, LatestAttempt::NotSent(number))) =
                any(random, states, |state| matches!(state, LatestAttempt::NotSent(_)))
            else {
                return;
            };
            operations::intend(tx, id(n), attempt(number + 1)).unwrap();
            states.insert(n, LatestAttempt::Open(number + 1));
        }
        _ => {
            let certain =
                |state: &LatestAttempt| matches!(state, LatestAttempt::Delivered | LatestAttempt::NotSent(_));
            let swept: Vec<u64> =
                states.iter().filter(|(_, state)| certain(state)).map(|(n, _)| *n).take(5).collect();
            assert_eq!(sweep::sweep(tx, 0, 5).unwrap() as usize, swept.len());
            states.retain(|n, _| !swept.contains(n));
        }
    }
}

#[test]
fn whatever_happens_the_unknown_are_known() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..6 {
        let (_dir, connection) = file();
        let mut tx = context(&connection);
        let (mut states, mut next) = (LatestAttempts::new(), 0);
        for _ in 0..150 {
            let before = states.clone();
            let undo = random.u8(..4) == 0;
            group(&mut tx, undo, |tx| {
                for _ in 0..random.usize(..24) {
                    step(tx, &mut random, &mut states, &mut next);
                }
            });
            if undo {
                states = before;
            }
            if random.u8(..24) == 0 {
                tx = context(&connection);
            }
            if random.u8(..60) == 0 {
                group(&mut tx, false, |tx| drop(operations::recover(tx, 9).unwrap()));
                for state in states.values_mut().filter(|state| matches!(state, LatestAttempt::Open(_))) {
                    *state = LatestAttempt::Interrupted;
                }
            }
            check(&tx);
            let is_unknown =
                |state: &LatestAttempt| matches!(state, LatestAttempt::Open(_) | LatestAttempt::Interrupted);
            let expected = states.iter().rev().filter(|(_, state)| is_unknown(state)).map(|(n, _)| *n);
            assert_eq!(unknown(&mut tx), ids(expected));
        }
    }
}
