//! What a delivery costs a ledger that holds a million of them beside what it costs an empty one, and how long its
//! sweep takes at most: `commentd-growth FOLDER [ROWS]`. In a folder in memory (`/dev/shm`) it measures the ledger's own
//! work, elsewhere that of the disk, too.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark may fail by panicking, and says what it found"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]

use commentd_benches::{Kind, fill::fill};
use commentd_ledger::{Ledger, Opened, Settled, SqliteLedger, SqliteOptions, Stamp};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const AT_MS: u64 = 1_800_000_000_000;
/// Deliveries that wait together, as they do with about 64 callers.
const WAITING: u64 = 30;
const ROUNDS: u64 = 5;
const DELIVERIES_A_ROUND: u64 = 9_000;
/// What the sidecar removes in one call at most.
const SWEPT_AT_ONCE: u32 = 16;
const SWEEPS: usize = 3_000;

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, Stamp::Live, &SqliteOptions::default()).expect("a ledger")
}

/// The time that all threads of this process have had a processor for: other programs take none of it.
fn worked() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = threads.filter_map(|thread| {
        let schedstat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

async fn deliver(ledger: &SqliteLedger, kind: &Kind, first: u64) -> Duration {
    let mut took = Duration::ZERO;
    for first in (first..first + DELIVERIES_A_ROUND).step_by(WAITING as usize) {
        let numbers = first..first + WAITING;
        let openings: Vec<_> = numbers.clone().map(|n| kind.opening(n, AT_MS)).collect();
        let settlings: Vec<_> = numbers.map(|n| kind.settling(n, AT_MS)).collect();
        let began = worked();
        let opened: Vec<_> = openings.into_iter().map(|opening| ledger.open(opening)).collect();
        for opened in opened {
            assert_eq!(opened.await, Ok(Opened::New));
        }
        let settled: Vec<_> = settlings.into_iter().map(|settling| ledger.settle(settling)).collect();
        for settled in settled {
            assert_eq!(settled.await, Ok(Settled::Recorded));
        }
        took += worked() - began;
    }
    took
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let rows = arguments.next().map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let (empty, full) = (folder.path().join("empty.db"), folder.path().join("full.db"));
    let old = Kind { seed: 1, ..Kind::default() };
    let began = Instant::now();
    fill(&full, &old, rows, (AT_MS - 7_200_000, AT_MS - 3_600_000, AT_MS), |_| {})
        .await
        .expect("it is filled");
    let size = std::fs::metadata(&full).expect("the file").len() as f64 / 1e6;
    println!("{rows} deliveries: filled in {:.1} s, {size:.0} MB", began.elapsed().as_secs_f64());
    let began = Instant::now();
    drop(open(&full));
    println!("opened and closed in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);

    let new = Kind::default();
    for round in 0..ROUNDS {
        let _ = std::fs::remove_file(&empty);
        let mut micros = [0.0; 2];
        for (path, micros) in [&empty, &full].into_iter().zip(&mut micros) {
            let ledger = open(path);
            let took = deliver(&ledger, &new, round * DELIVERIES_A_ROUND).await;
            *micros = took.as_secs_f64() * 1e6 / DELIVERIES_A_ROUND as f64;
            ledger.close().await.expect("it closes");
        }
        let [empty, full] = micros;
        println!("round {round}: {empty:.1} µs of work a delivery when empty, {full:.1} µs when full");
    }

    let ledger = open(&full);
    let mut calls = Vec::with_capacity(SWEEPS);
    let mut swept = 0;
    for n in 0..SWEEPS as u64 {
        // Among deliveries that go on.
        let opened = ledger.open(new.opening(1_000_000_000 + n, AT_MS));
        let began = Instant::now();
        swept += ledger.sweep(1_800_000, SWEPT_AT_ONCE).await.expect("it sweeps");
        calls.push(began.elapsed());
        assert_eq!(opened.await, Ok(Opened::New));
    }
    calls.sort_unstable();
    let at = |share: f64| {
        calls.get(((SWEEPS - 1) as f64 * share) as usize).map_or(0.0, |call| call.as_secs_f64() * 1e3)
    };
    println!("{swept} swept: median {:.2} ms, p99 {:.2} ms, slowest {:.2} ms", at(0.5), at(0.99), at(1.0));
}
