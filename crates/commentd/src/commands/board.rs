//! `commentd board`: the small comment service, for trying things out.

use crate::failure::{CommandResult, no_threads};
use crate::{console, logging, signals};
use commentd_board::{BoardOptions, FaultPlan};
use std::path::PathBuf;
use tokio::net::TcpListener;

/// Run a small comment service of our own, with a page that shows the comments, and with faults on request.
#[derive(Debug, clap::Args)]
#[command(after_long_help = commentd_board::PLAN_HELP)]
pub struct BoardArgs {
    /// Address to listen on; the board has no access control, so keep it on loopback
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// File that keeps the comments; without it they are forgotten at the end
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Faults to make, as TOML; `commentd board --help` says what it may have
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Time that every comment takes, in milliseconds
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,
    /// Up to this much more, in milliseconds
    #[arg(long, value_name = "MS")]
    jitter_ms: Option<u64>,
    /// Share of comments that fail with a 500 and aren't stored, 0 to 1
    #[arg(long, value_name = "RATIO")]
    fail_ratio: Option<f64>,
    /// Seed of jitter and faults: the same seed meets the same faults
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Store a comment once for each Idempotency-Key
    #[arg(long)]
    deduplicate: bool,
    /// File to which every fault is appended, a JSON line each
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

pub(crate) async fn run(args: BoardArgs) -> CommandResult {
    console::never_wait().map_err(|error| no_threads(&error))?;
    logging::start("warn", false);
    let mut faults = match &args.faults {
        None => FaultPlan::default(),
        Some(file) => FaultPlan::load(file)?,
    };
    faults.latency_ms = args.latency_ms.unwrap_or(faults.latency_ms);
    faults.jitter_ms = args.jitter_ms.unwrap_or(faults.jitter_ms);
    faults.fail_ratio = args.fail_ratio.unwrap_or(faults.fail_ratio);
    let options = BoardOptions {
        database: args.database,
        faults,
        seed: args.seed,
        deduplicate: args.deduplicate,
        journal: args.journal,
    };
    let board = commentd_board::Board::open(options)?;
    let listener = TcpListener::bind((args.host.as_str(), args.port)).await.map_err(|error| {
        crate::failure::Failure(format!(
            "--host/--port: can't listen on {}:{}: {error}",
            args.host, args.port
        ))
    })?;
    let stop = signals::stop_requested();
    console::say(&format!("commentd board listening on http://{}", listener.local_addr()?));
    board.serve(listener, stop).await?;
    Ok(0)
}
