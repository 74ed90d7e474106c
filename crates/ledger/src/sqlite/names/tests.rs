use super::super::operations::{self, Book};
use super::super::tests::book::{book, count, deliver, file, group};
use super::*;
use crate::conformance::{id, opening};
use crate::{Find, Opened};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn is_found(book: &mut Book<'_>, n: u64) -> bool {
    let by_id = operations::find(book, &Find::Id(id(n))).unwrap();
    let by_key = operations::find(book, &Find::Key(opening(n).key)).unwrap();
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
    let (mut runs, mut left) = (0, 0);
    for _ in 0..8 {
        let (_dir, connection) = file();
        let mut book = book(&connection);
        let (mut expected, mut next) = (Expected::default(), 1);
        for _ in 0..200 {
            let undo = random.u8(..4) == 0;
            let before = expected.clone();
            group(&mut book, undo, |book| {
                for _ in 0..random.usize(..12) {
                    if random.u8(..10) == 0 {
                        assert_eq!(operations::open(book, opening(next)).unwrap(), Opened::New);
                    } else {
                        deliver(book, next);
                        expected.settled.push_back(next);
                    }
                    expected.there.insert(next);
                    next += 1;
                }
                for _ in 0..random.usize(..2) {
                    let most = random.u32(1..14);
                    book.recent.age.ms = next;
                    let swept = operations::sweep(book, 0, most).unwrap();
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
                book = self::book(&connection);
            }
            let some = [1, next - 1, random.u64(1..=next)].into_iter().chain(expected.there.first().copied());
            for n in some {
                assert_eq!(is_found(&mut book, n), expected.there.contains(&n), "delivery {n}");
            }
        }
        for n in 1..=next {
            assert_eq!(is_found(&mut book, n), expected.there.contains(&n), "delivery {n}");
        }
        let left_over = "SELECT count(*) FROM names WHERE delivery NOT IN (SELECT number FROM deliveries)";
        assert_eq!(count(&connection, left_over), 0);
        runs += count(&connection, "SELECT count(*) FROM name_runs");
        left += count(&connection, "SELECT count(*) FROM names");
    }
    assert!(runs > 40 && left > 400, "{runs} runs, and {left} names that outlived theirs");
}

/// What a run took is free again after it, but for what is unknown for good.
#[test]
fn a_ledger_that_is_swept_keeps_few_pages_of_names() {
    let (_dir, connection) = file();
    let mut book = book(&connection);
    let in_use = "SELECT coalesce(sum(length(fences)) / 8, 0) FROM name_runs";
    for n in 1..=3000 {
        group(&mut book, false, |book| match n % 100 {
            0 => assert_eq!(operations::open(book, opening(n)).unwrap(), Opened::New),
            _ => deliver(book, n),
        });
        if n % 10 == 0 {
            group(&mut book, false, |book| {
                operations::sweep(book, 101, 16).unwrap();
            });
        }
        if n % 300 == 0 {
            book = self::book(&connection);
        }
        let (pages, in_use) =
            (count(&connection, "SELECT count(*) FROM name_pages"), count(&connection, in_use));
        let of_a_run = 2 * GENERATION / 8;
        assert!(in_use <= 4 * of_a_run && pages <= in_use + 3 * of_a_run, "{pages} pages, {in_use} in use");
    }
    assert_eq!(count(&connection, "SELECT count(*) FROM deliveries WHERE number % 100 = 0"), 30);
    assert!((1..=30).all(|n| is_found(&mut book, 100 * n)));
}

/// As a file of version 4 has it: all names in their table.
#[test]
fn names_in_the_table_go_with_their_deliveries() {
    let (_dir, connection) = file();
    let mut first = book(&connection);
    for n in 0..100 {
        group(&mut first, false, |book| deliver(book, n));
    }
    teach(&connection).unwrap();
    connection
        .execute_batch(
            "DELETE FROM name_runs; DELETE FROM name_pages;
             INSERT INTO names SELECT name_of_id(id), number FROM deliveries
                 UNION ALL SELECT name_of_key(caller, key, item), number FROM deliveries;
             UPDATE meta SET value = (SELECT max(number) FROM deliveries) WHERE name = 'named'",
        )
        .unwrap();
    let mut book = book(&connection);
    for n in 100..300 {
        group(&mut book, false, |book| deliver(book, n));
    }
    assert!((0..300).all(|n| is_found(&mut book, n)));
    for left in [80, 50, 0, 0] {
        let before = if left > 0 { 100 - left } else { 250 };
        group(&mut book, false, |book| {
            operations::sweep(book, 300 - before as u64, 1000).unwrap();
        });
        assert_eq!(count(&connection, "SELECT count(*) FROM names"), 2 * left);
    }
    assert!((0..300).all(|n| is_found(&mut book, n) == (n >= 250)));
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
