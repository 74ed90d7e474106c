use super::super::operations::{self, Book};
use super::super::tests::book::{book, count, deliver, file, group};
use super::*;
use crate::conformance::{id, opening};
use crate::{Find, Opened};
use std::collections::{BTreeMap, BTreeSet};

fn is_found(book: &mut Book<'_>, n: u64) -> bool {
    let by_id = operations::find(book, &Find::Id(id(n))).unwrap();
    let by_key = operations::find(book, &Find::Key(opening(n).key)).unwrap();
    assert_eq!(by_id, by_key, "delivery {n}");
    by_id.is_some_and(|record| record.id == id(n))
}

/// The promise rests on it: a key that was claimed is found, whatever was undone, swept or started anew since.
#[test]
fn what_stands_in_the_file_is_found_and_nothing_else() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..8 {
        let (_dir, connection) = file();
        let mut book = book(&connection);
        let (mut there, mut next) = (BTreeSet::new(), 1);
        for _ in 0..120 {
            let undo = random.u8(..4) == 0;
            let before = there.clone();
            group(&mut book, undo, |book| {
                for _ in 0..random.usize(..12) {
                    deliver(book, next);
                    there.insert(next);
                    next += 1;
                }
                if random.u8(..4) == 0 {
                    let most = random.u32(..20);
                    assert!(operations::sweep(book, u64::MAX, most).unwrap() <= most);
                    there = there.iter().skip(most as usize).copied().collect();
                }
            });
            if undo {
                there = before;
            }
            if random.u8(..12) == 0 {
                book = self::book(&connection);
            }
            for n in [1, next - 1, random.u64(1..=next)].into_iter().chain(there.first().copied()) {
                assert_eq!(is_found(&mut book, n), there.contains(&n), "delivery {n}");
            }
        }
        for n in 1..=next {
            assert_eq!(is_found(&mut book, n), there.contains(&n), "delivery {n}");
        }
        assert!(count(&connection, "SELECT count(*) FROM names") > 2 * GENERATION, "many have moved");
        let left_over = "SELECT count(*) FROM names WHERE delivery NOT IN (SELECT number FROM deliveries)";
        assert_eq!(count(&connection, left_over), 0);
    }
}

#[test]
fn an_undone_key_is_free() {
    let (_dir, connection) = file();
    let mut book = book(&connection);
    for n in 0..200 {
        group(&mut book, true, |book| deliver(book, n));
        group(&mut book, false, |book| deliver(book, n));
        group(&mut book, false, |book| {
            assert!(matches!(operations::open(book, opening(n)).unwrap(), Opened::Known(_)));
        });
    }
}

#[test]
fn one_generation_is_gone_before_the_next_is_complete() {
    let (_dir, connection) = file();
    let mut book = book(&connection);
    for n in 0..1000 {
        group(&mut book, false, |book| deliver(book, n));
        let moved = count(&connection, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'named'");
        let lag = count(&connection, "SELECT max(number) FROM deliveries") - moved;
        assert!(lag <= 2 * GENERATION, "{lag} deliveries are to be read at a start");
    }
}

/// 64 bits can meet; the row tells them apart.
#[test]
fn two_deliveries_may_go_by_one_name() {
    let (_dir, connection) = file();
    let mut book = book(&connection);
    let with_id =
        |n: u64, bytes: [u8; 16]| crate::Opening { id: DeliveryId::from_bytes(bytes), ..opening(n) };
    let ids = [[1; 16], [2; 16], [3; 16]];
    assert_eq!(of_id(&ids[0]), of_id(&ids[1]));
    for (n, bytes) in ids.into_iter().enumerate() {
        group(&mut book, false, |book| {
            assert_eq!(operations::open(book, with_id(n as u64, bytes)).unwrap(), Opened::New);
        });
    }
    for round in 0..2 {
        for bytes in ids {
            let id = DeliveryId::from_bytes(bytes);
            let found = operations::find(&mut book, &Find::Id(id)).unwrap();
            assert_eq!(found.map(|record| record.id), Some(id), "round {round}");
        }
        for n in 0..300 {
            group(&mut book, false, |book| deliver(book, 1000 * (round + 1) + n));
        }
    }
}

#[test]
fn all_items_of_a_batch_are_listed_wherever_their_names_are() {
    let (_dir, connection) = file();
    let mut book = book(&connection);
    let mut items = BTreeMap::new();
    for n in 0..300_u64 {
        let mut opening = opening(n);
        if n % 3 == 0 {
            opening.key = KeyRef { caller: "bot".into(), key: "batch".into(), item: n as u32 / 3 };
            items.insert(n, id(n));
        }
        group(&mut book, false, |book| {
            operations::open(book, opening).unwrap();
        });
    }
    let key = Some(("bot".to_owned(), "batch".to_owned()));
    let listed = operations::list(&mut book, &crate::Filter { key, limit: 1000, ..Default::default() });
    let listed: Vec<DeliveryId> = listed.unwrap().iter().map(|record| record.id).collect();
    assert_eq!(listed, items.into_values().rev().collect::<Vec<_>>());
}
