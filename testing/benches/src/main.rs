//! `commentd-fill`: fills a ledger, for the benchmarks of growth.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use clap::Parser;
use commentd_benches::Kind;
use commentd_benches::fill::fill;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Fills a ledger with settled deliveries, and prints a line of JSON about it.
#[derive(Parser)]
#[command(name = "commentd-fill")]
struct Args {
    /// The ledger's file; created if it isn't there.
    #[arg(long)]
    ledger: PathBuf,
    /// How many deliveries.
    #[arg(long)]
    rows: u64,
    /// When the last of them was settled, in hours ago. With more than the retention, all are due to be swept.
    #[arg(long, default_value_t = 0.0)]
    hours_ago: f64,
    /// Over how many hours they were settled.
    #[arg(long, default_value_t = 20.0)]
    over_hours: f64,
    /// Length of each comment.
    #[arg(long, default_value_t = Kind::default().content_bytes)]
    content_bytes: usize,
    /// Whether no verdict names a comment that is proved to be ours, so that nothing is claimed.
    #[arg(long)]
    no_claims: bool,
    /// Other ids and keys than those of another run.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

const HOUR_MS: f64 = 3_600_000.0;

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "what is filled in must be as old as people say, and it says how long it took"
)]
async fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
    let to_ms = now_ms - args.hours_ago * HOUR_MS;
    let from_ms = to_ms - args.over_hours * HOUR_MS;
    let kind = Kind { seed: args.seed, content_bytes: args.content_bytes, claims: !args.no_claims };
    let mut told = began;
    let filled =
        fill(&args.ledger, &kind, args.rows, (from_ms as u64, to_ms as u64, now_ms as u64), |rows| {
            if told.elapsed().as_secs() >= 10 {
                told = Instant::now();
                eprintln!("{rows} of {} after {} s", args.rows, began.elapsed().as_secs());
            }
        });
    match filled.await {
        Ok(filled) => {
            let line = serde_json::json!({
                "rows": filled.rows,
                "commits": filled.commits,
                "seconds": began.elapsed().as_secs_f64(),
            });
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("commentd-fill: {error}");
            ExitCode::FAILURE
        }
    }
}
