//! Fills a ledger with deliveries that are over.

use crate::Kind;
use commentd_ledger::{Ledger, LedgerError, Opened, Settled, SqliteLedger, SqliteOptions, Stamp};
use std::path::Path;

/// Deliveries that share a transaction: more than in a sidecar, for speed, and few enough that what the ledger does
/// every so many deliveries is done about as often as there.
pub const GROUP: u64 = 5_000;

/// How a ledger was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Deliveries that were added.
    pub rows: u64,
    /// Transactions that took.
    pub commits: u64,
}

/// Adds `rows` deliveries to the ledger in this file, which it creates if need be, and closes it. They were settled one
/// after another, evenly over the time from `from_ms` to `to_ms`, and it is `now_ms` (wall time, milliseconds since
/// 1970), as if a process had run on the ledger all the while. `told` hears
/// after each transaction how many there are.
///
/// They go the way of all deliveries, through the ledger's own trait. Only the group is larger than a sidecar's.
///
/// # Errors
/// In words, when the ledger can't be opened or doesn't take them.
pub async fn fill(
    path: &Path,
    kind: &Kind,
    rows: u64,
    (from_ms, to_ms, now_ms): (u64, u64, u64),
    mut told: impl FnMut(u64),
) -> Result<Filled, String> {
    // An opening, an ageing and a settling each.
    let limit = usize::try_from(GROUP.saturating_mul(3)).unwrap_or(usize::MAX);
    let options = SqliteOptions {
        create_parent: false,
        queue_limit: limit,
        group_limit: limit,
        ..SqliteOptions::default()
    };
    let ledger = SqliteLedger::open(path, Stamp::Live, &options).map_err(|error| error.to_string())?;
    let span_ms = to_ms.saturating_sub(from_ms);
    let (mut first, mut aged_at) = (0, from_ms);
    while first < rows {
        let end = rows.min(first.saturating_add(GROUP));
        let at_ms = |n: u64| {
            let share = u128::from(span_ms) * u128::from(n) / u128::from(rows);
            from_ms.saturating_add(u64::try_from(share).unwrap_or(span_ms))
        };
        // Asked for together, so that they are one group; the order of the calls is that of the records.
        let asked: Vec<_> = (first..end)
            .map(|n| {
                let at_ms = at_ms(n);
                // Nobody waits for it, since it is carried out before the settling.
                drop(ledger.age(at_ms - aged_at, at_ms));
                aged_at = at_ms;
                (ledger.open(kind.opening(n, at_ms)), ledger.settle(kind.settling(n, at_ms)))
            })
            .collect();
        for (opened, settled) in asked {
            let failed = |error: LedgerError| error.to_string();
            if opened.await.map_err(failed)? != Opened::New {
                return Err("the ledger has these deliveries already; take another --seed".into());
            }
            if settled.await.map_err(failed)? != Settled::Recorded {
                return Err("the ledger has these comment ids already; take another --seed".into());
            }
        }
        first = end;
        told(first);
    }
    let aged = ledger.age(now_ms.saturating_sub(aged_at), now_ms).await;
    aged.map_err(|error| error.to_string())?;
    let commits = ledger.commits();
    ledger.close().await.map_err(|error| error.to_string())?;
    Ok(Filled { rows, commits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_contract::Outcome;
    use commentd_ledger::{FindBy, RecordFilter};

    #[tokio::test]
    async fn what_it_fills_in_is_settled_and_may_be_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let kind = Kind::default();
        let mut heard = Vec::new();
        let filled = fill(&path, &kind, 300, (1000, 4000, 4000), |rows| heard.push(rows)).await.unwrap();
        assert_eq!((filled.rows, heard), (300, vec![300]));

        let ledger = SqliteLedger::open(&path, Stamp::Live, &SqliteOptions::default()).unwrap();
        let record = ledger.find(FindBy::Id(kind.id(299))).await.unwrap().unwrap();
        assert_eq!((record.outcome(), record.settled_ms), (Outcome::Delivered, Some(3990)));
        assert_eq!(ledger.recover(9999).await.unwrap(), []);
        assert_eq!(
            ledger.list(RecordFilter { limit: 1000, ..RecordFilter::default() }).await.unwrap().len(),
            300
        );
        assert_eq!(ledger.sweep(7509, 1000).await.unwrap(), 150);
        drop(ledger);

        let again = fill(&path, &kind, 300, (1000, 4000, 4000), |_| {}).await;
        assert!(again.unwrap_err().contains("--seed"));
    }
}
