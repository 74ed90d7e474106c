//! No key is claimed twice, whatever was undone, swept or started anew since.

use super::super::context::TxContext;
use super::super::operation_error::OperationError;
use super::super::{operations, sweep};
use super::count;
use super::transactions::{context, deliver, file, group};
use crate::conformance::{id, opening};
use crate::{FindBy, LedgerError, Opened, Opening};
use commentd_delivery::DeliveryId;
use commentd_delivery::record::KeyRef;
use rusqlite::ErrorCode;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn is_found(tx: &mut TxContext<'_>, n: u64) -> bool {
    let by_id = operations::find(tx, &FindBy::Id(id(n))).unwrap();
    let by_key = operations::find(tx, &FindBy::Key(opening(n).key)).unwrap();
    assert_eq!(by_id, by_key, "delivery {n}");
    by_id.is_some_and(|record| record.id == id(n))
}

/// Numbers of deliveries that are there, and of those that a sweep may remove, in the order of their settling.
#[derive(Clone, Default)]
struct Expected {
    there: BTreeSet<u64>,
    settled: VecDeque<u64>,
}

/// The promise rests on it: a key that was claimed is found, whatever was undone, swept or started anew since, and
/// however long it stays unknown.
#[test]
fn what_stands_in_the_file_is_found_and_nothing_else() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..8 {
        let (_dir, connection) = file();
        let mut tx = context(&connection);
        let (mut expected, mut next) = (Expected::default(), 1);
        for _ in 0..200 {
            let undo = random.u8(..4) == 0;
            let before = expected.clone();
            group(&mut tx, undo, |tx| {
                for _ in 0..random.usize(..12) {
                    if random.u8(..10) == 0 {
                        assert_eq!(operations::open(tx, opening(next)).unwrap(), Opened::New);
                    } else {
                        deliver(tx, next);
                        expected.settled.push_back(next);
                    }
                    expected.there.insert(next);
                    next += 1;
                }
                for _ in 0..random.usize(..2) {
                    let most = random.u32(1..14);
                    tx.age.ms = next;
                    let swept = sweep::sweep(tx, 0, most).unwrap();
                    for n in expected.settled.drain(..expected.settled.len().min(most as usize)) {
                        expected.there.remove(&n);
                    }
                    assert!(swept <= most);
                }
            });
            if undo {
                expected = before;
            }
            if random.u8(..12) == 0 {
                tx = context(&connection);
            }
            let some = [1, next - 1, random.u64(1..=next)].into_iter().chain(expected.there.first().copied());
            for n in some {
                assert_eq!(is_found(&mut tx, n), expected.there.contains(&n), "delivery {n}");
            }
        }
        for n in 1..=next {
            assert_eq!(is_found(&mut tx, n), expected.there.contains(&n), "delivery {n}");
        }
        let keys = "SELECT count(*) FROM keys JOIN deliveries ON number = delivery";
        assert_eq!(count(&connection, keys), expected.there.len() as i64);
        assert_eq!(count(&connection, "SELECT count(*) FROM keys"), expected.there.len() as i64);
    }
}

/// Whatever this program believes.
#[test]
fn the_database_itself_refuses_a_second_delivery_under_a_key() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    group(&mut tx, false, |tx| deliver(tx, 1));
    for (sql, what) in [
        ("INSERT INTO keys SELECT hash, item, delivery + 1 FROM keys", "a key"),
        (
            "INSERT INTO deliveries SELECT number + 1, id, caller, 'other', item, fingerprint, trace_id, created_ms, \
             provider, channel, base_url, account, manifest_version, marker, comment, addressing FROM deliveries",
            "an id",
        ),
    ] {
        let refused = connection.execute(sql, []).unwrap_err();
        assert_eq!(
            refused.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation),
            "{what} was given twice"
        );
    }
}

#[test]
fn an_opening_that_is_refused_leaves_nothing_behind() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    group(&mut tx, false, |tx| deliver(tx, 1));
    group(&mut tx, false, |tx| {
        let taken = operations::open(tx, Opening { id: id(1), ..opening(2) }).unwrap_err();
        assert!(matches!(taken, OperationError::Refused(LedgerError::Conflict(_))), "{taken:?}");
    });
    assert_eq!(count(&connection, "SELECT count(*) FROM keys"), 1);
    group(&mut tx, false, |tx| assert_eq!(operations::open(tx, opening(2)).unwrap(), Opened::New));
}

#[test]
fn an_undone_key_is_free() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    for n in 0..200 {
        group(&mut tx, true, |tx| deliver(tx, n));
        group(&mut tx, false, |tx| deliver(tx, n));
        group(&mut tx, false, |tx| {
            assert!(matches!(operations::open(tx, opening(n)).unwrap(), Opened::Known(_)));
        });
    }
}

#[test]
fn all_items_of_a_batch_are_listed() {
    let (_dir, connection) = file();
    let mut tx = context(&connection);
    let mut items = BTreeMap::new();
    for n in 0..300_u64 {
        let mut opening = opening(n);
        if n % 3 == 0 {
            opening.key = KeyRef { caller: "bot".into(), key: "batch".into(), item: n as u32 / 3 };
            items.insert(n, id(n));
        }
        group(&mut tx, false, |tx| {
            operations::open(tx, opening).unwrap();
        });
    }
    let key = Some(("bot".to_owned(), "batch".to_owned()));
    let listed = operations::list(&tx, &crate::RecordFilter { key, limit: 1000, ..Default::default() });
    let listed: Vec<DeliveryId> = listed.unwrap().iter().map(|record| record.id).collect();
    assert_eq!(listed, items.into_values().rev().collect::<Vec<_>>());
}
