//! The way of deliveries that wait together through a ledger: all are opened, then all are settled, two commits each.
//! The file's are synced; it lies on the disk of the build.

#![allow(missing_docs, reason = "the macros make public items")]
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]

use commentd_benches::Kind;
use commentd_ledger::{Ledger, MemoryLedger, Opened, Settled, SqliteLedger, SqliteOptions, Stamp};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

const WAITING: [u64; 4] = [1, 10, 100, 1000];
const AT_MS: u64 = 1_800_000_000_000;

fn deliver(
    runtime: &Runtime,
    ledger: &dyn Ledger,
    openings: Vec<commentd_ledger::Opening>,
    kind: &Kind,
    first: u64,
) {
    let count = openings.len() as u64;
    runtime.block_on(async {
        let opened: Vec<_> = openings.into_iter().map(|opening| ledger.open(opening)).collect();
        for opened in opened {
            assert_eq!(opened.await, Ok(Opened::New));
        }
        let settled: Vec<_> =
            (first..first + count).map(|n| ledger.settle(kind.settling(n, AT_MS))).collect();
        for settled in settled {
            assert_eq!(settled.await, Ok(Settled::Recorded));
        }
    });
}

fn way(bench: &mut Criterion, name: &str, fresh: impl Fn() -> (Box<dyn Ledger>, Option<tempfile::TempDir>)) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let kind = Kind::default();
    let mut group = bench.benchmark_group(name);
    for waiting in WAITING {
        let (ledger, _folder) = fresh();
        let mut next = 0;
        group.throughput(Throughput::Elements(waiting));
        group.bench_with_input(BenchmarkId::from_parameter(waiting), &waiting, |b, _| {
            b.iter_batched(
                || {
                    let first = next;
                    next += waiting;
                    (first, (first..next).map(|n| kind.opening(n, AT_MS)).collect())
                },
                |(first, openings)| deliver(&runtime, &*ledger, openings, &kind, first),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn file(bench: &mut Criterion) {
    way(bench, "ledger in a file, deliveries waiting", || {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let path = folder.path().join("ledger.db");
        let ledger = SqliteLedger::open(&path, Stamp::Live, &SqliteOptions::default()).expect("a ledger");
        (Box::new(ledger) as Box<dyn Ledger>, Some(folder))
    });
}

fn memory(bench: &mut Criterion) {
    way(bench, "ledger in memory, deliveries waiting", || {
        (Box::new(MemoryLedger::new(Stamp::Rehearsal)) as Box<dyn Ledger>, None)
    });
}

criterion_group!(benches, file, memory);
criterion_main!(benches);
